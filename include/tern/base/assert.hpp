#pragma once

#include <unistd.h>

#include <cstdlib>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// Ends the process with one line on stderr: a broken invariant, or a misuse whose documented outcome is this.
// Async-signal-safe and allocation-free, since it is called when nothing else can be trusted. `message` is a constant.
[[noreturn]] TERN_COLD inline void fatal(const char* message) noexcept {
  auto put = [](const char* s) noexcept {
    unsigned long n = 0;
    while (s[n] != 0) ++n;
    while (n > 0) {
      const ssize_t k = ::write(2, s, n);
      if (k <= 0) return;
      s += k;
      n -= static_cast<unsigned long>(k);
    }
  };
  put("tern: fatal: ");
  put(message);
  put("\n");
  std::abort();
}

}  // namespace tern::inline v1::detail

// Level 1: cheap, on in debug builds. Level 2: internal invariants. Level 3: checks that walk structures.
#define TERN_ASSERT_AT(level, condition, message)                     \
  do {                                                                \
    if constexpr (TERN_DEBUG_LEVEL >= (level)) {                      \
      if (!(condition)) ::tern::detail::fatal("assertion: " message); \
    }                                                                 \
  } while (false)
#define TERN_ASSERT(condition, message) TERN_ASSERT_AT(1, condition, message)
#define TERN_ASSERT_INTERNAL(condition, message) TERN_ASSERT_AT(2, condition, message)
#define TERN_ASSERT_SLOW(condition, message) TERN_ASSERT_AT(3, condition, message)

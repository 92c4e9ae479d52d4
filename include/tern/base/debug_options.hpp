// Debug options: numbers and words in the environment variable TERN_DEBUG, as in TERN_DEBUG=schedtrace=1000,trace=/var/run/a.json.
#pragma once

#include <cstdlib>
#include <cstring>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// What follows `name=` up to the end of the variable; null where it is absent. Reads the environment: not for hot paths, and not while
// another thread changes it.
TERN_COLD inline const char* find_debug_option(const char* name) noexcept {
  const char* s = std::getenv("TERN_DEBUG");
  const std::size_t length = std::strlen(name);
  while (s != nullptr && *s != 0) {
    if (std::strncmp(s, name, length) == 0 && s[length] == '=') return s + length + 1;
    s = std::strchr(s, ',');
    if (s != nullptr) ++s;
  }
  return nullptr;
}

// The value of `name`; 0 where it is absent or no number. As above.
inline long debug_option(const char* name) noexcept {
  const char* s = find_debug_option(name);
  return s != nullptr ? std::strtol(s, nullptr, 10) : 0;
}

// The same as text, up to the next comma. False where it is absent, empty or longer than `to` has room for. As above.
inline bool debug_text(const char* name, char* to, std::size_t bytes) noexcept {
  const char* s = find_debug_option(name);
  const std::size_t n = s != nullptr ? std::strcspn(s, ",") : 0;
  if (n == 0 || n >= bytes) return false;
  std::memcpy(to, s, n);
  to[n] = 0;
  return true;
}

}  // namespace tern::inline v1::detail

#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/os/clock.hpp>

namespace tern::inline v1::detail::os {

static_assert(sizeof(atomic<std::uint32_t>) == 4, "a futex word is 32 bits");

// Sleeps while `word` holds `expected`, until woken, `deadline` (CLOCK_MONOTONIC ns, `never` for none) or a spurious
// return. True unless the deadline passed. The caller re-tests its condition: wake-ups may be spurious.
inline bool futex_wait(atomic<std::uint32_t>& word, std::uint32_t expected,
                       nanoseconds deadline = never) noexcept {
  timespec t;
  const timespec* limit = nullptr;
  if (deadline != never) {
    t = to_timespec(deadline < 0 ? 0 : deadline);
    limit = &t;
  }
  // FUTEX_WAIT_BITSET takes an absolute deadline, so that a restart does not lengthen the wait.
  const long r = ::syscall(SYS_futex, static_cast<void*>(&word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG,
                           expected, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
  if (r == 0) return true;
  if (errno == ETIMEDOUT) return false;
  if (errno == EAGAIN || errno == EINTR) return true;
  fatal("futex wait failed");
}

// Wakes up to `count` sleepers; the word's memory may already be gone (a wake to nobody is harmless).
inline void futex_wake(atomic<std::uint32_t>& word, int count) noexcept {
  ::syscall(SYS_futex, static_cast<void*>(&word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, nullptr, nullptr,
            0);
}

}  // namespace tern::inline v1::detail::os

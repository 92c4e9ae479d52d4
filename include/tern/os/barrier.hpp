// Process-wide barrier: one thread pays for the StoreLoad of all others.
#pragma once

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif
#include <sys/syscall.h>
#include <unistd.h>

namespace tern::inline v1::detail::os {

// Commands of membarrier(2); old headers lack the names.
inline constexpr int membarrier_private = 1 << 3;
inline constexpr int membarrier_register_private = 1 << 4;

// When it returns true, every thread of the process has executed a full barrier since the call: what it wrote before that is visible here,
// and what it reads after that is not older than what the caller wrote before the call. Some microseconds. False where the kernel
// has none (before 4.14, or forbidden by a filter).
inline bool barrier_in_every_thread() noexcept {
  if (::syscall(SYS_membarrier, membarrier_private, 0, 0) == 0) return true;
  // Not registered yet: once per process, and idempotent.
  return ::syscall(SYS_membarrier, membarrier_register_private, 0, 0) == 0 &&
         ::syscall(SYS_membarrier, membarrier_private, 0, 0) == 0;
}

// The same where it takes microseconds; else false. The first one of a process takes some 10 ms where there are several threads.
inline bool quick_barrier_in_every_thread() noexcept {
  if (::syscall(SYS_membarrier, membarrier_private, 0, 0) == 0) return true;
#if __has_include(<sys/single_threaded.h>)
  return __libc_single_threaded != 0 && barrier_in_every_thread();
#else
  return false;
#endif
}

}  // namespace tern::inline v1::detail::os

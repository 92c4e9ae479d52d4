#pragma once

#include <ctime>

#include <cstdint>

namespace tern::inline v1::detail::os {

using nanoseconds = std::int64_t;

inline constexpr nanoseconds never = INT64_MAX;

// CLOCK_MONOTONIC in ns (vDSO: no system call). Never fails on Linux.
inline nanoseconds now() noexcept {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<nanoseconds>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

// CPU time of the whole process in ns.
inline nanoseconds process_cpu_time() noexcept {
  timespec t;
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<nanoseconds>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

// CPU time in ns by a clock that pthread_getcpuclockid() gave; 0 where its thread is gone.
inline nanoseconds cpu_time(clockid_t clock) noexcept {
  timespec t;
  if (::clock_gettime(clock, &t) != 0) return 0;
  return static_cast<nanoseconds>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

// `at` plus `delta` without overflow: a sum beyond the range means never.
inline nanoseconds deadline_after(nanoseconds at, nanoseconds delta) noexcept {
  nanoseconds sum;
  return __builtin_add_overflow(at, delta, &sum) ? never : sum;
}

inline timespec to_timespec(nanoseconds ns) noexcept {
  timespec t;
  t.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
  t.tv_nsec = static_cast<long>(ns % 1'000'000'000);
  return t;
}

}  // namespace tern::inline v1::detail::os

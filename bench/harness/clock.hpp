// The harness's clocks. Cases do not time; latency cases stamp with now_ns().
#pragma once

#include <time.h>

#include <cstdint>

namespace tern_bench {

/// CLOCK_MONOTONIC in ns.
[[nodiscard]] inline std::int64_t now_ns() noexcept {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return std::int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
}

/// CPU time of the whole process in ns, every thread included.
[[nodiscard]] inline std::int64_t process_cpu_ns() noexcept {
  timespec ts{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return std::int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
}

}  // namespace tern_bench

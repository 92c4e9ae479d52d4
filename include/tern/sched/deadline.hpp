// Deadlines: the times of <chrono> as deadlines of os::now().
#pragma once

#include <chrono>

#include <tern/os/clock.hpp>

namespace tern::inline v1::detail {

// `d` from now; now for zero and less, and for what is not a number, never for what lies beyond the range.
template <class Rep, class Period>
os::nanoseconds deadline_in(const std::chrono::duration<Rep, Period>& d) noexcept {
  const double ns = std::chrono::duration<double, std::nano>(d).count();
  if (!(ns > 0)) return os::now();
  return ns >= 9.2e18 ? os::never : os::deadline_after(os::now(), static_cast<os::nanoseconds>(ns) + 1);
}

// `t`, as if its clock ran on evenly. What is more than some thirty years away is told by floating point: the ends of a clock's range are
// further from now than its own duration can say, and a time in hours further than one in nanoseconds.
template <class Clock, class Duration>
os::nanoseconds deadline_at(const std::chrono::time_point<Clock, Duration>& t) noexcept {
  using about = std::chrono::duration<double, std::nano>;
  const auto now = Clock::now();
  const about away = about(t.time_since_epoch()) - about(now.time_since_epoch());
  return away > about(1e18) || away < about(-1e18) ? deadline_in(away) : deadline_in(t - now);
}

}  // namespace tern::inline v1::detail

// Pacing as it is: the pacer's lines as mutators see them, and the clocks that the CPU cap lives on.
//
// Context     The collector's thread at each phase, allocating threads after a brake. Arithmetic is in pacer.hpp and cpu_cap.hpp.
// Protocol    All under pacer_lock. A window ends with each phase of a cycle; in a phase that takes long, with the first brake
//             10 ms after the last one ended: only brakes can keep a program waiting for long.
#pragma once

#include <tern/gc/state.hpp>
#include <tern/os/thread.hpp>

namespace tern::inline v1::detail::gc {

// Requires: pacer_lock.
inline void publish_pace_locked() noexcept {
  state.trigger.store(state.pace.trigger(), memory_order_relaxed);  // relaxed, both: pacing
  state.brake.store(state.pace.brake(), memory_order_relaxed);
}

// Without the lock: a system call or two.
inline cpu_readings read_cpu_clocks(os::nanoseconds now) noexcept {
  // relaxed, all: pacing.
  return {now, os::process_cpu_time(), os::cpu_time(state.collector_clock.load(memory_order_relaxed)),
          state.assist_ns.load(memory_order_relaxed), state.brake_ns.load(memory_order_relaxed)};
}

// Ends the window of the cap that is under way, unless somebody has done so since these were read. Requires: pacer_lock.
inline void end_cpu_window_locked(const cpu_readings& r) noexcept {
  const cpu_readings& last = state.last_readings;
  if (r.now <= last.now) return;
  state.cap.add({r.now - last.now, r.process - last.process,
                 r.collector - last.collector + r.assists - last.assists, r.brakes - last.brakes});
  state.last_readings = r;
  if (state.cap.gives_way() == state.pace.gives_way()) return;
  state.pace.set_gives_way(state.cap.gives_way());
  publish_pace_locked();
}

inline constexpr os::nanoseconds cpu_window_ns = 10'000'000;

inline void end_cpu_window(os::nanoseconds now) noexcept {
  const cpu_readings r = read_cpu_clocks(now);
  lock_scope hold{state.pacer_lock};
  end_cpu_window_locked(r);
}

inline void end_cpu_window_if_long(os::nanoseconds now) noexcept {
  {
    lock_scope hold{state.pacer_lock};
    if (now - state.last_readings.now < cpu_window_ns) return;
  }
  end_cpu_window(now);
}

}  // namespace tern::inline v1::detail::gc

// How the primitives of sync/ wait in a model: threads of the checker in the place of fibers.
#pragma once

#include <cstdint>

#include <tern/os/clock.hpp>

#include "model_atomics.hpp"

namespace tern_model {

// A model thread that waits, in the place of fibers. The clock jumps at each look, by 2 ms unless a model says otherwise, so that starvation
// comes about.
struct model_parking {
  struct waiter {
    waiter(const char*, const void*) {}
    void rearm() { state.store(0, tern::detail::memory_order_relaxed); }
    atomic<std::uint32_t> state{0};
    bool timed = false;
  };
  static inline tern::detail::os::nanoseconds clock = 0;
  static inline tern::detail::os::nanoseconds step = 2'000'000;

  template <class Lock>
  static void park(waiter& w, Lock& lock) {
    lock.unlock();
    while (w.state.load(tern::detail::memory_order_acquire) == 0) model_futex::wait(w.state, 0);
  }
  template <class Lock>
  static bool park_until(waiter& w, tern::detail::os::nanoseconds deadline, Lock& lock) {
    w.timed = true;
    lock.unlock();
    while (w.state.load(tern::detail::memory_order_acquire) == 0)
      if (!model_futex::wait_until(w.state, 0, deadline)) return false;
    return true;
  }
  template <class Lock>
  static bool wait_until(waiter& w, tern::detail::os::nanoseconds deadline, Lock& lock) {
    return park_until(w, deadline, lock);
  }
  static bool is_cancellable(const waiter&) { return false; }
  static void throw_if_cancelled(const waiter&) {}
  static void unpark(waiter& w) {
    w.state.store(1, tern::detail::memory_order_release);
    model_futex::wake(w.state, 1);
  }
  static bool is_timed(const waiter& w) { return w.timed; }
  static tern::detail::os::nanoseconds now() { return clock += step; }
};

}  // namespace tern_model

// Once: runs a function exactly once, however many fibers and threads ask for it.
//
// Structure   state_: idle -> running -> done; running -> idle when the function throws.
// Protocol    1. done: nothing to do. Else, under guard_: 2. idle: run it   3. running: queue, park, begin again.
// Ordering    The release of done pairs with the acquire in call(): what the function wrote is seen by every caller.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include <tern/base/assert.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1 {

/// What std::once_flag is to threads. Unlike a function-local static its function may park. Constant-initialised; outlives all calls.
class once {
 public:
  constexpr once() noexcept = default;
  once(const once&) = delete;
  once& operator=(const once&) = delete;

  /// Runs std::invoke(f, args...) unless a call has succeeded before; returns when one has. An exception of `f` goes to the caller
  /// that ran it, and another one tries. From within `f` on the same object: waits for ever. One load once it is done.
  template <class F, class... Args>
  void call(F&& f, Args&&... args) {
    // acquire: pairs with finish(); else the caller may not see what the function has made.
    if (TERN_LIKELY(state_.load(detail::memory_order_acquire) == done)) return;
    if (!begin()) return;
    struct guard {
      once& self;
      std::uint32_t result = idle;
      ~guard() { self.finish(result); }
    } g{*this};
    std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
    g.result = done;
  }

  bool is_done() const noexcept { return state_.load(detail::memory_order_acquire) == done; }

 private:
  enum : std::uint32_t { idle, running, done };
  using parking = detail::fiber_parking;
  using node = detail::wait_node<parking>;

  // True: the caller runs the function. False: it has been run.
  TERN_NOINLINE bool begin() noexcept {
    node me{"once", this};
    for (;;) {
      guard_.lock();
      // relaxed: written under guard_.
      const std::uint32_t s = state_.load(detail::memory_order_relaxed);
      if (s != running) {
        if (s == idle) state_.store(running, detail::memory_order_relaxed);
        guard_.unlock();
        return s == idle;
      }
      queue_.push_back(me);
      parking::park(me.wait, guard_);
      me.wait.rearm();
    }
  }

  void finish(std::uint32_t result) noexcept {
    detail::wait_list<parking> later;
    guard_.lock();
    state_.store(result, detail::memory_order_release);  // pairs-with: call()
    while (node* n = queue_.pop_front()) later.push_back(*n);
    guard_.unlock();
    detail::unpark_all(later);
  }

  detail::atomic<std::uint32_t> state_{idle};
  detail::wait_lock<> guard_;
  detail::wait_list<parking> queue_;  // guard_
};

/// The names of the standard library.
using once_flag = once;
template <class F, class... Args>
void call_once(once& flag, F&& f, Args&&... args) {
  flag.call(std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace tern::inline v1

// Condition variable over tern::mutex.
//
// Protocol    wait    1. queue under guard_   2. park; once the stack is saved the mutex is unlocked, then guard_   3. lock the
//                     mutex again. A notifier that holds the mutex after step 2 finds the waiter in the queue.
//             notify  take out one waiter, or all, under guard_; unpark.
// Invariants  I1 the order of locks is guard_, then the mutex's own; nobody takes them the other way round.
// Limits      No spurious wake-ups, but a barging locker may undo the condition before the woken one has the mutex: loop, or
//             give a predicate. Waiters of one condition variable all use the same mutex (not checked).
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <utility>

#include <tern/base/assert.hpp>
#include <tern/sync/mutex.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1 {

/// std::condition_variable for fibers and plain threads. 24 bytes, constant-initialised.
class condition_variable {
 public:
  constexpr condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;
  /// Somebody still waits: ends the process.
  ~condition_variable() {
    if (!queue_.is_empty()) detail::fatal("a condition variable was destroyed while somebody waits for it");
  }

  /// Unlocks, waits for a notification, locks. `lock` must own its mutex, else the process ends. Throws cancelled, with the mutex
  /// locked, when the fiber is cancelled while it waits; so do all other forms.
  void wait(std::unique_lock<mutex>& lock) {
    node me{"condition variable", this};
    if (detail::is_cancellable(me.wait)) return static_cast<void>(wait_until_ns(lock, detail::os::never));
    leaving l = enter(me, lock);
    detail::park(me.wait, &leave, &l);
    lock.mutex()->lock();
  }
  template <class Predicate>
  void wait(std::unique_lock<mutex>& lock, Predicate done) {
    while (!done()) wait(lock);
  }

  /// Waits for the predicate or for a request to stop; returns what the predicate says at the end.
  template <class Predicate>
  bool wait(std::unique_lock<mutex>& lock, std::stop_token stop, Predicate done) {
    const std::stop_callback wake{stop, [this]() noexcept { notify_all(); }};
    while (!stop.stop_requested()) {
      if (done()) return true;
      static_cast<void>(wait_until_ns(lock, detail::os::never, &stop));
    }
    return done();
  }

  /// As wait(), at most until the time: then std::cv_status::timeout.
  template <class Clock, class Duration>
  std::cv_status wait_until(std::unique_lock<mutex>& lock,
                            const std::chrono::time_point<Clock, Duration>& t) {
    return wait_until_ns(lock, detail::deadline_at(t));
  }
  template <class Rep, class Period>
  std::cv_status wait_for(std::unique_lock<mutex>& lock, const std::chrono::duration<Rep, Period>& d) {
    return wait_until_ns(lock, detail::deadline_in(d));
  }
  /// Waits for the predicate; returns what it says at the end.
  template <class Clock, class Duration, class Predicate>
  bool wait_until(std::unique_lock<mutex>& lock, const std::chrono::time_point<Clock, Duration>& t,
                  Predicate done) {
    return wait_until_ns(lock, detail::deadline_at(t), done);
  }
  template <class Rep, class Period, class Predicate>
  bool wait_for(std::unique_lock<mutex>& lock, const std::chrono::duration<Rep, Period>& d, Predicate done) {
    return wait_until_ns(lock, detail::deadline_in(d), done);
  }

  /// Wakes the one that has waited longest. The mutex may be held or not. O(1).
  void notify_one() noexcept {
    detail::wait_list<detail::fiber_parking> later;
    guard_.lock();
    if (node* n = queue_.pop_front()) take(*n, later);
    guard_.unlock();
    detail::unpark_all(later);
  }
  /// Wakes all. O(waiters).
  void notify_all() noexcept {
    detail::wait_list<detail::fiber_parking> later;
    guard_.lock();
    while (node* n = queue_.pop_front()) take(*n, later);
    guard_.unlock();
    detail::unpark_all(later);
  }

 private:
  using node = detail::wait_node<detail::fiber_parking>;
  struct leaving {
    mutex* m;
    detail::wait_lock<>* guard;
  };

  leaving enter(node& me, std::unique_lock<mutex>& lock) noexcept {
    if (!lock.owns_lock()) detail::fatal("condition_variable::wait needs a lock that owns its mutex");
    guard_.lock();
    queue_.push_back(me);
    return {lock.mutex(), &guard_};
  }

  // guard goes last: after it the waiter may be woken, and the words of `l` are gone.
  static bool leave(detail::waiter&, void* argument) noexcept {
    const leaving l = *static_cast<leaving*>(argument);
    l.m->unlock();
    l.guard->unlock();
    return true;
  }

  static void take(node& n, detail::wait_list<detail::fiber_parking>& later) noexcept {
    n.granted = true;
    detail::wake_or_keep(n, later);
  }

  std::cv_status wait_until_ns(std::unique_lock<mutex>& lock, detail::os::nanoseconds deadline,
                               const std::stop_token* stop = nullptr) {
    node me{"condition variable", this};
    leaving l = enter(me, lock);
    // Under guard_: a request that comes later finds the waiter in the queue.
    if (stop != nullptr && stop->stop_requested()) {
      detail::wait_list<detail::fiber_parking>::erase(me);
      guard_.unlock();
      return std::cv_status::timeout;
    }
    // The outcome is what the queue says: a notification that came first counts, whatever the clock said.
    if (detail::is_cancellable(me.wait)) {
      static_cast<void>(detail::park_cancellable(me.wait, deadline, &leave, &l));
    } else {
      me.wait.kind = detail::waiter_kind::multi;  // it comes back to guard_
      static_cast<void>(detail::park_until(me.wait, deadline, &leave, &l));
    }
    guard_.lock();
    if (!me.granted) detail::wait_list<detail::fiber_parking>::erase(me);
    guard_.unlock();
    lock.mutex()->lock();
    if (!me.granted) detail::throw_if_cancelled(me.wait);
    return me.granted ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Predicate>
  bool wait_until_ns(std::unique_lock<mutex>& lock, detail::os::nanoseconds deadline, Predicate& done) {
    while (!done())
      if (wait_until_ns(lock, deadline) == std::cv_status::timeout) return done();
    return true;
  }

  detail::wait_lock<> guard_;
  detail::wait_list<detail::fiber_parking> queue_;  // guard_
};

}  // namespace tern::inline v1

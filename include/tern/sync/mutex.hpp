// Mutex: mutual exclusion between fibers and threads, in any mixture.
//
// Structure   state_: four bits. locked; waiting: queue_ is not empty; woken: one waiter was taken out and is under way to try
//             again; starving: the next unlock hands over.
// Protocol    lock    1. free: take it, also where others wait (barging: the holder's successor is often running already, and a
//                     hand-over would cost a switch per section). Else, under guard_:   2. free by now: take it   3. held: set
//                     waiting, queue, park. A woken one that loses goes back to the front; when it has been losing for 1 ms it sets
//                     starving.
//             unlock  1. nobody to wake, or one is under way: clear locked. Else   2. under guard_ take the first waiter out;
//                     starving: it owns the mutex now, else set woken, drop guard_, clear locked; unpark it.
//             give up a timed waiter that is still queued goes; one that was taken out takes its turn or passes it on.
// Invariants  I1 waiting <=> queue_ is not empty, under guard_. I2 starving => locked: nobody barges past a hand-over.
//             I3 woken is set by an unlock and cleared by the waiter it took out, so at most one is under way.
//             I4 clearing locked is the last access of an unlock, so the next owner may destroy the mutex.
// Ordering    The release that clears locked pairs with the acquire that sets it; a hand-over is ordered by unpark.
// Rejected    FIFO hand-over always: contended sections run at the speed of switches. Waking one at every unlock: the woken
//             ones race each other back to sleep.
// References  Go's sync.Mutex (Vyukov 2016) has the same 1 ms rule.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

#include <tern/base/assert.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1::detail {

template <class Atomics = native_atomics, class Parking = fiber_parking, class Lock = wait_lock<Atomics>,
          unsigned Looks = 2>
class basic_mutex {
 public:
  constexpr basic_mutex() noexcept = default;
  basic_mutex(const basic_mutex&) = delete;
  basic_mutex& operator=(const basic_mutex&) = delete;
  ~basic_mutex() {
    // relaxed: whoever destroys must have been told that all others are done.
    if (state_.load(memory_order_relaxed) != 0) fatal("a mutex was destroyed while it was locked");
  }

  // Both look first and have a branch for the usual word: then the CAS waits for no load, and under contention, where the word is
  // another one, it takes one RMW as well. (A CAS that is tried for the usual word first costs half as much again in the row
  // sched/mutex_contended/processors:2.)
  void lock() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    // acquire: pairs with unlock(); else the section reads what the last one had not yet written.
    if (TERN_LIKELY(s == 0)) {
      if (TERN_LIKELY(state_.compare_exchange_strong(s, locked, memory_order_acquire, memory_order_relaxed)))
        return;
    } else if ((s & locked) == 0 &&
               state_.compare_exchange_strong(s, s | locked, memory_order_acquire, memory_order_relaxed)) {
      return;
    }
    lock_slow();
  }

  [[nodiscard]] bool try_lock() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    while ((s & locked) == 0)
      if (state_.compare_exchange_weak(s, s | locked, memory_order_acquire, memory_order_relaxed))
        return true;
    return false;
  }

  [[nodiscard]] bool try_lock_until_ns(os::nanoseconds deadline) noexcept {
    return try_lock() || lock_slow_until(deadline);
  }

  void unlock() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    // release, both: pairs with lock(), try_lock() and take_or_announce().
    for (;;) {
      if (TERN_LIKELY(s == locked)) {
        if (TERN_LIKELY(state_.compare_exchange_strong(s, 0, memory_order_release, memory_order_relaxed)))
          return;
      } else if ((s & ~std::uint32_t{waiting}) == (locked | woken)) {
        if (state_.compare_exchange_strong(s, s & ~std::uint32_t{locked}, memory_order_release,
                                           memory_order_relaxed))
          return;
      } else {
        return unlock_slow(s);
      }
    }
  }

 private:
  enum : std::uint32_t { locked = 1, waiting = 2, woken = 4, starving = 8 };
  static constexpr os::nanoseconds starvation = 1'000'000;
  static constexpr unsigned first_pauses = 64;
  using node = wait_node<Parking>;

  TERN_NOINLINE void lock_slow() noexcept {
    if (spin()) return;
    node me{"mutex", this};
    for (bool first = true;; first = false) {
      const bool starved = me.since != 0 && Parking::now() - me.since > starvation;
      const std::uint32_t own = first ? 0 : std::uint32_t{woken};  // ours to clear
      guard_.lock();
      if (take_or_announce(own, starved)) return guard_.unlock();
      if (first)
        queue_.push_back(me);
      else
        queue_.push_front(me);
      Parking::park(me.wait, guard_);
      if (me.granted) return;
      if (me.since == 0) me.since = Parking::now();
      me.wait.rearm();
    }
  }

  // Few looks, far apart: each takes the line from the holder, whose next sections then cost ten times as much. The time is the caller's own
  // only where its processor has nothing else to run.
  bool spin() noexcept {
    if constexpr (Looks != 0) {
      if (!Parking::has_time()) return false;
      for (unsigned look = 0, pauses = first_pauses; look < Looks; ++look, pauses *= 2) {
        for (unsigned i = 0; i < pauses; ++i) Atomics::pause();
        // relaxed: a hint.
        const std::uint32_t s = state_.load(memory_order_relaxed);
        if ((s & locked) == 0 && try_lock()) return true;
        if ((s & waiting) != 0) return false;
      }
    }
    return false;
  }

  TERN_NOINLINE bool lock_slow_until(os::nanoseconds deadline) noexcept {
    node me{"mutex", this};
    guard_.lock();
    for (bool first = true, mine = false;; first = false) {
      const bool starved = me.since != 0 && Parking::now() - me.since > starvation;
      mine = take_or_announce(first ? 0 : std::uint32_t{woken}, starved);
      if (!mine) {
        if (first)
          queue_.push_back(me);
        else
          queue_.push_front(me);
        const bool in_time = Parking::park_until(me.wait, deadline, guard_);
        guard_.lock();
        if (in_time && !me.granted) {
          if (me.since == 0) me.since = Parking::now();
          me.wait.rearm();
          continue;
        }
        mine = me.granted || give_up(me);
      }
      guard_.unlock();
      return mine;
    }
  }
  // Requires: guard_, not granted; the deadline came first, or so it seemed. True: the caller owns the mutex all the same.
  bool give_up(node& me) noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the RMWs decide
    if (me.hook.is_linked()) {
      wait_list<Parking>::erase(me);
      // relaxed: the queue is read under guard_. Where nobody is left to be handed the mutex nobody starves.
      if (queue_.is_empty()) state_.fetch_and(~std::uint32_t{waiting | starving}, memory_order_relaxed);
      return false;
    }
    // An unlock has taken it out: the turn is taken if it can be, else it passes to whoever unlocks next.
    for (;;) {
      const bool free = (s & locked) == 0;
      // acquire: as in take_or_announce().
      if (state_.compare_exchange_weak(s, (s | (free ? std::uint32_t{locked} : 0)) & ~std::uint32_t{woken},
                                       memory_order_acquire, memory_order_relaxed))
        return free;
    }
  }

  // Requires: guard_. True: the caller owns the mutex. False: the owner's unlock will see that somebody waits.
  bool take_or_announce(std::uint32_t own, bool starved) noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    for (;;) {
      if ((s & locked) == 0) {
        if (state_.compare_exchange_weak(s, (s | locked) & ~own, memory_order_acquire, memory_order_relaxed))
          return true;
      } else {
        const std::uint32_t next = ((s | waiting) & ~own) | (starved ? std::uint32_t{starving} : 0);
        // relaxed: the queue is read under guard_.
        if (state_.compare_exchange_weak(s, next, memory_order_relaxed, memory_order_relaxed)) return false;
      }
    }
  }

  // A waiter is to be woken or to be handed the mutex.
  TERN_NOINLINE void unlock_slow(std::uint32_t s) noexcept {
    if ((s & locked) == 0) fatal("a mutex was unlocked that is not locked");
    guard_.lock();
    // relaxed: while locked is ours and guard_ is held nobody else writes the word.
    s = state_.load(memory_order_relaxed);
    node* n = queue_.pop_front();
    if (TERN_UNLIKELY(n == nullptr)) {  // those who waited have given up
      guard_.unlock();
      return unlock();
    }
    const bool timed =
        Parking::is_timed(n->wait);  // takes guard_ when it returns, so it is unparked before that is free
    const std::uint32_t rest = queue_.is_empty() ? 0 : std::uint32_t{waiting};
    if ((s & starving) != 0) {
      n->granted = true;
      const node* next = queue_.front();
      const bool more = next != nullptr && next->since != 0 && Parking::now() - next->since > starvation;
      state_.store(locked | rest | (s & woken) | (more ? std::uint32_t{starving} : 0), memory_order_relaxed);
      if (timed) Parking::unpark(n->wait);
      guard_.unlock();
    } else if (timed) {
      state_.store(woken | rest, memory_order_release);  // pairs-with: lock()
      Parking::unpark(n->wait);
      guard_.unlock();
    } else {
      state_.store(locked | woken | rest, memory_order_relaxed);
      guard_.unlock();
      state_.fetch_and(~std::uint32_t{locked}, memory_order_release);  // pairs-with: lock(); I4
    }
    if (!timed) Parking::unpark(n->wait);
  }

  typename Atomics::template atomic<std::uint32_t> state_{0};
  Lock guard_;
  wait_list<Parking> queue_;  // guard_
};

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// TimedLockable (std::lock_guard, std::unique_lock, std::scoped_lock). 24 bytes, constant-initialised. Not recursive.
///
/// lock(), try_lock(), unlock(): from fibers and from plain threads, of any runtime; the one that unlocks need not be the one that locked.
/// Uncontended each is one atomic operation. Not fair, but a waiter that has been passed for 1 ms is served next.
/// Locking it twice from one fiber waits for ever; unlocking a free one and destroying a locked one end the process.
class mutex : detail::basic_mutex<> {
  using base = detail::basic_mutex<>;

 public:
  using base::lock;
  using base::try_lock;
  using base::unlock;

  /// True if the lock was taken in time. A time in the past is a try_lock().
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& d) noexcept {
    return try_lock_until_ns(detail::deadline_in(d));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& t) noexcept {
    return try_lock_until_ns(detail::deadline_at(t));
  }
};

}  // namespace tern::inline v1

// Counting semaphore.
//
// Structure   word_: permits in the low half, waiters in the high half.
// Protocol    acquire  1. permits > 0: CAS one away. Else, under guard_: 2. the same again   3. CAS one waiter in, queue, park; who
//                      is woken owns its permit.
//             release  1. no waiters: CAS permits up. Else, under guard_: 2. permits go to the first waiters; with the rest again.
// Invariants  I1 waiters > 0 => permits = 0, outside guard_: so the order is first come, first served. I2 the high half is the
//             length of queue_, under guard_. I3 a release touches nothing after its CAS or its unlock of guard_.
// Ordering    The release of each CAS in release() pairs with the acquire of the CAS that takes the permit, or with park.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1::detail {

template <class Atomics = native_atomics, class Parking = fiber_parking, class Lock = wait_lock<Atomics>,
          unsigned Pauses = 256>
class basic_semaphore {
 public:
  static constexpr std::uint32_t max_permits = 0x7fff'ffff;

  constexpr explicit basic_semaphore(std::uint32_t permits) noexcept : word_{permits} {
    if (permits > max_permits) fatal("a semaphore holds at most 2^31 - 1 permits");
  }
  basic_semaphore(const basic_semaphore&) = delete;
  basic_semaphore& operator=(const basic_semaphore&) = delete;
  ~basic_semaphore() {
    // relaxed: as for every destructor.
    if (waiters(word_.load(memory_order_relaxed)) != 0)
      fatal("a semaphore was destroyed while somebody waits for it");
  }

  [[nodiscard]] bool try_acquire() noexcept {
    std::uint64_t w = word_.load(memory_order_relaxed);  // relaxed: the CAS decides
    while (permits(w) > 0) {
      // acquire: pairs with release(); else what the releaser did before may be unseen.
      if (word_.compare_exchange_weak(w, w - 1, memory_order_acquire, memory_order_relaxed)) return true;
      w = look_again();
    }
    return false;
  }

  void acquire() {
    if (TERN_LIKELY(try_acquire())) return;
    node me{"semaphore", this};
    guard_.lock();
    if (take_or_queue(me)) return guard_.unlock();
    if (Parking::is_cancellable(me.wait)) return static_cast<void>(wait_until(me, os::never));
    Parking::park(me.wait, guard_);
  }

  [[nodiscard]] bool try_acquire_until_ns(os::nanoseconds deadline) {
    if (try_acquire()) return true;
    node me{"semaphore", this};
    guard_.lock();
    if (take_or_queue(me)) {
      guard_.unlock();
      return true;
    }
    return wait_until(me, deadline);
  }

  void release(std::uint32_t n) noexcept {
    do {
      std::uint64_t w = word_.load(memory_order_relaxed);  // relaxed: the CAS decides
      while (waiters(w) == 0) {
        if (n > max_permits - permits(w)) fatal("a semaphore was released beyond 2^31 - 1 permits");
        if (word_.compare_exchange_weak(w, w + n, memory_order_release, memory_order_relaxed)) return;
        w = look_again();
      }
      n = release_to_waiters(n);
    } while (n != 0);
  }

 private:
  using node = wait_node<Parking>;
  static constexpr std::uint32_t crowded = 4;  // in 1,024 ns
  static constexpr std::uint64_t one_waiter = std::uint64_t{1} << 32;
  static constexpr std::uint32_t permits(std::uint64_t w) noexcept { return static_cast<std::uint32_t>(w); }
  static constexpr std::uint32_t waiters(std::uint64_t w) noexcept {
    return static_cast<std::uint32_t>(w >> 32);
  }

  // After a CAS that another processor has spoilt. Where that comes again within microseconds, two want the word all the time: then one looks
  // again from so far off that the other does a hundred operations on a line that is its own meanwhile, where two that try again at once
  // take it from each other at each. Collisions that are rare cost another look.
  std::uint64_t look_again() noexcept {
    if constexpr (Pauses != 0) {
      const auto now = [] {
        return static_cast<std::uint32_t>(static_cast<std::uint64_t>(Parking::now()) >> 10);
      };
      std::uint32_t at = now();
      if (at - collision_.load(memory_order_relaxed) <= crowded) {  // relaxed: a hint
        for (unsigned i = 0; i < Pauses; ++i) Atomics::pause();
        at = now();
      }
      collision_.store(at, memory_order_relaxed);
    }
    return word_.load(memory_order_relaxed);  // relaxed: the next CAS decides
  }

  // Requires: guard_, queued; drops guard_. False: the deadline came first.
  TERN_NOINLINE bool wait_until(node& me, os::nanoseconds deadline) {
    static_cast<void>(Parking::wait_until(me.wait, deadline, guard_));
    guard_.lock();
    if (!me.granted) {
      wait_list<Parking>::erase(me);
      // relaxed, and no RMW: while somebody is counted as waiting, the word changes under guard_ only.
      word_.store(word_.load(memory_order_relaxed) - one_waiter, memory_order_relaxed);
    }
    guard_.unlock();
    if (!me.granted) Parking::throw_if_cancelled(me.wait);
    return me.granted;
  }

  // Requires: guard_. True: the caller has a permit.
  bool take_or_queue(node& me) noexcept {
    std::uint64_t w = word_.load(memory_order_relaxed);  // relaxed: the CAS decides
    for (;;) {
      if (permits(w) > 0) {
        if (word_.compare_exchange_weak(w, w - 1, memory_order_acquire, memory_order_relaxed)) return true;
        // relaxed: a release that sees the waiter takes guard_ before it looks into the queue.
      } else if (word_.compare_exchange_weak(w, w + one_waiter, memory_order_relaxed, memory_order_relaxed)) {
        queue_.push_back(me);
        return false;
      }
    }
  }

  // Gives up to `n` permits to those that wait; how many are left then. These do not go to the word here: whoever takes one may
  // destroy the semaphore, and guard_ is still held.
  TERN_NOINLINE std::uint32_t release_to_waiters(std::uint32_t n) noexcept {
    wait_list<Parking> later;
    guard_.lock();
    std::uint32_t served = 0;
    for (; served < n; ++served) {
      node* first = queue_.pop_front();
      if (first == nullptr) break;
      first->granted = true;
      wake_or_keep(*first, later);
    }
    // relaxed, and no RMW: while somebody is counted as waiting, the word changes under guard_ only. Unpark orders each of them.
    if (served != 0)
      word_.store(word_.load(memory_order_relaxed) - served * one_waiter, memory_order_relaxed);
    guard_.unlock();
    unpark_all(later);
    return n - served;
  }

  typename Atomics::template atomic<std::uint64_t> word_;
  Lock guard_;
  typename Atomics::template atomic<std::uint32_t> collision_{0};  // when, in 1,024 ns
  wait_list<Parking> queue_;                                       // guard_
};

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// Counting semaphore for fibers and plain threads. First come, first served. 32 bytes.
class semaphore : detail::basic_semaphore<> {
  using base = detail::basic_semaphore<>;

 public:
  /// Starts with `permits`, at most max(). More ends the process.
  constexpr explicit semaphore(std::uint32_t permits = 0) noexcept : base{permits} {}

  static constexpr std::uint32_t max() noexcept { return max_permits; }

  /// Takes a permit; waits for one. Uncontended one atomic operation. Throws cancelled when the fiber is cancelled while it waits.
  using base::acquire;
  /// Takes a permit if one is there.
  using base::try_acquire;

  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& d) {
    return try_acquire_until_ns(detail::deadline_in(d));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& t) {
    return try_acquire_until_ns(detail::deadline_at(t));
  }

  /// Gives `n` permits back. Beyond max() in all: ends the process. O(waiters served).
  void release(std::uint32_t n = 1) noexcept { base::release(n); }
};

}  // namespace tern::inline v1

// Wait group: waits until a count is back at zero.
//
// Structure   word_: the count in the low half, waiters in the high half.
// Protocol    add   CAS the count. If that makes it zero and somebody waits: under guard_, CAS count and waiters to zero together, take
//                   the whole queue, unpark.
//             wait  count 0: done. Else, under guard_: CAS one waiter in, queue, park.
// Invariants  I1 the high half is the length of queue_, under guard_; it grows only while the count is not zero, so the CAS to zero ends
//                exactly the waits that began before it, also when the group is used again at once.
// Ordering    The release of each add pairs with the acquire of wait, or with unpark: what was done before done() is seen.
#pragma once

#include <chrono>
#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1::detail {

template <class Atomics = native_atomics, class Parking = fiber_parking, class Lock = wait_lock<Atomics>>
class basic_wait_group {
 public:
  static constexpr std::int64_t max_count = 0x7fff'ffff;

  constexpr explicit basic_wait_group(std::uint32_t count = 0) noexcept : word_{count} {
    if (count > max_count) fatal("a wait group's count went beyond 2^31 - 1");
  }
  basic_wait_group(const basic_wait_group&) = delete;
  basic_wait_group& operator=(const basic_wait_group&) = delete;
  ~basic_wait_group() {
    // relaxed: as for every destructor.
    if ((word_.load(memory_order_relaxed) >> 32) != 0)
      fatal("a wait group was destroyed while somebody waits for it");
  }

  void add(std::int32_t n = 1) noexcept {
    std::uint64_t w = word_.load(memory_order_relaxed);  // relaxed: the CAS decides
    for (;;) {
      const std::int64_t count = static_cast<std::int64_t>(w & 0xffff'ffffu) + n;
      if (count < 0) fatal("a wait group's count went below zero");
      if (count > max_count) fatal("a wait group's count went beyond 2^31 - 1");
      if (count == 0 && (w >> 32) != 0) {
        if (finish_slow(w)) return;
        continue;
      }
      const std::uint64_t next = (w & ~std::uint64_t{0xffff'ffffu}) | static_cast<std::uint64_t>(count);
      // release: pairs with wait(). acquire: the last done() hands on what the others released.
      if (word_.compare_exchange_weak(w, next, memory_order_acq_rel, memory_order_relaxed)) return;
    }
  }
  void done() noexcept { add(-1); }

  void wait() {
    // acquire: pairs with add().
    if ((word_.load(memory_order_acquire) & 0xffff'ffffu) == 0) return;
    wait_node<Parking> me{"wait group", this};
    guard_.lock();
    if (!announce()) return guard_.unlock();
    queue_.push_back(me);
    if (Parking::is_cancellable(me.wait)) return static_cast<void>(wait_until(me, os::never));
    Parking::park(me.wait, guard_);
  }

  [[nodiscard]] bool wait_until_ns(os::nanoseconds deadline) {
    if ((word_.load(memory_order_acquire) & 0xffff'ffffu) == 0) return true;  // acquire: as in wait()
    wait_node<Parking> me{"wait group", this};
    guard_.lock();
    if (!announce()) {
      guard_.unlock();
      return true;
    }
    queue_.push_back(me);
    return wait_until(me, deadline);
  }

 private:
  static constexpr std::uint64_t one_waiter = std::uint64_t{1} << 32;

  // Requires: guard_. False: the count is zero already.
  bool announce() noexcept {
    std::uint64_t w = word_.load(memory_order_acquire);
    for (;;) {
      if ((w & 0xffff'ffffu) == 0) return false;
      // acquire: for the failure, after which the count may be zero. A success needs none: who sees the waiter takes guard_ before
      // it looks into the queue.
      if (word_.compare_exchange_weak(w, w + one_waiter, memory_order_acquire, memory_order_acquire))
        return true;
    }
  }
  // Requires: guard_, queued; drops guard_. False: the deadline came first.
  TERN_NOINLINE bool wait_until(wait_node<Parking>& me, os::nanoseconds deadline) {
    static_cast<void>(Parking::wait_until(me.wait, deadline, guard_));
    guard_.lock();
    if (!me.granted) give_up(me);
    guard_.unlock();
    if (!me.granted) Parking::throw_if_cancelled(me.wait);
    return me.granted;
  }
  // Requires: guard_; the node is queued.
  void give_up(wait_node<Parking>& me) noexcept {
    wait_list<Parking>::erase(me);
    word_.fetch_sub(one_waiter, memory_order_relaxed);  // relaxed: the queue is read under guard_
  }

  // The add that found `w` would make the count zero. False, with the new word, if somebody else changed it.
  TERN_NOINLINE bool finish_slow(std::uint64_t& w) noexcept {
    wait_list<Parking> later;
    guard_.lock();
    const bool ended = word_.compare_exchange_strong(w, 0, memory_order_acq_rel, memory_order_relaxed);
    if (ended)
      while (wait_node<Parking>* n = queue_.pop_front()) {
        n->granted = true;
        wake_or_keep(*n, later);
      }
    guard_.unlock();
    unpark_all(later);
    return ended;
  }

  typename Atomics::template atomic<std::uint64_t> word_;
  Lock guard_;
  wait_list<Parking> queue_;  // guard_
};

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// Counts work in progress; wait() returns when the count is zero. For fibers and plain threads. 32 bytes, constant-initialised.
///
/// add(n) before the work starts, done() when it has ended, wait() from any number of fibers. May be used again. A count below zero
/// or beyond 2^31 - 1, and destruction while somebody waits, end the process. add and done are one atomic operation. A wait
/// throws cancelled when its fiber is cancelled meanwhile.
class wait_group : detail::basic_wait_group<> {
  using base = detail::basic_wait_group<>;

 public:
  constexpr explicit wait_group(std::uint32_t count = 0) noexcept : base{count} {}

  using base::add;
  using base::done;
  using base::wait;

  /// True if the count came to zero in time.
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& d) {
    return wait_until_ns(detail::deadline_in(d));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration>& t) {
    return wait_until_ns(detail::deadline_at(t));
  }
};

}  // namespace tern::inline v1

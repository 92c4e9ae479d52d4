// Readiness: one direction of a descriptor - who waits for it, and what the kernel has told about it.
//
// Context     Two in every descriptor (poller.hpp). The poller notifies, fibers wait; plain threads use poll(2). The poller is edge-triggered:
//             each event is told once, so one that comes between a failed call and the wait must not be lost.
// Structure   events_: how many events have come, above two bits that stay: `hang_up` (end of stream, error, urgent data: always try the call)
//             and `shut` (the descriptor has been closed).
//             drained_: the value of events_ before which a call has taken all that was there; until events_ changes the next call would
//             fail, so it is not made.
// Protocol    Caller  1. seen = look()   2. is_drained(seen)? no: the call; done if it did something; note_drained(seen) if it took all
//                     3. wait(seen, ...): under guard_, where events_ is still `seen`, queued and parked   4. from 1.
//             Poller  notify(): under guard_ events_ grows and the waiters are taken out, then woken.
//             close() the same, with `shut`.
// Invariants  I1 an event that comes after 1 ends the wait of 3: it changes events_ before 3 compares, or finds the node.
//             I2 whoever is in the list is woken by the next event; so all waiters are, and those that find nothing wait again.
//             I3 drained_ == events_ only if a call that began after events_ had this value took all: whoever writes it, and when.
// Ordering    notify's release with look's acquire: a call that is made because of an event finds what the event told (the kernel
//             orders the rest). A relaxed store of drained_ says nothing of other memory.
//             tests/model/net_readiness_model.cpp.
// Rejected    One pointer per direction in place of the list (Go's pollDesc): callers of one direction would need a lock around their calls. Waking
//             one waiter per event: it would have to pass the rest on when it fails, is cancelled, or leaves something.
// Limits      Many fibers in accept() of one listener are all woken by a connection.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1::detail {

template <class Atomics, class Parking, class Lock>
class basic_readiness {
 public:
  using count = std::uint64_t;
  static constexpr count hang_up = 1;
  static constexpr count shut = 2;
  static constexpr count one_event = 4;

  // ---- callers ----

  // acquire: pairs with notify(), close().
  count look() const noexcept { return events_.load(memory_order_acquire); }
  // relaxed: a stale value costs a call, see I3.
  bool is_drained(count seen) const noexcept { return drained_.load(memory_order_relaxed) == seen; }
  void note_drained(count seen) noexcept {
    if ((seen & hang_up) == 0) drained_.store(seen, memory_order_relaxed);
  }
  // Until events_ is no longer `seen`. False: the deadline came first. Throws cancelled.
  [[nodiscard]] bool wait(count seen, os::nanoseconds deadline, const char* what) {
    node me{what, this};
    guard_.lock();
    // relaxed: guard_ orders.
    if (events_.load(memory_order_relaxed) != seen) {
      guard_.unlock();
      return true;
    }
    waiters_.push_back(me);
    if (deadline != os::never || Parking::is_cancellable(me.wait)) return wait_until(me, deadline);
    Parking::park(me.wait, guard_);
    return true;
  }

  // ---- the poller, close() ----

  // `lasting`: hang_up, shut, or 0.
  void notify(count lasting = 0) noexcept {
    wait_list<Parking> later;
    guard_.lock();
    // relaxed: written under guard_ only. release: pairs with look().
    events_.store((events_.load(memory_order_relaxed) + one_event) | lasting, memory_order_release);
    while (node* n = waiters_.pop_front()) {
      n->granted = true;
      wake_or_keep(*n, later);
    }
    guard_.unlock();
    unpark_all(later);
  }
  // Before the descriptor serves another file. Requires: nobody is inside.
  void reset() noexcept {
    // Under the lock: an event of the last file may still be on its way.
    guard_.lock();
    events_.store(0, memory_order_relaxed);
    drained_.store(nothing_drained, memory_order_relaxed);
    guard_.unlock();
  }
  // O(waiters).
  [[nodiscard]] std::size_t count_waiting() noexcept {
    std::size_t n = 0;
    guard_.lock();
    for (node* w = waiters_.front(); w != nullptr; w = waiters_.next(*w)) ++n;
    guard_.unlock();
    return n;
  }

 private:
  using node = wait_node<Parking>;
  static constexpr count nothing_drained = ~count{0};

  // Requires: guard_, queued; drops guard_.
  TERN_NOINLINE bool wait_until(node& me, os::nanoseconds deadline) {
    static_cast<void>(Parking::wait_until(me.wait, deadline, guard_));
    guard_.lock();
    if (!me.granted) wait_list<Parking>::erase(me);
    guard_.unlock();
    if (!me.granted) Parking::throw_if_cancelled(me.wait);
    return me.granted;
  }

  typename Atomics::template atomic<count> events_{0};
  typename Atomics::template atomic<count> drained_{nothing_drained};
  Lock guard_{};
  wait_list<Parking> waiters_{};  // guard_
};

// A batch of events wakes many: each behind the other, so that they have their turns in order and others can take some.
struct readiness_parking : fiber_parking {
  static void unpark(waiter& w) noexcept { detail::unpark(w, wake_place::tail); }
};
using readiness = basic_readiness<native_atomics, readiness_parking, wait_lock<>>;

}  // namespace tern::inline v1::detail

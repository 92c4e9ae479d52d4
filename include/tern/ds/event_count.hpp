// Event count: sleep until a condition over other atomics may have become true, without a lock around the condition.
//
// Context     Idle parking: the condition is "some queue has work". Publishing work must cost next to nothing while nobody sleeps.
// Structure   waiters: how many stand between prepare_wait and its end. epoch: the futex word, changed by every notify that found some.
// Protocol    waiter:   1 key = prepare_wait(), 2 test the condition again; true: cancel_wait(), 3 false: wait(key).
//             notifier: 1 make the condition true, 2 notify_one() or notify_all().
// Invariants  I1 a waiter sleeps only while epoch equals the key it read before its test.
//             I2 no lost wake-up: if step 2 of the waiter missed the change, the notifier sees the waiter and changes epoch after
//             the waiter read its key, or before the waiter's own increment - and then the test saw the change.
// Ordering    waiters is written by read-modify-writes on both sides, so one of them sees the other: the waiter first, the notifier
//             counts it; the notifier first, the waiter's acquire makes the published change visible to its test.
//             notify_*_published() reads instead of writing: there the change and the test must be seq_cst themselves.
// Rejected    A stand-alone fence in notify: TSan does not model it. One 64-bit word for both: futexes are 32 bits.
// Limits      A waiter that sleeps through 2^32 notifies between its key and its wait sleeps on. notify_one may wake more than one.
// References  D. Vyukov, eventcounts, 2008; folly EventCount.h.
#pragma once

#include <cstdint>
#include <limits>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/ds/policy.hpp>

namespace tern::inline v1::detail {

// All functions: any thread. `Waiter` sleeps on and wakes a 32-bit word.
template <class Atomics = native_atomics, class Waiter = waiter_of<Atomics>>
class event_count {
 public:
  // What epoch was when the wait was prepared.
  class key {
    friend class event_count;
    explicit key(std::uint32_t epoch) noexcept : epoch_{epoch} {}
    std::uint32_t epoch_;
  };

  constexpr event_count() noexcept = default;
  event_count(const event_count&) = delete;
  event_count& operator=(const event_count&) = delete;

  // Announces a waiter. The caller tests its condition again, then calls exactly one of cancel_wait() and wait*().
  [[nodiscard]] key prepare_wait() noexcept {
    // seq_cst (acq_rel for notify_*): pairs with the read-modify-write of has_waiters(), see Ordering.
    waiters_.fetch_add(1, memory_order_seq_cst);
    // acquire: the test stays behind it; else a notify between test and key would be slept through.
    return key{epoch_.load(memory_order_acquire)};
  }

  // The condition came true by itself.
  void cancel_wait() noexcept { leave(); }

  // Sleeps until a notify that came after prepare_wait(). What its caller wrote before is visible.
  void wait(key k) noexcept {
    // acquire: pairs with the release of notify().
    while (epoch_.load(memory_order_acquire) == k.epoch_) Waiter::wait(epoch_, k.epoch_);
    leave();
  }

  // The same, until `deadline` (CLOCK_MONOTONIC, ns) at most. False if it passed without a notify.
  [[nodiscard]] bool wait_until(key k, std::int64_t deadline) noexcept {
    bool in_time = true;
    bool notified = false;
    // acquire: as in wait(). Read once more after the deadline: a notify that came first has its due.
    while (!(notified = epoch_.load(memory_order_acquire) != k.epoch_) && in_time) {
      in_time = Waiter::wait_until(epoch_, k.epoch_, deadline);
    }
    leave();
    return notified;
  }

  // Wakes at least one of the waiters that there are. Costs one read-modify-write when there is none.
  void notify_one() noexcept {
    if (has_waiters()) notify(1);
  }
  void notify_all() noexcept {
    if (has_waiters()) notify(std::numeric_limits<int>::max());
  }

  // The same for one load when there is none. Requires: the condition was made true by a seq_cst operation, and waiters test
  // it by seq_cst loads.
  void notify_one_published() noexcept {
    // seq_cst: pairs with prepare_wait(), the StoreLoad against the waiter's test.
    if (waiters_.load(memory_order_seq_cst) != 0) notify(1);
  }
  void notify_all_published() noexcept {
    // seq_cst: as above.
    if (waiters_.load(memory_order_seq_cst) != 0) notify(std::numeric_limits<int>::max());
  }

  // relaxed: a figure.
  [[nodiscard]] std::uint32_t waiters() const noexcept { return waiters_.load(memory_order_relaxed); }

 private:
  // acq_rel: pairs with prepare_wait() in both directions, see Ordering.
  bool has_waiters() noexcept { return waiters_.fetch_add(0, memory_order_acq_rel) != 0; }

  // relaxed: a count that is too high costs a needless wake; nothing is read on its word.
  void leave() noexcept { waiters_.fetch_sub(1, memory_order_relaxed); }

  TERN_COLD void notify(int count) noexcept {
    // release: pairs with the acquire in wait(). The change of the word stops whoever is on the way into the kernel.
    epoch_.fetch_add(1, memory_order_release);
    Waiter::wake(epoch_, count);
  }

  typename Atomics::template atomic<std::uint32_t> waiters_{0};
  typename Atomics::template atomic<std::uint32_t> epoch_{0};
};

}  // namespace tern::inline v1::detail

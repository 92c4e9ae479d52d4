// Blocking gate: at most `limit` fibers are inside tern::blocking at a time, since each holds a thread; others wait, first come, first served.
//
// Context     One per runtime. blocking.hpp goes through it. Who waits here is parked like in any other queue and holds no thread.
// Structure   count_: fibers inside and fibers that wait.   ready_: places that were handed over before their fiber had queued.
// Protocol    enter   1. count_ + 1. It was below limit: inside. Else, under lock_: 2. a ready place is taken   3. else queue and park;
//                     who is woken is inside.
//             leave   1. count_ - 1. It was at most limit: done. Else somebody waits or is about to. Under lock_: 2. the first of the queue
//                     gets the place   3. the queue is empty: the place lies ready.
// Invariants  I1 at most limit are inside. I2 ready_ > 0 => the queue is empty, so nobody overtakes. Asserted.
//             I3 as many places are handed over as enters found the gate full.
// Ordering    Who is let in sees what was done before the leave: by the RMWs of count_, else by lock_ or by the park.
// Rejected    A lock around a plain count: two RMWs for each call, where nobody waits. One thread per blocked fiber without a bound:
//             10,000 readers are 10,000 threads, and the process ends where the system has no more.
#pragma once

#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/sched/park.hpp>

namespace tern::inline v1::detail {

// How a fiber waits at the gate; models have their own.
struct gate_parking {
  using waiter = detail::waiter;
  template <class Lock>
  static void park(waiter& w, Lock& held) noexcept {
    detail::park(
        w,
        [](waiter&, void* lock) noexcept -> bool {
          static_cast<Lock*>(lock)->unlock();
          return true;
        },
        &held);
  }
  static void unpark(waiter& w) noexcept { detail::unpark(w, wake_place::tail); }
};

template <class Atomics = native_atomics, class Parking = gate_parking, class Lock = spin_lock<Atomics>>
class blocking_gate {
  using waiter = typename Parking::waiter;

 public:
  // Requires: nobody is in; or 0, in a fork child: then nobody gets in any more.
  void set_limit(std::uint32_t limit) noexcept { limit_ = limit; }
  std::uint32_t limit() const noexcept { return limit_; }

  // True: inside. False: enter_slow() is due.
  [[nodiscard]] TERN_ALWAYS_INLINE bool try_enter() noexcept {
    // seq_cst: before the step that leaves the idle set's awake ones; else is_quiet() could miss both.
    return count_.fetch_add(1, memory_order_seq_cst) < limit_;
  }
  // After try_enter() said no. May park.
  void enter_slow() noexcept {
    if (TERN_UNLIKELY(limit_ == 0)) dead_fatal();
    lock_.lock();
    if (ready_ != 0) {
      --ready_;
      return lock_.unlock();
    }
    waiter me{"a turn in tern::blocking", this};
    queue_.push_back(me);
    Parking::park(me, lock_);
  }
  TERN_ALWAYS_INLINE void leave() noexcept {
    if (TERN_UNLIKELY(count_.fetch_sub(1, memory_order_seq_cst) > limit_)) hand_over();
  }

  // Inside, on the way out, or waiting. seq_cst: see try_enter().
  std::uint32_t count() const noexcept { return count_.load(memory_order_seq_cst); }

 private:
  TERN_COLD void hand_over() noexcept {
    lock_.lock();
    waiter* first = queue_.pop_front();
    TERN_ASSERT(first == nullptr || ready_ == 0, "blocking gate: a place lay ready while somebody waited");
    if (first == nullptr) ++ready_;
    lock_.unlock();
    if (first != nullptr) Parking::unpark(*first);
  }

  typename Atomics::template atomic<std::uint32_t> count_{0};
  std::uint32_t limit_ = 0;
  std::uint32_t ready_ = 0;  // lock_
  Lock lock_{};
  list<waiter, &waiter::hook> queue_{};  // lock_
};

}  // namespace tern::inline v1::detail

// Cancellation: how the wait of a fiber is ended from outside, without a lost value, a lost cancellation or a touch of a dead frame.
//
// Context     A nursery makes its children cancellable: fiber::cancel points at a cancel_state on the child's own stack while
//             fiber::cancellable is set. Waits that may be cancelled test that flag where they are about to park; everything else is cold.
// Structure   requested_: set once. waiting_: the waiter of the wait under way, with the way in which it is taken back.
// Protocol    Waiting   1. the node is queued as for a timed wait, the waiter is multi   2. arm() publishes the waiter; where the request is
//                       there already the wait is ended before it began   3. park   4. disarm()   5. under the primitive's lock: a node that is still
//                       queued goes and `cancelled` is thrown; one that was taken out has got what it waited for, which is kept.
//             Cancel    under lock_: set requested_; end the published wait as its deadline would have ended it.
//             Join      has no list to look into: there whoever takes the waiter out of join_word is its sole waker (`withdraw`).
// Invariants  I1 after disarm() nobody touches the waiter on behalf of a cancellation: both work under lock_. I2 a request that comes before
//                arm() is seen by it, one that comes later sees the waiter.
// Ordering    lock_ orders all. is_requested() without it is a hint.
// Rejected    A state of its own in wait_state: a deadline has the same races, which the primitives settle already. Signals and flags that the
//             primitives poll: a wait that never ends has nothing that polls.
// Limits      Waits for a mutex, inside destructors that unwind, in a cancellation_shield and on plain threads are not cancelled.
#pragma once

#include <cstdint>
#include <exception>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/sched/dispatch.hpp>

namespace tern::inline v1 {

/// Thrown by a wait of a fiber that has been cancelled. Let it pass: the nursery takes it, and does not report it as an error.
class cancelled : public std::exception {
 public:
  const char* what() const noexcept override { return "tern: the fiber was cancelled"; }
};

}  // namespace tern::inline v1

namespace tern::inline v1::detail {

// The ends of fibers' waits. The model has its own.
struct fiber_cancelling {
  using waiter = detail::waiter;
  static void end(waiter& w) noexcept {
    fiber* owner = w.owner;
    bool saved = false;
    if (w.state.end(wait_state<>::timed_out, saved) && saved) make_ready(*owner, wake_place::tail);
  }
};

template <class Atomics = native_atomics, class Ends = fiber_cancelling, class Lock = spin_lock<Atomics>>
class basic_cancel_state {
 public:
  using waiter = typename Ends::waiter;
  // Takes the waiter out of where its waker would find it. False: the waker has it.
  using withdrawal = bool (*)(waiter&, void* argument) noexcept;

  // The fiber's own, before it is saved, or in its commit. False: the request came first, and nothing is published.
  [[nodiscard]] bool arm(waiter& w, withdrawal withdraw = nullptr, void* argument = nullptr) noexcept {
    lock_scope hold{lock_};
    // relaxed, here and in cancel(): lock_ orders.
    if (requested_.load(memory_order_relaxed) != 0) return false;
    waiting_ = &w;
    withdraw_ = withdraw;
    argument_ = argument;
    return true;
  }
  void disarm() noexcept {
    lock_scope hold{lock_};
    waiting_ = nullptr;
  }

  void cancel() noexcept {
    lock_scope hold{lock_};
    requested_.store(1, memory_order_relaxed);
    waiter* w = waiting_;
    if (w == nullptr) return;
    waiting_ = nullptr;
    if (withdraw_ == nullptr || withdraw_(*w, argument_)) Ends::end(*w);
  }

  // relaxed: the fiber asks after a wait, which has ordered, or takes a hint.
  bool is_requested() const noexcept { return requested_.load(memory_order_relaxed) != 0; }

  list_hook hook{};  // the nursery's lock protects it

 private:
  Lock lock_;
  waiter* waiting_ = nullptr;      // lock_
  withdrawal withdraw_ = nullptr;  // lock_
  void* argument_ = nullptr;       // lock_
  typename Atomics::template atomic<std::uint32_t> requested_{0};
};

struct cancel_state : basic_cancel_state<> {};

// Whether the wait that is about to begin goes the cold way. One test of the flags where a fiber parks.
TERN_ALWAYS_INLINE bool is_cancellable(const waiter& w) noexcept {
  return w.owner != nullptr && TERN_UNLIKELY((w.owner->flags & fiber::cancellable) != 0);
}

// Destructors that run while an exception is on its way may wait.
inline bool is_unwinding() noexcept {
  const worker* w = current_worker();
  return w != nullptr && w->exceptions->uncaught != 0;
}

// As park_until(), for a waiter that is_cancellable(): timed_out where the deadline or a cancellation came first.
TERN_COLD inline wake_reason park_cancellable(waiter& x, os::nanoseconds deadline, park_commit commit,
                                              void* argument) noexcept {
  cancel_state* c = is_unwinding() ? nullptr : x.owner->cancel;
  x.kind = waiter_kind::multi;
  bool saved = false;
  // Not saved yet: the parking side finds the wait ended and makes the fiber ready.
  if (c != nullptr && !c->arm(x)) static_cast<void>(x.state.end(wait_state<>::timed_out, saved));
  if (deadline == os::never)
    park(x, commit, argument);
  else
    static_cast<void>(park_until(x, deadline, commit, argument));
  if (c != nullptr) c->disarm();
  return x.state.has_timed_out() ? wake_reason::timed_out : wake_reason::notified;
}

// After a wait of this fiber that ended early. Throws if it was not its deadline.
inline void throw_if_cancelled(const waiter& x) {
  if (is_cancellable(x) && !is_unwinding() && x.owner->cancel->is_requested()) throw cancelled{};
}

// Joining.
inline bool withdraw_joiner(waiter& w, void* word) noexcept {
  std::uintptr_t mine = to_word(static_cast<wait_core*>(&w));
  // acq_rel: pairs with finish_exit(). Success: it will never see this waiter.
  return static_cast<atomic<std::uintptr_t>*>(word)->compare_exchange_strong(
      mine, fiber::join_running, memory_order_acq_rel, memory_order_relaxed);
}

// `x` is the joiner of `word`, a join word. False: cancelled, and what it belongs to has not ended yet.
TERN_COLD inline bool wait_for_end_cancellable(waiter& x, atomic<std::uintptr_t>& word) noexcept {
  x.kind = waiter_kind::multi;
  const auto commit = [](waiter& w, void* target) noexcept -> bool {
    std::uintptr_t running = fiber::join_running;
    // acq_rel: as in wait_for_end(). A multi waiter does not run before its commit has returned, so it may be used on.
    if (!static_cast<atomic<std::uintptr_t>*>(target)->compare_exchange_strong(
            running, to_word(static_cast<wait_core*>(&w)), memory_order_acq_rel, memory_order_acquire))
      return false;
    // Published only now: else a cancellation that looks before would find nothing to withdraw.
    return w.owner->cancel->arm(w, &withdraw_joiner, target) || !withdraw_joiner(w, target);
  };
  park(x, commit, &word);
  x.owner->cancel->disarm();
  return word.load(memory_order_acquire) == fiber::join_done;  // acquire: pairs with finish_exit()
}

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

namespace this_thread {

/// True if the running fiber has been cancelled. False on a plain thread and for fibers that no nursery cancels.
inline bool is_cancelled() noexcept {
  const detail::fiber* f = detail::current_fiber();
  return f != nullptr && (f->flags & detail::fiber::cancellable) != 0 && f->cancel->is_requested();
}

/// For long computations. Throws cancelled if is_cancelled().
inline void check_cancelled() {
  if (is_cancelled()) throw cancelled{};
}

}  // namespace this_thread

/// While one lives, waits of the fiber that made it are not cancelled: for clean-up that must be carried through. They may nest. The one
/// that makes it destroys it. Nothing on a plain thread.
class [[nodiscard]] cancellation_shield {
 public:
  cancellation_shield() noexcept : fiber_{detail::current_fiber()} {
    if (fiber_ == nullptr) return;
    shielded_ = fiber_->flags & detail::fiber::cancellable;
    fiber_->flags &= ~shielded_;
  }
  ~cancellation_shield() {
    if (fiber_ != nullptr) fiber_->flags |= shielded_;
  }
  cancellation_shield(const cancellation_shield&) = delete;
  cancellation_shield& operator=(const cancellation_shield&) = delete;

 private:
  detail::fiber* fiber_;
  std::uint32_t shielded_ = 0;
};

}  // namespace tern::inline v1

// Park and unpark: the one way in which a fiber or a plain thread waits, on which every primitive of sync/ and net/ is built.
//
// Context     A primitive keeps waiters in its own list under its own lock. The waiter lives on the waiting stack.
// Structure   state: see wait_state.hpp.
// Protocol    1. Caller: make a waiter, take the primitive's lock, test, queue the waiter.
//             2. park(w, commit, arg): the caller's stack is saved and another fiber runs; on that one's stack `commit` runs,
//                which normally drops the primitive's lock. One switch, and no waker can meet a stack that is not saved.
//                commit returns false to take the park back: then nobody may have seen the waiter, and park returns at once.
//             3. Waker: under the primitive's lock take the waiter out of the list, fill in what it waits for, then unpark(w). From
//                that moment the waiter's memory belongs to the woken one again and must not be touched.
//             A waiter of kind `single` has exactly one waker, which reaches it only through what commit released; its
//             unpark needs no read-modify-write. A waiter of kind `multi` may be reached by several (select), or before commit
//             has run (a flag set before park). A timed wait is multi by nature.
// Invariants  I1 exactly one of {an unpark that returns true, the timeout, a commit that returns false} ends a wait.
//             I2 after park_until has returned, no timer refers to the waiter.
//             I3 the words that commit reads through `arg` live until it returns: for `multi` on any stack, since the waiter
//                cannot run before commit has returned; for `single` it must not touch the parked stack after the release.
// Ordering    All that a waker wrote before unpark is visible after park.
// Limits      Declarations only: who parks includes sched/dispatch.hpp, which defines them.
//             errno does not survive a park. Not to be called inside tern::blocking (fatal). A wait cannot be cancelled from
//             outside: whoever cancels takes the waiter out under the primitive's lock and unparks it with its own mark.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/base/list.hpp>
#include <tern/os/clock.hpp>
#include <tern/sched/hooks.hpp>
#include <tern/sched/timer.hpp>
#include <tern/sched/wait_state.hpp>

namespace tern::inline v1::detail {

class scheduler;

enum class wake_reason : std::uint32_t { notified, timed_out };

// `task`: a suspended coroutine, a task_waiter or task_timer; its wait is ended by an RMW, as that of `multi`.
enum class waiter_kind : std::uint8_t { single, multi, task };

// Where an unparked fiber goes. `next`: it runs when the waker's fiber next gives up the processor. `tail`: behind the queue.
enum class wake_place : std::uint8_t { next, tail };

// What an unpark needs to know. All that a suspended task has beside its node.
struct wait_core {
  wait_core(const char* what_, const void* object_, waiter_kind kind_, fiber* owner_) noexcept
      : kind{kind_}, owner{owner_}, what{what_}, object{object_} {}
  wait_core(const wait_core&) = delete;
  wait_core& operator=(const wait_core&) = delete;

  wait_state<> state;
  waiter_kind kind;
  fiber* owner;  // the waiting fiber; null for a plain thread and for a task
  const char* what;
  const void* object;
};

// A fiber or plain thread that waits, on its stack.
struct waiter : wait_core {
  // `what` is a constant string and `object` an address, both for the deadlock report and the fiber dump.
  explicit waiter(const char* what_, const void* object_ = nullptr,
                  waiter_kind kind_ = waiter_kind::single) noexcept;
  waiter(const char* what_, const void* object_, waiter_kind kind_, fiber* owner_) noexcept
      : wait_core{what_, object_, kind_, owner_} {}

  // Makes the waiter fit for another park. Requires: no waker can reach it.
  void rearm() noexcept { state.rearm(); }

  list_hook hook{};  // the primitive's own list; its lock protects it
  timer_node timer;  // the timer's lock protects it
};

// A suspended coroutine (task.hpp): its place in a ready queue, and what a carrier needs to go on with it.
struct task_node {
  task_node* next = nullptr;  // whoever holds the task
  void* frame = nullptr;      // the coroutine's
  scheduler* home = nullptr;
};

// Lies in a coroutine's frame. The coroutine is suspended before anybody can reach it, so it is parked from the start.
struct task_waiter : wait_core {
  task_waiter(const char* what_, const void* object_) noexcept
      : wait_core{what_, object_, waiter_kind::task, nullptr} {}
  // Requires: no waker can reach it yet.
  void suspend(task_node& n) noexcept {
    node = &n;
    state.park_single();
  }
  task_node* node = nullptr;
};

// The same for one that only its deadline ends.
struct task_timer : waiter {
  explicit task_timer(const char* what_) noexcept : waiter{what_, nullptr, waiter_kind::task, nullptr} {}
  void suspend(task_node& n) noexcept {
    node = &n;
    state.park_single();
  }
  task_node* node = nullptr;
};

// Runs after the caller has been saved, on another stack of the same worker (a plain thread: on its own stack). Must not park,
// throw or take long.
using park_commit = bool (*)(waiter&, void* arg) noexcept;

// Waits until unpark(w).
void park(waiter& w, park_commit commit = nullptr, void* arg = nullptr) noexcept;

// Waits until unpark(w) or until the clock (os::now) reaches `deadline`. A deadline in the past still gives a wake that came first its due.
[[nodiscard]] wake_reason park_until(waiter& w, os::nanoseconds deadline, park_commit commit = nullptr,
                                     void* arg = nullptr) noexcept;

// Ends the wait of `w`. True if it is this call that ended it. From any fiber or thread.
bool unpark(wait_core& w, wake_place place = wake_place::next) noexcept;

// commit as a lambda `bool(waiter&) noexcept`: f lives on the parked stack, see I3.
template <class F>
void park_with(waiter& w, F& f) noexcept {
  park(w, [](waiter& x, void* arg) noexcept -> bool { return (*static_cast<F*>(arg))(x); }, &f);
}
template <class F>
[[nodiscard]] wake_reason park_until_with(waiter& w, os::nanoseconds deadline, F& f) noexcept {
  return park_until(
      w, deadline, [](waiter& x, void* arg) noexcept -> bool { return (*static_cast<F*>(arg))(x); }, &f);
}

// True where this thread runs a fiber now. A plain thread, and a worker between fibers, answer false.
bool in_fiber() noexcept;

}  // namespace tern::inline v1::detail

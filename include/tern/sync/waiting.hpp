// What the primitives of sync/ share: how they wait.
//
// Context     A primitive has a lock of its own (some dozen instructions long, never held across a park) that protects its list of
//             waiters; its state word serves the paths that do not wait. `parking` is the policy through which tests/model puts
//             the model checker's threads in the place of fibers.
// Protocol    Wait  1. take the lock   2. test   3. queue the node, which lives on the waiting stack   4. park; the lock is dropped
//                   once the stack is saved.
//             Wake  1. take the lock   2. take the node out: that is the claim   3. write what it waits for   4. drop the
//                   lock   5. unpark. A timed waiter is unparked before 4: it takes the lock when it returns, so it cannot be
//                   gone, with the primitive, while the waker still holds it.
//             Give up (timed)  take the lock; a node that is still queued has timed out, another one was woken. A cancelled wait ends
//                   like one whose time has come (sched/cancel.hpp), and what it was given first it keeps.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/clock.hpp>
#include <tern/sched/cancel.hpp>
#include <tern/sched/deadline.hpp>
#include <tern/sched/park.hpp>
#include <tern/sched/spawn.hpp>
#include <tern/sched/worker_loop.hpp>

namespace tern::inline v1::detail {

// Fibers, and plain threads on a futex.
struct fiber_parking {
  using waiter = detail::waiter;

  template <class Lock>
  static bool release(waiter&, void* lock) noexcept {
    static_cast<Lock*>(lock)->unlock();
    return true;
  }

  // Drops `lock` when the caller is saved, and waits.
  static void park(waiter& w, wait_lock<>& lock) noexcept { park_unlocking(w, lock); }
  // False if the deadline passed first. Either way the caller then takes the lock to see who was first.
  template <class Lock>
  static bool park_until(waiter& w, os::nanoseconds deadline, Lock& lock) noexcept {
    return detail::park_until(w, deadline, &release<Lock>, &lock) == wake_reason::notified;
  }
  // As park_until(), for waits that end when their fiber is cancelled, too: who gives up calls throw_if_cancelled() after it has taken
  // its node back and dropped the lock.
  template <class Lock>
  static bool wait_until(waiter& w, os::nanoseconds deadline, Lock& lock) noexcept {
    if (!is_cancellable(w)) return park_until(w, deadline, lock);
    return park_cancellable(w, deadline, &release<Lock>, &lock) == wake_reason::notified;
  }
  static bool is_cancellable(const waiter& w) noexcept { return detail::is_cancellable(w); }
  static void throw_if_cancelled(const waiter& w) { detail::throw_if_cancelled(w); }
  static void unpark(waiter& w) noexcept { detail::unpark(w); }
  // True where the caller may as well watch the other processors for a moment, since its own has nothing else to run.
  static bool has_time() noexcept {
    processor* p = current_processor();
    // relaxed: a hint.
    return p == nullptr ||
           (p->home->idle_.total() != 1 && p->run_next.look() == nullptr && p->ring.size() == 0);
  }
  static bool is_timed(const waiter& w) noexcept { return w.kind == waiter_kind::multi; }
  static os::nanoseconds now() noexcept { return os::now(); }
};

// A waiter in the list of a primitive. The primitive's lock protects all but `wait`.
template <class Parking>
struct wait_node {
  wait_node(const char* what, const void* object) noexcept : wait{what, object} {}

  list_hook hook{};
  typename Parking::waiter wait;
  bool granted = false;       // what was waited for is the waiter's now
  os::nanoseconds since = 0;  // when a woken waiter first lost against another; 0: never
};
template <class Parking>
using wait_list = list<wait_node<Parking>, &wait_node<Parking>::hook>;

// Step 3 to 5 of Wake for a list that was taken out as a whole: timed ones at once, the others go to `later`.
template <class Parking>
void wake_or_keep(wait_node<Parking>& n, wait_list<Parking>& later) noexcept {
  if (Parking::is_timed(n.wait))
    Parking::unpark(n.wait);
  else
    later.push_back(n);
}
template <class Parking>
void unpark_all(wait_list<Parking>& nodes) noexcept {
  while (wait_node<Parking>* n = nodes.pop_front()) Parking::unpark(n->wait);
}

}  // namespace tern::inline v1::detail

// Poll: how workers and the monitor use the poller that a layer above has installed.
//
// Context     poll_role.hpp has the role and the hooks; worker_loop.hpp sleeps here, and looks in on its way; monitor.hpp looks for others.
// Invariants  I1 what was found is dispatched by a thread that holds no lock, neither the role, nor is on its way out of a wait.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/epoll.hpp>
#include <tern/sched/poll_role.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/scheduler.hpp>

namespace tern::inline v1::detail {

// Wakes a sleeper of every runtime: each goes to sleep again by way of the role.
TERN_COLD inline void wake_pollers() noexcept {
  lock_scope hold{schedulers.lock};
  for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_)
    if (idle_member* m = s->idle_.wake_any()) s->start(scheduler::of(*m));
}

// The holder's wait. False: no signal has come.
inline bool wait_in_poller(worker& w, const poller_hooks& h, os::epoll_batch& found,
                           os::nanoseconds deadline) noexcept {
  std::uint32_t none = 0;
  // acq_rel, all: as in wait_for_signal().
  if (w.signal.compare_exchange_strong(none, worker::polls, memory_order_acq_rel, memory_order_acquire))
    h.wait(found, deadline);
  return w.signal.exchange(0, memory_order_acq_rel) == worker::signalled;
}

// For one who does not sleep: takes the role for the time of a wait until `deadline`, and dispatches. False: somebody else is inside.
TERN_NOINLINE inline bool visit_poller(const scheduler& s, const poller_hooks& h, os::nanoseconds deadline,
                                       int& count) noexcept {
  if (!poller_role.try_take(&s)) return false;
  os::epoll_batch found;
  h.wait(found, deadline);
  last_poll.store(os::now(), memory_order_relaxed);  // relaxed: a hint
  if (poller_role.release()) wake_pollers();
  if (found.count != 0) h.dispatch(found);
  count = found.count;
  return true;
}

// Owner of p. True: fibers have become ready.
inline bool look_into_poller(processor& p, const poller_hooks& h) noexcept {
  int count = 0;
  return visit_poller(*p.home, h, 0, count) && count != 0;
}

// The monitor's, for runtimes whose processors do not come by: they hold hogs, or are lent. Until `deadline` or something was found; 0: only
// looks. False: nobody looked.
inline bool poll_for_others(const scheduler& s, os::nanoseconds deadline) noexcept {
  const poller_hooks* h = watching_poller();
  int count = 0;
  return h != nullptr && visit_poller(s, *h, deadline, count);
}

}  // namespace tern::inline v1::detail

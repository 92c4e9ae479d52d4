// Blocking: a fiber that is about to block its thread in the kernel leaves the processor for others.
//
// Context     tern::blocking(f) in runtime.hpp.
// Structure   The processor goes to the idle set's lent list. Coming back the worker reclaims it there if nobody has adopted it,
//             else its fiber goes through the inject queue and the worker becomes a spare.
// Protocol    Enter   1. a place at the gate: max_workers - processors - extra processors - 1 fibers may be inside, since each holds a
//                     thread; others park until one leaves, first come, first served   2. run_next to the ring, so that others can
//                     take it   3. the thread's cache becomes the shared one, the fiber is marked saved with all its registers on the
//                     stack: the collector scans it as a parked one   4. lend   5. rescan as a sleeper does: work that is left, or a
//                     timer that is due soon, needs a sleeper or a spare.
//             Leave   1. claim the fiber back from the collector   2. reclaim the processor, or queue   3. the place goes to the next.
// Invariants  I1 between 4 and Leave the worker touches nothing of the processor. I2 no tern call that parks (fatal).
// Limits      Calls that wait for what other calls do may need a place each: where more of them than the limit wait for one that is
//             still at the gate, they wait for ever. Threads that a burst of calls has started stay, as spares.
// Rejected    Handing over at once to a thread that is woken each time: a call of a microsecond would pay for two switches of
//             threads. Here the spare that arrives too late finds the processor reclaimed and goes back to sleep.
#pragma once

#include <type_traits>
#include <utility>

#include <tern/arch/cpu.hpp>
#include <tern/os/clock.hpp>
#include <tern/sched/dispatch.hpp>
#include <tern/sched/monitor.hpp>
#include <tern/sched/worker_loop.hpp>

namespace tern::inline v1::detail {

inline void enter_blocking(worker& w, fiber& self) noexcept {
  processor& p = *w.held;
  scheduler& s = *p.home;
  poll_safepoint();
  if (fiber* f = p.run_next.take()) push_tail(p, *f);
  publish_forks(p);
  bump(p.counters.blocking_calls);
  if (is_tracing()) record(&p, trace_kind::lend, {.fiber = self.id});
  self.flags |= fiber::in_blocking;
  self.saved_context.sp = reinterpret_cast<void*>(stack_pointer());
  p.state.store(processor_state::lent, memory_order_relaxed);  // relaxed: a hint
  w.lent = &p;
  detach(w);
  self.stack_state.store(fiber::saved, memory_order_release);  // pairs-with: the collector's claim
  const collector_hooks* told = hook_release(p);
  s.lent_.fetch_add(1, memory_order_seq_cst);
  s.idle_.lend(p.idle, &w);
  while (missed_installation(told) && s.idle_.reclaim(p.idle, &w)) {
    told = hook_release(p);
    s.idle_.lend(p.idle, &w);
  }
  // From here on p may be somebody else's. As a sleeper does: work published before was not announced. A timer that is not due soon
  // is left to the monitor, which is awake while a fiber is in here: else each short call would wake somebody.
  const os::nanoseconds timer = p.timers.earliest();
  if (s.any_work(false) || (timer != os::never && timer <= os::now() + monitor_period)) s.wake_slow();
  // seq_cst: pairs with want_processor(), which found this one neither asleep nor lent.
  if (TERN_UNLIKELY(s.wanting_.load(memory_order_seq_cst) != 0)) s.serve_wanting();
  s.notice_idle();
}

TERN_SWITCHES inline void leave_blocking(worker& w, fiber& self) noexcept {
  scheduler& s = *w.home;
  if (TERN_UNLIKELY(s.gate_.limit() == 0)) dead_fatal();
  // acq_rel: pairs with the collector's claim and its release, which may take as long as a scan of this stack.
  for (std::uint32_t expected = fiber::saved; !self.stack_state.compare_exchange_weak(
           expected, fiber::on_cpu, memory_order_acq_rel, memory_order_relaxed);
       expected = fiber::saved)
    spin_pause();
  self.flags &= ~static_cast<std::uint32_t>(fiber::in_blocking);
  processor& p = *std::exchange(w.lent, nullptr);
  if (s.idle_.reclaim(p.idle, &w)) {
    s.lent_.fetch_sub(1, memory_order_seq_cst);
    s.notice_awake();
    attach(w, p);
    p.current = &self;
    // seq_cst: after hold() in attach().
    if (TERN_UNLIKELY(w.pins != 0)) p.request.fetch_or(request_pins, memory_order_seq_cst);
    hook_acquire(p);
    if (is_tracing()) record(&p, trace_kind::run, {.fiber = self.id});
  } else {
    begin_leaving(w, self);
    switch_away(w, self, nullptr, leave_action::inject);
  }
  s.gate_.leave();
}

// `self` is about to block this thread, for which other fibers may wait that are pinned to it: goes to another one, with the processor. False:
// the system or max_workers allows no further thread.
TERN_COLD TERN_SWITCHES inline bool leave_pinned_worker(worker& w, fiber& self) noexcept {
  worker* to = w.home->take_unpinned_worker();
  if (to == nullptr) return false;
  w.successor = to;
  begin_leaving(w, self);
  switch_away(w, self, nullptr, leave_action::move);
  return true;
}

// Not inlined, and with every callee-saved register in its frame: the collector scans from this frame's stack pointer upwards.
template <class F>
TERN_NOINLINE decltype(auto) run_blocking(fiber& self, F& f) {
  __builtin_unwind_init();
  struct scope {
    fiber& self;
    // The worker does not change inside: f does not park.
    ~scope() { leave_blocking(*current_worker(), self); }
  };
  blocking_gate<>& gate = self.runtime().gate_;
  if (TERN_UNLIKELY(!gate.try_enter())) gate.enter_slow();
  while (TERN_UNLIKELY(current_worker()->pins != 0) && !self.is_pinned())
    if (!leave_pinned_worker(*current_worker(), self)) break;
  enter_blocking(*current_worker(), self);  // asked after the gate, where it may have changed
  const scope leave{self};
  return f();
}

}  // namespace tern::inline v1::detail

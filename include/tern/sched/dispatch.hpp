// Dispatch: switching from one fiber to the next on a worker; waits and their ends.
//
// Context     Everything that waits goes through park() here; yield and exit take the same way. worker_loop.hpp takes over where
//             the processor's own queues are empty.
// Protocol    Leaving   1. pick the next fiber from run_next or the ring; none: the worker's own stack   2. note in the worker
//                       who leaves and why   3. switch. On the incoming stack   4. finish_switch publishes the left fiber, which
//                       from then on may run elsewhere (finish.hpp).
//             Publishing where one store is all it takes, that store is the last act of the switch itself (switch_publishing), and 2 and 4
//                       have nothing to do: yields, and waits that end with the unlock of what they wait on.
//             Picking   run_next first, else the ring's head. Every 61st dispatch polls: due timers, then the inject queue, then the ring before
//                       run_next, so that two fibers that wake each other starve nobody. The request word is tested each time.
// Invariants  I1 a fiber is in at most one of: a ring, a run_next, the inject queue, `left` of a worker, a waiter that nobody has
//                ended. I2 whatever is read from thread-local storage is not used after a switch.
// Ordering    A fiber is handed over by the release of the queue it goes through. For its own worker program order suffices.
// Rejected    A scheduler fiber between any two (two switches per park). Publishing before the registers are saved (a thief could run
//             a fiber that still does). Taking from the ring, too, without a read-modify-write while no thief is about (ds/next_slot.hpp): hogs'
//             queues would wait for their thieves' barriers. Prefetching the next slot or the next fiber: nothing gained in any row.
// Limits      errno, the floating-point control words and pthread-specific data belong to the worker, not to the fiber.
#pragma once

#include <cxxabi.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>

#include <tern/arch/context.hpp>
#include <tern/arch/fp_mode.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/futex.hpp>
#include <tern/os/held_locks.hpp>
#include <tern/sched/finish.hpp>
#include <tern/sched/inspect.hpp>
#include <tern/sched/park.hpp>
#include <tern/sched/poll_role.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/ready.hpp>
#include <tern/sched/registry.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/slots.hpp>
#include <tern/sched/trace.hpp>

namespace tern::inline v1::detail {

// ---- picking ----

// Fires what is due in p's heap, whoever owns p; the fibers go to `mine`, which the caller owns. How many.
inline std::uint64_t fire_timers(processor& mine, processor& p, os::nanoseconds now) noexcept;

// Owner of p. Its private forks become public: the fiber that made them leaves, or somebody is idle.
TERN_COLD inline void publish_forks(processor& p) noexcept {
  if (p.forks.publish_all() != 0) p.home->work_published();
}

// Owner of p.
inline bool has_ready_tasks(processor& p) noexcept {
  return !p.tasks.is_empty() || !p.home->task_inject_.is_empty();
}

// The part of picking that 60 of 61 dispatches skip. Null also where the worker loop must act.
TERN_COLD inline fiber* pick_slow(processor& p) noexcept {
  const std::uint32_t request = p.request.load(memory_order_relaxed);  // relaxed: poll_safepoint() orders
  if (TERN_UNLIKELY((request & request_dead) != 0)) dead_fatal();
  if (TERN_UNLIKELY(p.next_poll == 0 || (request & request_share) != 0)) {
    if ((request & request_share) != 0) p.request.fetch_and(~request_share, memory_order_seq_cst);
    publish_forks(p);
  }
  // Not here: a fiber that parks still holds the lock of what it waits on, and others may want it before they pass a safepoint.
  if ((request & request_loop) != 0) return nullptr;
  if (p.tick.load(memory_order_relaxed) >= p.next_poll) {
    p.next_poll = p.tick.load(memory_order_relaxed) + processor::poll_interval;
    if (p.timers.earliest() != os::never) fire_timers(p, p, os::now());
    // The dispatch after this one goes to the worker loop, which makes a fiber for a job, or for tasks that none has run since the last poll.
    const bool tasks = !p.carried && has_ready_tasks(p);
    p.carried = false;
    if (TERN_UNLIKELY(tasks || p.forks.has_public())) p.request.fetch_or(request_jobs, memory_order_relaxed);
    // Nor is the poller asked here, since it makes fibers ready that wait on what the leaving one has locked.
    if (TERN_UNLIKELY(watching_poller() != nullptr) &&
        os::now() - last_poll.load(memory_order_relaxed) >= poll_period)
      p.request.fetch_or(request_poll, memory_order_relaxed);
    if (fiber* f = p.home->inject_.pop()) {
      bump(p.counters.injected);
      return f;
    }
    if (fiber* f = p.ring.pop()) return f;
  }
  if (fiber* f = p.run_next.take()) return f;
  return p.ring.pop();
}

// While hooks_armed is set. False: the collector or an inspector holds the fiber.
TERN_COLD inline bool admits(processor& p, fiber& f, const collector_hooks* h, std::uint32_t armed) noexcept {
  if (!(h != nullptr ? h->try_resume(p, f) : inspection_protocol<fiber>::try_resume(f.stack_state)))
    return false;
  if (h != nullptr && (f.flags & fiber::started) == 0) h->fiber_start(p, f);
  if ((armed & armed_trace) != 0) record(&p, trace_kind::run, {.fiber = f.id});
  return true;
}

// While hooks_armed is set: a fiber that the collector or an inspector holds goes to the tail and another is picked. Null: all are held,
// or none is there. `ended`: the fiber that makes room by its end.
TERN_COLD inline fiber* admit_slow(processor& p, fiber* f, const fiber* ended = nullptr) noexcept {
  // relaxed: not older than what the caller has read.
  const std::uint32_t armed = hooks_armed.load(memory_order_relaxed);
  const collector_hooks* h =
      (armed & armed_marking) != 0 ? installed_hooks.load(memory_order_acquire) : nullptr;
  if ((armed & armed_trace) != 0 && ended != nullptr) record(&p, trace_kind::exit, {.fiber = ended->id});
  for (std::size_t tries = p.ring.size() + 1; f != nullptr; f = p.ring.pop()) {
    if (admits(p, *f, h, armed)) return f;
    push_tail(p, *f);
    if (tries-- == 0) return nullptr;
  }
  return nullptr;
}

// The same for a pinned one, which goes back to the box of its worker.
TERN_COLD inline fiber* admit_pinned(worker& w, processor& p, fiber& f) noexcept {
  // relaxed: as above.
  const std::uint32_t armed = hooks_armed.load(memory_order_relaxed);
  const collector_hooks* h =
      (armed & armed_marking) != 0 ? installed_hooks.load(memory_order_acquire) : nullptr;
  if (admits(p, f, h, armed)) return &f;
  w.box.put(f);
  p.ran_pinned = true;  // others have their turn meanwhile
  return nullptr;
}

// run_next, else the ring's oldest.
TERN_ALWAYS_INLINE fiber* pick_queued(processor& p) noexcept {
  fiber* f = p.run_next.take();
  return f != nullptr ? f : p.ring.pop();
}

// True where the next dispatch of p is one that needs no poll and that nobody has asked anything of. `tick`: its number, which the caller
// notes when it is done.
TERN_ALWAYS_INLINE bool is_plain_dispatch(const processor& p, std::uint64_t& tick) noexcept {
  // relaxed: as in pick_any().
  tick = p.tick.load(memory_order_relaxed) + 1;
  return TERN_LIKELY(tick < p.next_poll && p.request.load(memory_order_relaxed) == 0);
}

// The next fiber of p's own queues, before the collector's say.
TERN_ALWAYS_INLINE fiber* pick_any(processor& p) noexcept {
  // relaxed: own word; read by thieves and the monitor as a sign of life.
  const std::uint64_t tick = p.tick.load(memory_order_relaxed) + 1;
  p.tick.store(tick, memory_order_relaxed);
  // relaxed: a request is answered at the next dispatch at the latest; its own RMW orders.
  if (TERN_UNLIKELY(tick >= p.next_poll || p.request.load(memory_order_relaxed) != 0)) return pick_slow(p);
  return pick_queued(p);
}

// The next fiber of p's own queues that may run. `ended`: see admit_slow().
TERN_ALWAYS_INLINE fiber* pick_local(processor& p, const fiber* ended = nullptr) noexcept {
  fiber* f = pick_any(p);
  // relaxed: see mark_saved().
  if (TERN_UNLIKELY((hooks_armed.load(memory_order_relaxed) & ~armed_canaries) != 0))
    f = admit_slow(p, f, ended);
  return f;
}

// ---- switching ----

TERN_COLD inline void save_exceptions_slow(worker& w, fiber& f) noexcept {
  f.saved_globals = *w.exceptions;
  *w.exceptions = {};
  f.flags |= fiber::has_exception_globals;
}
TERN_COLD inline void restore_exceptions_slow(worker& w, fiber& f) noexcept {
  *w.exceptions = f.saved_globals;
  f.flags &= ~static_cast<std::uint32_t>(fiber::has_exception_globals);
}

// What makes `f` the running fiber. Requires: suspended, taken from a queue by the caller.
TERN_ALWAYS_INLINE void enter_fiber(worker& w, processor& p, fiber& f) noexcept {
  // relaxed: while the collector marks, try_resume has done this by CAS; else nobody looks without a handshake first.
  f.stack_state.store(fiber::on_cpu, memory_order_relaxed);
  p.current = &f;
  w.current = &f;
}

// From here on a signal handler leaves the running fiber alone (interrupted_fiber()): before the next one is taken out of a queue, since a
// fiber that is in none may be resumed by plain stores, without a collector's being asked.
TERN_ALWAYS_INLINE void begin_leaving(worker& w, fiber& self) noexcept {
  w.left = &self;
  compiler_fence();  // a handler sees the stores of its thread in their order
}

// For a signal handler on a worker's thread, which it has interrupted at `sp`: the fiber that is in its own code there, or in the middle of a
// call that concerns neither queues nor the change to another fiber. Null where there is none. Up to the handler's return the fiber
// may be taken for one that stands at a safepoint, but that its registers are the handler's to look at.
//             left == current    it is on its way out: another fiber, of no queue any more, is in a register
//             an action is due   it has just come, and the one that was left is not published yet
//             sp elsewhere       on the worker's own stack, or on one of the program's making, or still on that of who left
inline fiber* interrupted_fiber(std::uintptr_t sp) noexcept {
  const processor* p = current_processor();
  const worker* w = current_worker();
  if (p == nullptr || w == nullptr) return nullptr;
  fiber* f = p->current;
  if (f == nullptr || w->left == f || w->action != leave_action::nothing) return nullptr;
  return sp >= to_word(stack_pool::stack_limit(f)) && sp < to_word(f) ? f : nullptr;
}

// Leaves `self` and continues `next`, or the worker's own stack where there is none. Returns when self runs again.
// Requires: begin_leaving().
TERN_ALWAYS_INLINE void switch_away(worker& w, fiber& self, fiber* next, leave_action action) noexcept {
  TERN_ASSERT(w.left == &self, "dispatch: a fiber leaves unannounced");
  w.action = action;
  // A park in a handler or while unwinding (a destructor may park) takes the thread's exception state along.
  if (TERN_UNLIKELY((to_word(w.exceptions->caught) | w.exceptions->uncaught) != 0))
    save_exceptions_slow(w, self);
  if constexpr (asan_build || tsan_build) w.left_sanitizer = &self.sanitizer;
  worker* now;
  if (TERN_LIKELY(next != nullptr)) {
    enter_fiber(w, *w.held, *next);
    self.sanitizer.before_switch(next->sanitizer);
    now = static_cast<worker*>(switch_context_here(self.saved_context, next->saved_context, &w));
  } else {
    if (w.held != nullptr) w.held->current = nullptr;
    w.current = nullptr;
    self.sanitizer.before_switch(w.sanitizer);
    now = static_cast<worker*>(switch_context_here(self.saved_context, w.own_context, &w));
  }
  self.sanitizer.after_switch(*now->left_sanitizer);
  finish_switch(*now);
  if (TERN_UNLIKELY((self.flags & fiber::has_exception_globals) != 0)) restore_exceptions_slow(*now, self);
}

// True where a fiber that leaves may publish itself: nobody wants to see switches, and there is no exception state to take along. What lies in
// the queues of this worker's processor was put there before, so this may be asked before one is taken out (inspect.hpp, I1).
TERN_ALWAYS_INLINE bool may_publish(const worker& w) noexcept {
  if constexpr (!switching_function_inlines) return false;
  // relaxed: see mark_saved().
  return TERN_LIKELY(
      (to_word(w.exceptions->caught) | w.exceptions->uncaught | hooks_armed.load(memory_order_relaxed)) == 0);
}

// Leaves `self`, which publishes itself with the store of `value` to `word`, the last thing that it does, and continues `next`. So the
// incoming side has nothing to finish, nor to be told. Requires: may_publish(). Returns when self runs again.
TERN_ALWAYS_INLINE void switch_publishing(worker& w, processor& p, fiber& self, fiber& next,
                                          atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
  enter_fiber(w, p, next);
  finish_switch(*static_cast<worker*>(
      switch_context_publishing<offsetof(fiber, stack_state) - offsetof(fiber, saved_context), fiber::saved>(
          self.saved_context, next.saved_context, &w, &word, value)));
}

// Where nothing else is queued, whoever waits for the end of `self` goes on at once, without a way through the worker loop. It cannot free
// the slot meanwhile: it runs after the switch. Null where nobody waits so, or where the worker loop has something to do. May set the action.
TERN_NOINLINE inline fiber* take_joiner(worker& w, processor& p, fiber& self) noexcept {
  // relaxed: hints that stay set; the CAS decides about the joiner.
  if (p.request.load(memory_order_relaxed) != 0 || hooks_armed.load(memory_order_relaxed) != 0)
    return nullptr;
  TERN_ASSERT(!self.is_pinned(), "dispatch: a pinned fiber's processor has a request");
  std::uintptr_t word = self.join_word.load(memory_order_relaxed);
  if (word <= fiber::join_detached) return nullptr;
  // acq_rel: as the exchange in finish_exit(). It fails where a cancellation has withdrawn the joiner; else this is its only waker now.
  if (!self.join_word.compare_exchange_strong(word, fiber::join_done, memory_order_acq_rel,
                                              memory_order_relaxed))
    return nullptr;
  wait_core& x = *reinterpret_cast<wait_core*>(word);
  fiber* owner = x.owner;
  w.action = leave_action::joined;
  w.joiner = &x;
  if (owner == nullptr || owner->home != p.home || x.kind != waiter_kind::single) return nullptr;
  // relaxed: as in make_ready(); the load after the store, see inspect.hpp, I1.
  owner->wait_what.store(nullptr, memory_order_relaxed);
  if (TERN_UNLIKELY(hooks_armed.load(memory_order_relaxed) != 0) || !x.state.end_single()) return nullptr;
  w.joiner = nullptr;
  bump(p.counters.wakes);
  return owner;
}

// The fiber has ended: continues another one, never returns.
[[noreturn]] inline void exit_fiber() noexcept {
  worker& w = *current_worker();
  processor& p = *w.held;
  fiber& self = *w.current;
  begin_leaving(w, self);
  w.action = leave_action::exit;
  fiber* next = pick_local(p, &self);
  if (next == nullptr) next = take_joiner(w, p, self);
  if constexpr (asan_build || tsan_build) w.left_sanitizer = &self.sanitizer;
  if (TERN_LIKELY(next != nullptr)) {
    enter_fiber(w, p, *next);
    self.sanitizer.before_exit(next->sanitizer);
    jump_context(next->saved_context, &w);
  }
  p.current = nullptr;
  w.current = nullptr;
  self.sanitizer.before_exit(w.sanitizer);
  jump_context(w.own_context, &w);
}

// Where every fiber begins.
inline void fiber_entry(void* message) {
  worker& w = *static_cast<worker*>(message);
  fiber& self = *w.current;
  if constexpr (fp_mode_travels) set_fp_mode(fp_mode{});
  self.sanitizer.after_switch(*w.left_sanitizer);
  finish_switch(w);
  self.flags |= fiber::started;
  self.body(self);
  exit_fiber();
}

// ---- timers ----

inline std::uint64_t fire_timers(processor& mine, processor& p, os::nanoseconds now) noexcept {
  if (p.timers.earliest() > now) return 0;
  slist<fiber, &fiber::next> ready;
  slist<task_node, &task_node::next> tasks;
  std::uint64_t fired = 0;
  {
    lock_scope hold{p.timers_lock};
    while (timer_node* n = p.timers.pop_due(now)) {
      waiter& x = *element_of<waiter>(n, &waiter::timer);
      // Under the lock: a waiter that was woken otherwise takes this lock before its memory goes away.
      fiber* owner = x.owner;
      bool saved = false;
      if (!x.state.end(wait_state<>::timed_out, saved)) continue;
      ++fired;
      if (owner == nullptr)
        tasks.push_back(static_cast<task_timer&>(x).node);
      else if (saved)
        ready.push_back(owner);
    }
  }
  if (fired != 0) bump(mine.counters.timers_fired, fired);
  while (fiber* f = ready.pop_front()) {
    if (is_tracing()) record(&mine, trace_kind::timer, {.fiber = f->id});
    make_ready(*f, wake_place::tail);
  }
  while (task_node* n = tasks.pop_front()) make_task_ready(*n, task_arrival::woken);
  return fired;
}

// ---- park and unpark ----

[[noreturn]] TERN_COLD inline void park_in_blocking() noexcept {
  fatal("a fiber parked inside tern::blocking (a mutex, channel, join, sleep or yield was used there)");
}

// A plain thread waits on its waiter's state word.
TERN_COLD inline void park_thread(waiter& x, os::nanoseconds deadline, park_commit commit,
                                  void* argument) noexcept {
  if (x.kind == waiter_kind::single && commit != nullptr) {
    x.state.park_single();
    if (!commit(x, argument)) return x.state.take_back_single();
  } else if (!x.state.finish(commit == nullptr || commit(x, argument))) {
    return;
  }
  const bool for_ever = deadline == os::never;
  if (for_ever) schedulers.parked_threads.fetch_add(1, memory_order_seq_cst);
  const auto wait = [&]() noexcept {
    while (x.state.is_parked()) {
      if (os::futex_wait(x.state.word(), wait_state<>::parked, deadline)) continue;
      bool saved = false;
      if (x.state.end(wait_state<>::timed_out, saved)) break;
    }
  };
  wait_in_kernel(wait);
  if (for_ever) schedulers.parked_threads.fetch_sub(1, memory_order_seq_cst);
}

// A fiber is about to wait or to yield.
TERN_ALWAYS_INLINE void check_held_locks() noexcept {
  if constexpr (TERN_CHECK_HELD_LOCKS != 0) {
    const os::held_locks held = os::held_now();
    if (held.mutexes != 0)
      fatal("a fiber waits or yields while it holds a pthread mutex (std::mutex): use tern::mutex");
    if (held.statics != 0)
      fatal("a fiber waits or yields while it initialises a function-local static: use tern::once");
  }
}

TERN_ALWAYS_INLINE void note_wait(const waiter& x) noexcept {
  check_held_locks();
  // relaxed: for dumps.
  x.owner->wait_object.store(x.object, memory_order_relaxed);
  x.owner->wait_what.store(x.what, memory_order_relaxed);
}

TERN_ALWAYS_INLINE void park_for(worker& w, waiter& x, fiber* next, park_commit commit,
                                 void* argument) noexcept {
  w.wait = &x;
  w.commit = commit;
  w.commit_argument = argument;
  switch_away(w, *x.owner, next, leave_action::park);
}

// Not inlined: the switch clobbers all registers, and its caller should not pay for that on the path that does not wait.
TERN_SWITCHES inline void park_fiber(waiter& x, park_commit commit, void* argument) noexcept {
  worker& w = *current_worker();
  processor* p = w.held;
  if (TERN_UNLIKELY(p == nullptr)) park_in_blocking();
  note_wait(x);
  begin_leaving(w, *x.owner);
  park_for(w, x, pick_local(*p), commit, argument);
}

// A wait, of a waiter of kind `single`, for the end of `child`. Where that is what runs next, as after a spawn, nobody else can touch its join
// word before the switch: no commit, and nothing to finish.
TERN_SWITCHES inline void park_fiber_joining(waiter& x, fiber& child, park_commit commit) noexcept {
  worker& w = *current_worker();
  processor* p = w.held;
  std::uint64_t tick;
  if (TERN_UNLIKELY(p == nullptr || !may_publish(w) || !is_plain_dispatch(*p, tick)))
    return park_fiber(x, commit, &child.join_word);
  begin_leaving(w, *x.owner);
  fiber* next = pick_queued(*p);
  if (TERN_UNLIKELY(next == nullptr)) return park_fiber(x, commit, &child.join_word);
  p->tick.store(tick, memory_order_relaxed);  // relaxed: as in pick_any()
  note_wait(x);
  // relaxed: on this thread until it ends.
  if (next != &child || child.join_word.load(memory_order_relaxed) != fiber::join_running)
    return park_for(w, x, next, commit, &child.join_word);
  child.join_word.store(to_word(static_cast<wait_core*>(&x)), memory_order_release);
  bump(p->counters.parks);
  switch_publishing(w, *p, *x.owner, *next, x.state.word(), wait_state<>::parked);
}

using park_lock = wait_lock<>;
inline bool commit_unlock(waiter&, void* lock) noexcept {
  static_cast<park_lock*>(lock)->unlock();
  return true;
}

// The most usual wait, for a waiter of kind `single`: what publishes it is that a lock becomes free. All that is not usual goes through
// park_fiber(), by a call at the end, so that nothing is kept across calls here.
TERN_SWITCHES inline void park_fiber_unlocking(waiter& x, park_lock& lock) noexcept {
  worker& w = *current_worker();
  processor* p = w.held;
  std::uint64_t tick;
  if (TERN_UNLIKELY(p == nullptr || !may_publish(w) || !is_plain_dispatch(*p, tick)))
    return park_fiber(x, &commit_unlock, &lock);
  begin_leaving(w, *x.owner);
  fiber* next = pick_queued(*p);
  if (TERN_UNLIKELY(next == nullptr)) return park_fiber(x, &commit_unlock, &lock);
  fiber& self = *x.owner;
  p->tick.store(tick, memory_order_relaxed);  // relaxed: as in pick_any()
  note_wait(x);
  x.state.park_single();
  bump(p->counters.parks);
  switch_publishing(w, *p, self, *next, lock.unlock_word(), park_lock::unlocked);
}

inline void park(waiter& x, park_commit commit, void* argument) noexcept {
  if (TERN_LIKELY(x.owner != nullptr)) return park_fiber(x, commit, argument);
  park_thread(x, os::never, commit, argument);
}

inline void park_unlocking(waiter& x, park_lock& lock) noexcept {
  if (TERN_LIKELY(x.owner != nullptr && x.kind == waiter_kind::single)) return park_fiber_unlocking(x, lock);
  park(x, &commit_unlock, &lock);
}

// Owner of p. Puts a timer, whose deadline is set, into the heap that serves p, and tells whose that is. What is waited for may end, and a
// task's frame with the timer be gone, before this returns.
inline processor& start_timer(timer_node& n, processor& p) noexcept {
  scheduler& s = *p.home;
  bool first = false;
  const auto insert_at = [&](processor& h) noexcept {
    lock_scope hold{h.timers_lock};
    if (TERN_UNLIKELY(!h.keeps_timers)) return false;
    n.home = &h;
    first = h.timers.insert(n);
    return true;
  };
  processor* home = &s.timer_home(p);
  // Not p's own, and it has retired since: processor 0 never does.
  if (TERN_UNLIKELY(!insert_at(*home))) static_cast<void>(insert_at(*(home = &s.at(0))));
  // An extra processor's timers lie in a regular one's heap, whose worker may sleep without knowing of this one.
  if (TERN_UNLIKELY(first && home != &p)) s.recheck_sleeper(*home);
  return *home;
}

// After a timed wait, also after a timeout: whoever fired it may still be at work on the node, under the lock. `home`: where it was
// inserted. It may have moved since, once, to processor 0.
inline void remove_timer(timer_node& n, processor& home) noexcept {
  {
    lock_scope hold{home.timers_lock};
    if (TERN_LIKELY(n.home == &home)) return static_cast<void>(home.timers.remove(n));
  }
  processor& now = *n.home;  // nobody moves it from there
  lock_scope hold{now.timers_lock};
  now.timers.remove(n);
}

inline wake_reason park_until(waiter& x, os::nanoseconds deadline, park_commit commit,
                              void* argument) noexcept {
  if (deadline == os::never) {
    park(x, commit, argument);
    return wake_reason::notified;
  }
  // Only where it changes: a waiter that is multi from the start may be known to its wakers already.
  if (x.kind != waiter_kind::multi) x.kind = waiter_kind::multi;
  if (x.owner == nullptr) {
    park_thread(x, deadline, commit, argument);
  } else {
    processor* p = current_processor();
    if (p == nullptr) park_in_blocking();
    x.timer.deadline = deadline;
    processor& home = start_timer(x.timer, *p);
    park_fiber(x, commit, argument);
    remove_timer(x.timer, home);
  }
  return x.state.has_timed_out() ? wake_reason::timed_out : wake_reason::notified;
}

// What waits is no fiber. Not inlined: the wakes of fibers should not pay for its registers.
TERN_NOINLINE inline bool unpark_other(wait_core& x) noexcept {
  const waiter_kind kind = x.kind;  // a thread, and its waiter, may be gone once its wait has ended
  bool saved = true;
  const bool alone = kind == waiter_kind::single && x.state.end_single();
  if (!alone && !x.state.end(wait_state<>::notified, saved)) return false;
  if (kind == waiter_kind::task)
    make_task_ready(*static_cast<task_waiter&>(x).node, task_arrival::woken);
  else if (saved)
    os::futex_wake(x.state.word(), 1);  // a wake of a dead address is harmless
  return true;
}

inline bool unpark(wait_core& x, wake_place place) noexcept {
  fiber* owner = x.owner;
  if (TERN_UNLIKELY(owner == nullptr)) return unpark_other(x);
  bool saved = true;
  const bool alone = x.kind == waiter_kind::single && x.state.end_single();
  if (!alone && !x.state.end(wait_state<>::notified, saved)) return false;
  if (saved) make_ready(*owner, place);
  return true;
}

TERN_SWITCHES inline void yield_slow(worker& w) noexcept {
  check_held_locks();
  processor* p = w.held;
  if (TERN_UNLIKELY(p == nullptr)) park_in_blocking();
  begin_leaving(w, *w.current);
  fiber* next = pick_local(*p);
  if (TERN_UNLIKELY(next == nullptr)) {
    // Nothing is held here, so this is a safepoint. relaxed: poll_safepoint() orders.
    if ((p->request.load(memory_order_relaxed) & request_safepoint) != 0) {
      poll_safepoint();
      next = pick_local(*p);
    }
    // A processor that is to retire does so in the worker loop, and jobs and pinned fibers are found there. relaxed: hints that stay set.
    if (next == nullptr && (p->request.load(memory_order_relaxed) & request_loop) == 0) {
      w.left = nullptr;  // it stays
      return;
    }
  }
  switch_away(w, *w.current, next, leave_action::requeue);
}

// Gives way to the fibers that are queued on this processor. All that is not usual is a call at the end, so that nothing is kept across
// calls here.
TERN_SWITCHES inline void yield_fiber(worker& w) noexcept {
  check_held_locks();
  processor* p = w.held;
  std::uint64_t tick;
  // A look at the sleepers without a StoreLoad, as in push_yielded(); here it comes before the push, which is the switch itself.
  if (TERN_UNLIKELY(p == nullptr || !may_publish(w) || !is_plain_dispatch(*p, tick) ||
                    p->run_next.look() != nullptr || p->home->idle_.should_wake_soon()))
    return yield_slow(w);
  fiber& self = *w.current;
  begin_leaving(w, self);
  const auto turn = p->ring.rotate(&self);
  if (TERN_UNLIKELY(turn.oldest == nullptr)) return yield_slow(w);
  p->tick.store(tick, memory_order_relaxed);  // relaxed: as in pick_any()
  bump(p->counters.yields);
  switch_publishing(w, *p, self, *turn.oldest, *turn.word, turn.value);
}

}  // namespace tern::inline v1::detail

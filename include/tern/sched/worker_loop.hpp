// Worker loop: what a worker does between fibers - look for work, sleep, adopt, retire.
//
// Context     Runs on the worker's own stack. dispatch.hpp comes here when a processor's own queues are empty.
// Protocol    Search    rounds over: request word, own queues, inject queue, every other processor's ring (half of it is taken, where something has
//                       lain there for 10 us or it is long) and due timers; run_next of a processor that has run one fiber for 20 us. Then sleep
//                       as idle.hpp tells.
//             Sleep     1. enter the idle set   2. rescan where no searcher is left   3. processor_release, wait for a signal or the
//                       own heap's earliest deadline, processor_acquire. Either way the worker comes back as a searcher.
// Invariants  I1 `searching` equals the worker's share in the idle set's count.
// Ordering    See idle.hpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include <tern/arch/cpu.hpp>
#include <tern/os/clock.hpp>
#include <tern/sched/dispatch.hpp>
#include <tern/sched/jobs.hpp>
#include <tern/sched/pin.hpp>
#include <tern/sched/poll.hpp>
#include <tern/sched/processor_count.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/workers.hpp>

namespace tern::inline v1::detail {

inline constexpr os::nanoseconds run_next_patience =
    20'000;  // before a thief takes the fiber that its waker keeps waiting
inline constexpr os::nanoseconds search_time = 10'000;  // of a searcher that finds nothing
inline constexpr os::nanoseconds doze_time = 100'000;   // between two looks at rings that move
inline constexpr std::size_t inject_batch = 32;

inline void attach(worker& w, processor& p) noexcept {
  w.held = &p;
  p.runner = &w;
  p.thread_id.store(w.thread_id, memory_order_relaxed);  // relaxed: a signal that goes astray does nothing
  p.current = nullptr;
  if (TERN_UNLIKELY(w.pins != 0)) w.box.hold(p);
  current_processor_word_set(&p);
  bind_cache(p.cache);
  p.state.store(processor_state::running, memory_order_relaxed);  // relaxed: a hint
}

inline void detach(worker& w) noexcept {
  w.held = nullptr;
  if (TERN_UNLIKELY(w.pins != 0)) w.box.leave();
  current_processor_word_set(nullptr);
  bind_cache(shared_cache());
}

// Returns the table that was told; see missed_installation().
inline const collector_hooks* hook_release(processor& p) noexcept {
  const collector_hooks* h = installed_hooks.load(memory_order_acquire);
  if (h != nullptr) h->processor_release(p);
  return h;
}
// Asked after entering the idle set: a table that was installed since then counts the processor as running, and must be told.
// seq_cst: pairs with install_collector_hooks().
inline bool missed_installation(const collector_hooks* told) noexcept {
  return TERN_UNLIKELY(told != installed_hooks.load(memory_order_seq_cst));
}
inline void hook_acquire(processor& p) noexcept {
  if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) h->processor_acquire(p);
}

// A fair share of the inject queue: one to run, the others to the ring.
inline fiber* take_injected(processor& p) noexcept {
  scheduler& s = *p.home;
  const std::size_t waiting = s.inject_.size();
  if (waiting == 0) return nullptr;
  std::size_t share = waiting / s.count() + 1;
  if (share > inject_batch) share = inject_batch;
  inject_queue<fiber, &fiber::next>::batch batch;
  const std::size_t n = s.inject_.pop(batch, share, [](const fiber* g) noexcept { g->prefetch_later(); });
  fiber* f = batch.pop_front();
  while (fiber* g = batch.pop_front()) push_tail(p, *g);
  bump(p.counters.injected, n);
  return f;
}

// The processor that a searcher watches: if it still runs the same fiber when its time is up, its run_next may be taken.
struct run_next_watch {
  processor* victim = nullptr;
  std::uint64_t tick = 0;
  os::nanoseconds since = 0;
};

inline fiber* steal_run_next(processor& thief, processor& victim, run_next_watch& watch,
                             os::nanoseconds now) noexcept {
  fiber* f = victim.run_next.look();
  if (f == nullptr) {
    if (watch.victim == &victim) watch = {};
    return nullptr;
  }
  const std::uint64_t tick = victim.tick.load(memory_order_relaxed);
  if (watch.victim != &victim || watch.tick != tick) {
    if (watch.victim == nullptr || watch.victim == &victim) watch = {&victim, tick, now};
    return nullptr;
  }
  if (now - watch.since < run_next_patience) return nullptr;
  watch = {};
  if (!victim.run_next.steal(f)) return nullptr;
  bump(thief.counters.stolen_next);
  bump(thief.counters.stolen);
  bump(thief.counters.steals);
  if (is_tracing()) record(&thief, trace_kind::steal, {.fiber = f->id, .value = 1, .other = victim.index});
  return f;
}

// What a search has seen of the others.
struct search_view {
  run_next_watch watch;
  std::uint64_t dispatches = 0;  // of all of them, at the last look
  bool moving =
      false;  // they run one fiber after the other: what lies in their rings will have its turn soon
};

// One look at every other processor.
inline fiber* steal_round(processor& p, search_view& view, os::nanoseconds now) noexcept {
  scheduler& s = *p.home;
  const std::uint32_t n = s.slots();
  std::uint32_t i = p.random.below(n);
  std::uint64_t dispatches = 0;
  for (std::uint32_t k = 0; k < n; ++k, i = i + 1 == n ? 0 : i + 1) {
    processor& victim = s.at(i);
    if (&victim == &p) continue;
    const auto seen = victim.ring.look();
    const std::size_t queued = seen.size();
    if (queued >= share_at_once || (queued != 0 && victim.queue_waits(seen, now))) {
      if (fiber* f = victim.ring.steal_into(p.ring)) {
        const std::size_t taken = p.ring.size() + 1;
        bump(p.counters.stolen, taken);
        bump(p.counters.steals);
        if (is_tracing())
          record(&p, trace_kind::steal,
                 {.fiber = f->id, .value = static_cast<std::uint32_t>(taken), .other = victim.index});
        return f;
      }
    }
    dispatches += victim.tick.load(memory_order_relaxed);  // relaxed: a sign of life
    if (victim.timers.earliest() <= now && fire_timers(p, victim, now) != 0)
      if (fiber* f = p.ring.pop()) return f;
    if (fiber* f = take_fork(p, victim)) return f;
    if (fiber* f = steal_tasks(p, victim, now)) return f;
    victim.ask_to_share();
    if (queued != 0) continue;  // run_next is younger
    if (fiber* f = steal_run_next(p, victim, view.watch, now)) return f;
  }
  if (view.dispatches != 0 && dispatches != view.dispatches) view.moving = true;
  view.dispatches = dispatches;
  return nullptr;
}

// As a searcher. Null: nothing found for a while, or the request word is set. Each look at a processor that is at work takes lines
// from it, so the looks come at longer and longer intervals there.
inline fiber* search(processor& p, bool& moving) noexcept {
  const os::nanoseconds begin = os::now();
  search_view view;
  const poller_hooks* poller = watching_poller();
  unsigned pauses = 16;
  for (os::nanoseconds now = begin;; now = os::now()) {
    if (p.request.load(memory_order_relaxed) != 0) return nullptr;
    if (p.timers.earliest() <= now) fire_timers(p, p, now);
    if (fiber* f = p.ring.pop()) return f;
    if (fiber* f = take_injected(p)) return f;
    if (fiber* f = take_fork(p, p)) return f;
    if (fiber* f = take_tasks(p)) return f;
    if (TERN_UNLIKELY(poller != nullptr) && look_into_poller(p, *poller))
      if (fiber* f = p.ring.pop()) return f;
    if (fiber* f = steal_round(p, view, now)) return f;
    moving = view.moving;
    const os::nanoseconds limit = view.watch.victim != nullptr ? 2 * run_next_patience : search_time;
    if (now - begin > limit) return nullptr;
    if ((moving || view.watch.victim != nullptr) && pauses < 256) pauses *= 2;
    for (unsigned i = 0; i < pauses; ++i) spin_pause();
  }
}

// When p's worker, asleep, must look again: at p's next timer. Where no searcher is left it also keeps the timers of lent processors,
// which have nobody else. Whoever lends one later, or the monitor before the timer is due, wakes a sleeper.
inline os::nanoseconds next_look(processor& p, bool last) noexcept {
  scheduler& s = *p.home;
  os::nanoseconds deadline = p.timers.earliest();
  // pairs-with: enter_blocking(), which counts before it looks for searchers.
  if (!last || TERN_LIKELY(s.lent_.load(memory_order_seq_cst) == 0)) return deadline;
  for (std::uint32_t i = 0; i < s.regular(); ++i)
    // relaxed: as in any_work().
    if (s.at(i).state.load(memory_order_relaxed) == processor_state::lent)
      deadline = std::min(deadline, s.at(i).timers.earliest());
  return deadline;
}

// The end of a sleep: p is awake again. False: the runtime stops.
inline bool come_back(processor& p) noexcept {
  scheduler& s = *p.home;
  if (s.stopping_.load(memory_order_acquire) != 0) return false;
  hook_acquire(p);
  p.state.store(processor_state::running, memory_order_relaxed);  // relaxed: a hint
  s.notice_awake();
  return true;
}

// The same as the second half of sleep_with(), in the poller.
TERN_NOINLINE inline bool sleep_in_poller(worker& w, processor& p, const poller_hooks& h,
                                          os::nanoseconds until, bool dozes) noexcept {
  scheduler& s = *p.home;
  os::epoll_batch found;
  const bool signalled = wait_in_poller(w, h, found, until);
  last_poll.store(os::now(), memory_order_relaxed);
  if (!signalled && !s.idle_.rouse(p.idle))
    scheduler::wait_for_signal(w, os::never);  // taken just now: the signal is under way
  if (poller_role.release()) wake_pollers();
  if (dozes) s.idle_.end_doze();
  const bool goes_on = come_back(p);
  // Also where it stops: there may be others' in it.
  if (found.count != 0) h.dispatch(found);
  return goes_on;
}

// Sleeps with p until it is signalled, work turns up in the rescan, or a timer is due; p is awake and searching afterwards.
// Where `moving`, for a moment only: rings hold fibers that their owners are about to run. One processor at a time dozes so; another
// one that comes meanwhile sleeps, and leaves the rings to it.
// False: the runtime stops.
inline bool sleep_with(worker& w, processor& p, bool searching, bool moving) noexcept {
  scheduler& s = *p.home;
  p.state.store(processor_state::idle, memory_order_relaxed);  // relaxed: a hint
  bump(p.counters.sleeps);
  if (is_tracing()) record(&p, trace_kind::sleep, {});
  const collector_hooks* told = hook_release(p);
  const bool dozes = moving && s.idle_.begin_doze();
  const bool rescan = s.idle_.sleep(p.idle, searching);
  const bool again =
      (rescan && (moving && s.idle_.is_dozing() ? s.any_injected() : s.any_work(false))) ||
      // seq_cst: pairs with set_count(), wake_pinned() and serve_wanting(), which ask and then look for sleepers.
      (p.request.load(memory_order_seq_cst) & (request_retire | request_pins)) != 0 ||
      missed_installation(told);
  const bool ours = again && s.idle_.rouse(p.idle);
  if (!ours) {
    s.notice_idle();
    os::nanoseconds until = next_look(p, rescan);
    if (dozes) until = std::min(until, os::now() + doze_time);
    if (const poller_hooks* h = watching_poller(); TERN_UNLIKELY(h != nullptr) && poller_role.take_or_ask(&s))
      return sleep_in_poller(w, p, *h, until, dozes);
    if (!scheduler::wait_for_signal(w, until) && !s.idle_.rouse(p.idle))
      scheduler::wait_for_signal(w, os::never);  // taken just now: the signal is under way
  }
  if (dozes) s.idle_.end_doze();
  return come_back(p);
}

TERN_COLD inline void scheduler::pass_on(worker& from, worker& to, bool searching) noexcept {
  processor& p = *from.held;
  if (!searching) idle_.join_search();
  detach(from);
  hook_release(p);
  p.runner = &to;
  to.assigned = &p;
  signal(to);
}

TERN_COLD inline bool scheduler::hand_over(worker& from, bool searching) noexcept {
  worker* to;
  {
    lock_scope hold{workers_lock_};
    to = take_wanting_locked();
  }
  if (to == nullptr) return false;
  pass_on(from, *to, searching);
  return true;
}

// Where pinned fibers may run, here or on a worker that has no processor: whose turn it is. By turns the others of this processor, a worker that
// wants it, and a pinned fiber of this one. `fresh`: this worker has run nothing since it got the processor, so it is not handed on before.
TERN_COLD inline fiber* take_turn(worker& w, bool searching, bool fresh) noexcept {
  processor& p = *w.held;
  scheduler& s = *p.home;
  if (p.ran_pinned) {
    p.ran_pinned = false;
    if (fiber* f = pick_any(p)) return f;
    if (fiber* f = take_injected(p)) return f;
    if (fiber* f = take_fork(p, p)) return f;
    if (fiber* f = take_tasks(p)) return f;
  }
  if ((!fresh || !w.box.has_ready()) && s.wanting_.load(memory_order_seq_cst) != 0 &&
      s.hand_over(w, searching))
    return nullptr;
  return w.box.take();
}

// The next fiber for the worker's processor. Null: the processor is to retire or has been handed over, or the runtime stops.
inline fiber* find_work(worker& w, bool searching, bool fresh) noexcept {
  processor& p = *w.held;
  scheduler& s = *p.home;
  for (;;) {
    poll_safepoint();
    fiber* f = nullptr;
    bool moving = false;
    const std::uint32_t request =
        p.request.load(memory_order_relaxed);  // relaxed: the RMWs that clear bits order
    if ((request & request_retire) == 0) {
      // seq_cst: pairs with wake_pinned() and serve_wanting(); what they have done before they set it is seen below.
      if (TERN_UNLIKELY((request & request_pins) != 0))
        p.request.fetch_and(~request_pins, memory_order_seq_cst);
      if (TERN_UNLIKELY((request & request_flush) != 0)) {
        p.request.fetch_and(~request_flush, memory_order_relaxed);  // relaxed: the monitor asks again
        p.cache->flush_all();
      }
      if (p.timers.earliest() != os::never) fire_timers(p, p, os::now());
      if (TERN_UNLIKELY(w.box.has_ready() || s.wanting_.load(memory_order_seq_cst) != 0)) {
        f = take_turn(w, searching, fresh);
        if (w.held == nullptr) return nullptr;
      }
      // relaxed: the owner set it.
      if (f == nullptr && (request & request_jobs) != 0) {
        p.request.fetch_and(~request_jobs, memory_order_relaxed);
        if (!p.carried) f = take_tasks(p);
        if (f == nullptr) f = take_fork(p, p);
      }
      // relaxed: as above.
      if (TERN_UNLIKELY((request & request_poll) != 0)) {
        p.request.fetch_and(~request_poll, memory_order_relaxed);
        if (const poller_hooks* h = watching_poller()) static_cast<void>(look_into_poller(p, *h));
      }
      if (f == nullptr) f = pick_any(p);
      if (f == nullptr) f = take_injected(p);
      if (f == nullptr) f = take_fork(p, p);
      if (f == nullptr) f = take_tasks(p);
      if (f == nullptr)
        if (const poller_hooks* h = watching_poller(); TERN_UNLIKELY(h != nullptr) && look_into_poller(p, *h))
          f = pick_any(p);
      if (f == nullptr && (searching || (searching = s.idle_.begin_search()))) f = search(p, moving);
    } else {
      if (searching) static_cast<void>(s.idle_.end_search());
      return nullptr;
    }
    if (f != nullptr && TERN_UNLIKELY(hooks_armed.load(memory_order_relaxed) != 0))
      f = f->is_pinned() ? admit_pinned(w, p, *f) : admit_slow(p, f);
    if (f != nullptr) {
      // The last searcher to find something wakes another one: where there was one piece of work, more may follow.
      if (searching && s.idle_.end_search()) s.work_published();
      return f;
    }
    if (p.request.load(memory_order_relaxed) != 0 || !p.ring.is_empty() || w.box.has_ready())
      continue;  // asked, or held by the collector
    if (!sleep_with(w, p, searching, moving)) return nullptr;
    searching = true;
  }
}

// On the worker's own stack, after a switch away from a pinned fiber, or from one that goes to another worker. False: finish_switch() is due as
// for any other; not called here, since a second place would change how its parts are inlined where every switch goes by.
TERN_COLD inline bool finish_apart(worker& w) noexcept {
  fiber& f = *w.left;
  switch (w.action) {
    case leave_action::requeue: bump(w.held->counters.yields); [[fallthrough]];
    case leave_action::inject:
      mark_saved(w, f, w.action);
      w.box.put(f);
      return true;
    case leave_action::move: {
      processor& p = *w.held;
      mark_saved(w, f, w.action);
      if (fiber* before = p.run_next.replace(&f)) push_tail(p, *before);
      p.home->pass_on(w, *w.successor, false);
      return true;
    }
    case leave_action::exit:
      f.flags = (f.flags & ~fiber::pin_mask) | fiber::pin_one;
      unpin_fiber(w, f);
      return false;
    default: return false;
  }
}

// Runs the processor that w has been given, awake and searching, until it is lost, retired or the runtime stops.
TERN_SWITCHES inline void run_processor(worker& w, processor& first) noexcept {
  attach(w, first);
  hook_acquire(first);
  w.home->notice_awake();
  bool searching = true;
  bool fresh = true;
  while (w.held != nullptr) {
    fiber* f = find_work(w, searching, fresh);
    searching = fresh = false;
    if (f == nullptr) {
      if (w.held != nullptr && w.home->stopping_.load(memory_order_acquire) == 0) w.home->retire(w);
      break;
    }
    w.held->ran_pinned = f->is_pinned();
    TERN_ASSERT(!f->is_pinned() || f->pinned_to == &w, "pin: a fiber runs on another worker");
    // relaxed: for this worker's next dispatch.
    if (TERN_UNLIKELY(f->is_pinned() || w.box.has_ready() ||
                      w.home->wanting_.load(memory_order_relaxed) != 0))
      w.held->request.fetch_or(request_pins, memory_order_relaxed);
    w.left = nullptr;
    w.action = leave_action::nothing;
    w.left_sanitizer = &w.sanitizer;
    enter_fiber(w, *w.held, *f);
    w.sanitizer.before_switch(f->sanitizer);
    switch_context_here(w.own_context, f->saved_context, &w);
    w.sanitizer.after_switch(*w.left_sanitizer);
    const bool apart = w.left->is_pinned() || w.action == leave_action::move;
    if (TERN_LIKELY(!apart) || !finish_apart(w)) finish_switch(w);
  }
  if (w.held != nullptr) detach(w);
}

TERN_COLD inline void scheduler::retire(worker& w) noexcept {
  processor& p = *w.held;
  inject_queue<fiber, &fiber::next>::batch batch;
  if (fiber* f = p.run_next.take()) batch.push_back(f);
  while (fiber* f = p.ring.pop()) batch.push_back(f);
  // Those who search would find them here, but nobody may ever search. No stack: they stay for whoever does, or for their fibers.
  while (fiber* f = take_fork(p, p)) batch.push_back(f);
  inject_.push(batch);
  inject_queue<task_node, &task_node::next>::batch tasks;
  while (task_node* n = p.tasks.pop()) tasks.push_back(n);
  task_inject_.push(tasks);
  drain_slots(p, 0);
  if (!p.extra) hand_over_timers(p);
  const collector_hooks* told = hook_release(p);
  detach(w);
  p.cache->flush_all();
  {
    lock_scope hold{schedulers.lock};
    p.runner = nullptr;
    if (p.index < count()) {
      // Wanted again. Installation happens under this lock too.
      if (missed_installation(told)) told = hook_release(p);
      {
        lock_scope timers{p.timers_lock};
        p.keeps_timers = true;
      }
      p.state.store(processor_state::idle, memory_order_relaxed);  // relaxed: a hint
      static_cast<void>(idle_.sleep(p.idle, false));
    } else {
      if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) h->processor_detach(p);
      idle_.remove(p.idle);
      if (p.extra) extras_.fetch_sub(1, memory_order_relaxed);       // relaxed: a count of the monitor's
      p.state.store(processor_state::unused, memory_order_release);  // pairs-with: add_extra(), set_count()
    }
  }
  work_published();
  // Whoever started this one for a worker that wants a processor has woken no other.
  if (wanting_.load(memory_order_seq_cst) != 0) serve_wanting();
}

inline void scheduler::run_worker(worker& w) noexcept {
  const worker_alt_stack alternate;
  os::open_signal(interrupt_signal);
  w.thread_id = os::thread_id();
  current_worker_word_set(&w);
  w.exceptions = reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
  w.sanitizer.adopt_thread();
  bind_cache(shared_cache());
  while (wait_as_spare(w)) {
    processor* p = w.assigned;
    if (p == nullptr) {
      // Sent to look for lent processors. seq_cst: pairs with the CAS in wake_slow(), before the rescan.
      spares_waking_.store(0, memory_order_seq_cst);
      idle_member* m = any_work(true) || w.box.has_ready() ? idle_.adopt() : nullptr;
      if (m != nullptr) {
        p = &of(*m);
        lent_.fetch_sub(1, memory_order_seq_cst);
        bump(p->counters.handed_off);
        if (is_tracing()) record(p, trace_kind::adopt, {});
      }
    }
    w.assigned = nullptr;
    if (p != nullptr) run_processor(w, *p);
    notice_idle();
    if (rest(w)) serve_wanting();
  }
  bind_cache(nullptr);
  current_worker_word_set(nullptr);
}

inline void* scheduler::worker_entry(void* argument) {
  worker& w = *static_cast<worker*>(argument);
  w.home->run_worker(w);
  return nullptr;
}

}  // namespace tern::inline v1::detail

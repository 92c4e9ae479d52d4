// Monitor: one thread per runtime that sees what no busy processor can see of itself.
//
// Protocol    Every 10 ms while anything runs:
//             1. A processor whose tick has not moved for 10 ms runs a hog. If work waits and no processor sleeps, an extra one is
//                added, up to the cap; the kernel then shares the cores.   2. No hog left: extra processors are asked to retire, which
//                they do at their next dispatch. So were surplus ones: those that fell asleep or were lent meanwhile are woken for it.   3. Work or due timers wait and a processor sleeps (a run_next behind a
//                fiber that goes on running, a busy processor's timer): one is woken.   4. deadlock, trace line, stack trim.
//             5. Where it is automatic, the number of processors follows the load (load_watch.hpp).
//             6. Sockets are looked after where no processor has for 10 ms, and all the time while all are lent (poll_role.hpp).
//             7. the next few slots are looked at, for waits that are not noted yet (dump.hpp).
//             8. Memory: a processor that has slept for 50 ms is asked for the blocks in its cache, one in each round; the allocator's scavenger
//                may do a step; where no fiber has run for half a second it settles the heap.
//             Nothing has run for 100 ms: it sleeps until a processor wakes, or a lent one's timer is due. Fibers may be inside tern::blocking
//             meanwhile, unless there are sockets to look after.
// Invariants  I1 it touches of a processor only what all may read, and wakes through the idle set.
// Rejected    The monitor flushing an idle processor's cache itself: it would take the processor, as a searcher that finds nothing, and whoever
//             publishes work or wants it meanwhile would have to be told; its own worker has all that. A deadline for each sleep: a wake of every
//             idle worker, and most have little.
//             Preempting a hog by a signal: C++ code is not async-signal-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <new>
#include <utility>

#include <tern/base/debug_options.hpp>
#include <tern/os/clock.hpp>
#include <tern/sched/deadlock.hpp>
#include <tern/sched/dump.hpp>
#include <tern/sched/load_watch.hpp>
#include <tern/sched/poll.hpp>
#include <tern/sched/processor_count.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/stack_pool.hpp>

namespace tern::inline v1::detail {

inline constexpr os::nanoseconds monitor_period = 10'000'000;
inline constexpr os::nanoseconds hog_time = 10'000'000;
inline constexpr os::nanoseconds trim_period = 1'000'000'000;
inline constexpr int rounds_before_sleep = 10;
inline constexpr os::nanoseconds cache_patience = 50'000'000;
inline constexpr os::nanoseconds heap_patience = 500'000'000;
inline constexpr std::size_t least_flush = std::size_t{64}
                                           << 10;  // bytes in a cache for which its worker is not woken

// The line of TERN_DEBUG=schedtrace=N: the state now, and after the bar what was done since the last line; README.md explains the words.
inline void trace_scheduler(scheduler& s, os::nanoseconds since_start, scheduler_counters& before) {
  const scheduler_statistics now = s.statistics();
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::size_t timers = 0;
  for (std::uint32_t i = 0; i < s.regular(); ++i) {
    lock_scope hold{s.at(i).timers_lock};
    timers += s.at(i).timers.size();
  }
  std::fprintf(stderr,
               "tern: sched '%s' %lldms: processors=%u awake=%u searching=%u extra=%u lent=%u workers=%u "
               "live=%llu blocking=%u timers=%zu inject=%zu",
               s.options().name, static_cast<long long>(since_start / 1'000'000), s.count(), s.idle_.awake(),
               s.idle_.searching(), s.extras_.load(memory_order_relaxed), s.lent_.load(memory_order_relaxed),
               now.workers, number(now.live_fibers), s.gate_.count(), timers, s.inject_.size());
  const scheduler_counters& t = now.total;
  std::fprintf(stderr,
               " | spawned=%llu dispatched=%llu parks=%llu wakes=%llu stolen=%llu/%llu injected=%llu "
               "handed_off=%llu sleeps=%llu timers=%llu [",
               number(t.spawned - before.spawned), number(t.dispatched - before.dispatched),
               number(t.parks - before.parks), number(t.wakes - before.wakes),
               number(t.stolen - before.stolen), number(t.steals - before.steals),
               number(t.injected - before.injected), number(t.handed_off - before.handed_off),
               number(t.sleeps - before.sleeps), number(t.timers_fired - before.timers_fired));
  before = t;
  for (std::uint32_t i = 0; i < s.slots(); ++i)
    if (s.at(i).state.load(memory_order_relaxed) != processor_state::unused)
      std::fprintf(stderr, "%s%zu", i == 0 ? "" : " ", s.at(i).ring.size());
  std::fputs("]\n", stderr);
}

// What waits for a processor, and how many processors run a hog.
struct monitor_view {
  bool work_waits = false;
  unsigned hogs = 0;
  unsigned serving = 0;  // processors that come by the poller themselves
};

inline monitor_view look(scheduler& s, os::nanoseconds now) noexcept {
  monitor_view v;
  v.work_waits = s.any_injected() || s.wanting_.load(memory_order_relaxed) != 0;
  for (std::uint32_t i = 0; i < s.slots(); ++i) {
    processor& p = s.at(i);
    const processor_state state =
        p.state.load(memory_order_relaxed);  // relaxed, here: a view that is old by a round will do
    if (state == processor_state::unused) continue;
    const bool queued =
        !p.ring.is_empty() || p.forks.has_public() || !p.tasks.is_empty() || p.run_next.look() != nullptr;
    // A lent processor's worker cannot keep its timers: whoever is woken in the round before keeps them to the moment.
    const os::nanoseconds due =
        state == processor_state::lent ? now + monitor_period : now - monitor_period / 10;
    if (queued || p.timers.earliest() <= due) v.work_waits = true;
    const std::uint64_t tick = p.tick.load(memory_order_relaxed);
    const bool runs = state == processor_state::running;
    if (!runs || tick != p.monitor_tick) {
      p.monitor_tick = tick;
      p.monitor_since = now;
      if (runs) ++v.serving;
    } else if (now - p.monitor_since < hog_time) {
      ++v.serving;
    } else if (!p.extra) {
      ++v.hogs;
    }
  }
  return v;
}

// Asks the next processor that has slept for `cache_patience` for the blocks in its cache. False: none has any, or will have before it runs.
inline bool look_after_caches(scheduler& s, os::nanoseconds now) noexcept {
  bool some = false;
  for (std::uint32_t i = 0; i < s.slots(); ++i) {
    processor& p = s.at(i);
    const std::uint64_t tick = p.tick.load(memory_order_relaxed);  // relaxed, here: as in look()
    const processor_state state = p.state.load(memory_order_relaxed);
    if (state == processor_state::unused || tick == p.flushed_tick) continue;
    if (tick != p.rest_tick || state != processor_state::idle) {
      p.rest_tick = tick;
      p.rest_since = now;
    }
    if (state == processor_state::lent) continue;
    some = true;
    if (now - p.rest_since < cache_patience) continue;
    thread_cache* cache = nullptr;
    {
      lock_scope hold{schedulers.lock};  // under which it was given one
      cache = p.cache;
    }
    if (cache->cached_bytes() < least_flush) {
      p.flushed_tick = tick;
      continue;
    }
    p.rest_since = now;  // its worker may have been about to sleep, and not have seen it
    p.request.fetch_or(request_flush, memory_order_seq_cst);
    if (s.idle_.rouse(p.idle)) s.start(p);
    break;
  }
  return some;
}

// No fiber runs or is about to. Some may be inside tern::blocking, which is what sets this apart from is_quiet().
inline bool is_at_rest(scheduler& s) noexcept {
  return s.idle_.awake() == 0 && !s.any_injected() && s.spares_waking_.load(memory_order_seq_cst) == 0 &&
         s.wanting_.load(memory_order_seq_cst) == 0;
}

// Of the processors that are lent, which have nobody else to keep their timers.
inline os::nanoseconds earliest_lent_timer(scheduler& s) noexcept {
  os::nanoseconds earliest = os::never;
  for (std::uint32_t i = 0; i < s.regular(); ++i)
    // relaxed: at rest nobody lends another one.
    if (s.at(i).state.load(memory_order_relaxed) == processor_state::lent)
      earliest = std::min(earliest, s.at(i).timers.earliest());
  return earliest;
}

// Once barriers in every thread are to be had. False: thieves were about, try again.
inline bool scheduler::open_next_slots() noexcept {
  bool all = true;
  for (std::uint32_t i = 0; i < slots(); ++i)
    if (!at(i).run_next.open()) all = false;
  return all;
}

TERN_COLD inline void scheduler::follow_load(std::uint32_t n) noexcept {
  try {
    set_count(n);
  } catch (const std::bad_alloc&) {  // the next window asks again
  }
}

inline void scheduler::run_monitor() noexcept {
  bind_cache(shared_cache());
  // Where there were threads before, the kernel takes some 10 ms for the first barrier of a process: here they delay nobody.
  bool opening = os::barrier_in_every_thread();
  const os::nanoseconds trace_period = debug_option("schedtrace") * 1'000'000;
  const os::nanoseconds begin = os::now();
  os::nanoseconds next_trace = trace_period > 0 ? begin + trace_period : os::never;
  scheduler_counters traced;  // as of the last line
  os::nanoseconds next_trim = begin + trim_period;
  int quiet_rounds = 0;
  int surveys = 0;                // of all slots, ended since a fiber last ran
  std::uint64_t surveyed_at = 0;  // dispatches then
  stack_pool::cursor survey_at;
  bool trimming = true;  // the last trim found something
  bool caches_wait = true;
  os::nanoseconds next_settle = begin + heap_patience;  // never, when that is done
  load_watch load;
  monitor_view v;
  while (stopping_.load(memory_order_acquire) == 0) {
    os::nanoseconds until = os::now() + monitor_period;
    const bool looks_after_sockets = gate_.count() != 0 && watching_poller() != nullptr;
    // 2: the first may have begun before
    if (quiet_rounds > rounds_before_sleep && surveys >= 2 && !looks_after_sockets && !caches_wait) {
      const os::nanoseconds lent_timer = earliest_lent_timer(*this);
      if (lent_timer == os::never || lent_timer - monitor_period > until) {
        until = next_trace < next_trim ? next_trace : next_trim;
        if (!trimming && (is_empty() || deadlock_reported_)) until = next_trace;
        if (lent_timer != os::never) until = std::min(until, lent_timer - monitor_period);
        until = std::min(until, next_settle);
      }
      // seq_cst: pairs with notice_awake().
      monitor_sleeps_.store(1, memory_order_seq_cst);
      if (idle_.awake() != 0) until = 0;
      load.forget();
    }
    // Not where hogs are about: the look below, and the extra processor that comes of it, serve those, and a worker that has lost its CPU looks
    // like one.
    const bool for_others =
        until != 0 && (quiet_rounds == 0 || looks_after_sockets) && v.serving == 0 && v.hogs == 0;
    if (!for_others || !poll_for_others(*this, until)) {
      if (until != 0) os::futex_wait(monitor_signal_, 0, until);
    }
    if (monitor_signal_.exchange(0, memory_order_acq_rel) != 0) quiet_rounds = 0;
    monitor_sleeps_.store(0, memory_order_relaxed);  // relaxed: a wake that comes now finds the monitor awake

    if (opening) opening = !open_next_slots();

    const os::nanoseconds now = os::now();
    v = look(*this, now);
    // relaxed: a hint.
    if (now - last_poll.load(memory_order_relaxed) >= monitor_period)
      static_cast<void>(poll_for_others(*this, 0));
    quiet_rounds = is_at_rest(*this) ? quiet_rounds + 1 : 0;
    // Not by that: a fiber may run and wait again between two rounds.
    if (const std::uint64_t n = dispatches(*this); n != std::exchange(surveyed_at, n)) {
      surveys = 0;
      next_settle = now + heap_patience;
      heap_scavenger.poll();
    } else if (now >= next_settle) {
      next_settle = heap_scavenger.settle() ? now + monitor_period : os::never;
    }
    caches_wait = look_after_caches(*this, now);
    if (surveys < 2 &&
        stack_pool::visit_some(
            survey_at, survey_slots, [now](void* control) { note_wait(*static_cast<fiber*>(control), now); }))
      ++surveys;
    if (v.work_waits && idle_.searching() == 0) {
      if (idle_member* m = idle_.wake_any(); m != nullptr)
        start(of(*m));
      else if (lent_.load(memory_order_seq_cst) != 0)
        wake_slow();
      else if (v.hogs != 0)
        add_extra();
    }
    for (std::uint32_t i = count(); i < regular_; ++i)
      if (at(i).state.load(memory_order_relaxed) != processor_state::unused &&
          (at(i).request.load(memory_order_relaxed) & request_retire) != 0)
        send_off(at(i));
    if (v.hogs == 0 && extras_.load(memory_order_relaxed) != 0)
      for (std::uint32_t i = regular_; i < slots(); ++i)
        if (at(i).state.load(memory_order_relaxed) != processor_state::unused) {
          at(i).request.fetch_or(request_retire, memory_order_seq_cst);
          if (idle_.rouse(at(i).idle)) start(at(i));
        }
    if (options_.automatic_processors && !(for_others && now < until)) {
      const std::uint32_t awake = idle_.awake();
      const std::uint32_t searching = idle_.searching();
      const bool all_run = searching == 0 && awake >= idle_.total();
      const std::uint32_t before = count();
      const std::uint32_t n =
          load.advise(before, regular_, awake > searching ? awake - searching : 0, v.work_waits && all_run);
      if (n != before) follow_load(n);
    }
    watch_deadlock(now);
    if (now >= next_trace) {
      trace_scheduler(*this, now - begin, traced);
      next_trace = now + trace_period;
    }
    if (now >= next_trim) {
      trimming = stack_pool::trim_every_pool() != 0;
      next_trim = now + trim_period;
    }
  }
  bind_cache(nullptr);
}

inline void* scheduler::monitor_entry(void* s) {
  static_cast<scheduler*>(s)->run_monitor();
  return nullptr;
}

}  // namespace tern::inline v1::detail

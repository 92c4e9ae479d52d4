// Processor count: how many of the regular processors are in use, changed while they run.
//
// Context     runtime::set_processors, and the monitor where the count is automatic.
// Protocol    Fewer   1. under the registry's lock: the count, then request_retire to each surplus processor   2. those that sleep or are lent are
//                     taken out of the idle set and given to a worker   3. at its next dispatch each goes through scheduler::retire(): what it has
//                     queued goes to the inject queue, its timers to processor 0, its cache to the central lists; it leaves the collector and the
//                     idle set, and is `unused`. Its worker becomes a spare.
//             More    1. under the lock: the count; the unused ones are announced to the collector and enter the idle set asleep; a request that
//                     was not answered yet is taken back   2. a sleeper is woken, and wakes further ones if it finds work.
//             Again   Who retires asks under the same lock whether it is in use again, and goes to sleep instead.
// Invariants  I1 a processor that retires for good does so once per request, under the lock, so a count is never missed by both sides.
//             I2 processor 0 is always in use: a wait's timer moves at most once, to there (park_until() relies on it).
// Ordering    Request, then a look into the idle set; going to sleep: into the idle set, then a look at the request. One of the two sees the other.
//             Who misses it in lending is found there by the monitor, which sends off what is left.
// Rejected    Stopping the world, as Go does: every fiber would wait for the slowest processor. Destroying surplus processors: thieves, the
//             monitor and dumps look at any processor at any time.
// Limits      A fiber that computes keeps its surplus processor until it parks, yields or ends.
#pragma once

#include <cstdint>
#include <new>
#include <system_error>

#include <tern/sched/dispatch.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/workers.hpp>

namespace tern::inline v1::detail {

TERN_COLD inline void scheduler::set_count(std::uint32_t n) {
  if (dead_) dead_fatal();
  if (n == 0 || n > regular_)
    throw std::system_error(
        EINVAL, std::generic_category(),
        "tern: runtime::set_processors: not between 1 and runtime_options.max_processors");
  {
    lock_scope hold{schedulers.lock};
    for (std::uint32_t i = 0; i < n; ++i)
      if (!provide_cache(at(i))) throw std::bad_alloc{};
    count_.store(n, memory_order_relaxed);
    for (std::uint32_t i = 0; i < n; ++i) {
      processor& p = at(i);
      // acquire: pairs with the store in retire().
      if (p.state.load(memory_order_acquire) != processor_state::unused) {
        // One that has not come to it need not retire; one that is about to finds its index in use.
        if ((p.request.load(memory_order_relaxed) & request_retire) != 0)
          p.request.fetch_and(~request_retire, memory_order_relaxed);
        continue;
      }
      announce(p);
      {
        lock_scope timers{p.timers_lock};
        p.keeps_timers = true;
      }
      idle_.add(p.idle);
    }
    for (std::uint32_t i = n; i < regular_; ++i)
      if (at(i).state.load(memory_order_relaxed) != processor_state::unused)
        // seq_cst: before the look into the idle set below; a worker that goes to sleep enters it, then looks at the request.
        at(i).request.fetch_or(request_retire, memory_order_seq_cst);
  }
  // Outside the lock, since threads may be started. A count that grows meanwhile makes these wake for nothing.
  for (std::uint32_t i = n; i < regular_; ++i)
    if ((at(i).request.load(memory_order_relaxed) & request_retire) != 0) send_off(at(i));
  work_published();
  notice_awake();  // the monitor sends those off that are lent now
  if (TERN_UNLIKELY(wanting_.load(memory_order_seq_cst) != 0)) serve_wanting();
}

// To processor 0, whatever is in p's heap. In batches: others may wait for either lock.
TERN_COLD inline void scheduler::hand_over_timers(processor& p) noexcept {
  constexpr int batch = 64;
  processor& to = at(0);
  bool first = false;
  for (bool more = true; more;) {
    // Both locks: a waiter that ends meanwhile finds its node in one heap or in the other. Never taken the other way round.
    lock_scope from{p.timers_lock};
    lock_scope into{to.timers_lock};
    p.keeps_timers = false;
    for (int i = 0; i < batch && more; ++i) {
      timer_node* n = p.timers.pop_due(os::never);
      more = n != nullptr;
      if (!more) break;
      n->home = &to;
      first |= to.timers.insert(*n);
    }
  }
  if (first) recheck_sleeper(to);
}

}  // namespace tern::inline v1::detail

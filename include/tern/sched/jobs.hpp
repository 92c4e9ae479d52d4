// Jobs: work that is no fiber yet - fork_join's closures - and how a worker makes a fiber for it.
//
// Context     fork_join.hpp puts them into the processor; dispatch sends a worker to its loop for them now and then, and the loop looks
//             for them where it looks for fibers.
// Structure   A split_deque per processor: closures on their parents' stacks; each one that is taken becomes a fiber.
// Protocol    A fiber with private forks leaves its processor: `next_poll` is 0, so the dispatch is a slow one, which publishes them.
//             Every poll that finds public forks sets request_jobs: the dispatch after it goes to the worker loop,
//             which makes a fiber for one of them. So they are not starved by a ring that is never empty.
//             A searcher sets request_share where it sees private forks only; their owner publishes its oldest at its next fork.
// Invariants  I1 a private fork about => next_poll is 0. I2 a job leaves its queue once.
// Ordering    Publication is seq_cst and then looks for sleepers; the rescan of idle.hpp looks at the same words, and leaves a
//             request where it sees private forks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include <tern/ds/split_deque.hpp>
#include <tern/sched/dispatch.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/spawn.hpp>

namespace tern::inline v1::detail {

struct fork_job;

struct fork_kind {
  void (*run)(fork_job&);  // calls the closure
  std::size_t bytes;       // of the closure, for the collector
};

struct fork_job : split_item {
  const fork_kind* kind;
  void* closure;  // in the frame of whoever forks
  fiber* thief;   // runs it, once taken; the deque's lock
};

struct forked_call {
  fork_job* job;
  void operator()() const { job->kind->run(*job); }
};

// Owner of p. A fiber for the oldest public fork of `from`, not queued anywhere. Null where there is none, or no stack.
inline fiber* take_fork(processor& p, processor& from) noexcept {
  fiber* f = nullptr;
  from.forks.steal([&](split_item& item) noexcept {
    auto& job = static_cast<fork_job&>(item);
    try {
      f = &take_slot(*p.home, &p, 0);
    } catch (...) {
      return false;
    }
    void* place = reinterpret_cast<void*>(round_down(to_word(f) - sizeof(forked_call), 16));
    ::new (place) forked_call{&job};
    prepare_fiber(*f, *p.home, &p, 0);
    f->closure = place;
    f->body = &run_closure<forked_call>;
    make_context(f->saved_context, place, &fiber_entry);
    job.thief = f;
    // relaxed: see hooks.hpp.
    if (TERN_UNLIKELY(hooks_armed.load(memory_order_relaxed) != 0))
      spawned_slow(&p, *f, job.closure, job.kind->bytes);
    f->stack_state.store(fiber::saved, memory_order_release);  // pairs-with: for_each_fiber()
    bump(p.counters.spawned);
    return true;
  });
  if (f != nullptr && &from != &p) bump(p.counters.stolen), bump(p.counters.steals);
  return f;
}

}  // namespace tern::inline v1::detail

// Jobs: work that is no fiber yet - fork_join's closures, and ready tasks - and how a worker makes a fiber for it.
//
// Context     fork_join.hpp and task.hpp put them into the processor; dispatch sends a worker to its loop for them now and then, and the
//             loop looks for them where it looks for fibers.
// Structure   A split_deque per processor: closures on their parents' stacks; each one that is taken becomes a fiber.
//             A run_queue of ready tasks per processor, and a shared inject queue of them. One fiber, a carrier, runs those of the processor
//             on which it finds itself one after the other, and ends when there are none.
// Protocol    A fiber with private forks leaves its processor: `next_poll` is 0, so the dispatch is a slow one, which publishes them.
//             Every poll that finds public forks sets request_jobs: the dispatch after it goes to the worker loop,
//             which makes a fiber for one of them. So they are not starved by a ring that is never empty.
//             A searcher sets request_share where it sees private forks only; their owner publishes its oldest at its next fork.
//             Ready tasks: a worker whose fibers have run out makes a carrier; so does a poll, where no carrier has run since the last one. A
//             carrier yields after 16 resumptions. One that a task parks is a fiber that waits, and the other tasks get another carrier.
//             A task that continues with another one (`transfer`) leaves it in the processor, and the carrier resumes it next.
// Invariants  I1 a private fork about => next_poll is 0. I2 a job leaves its queue once. I3 `transfer` is null but between the suspension
//                that sets it and the return to the carrier, which is on the same worker.
// Ordering    Publication is seq_cst and then looks for sleepers; the rescan of idle.hpp looks at the same words, and leaves a
//             request where it sees private forks. A task is handed over by its queue, as fibers are.
// Rejected    To resume a task on the worker's own stack: a task that locks a mutex, joins or enters tern::blocking would have no
//             stack to park. A carrier that stays: it would be one more fiber in every ring.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

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

// Owner of p. A fiber that will call `call`, not published yet. Null: no stack is left.
template <class Call>
fiber* make_job_fiber(processor& p, const Call& call, std::string_view name) noexcept {
  fiber* f = nullptr;
  try {
    f = &take_slot(*p.home, &p, 0);
  } catch (...) {
    return nullptr;
  }
  void* place = reinterpret_cast<void*>(round_down(to_word(f) - sizeof(Call), 16));
  ::new (place) Call{call};
  f->flags = 0;
  f->home = p.home;
  prepare_fiber(*f, &p);
  set_name(*f, name);
  f->closure = place;
  f->body = &run_closure<Call>;
  make_context(f->saved_context, place, &fiber_entry);
  return f;
}
inline void publish_job_fiber(processor& p, fiber& f, const void* closure, std::size_t bytes) noexcept {
  // relaxed: see hooks.hpp.
  if (TERN_UNLIKELY(hooks_armed.load(memory_order_relaxed) != 0)) spawned_slow(&p, f, closure, bytes);
  f.stack_state.store(fiber::saved, memory_order_release);  // pairs-with: for_each_fiber()
  bump(p.counters.spawned);
}

// Owner of p. A fiber for the oldest public fork of `from`, not queued anywhere. Null where there is none, or no stack.
inline fiber* take_fork(processor& p, processor& from) noexcept {
  fiber* f = nullptr;
  from.forks.steal([&](split_item& item) noexcept {
    auto& job = static_cast<fork_job&>(item);
    f = make_job_fiber(p, forked_call{&job}, {});
    if (f == nullptr) return false;
    job.thief = f;
    publish_job_fiber(p, *f, job.closure, job.kind->bytes);
    return true;
  });
  if (f != nullptr && &from != &p) bump(p.counters.stolen), bump(p.counters.steals);
  return f;
}

// ---- tasks ----

inline constexpr std::uint32_t carrier_turn = 16;  // resumptions between two yields of a carrier
inline constexpr std::size_t task_batch = 32;      // taken from the shared queue at a time
inline constexpr std::size_t share_at_once =
    32;  // fibers, or tasks, in a ring that a thief does not wait for: one steal pays for many

// Owner of p. A fair share of the shared queue: one to run, the others to the ring.
TERN_COLD inline task_node* take_injected_tasks(processor& p) noexcept {
  scheduler& s = *p.home;
  std::size_t share = s.task_inject_.size() / s.count() + 1;
  if (share > task_batch) share = task_batch;
  inject_queue<task_node, &task_node::next>::batch batch;
  if (s.task_inject_.pop(batch, share) == 0) return nullptr;
  task_node* first = batch.pop_front();
  if (batch.is_empty()) return first;
  while (task_node* n = batch.pop_front()) push_task(p, *n, memory_order_seq_cst);
  s.work_published();
  return first;
}

// Owner of p; the n-th time that its carrier asks. The shared queue comes first now and then, since the ring may never be empty.
inline task_node* next_task(processor& p, std::uint32_t n) noexcept {
  task_node* t = nullptr;
  if (TERN_UNLIKELY(n % processor::poll_interval == 0)) t = take_injected_tasks(p);
  if (t == nullptr) t = p.tasks.pop();
  return t != nullptr ? t : take_injected_tasks(p);
}

// A carrier's work: the ready tasks of the processor on which it finds itself, until there are none.
inline void run_tasks() {
  task_node* t = nullptr;
  for (std::uint32_t n = 1;; ++n) {
    processor& p = *current_processor();
    if (t == nullptr && (t = next_task(p, n)) == nullptr) return;
    p.carried = true;
    std::coroutine_handle<>::from_address(t->frame).resume();
    // The task may have parked this fiber: everything is read anew.
    processor& here = *current_processor();
    t = std::exchange(here.transfer, nullptr);
    if (TERN_LIKELY(n % carrier_turn != 0)) continue;
    // Other tasks, fibers, timers and the collector want their turn: also of tasks that go from one to the next and never wait.
    if (t != nullptr && has_ready_tasks(here))
      make_task_ready(*std::exchange(t, nullptr), task_arrival::put_off);
    yield_fiber(*current_worker());
  }
}

struct carrier_call {
  void operator()() const { run_tasks(); }
};

// Owner of p. A carrier, not queued anywhere, where p has ready tasks. Null where there are none, or no stack.
inline fiber* take_tasks(processor& p) noexcept {
  if (!has_ready_tasks(p)) return nullptr;
  fiber* f = make_job_fiber(p, carrier_call{}, "tasks");
  if (f != nullptr) {
    // relaxed: as prepare_fiber() does, published by stack_state.
    f->join_word.store(fiber::join_detached, memory_order_relaxed);
    publish_job_fiber(p, *f, nullptr, 0);
  }
  return f;
}

// Owner of p. The same for tasks of another processor, half of which move to p; where they lie for a moment only they are left alone, as fibers are.
inline fiber* steal_tasks(processor& p, processor& victim, os::nanoseconds now) noexcept {
  const auto seen = victim.tasks.look();
  const std::size_t queued = seen.size();
  if (TERN_LIKELY(queued == 0) || (queued < share_at_once && !victim.tasks_wait(seen, now))) return nullptr;
  task_node* t = victim.tasks.steal_into(p.tasks);
  if (t == nullptr) return nullptr;
  bump(p.counters.stolen, p.tasks.size() + 1);
  bump(p.counters.steals);
  push_task(p, *t, memory_order_release);
  return take_tasks(p);
}

}  // namespace tern::inline v1::detail

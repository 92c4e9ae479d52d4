// Ready: where a fiber or a task that can run is put, and who is woken for it.
//
// Context     Wakes, yields and spawns end here; who takes from the queues is in dispatch.hpp and worker_loop.hpp.
// Structure   A processor's run_next and ring, a worker's box for pinned fibers, the shared inject queues.
// Invariants  I1 what is published where others may be woken for it is published with a StoreLoad before the look at the sleepers (idle.hpp),
//                except by yields, which come by again.
// Ordering    A fiber is handed over by the release of the queue it goes through.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/os/clock.hpp>
#include <tern/sched/inspect.hpp>
#include <tern/sched/park.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/registry.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/trace.hpp>

namespace tern::inline v1::detail {

// ---- making fibers runnable ----

// The ring is full: its older half goes to the inject queue, with jump pointers for whoever takes it out (Luk and Mowry 1996): of many
// fibers each one is cold by then, and the way through `next` alone would wait for memory once for each.
TERN_COLD inline void push_overflow(processor& p, fiber& f) noexcept {
  constexpr std::size_t ahead = 8;
  std::uint64_t moved = 0;
  fiber* latest[ahead] = {};
  inject_queue<fiber, &fiber::next>::batch batch;
  const auto move = [&](fiber* g) noexcept {
    fiber*& earlier = latest[moved % ahead];
    if (earlier != nullptr) earlier->note_later(*g);
    earlier = g;
    batch.push_back(g);
    ++moved;
  };
  p.ring.push(&f, move, memory_order_seq_cst);
  if (moved == 0) return;
  p.home->inject_.push(batch);
  bump(p.counters.overflowed, moved);
}

// Wakes a processor for what lies in p's ring; the count of its wait begins now. Owner of p.
TERN_COLD inline void wake_for(processor& p) noexcept {
  static_cast<void>(p.queue_waits(p.ring.look(), os::now()));
  p.home->wake_slow();
}

// Owner of p. Behind all that is queued. False: nobody else could be woken, and no StoreLoad was spent. An extra processor that the
// monitor is adding now searches at once, and the monitor itself looks again after its period.
TERN_ALWAYS_INLINE bool push_shared(processor& p, fiber& f) noexcept {
  const bool others = p.home->idle_.total() != 1;
  // seq_cst: pairs with the rescan of a processor that goes to sleep, see idle.hpp.
  if (TERN_UNLIKELY(!(others ? p.ring.try_push(&f, memory_order_seq_cst) : p.ring.try_push(&f))))
    push_overflow(p, f);
  return others;
}

// Owner of p. Behind all that is queued.
TERN_ALWAYS_INLINE void push_tail(processor& p, fiber& f) noexcept {
  if (push_shared(p, f) && TERN_UNLIKELY(p.home->idle_.should_wake())) wake_for(p);
}

// The same for a fiber that another one has woken. Fibers that wake each other lie here for a moment only: no syscall for them while
// somebody dozes.
inline void push_woken(processor& p, fiber& f) noexcept {
  if (push_shared(p, f) && TERN_UNLIKELY(p.home->idle_.should_wake_soon())) wake_for(p);
}

// Owner of p, for a fiber that yields. No StoreLoad between the push and the look at the sleepers: one that is just falling asleep may
// be missed, but the fibers that take turns here come by again, and the monitor looks as well.
TERN_ALWAYS_INLINE void push_yielded(processor& p, fiber& f) noexcept {
  if (TERN_UNLIKELY(!p.ring.try_push(&f))) push_overflow(p, f);
  if (TERN_UNLIKELY(p.home->idle_.should_wake_soon())) wake_for(p);
}

// Owner of p, which is of f's runtime.
TERN_ALWAYS_INLINE void make_ready_here(processor& p, fiber& f, wake_place place) noexcept {
  bump(p.counters.wakes);
  if (place == wake_place::tail) return push_woken(p, f);
  // A lone local wake arms no searcher: the waker is about to park, or its other work keeps it busy; a thief may take run_next after a while.
  if (TERN_LIKELY(p.run_next.look() == nullptr)) return p.run_next.fill(&f);
  fiber* before = p.run_next.replace(&f);
  if (before != nullptr) push_woken(p, *before);
}

// To its worker's box. The runtime is kept alive as in inject().
TERN_COLD inline void wake_pinned(processor* p, fiber& f) noexcept {
  scheduler& s = f.runtime();
  worker& w = *f.pinned_to;
  if (s.is_dead()) dead_fatal();
  if (p != nullptr && p->home == &s) bump(p->counters.wakes);
  s.injecting_.fetch_add(1, memory_order_relaxed);
  if (processor* at = w.box.post(f); at == nullptr) {
    s.want_processor(w);
  } else {
    // seq_cst: before the look into the idle set; see pin_box.hpp.
    at->request.fetch_or(request_pins, memory_order_seq_cst);
    if (at != p && s.idle_.rouse(at->idle)) s.start(*at);
  }
  s.injecting_.fetch_sub(1, memory_order_release);  // pairs-with: wait_until_empty()
}

// The thread holds no processor of the fiber's runtime, or the fiber is pinned, or a trace is on.
TERN_COLD inline void make_ready_slow(processor* p, fiber& f, wake_place place) noexcept {
  if (is_tracing()) record(p, trace_kind::wake, {.fiber = f.id});
  if (f.is_pinned()) return wake_pinned(p, f);
  if (p == nullptr || p->home != f.home) return f.home->inject(f);
  make_ready_here(*p, f, place);
}

// Makes a suspended fiber runnable. Requires: the caller is the only one that knows it.
inline void make_ready(fiber& f, wake_place place) noexcept {
  // relaxed: for dumps.
  f.wait_what.store(nullptr, memory_order_relaxed);
  processor* p = current_processor();
  // relaxed: see trace.hpp.
  if (TERN_UNLIKELY(p == nullptr || p->wake_home.load(memory_order_relaxed) != f.home))
    return make_ready_slow(p, f, place);
  make_ready_here(*p, f, place);
}

// ---- making tasks ready ----

// How a task comes to be ready: who is woken for it is as for a fiber, see push_tail(), push_woken() and push_yielded().
enum class task_arrival : std::uint8_t { started, woken, put_off };

// Owner of p. Behind the ready tasks; where they fill their ring, its older half goes to the shared queue.
inline void push_task(processor& p, task_node& n, memory_order publish) noexcept {
  inject_queue<task_node, &task_node::next>::batch batch;
  p.tasks.push(&n, [&](task_node* m) noexcept { batch.push_back(m); }, publish);
  p.home->task_inject_.push(batch);
}

// Makes a suspended task ready. Requires: the caller is the only one that knows it; it may run and be gone at once.
inline void make_task_ready(task_node& n, task_arrival how) noexcept {
  processor* p = current_processor();
  if (TERN_UNLIKELY(p == nullptr || p->home != n.home)) return n.home->inject_task(n);
  idle_set<>& idle = p->home->idle_;
  const bool others = idle.total() != 1;
  // seq_cst: as in push_shared(); put off: as in push_yielded().
  push_task(*p, n, others && how != task_arrival::put_off ? memory_order_seq_cst : memory_order_release);
  if (!others) return;
  if (TERN_LIKELY(!(how == task_arrival::started ? idle.should_wake() : idle.should_wake_soon()))) return;
  static_cast<void>(p->tasks_wait(p->tasks.look(), os::now()));
  p->home->wake_slow();
}

}  // namespace tern::inline v1::detail

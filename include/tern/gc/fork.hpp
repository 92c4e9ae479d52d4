// Fork: the child finds the managed heap whole, can make and read objects, and collects nothing: it has no collector's thread.
//
// Context     Called by the scheduler's fork handlers (hooks.hpp), under its locks: the registry's is taken before mutators_lock elsewhere.
//             The allocator's handlers lock after these.
// Limits      Spans that other threads of the parent had taken, destructors that were due and the pages of a cycle that ran are lost to the child.
#pragma once

#include <tern/gc/destructors.hpp>
#include <tern/gc/roots.hpp>
#include <tern/gc/safepoint.hpp>
#include <tern/sched/hooks.hpp>

namespace tern::inline v1::detail::gc {

// All locks of the collector but collector_start_lock, in the order in which they nest. Those of the allocator come later, and what is
// done under the root ranges' lock is done under mark_lock.
template <class F>
void for_each_collector_lock(F&& f) noexcept {
  f(weak_lock);
  f(state.mark_lock);
  f(state.foreign_lock);
  f(state.mutators_lock);
  f(state.pacer_lock);
  f(handshakes.lock);
  shapes.for_each_lock(f);
  f(doomed.lock);
  f(executor.lock);
  handle_slots.for_each_lock(f);
  weak_slots.for_each_lock(f);
  state.records.for_each_lock(f);
  grey_chunks.for_each_lock(f);
  pages.for_each_lock(f);
  chunk_memory.for_each_lock(f);
}

// Of the thread that forks, if it is attached; these locks protect both.
struct forking_thread {
  mutator* self = nullptr;
  bool was_in_runtime = false;
};
inline constinit forking_thread forker;

inline void before_fork() noexcept {
  // A signal handler that acknowledged in this thread's name would wait for locks that the thread itself holds.
  mutator* const self = own_mutator_if_any();
  const bool outer = self != nullptr && self->in_runtime.load(memory_order_relaxed);
  if (self != nullptr) self->in_runtime.store(true, memory_order_relaxed);  // relaxed: as in runtime_scope
  asm volatile("" ::: "memory");
  for_each_collector_lock([](spin_lock<>& l) noexcept { l.lock(); });
  forker = {self, outer};
}

// A cycle that ran in the parent goes nowhere here: what its phases ask of mutators is withdrawn, what they and other threads had taken out
// of a list is lost to the child.
inline void withdraw_in_child() noexcept {
  // relaxed, all: the child has one thread.
  state.dead.store(true, memory_order_relaxed);
  state.marking.store(false, memory_order_relaxed);
  barrier.on.store(0, memory_order_relaxed);
  hooks_armed.fetch_and(~armed_marking, memory_order_relaxed);
  world_stopped.store(0, memory_order_relaxed);
  service_threads.store(0, memory_order_relaxed);
  executor.called = nullptr;  // its lock is held
  weak_judged = false;        // so is its lock; what is not marked is never swept here
  if (forker.self != nullptr) forker.self->port.set_acked(state.request.number());
}
inline void after_fork(bool in_child) noexcept {
  if (in_child) withdraw_in_child();
  const forking_thread me = forker;
  // The table's lock last: in the parent a thread that waits for it would add a shape to the walk.
  for_each_collector_lock([](spin_lock<>& l) noexcept {
    if (&l != &shapes.table_lock()) l.unlock();
  });
  shapes.table_lock().unlock();
  asm volatile("" ::: "memory");
  if (me.self != nullptr) me.self->in_runtime.store(me.was_in_runtime, memory_order_relaxed);
}

}  // namespace tern::inline v1::detail::gc

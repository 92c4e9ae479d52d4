// Fork: what becomes of runtimes in a child process, which has one thread: the one that forked.
//
// Context     Registered by the first runtime or the collector, which has no handlers of its own: its locks nest with the registry's. The
//             allocator and the poller have.
// Protocol    Before  the registry, the stack pools and what else the whole process shares are locked, so that the child finds them whole.
//             Child   every runtime is marked dead and taken out of the registry: spawn, run, wakes from outside, tern::blocking and, on
//                     the fiber that forked, every scheduling point end the process with a line. Destroying a dead runtime does nothing.
//                     A new one may be made by a child that a plain thread forked.
// Invariants  I1 the checks lie where others are made already: the request word, the gate's limit, the slow paths of the inject queue.
// Limits      The fibers' stacks and the memory of dead runtimes stay in the child. exec and posix_spawn are not concerned.
#pragma once

#include <tern/alloc/thread_cache.hpp>
#include <tern/os/fork_handlers.hpp>
#include <tern/sched/fiber_local.hpp>
#include <tern/sched/hooks.hpp>
#include <tern/sched/inspect.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/sigquit.hpp>
#include <tern/sched/stack_guard.hpp>
#include <tern/sched/stack_pool.hpp>
#include <tern/sched/trace.hpp>
#include <tern/sched/trace_writer.hpp>

namespace tern::inline v1::detail {

// pthread_atfork runs the handlers before a fork in the reverse order of their registration, so these come before the allocator's, whose
// locks are taken under the registry's.
//
// A trace is begun and written under its locks, those before the registry's; who writes one holds up a fork for that time.
inline constinit os::fork_handlers runtime_forks;

inline void runtimes_before_fork() noexcept {
  runtime_forks.before([]() noexcept {
    collector_start_lock.lock();
    the_environment_trace.lock.lock();
    tracer.control_lock.lock();
    schedulers.lock.lock();
    stack_pool::lock_all();
    // Under none of these another one of the scheduler is taken.
    tracer.foreign_lock.lock();
    inspectors.lock.lock();
    local_index_registry.lock.lock();
    the_fault_handlers.lock.lock();
    the_sigquit.lock.lock();
    if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) h->before_fork();
  });
}
inline void runtimes_after_fork(bool in_child) noexcept {
  if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) h->after_fork(in_child);
  the_sigquit.lock.unlock();
  the_fault_handlers.lock.unlock();
  local_index_registry.lock.unlock();
  inspectors.lock.unlock();
  tracer.foreign_lock.unlock();
  stack_pool::unlock_all();
  schedulers.lock.unlock();
  tracer.control_lock.unlock();
  the_environment_trace.lock.unlock();
  collector_start_lock.unlock();
}
inline void runtimes_in_parent() noexcept {
  runtime_forks.after([]() noexcept { runtimes_after_fork(false); });
}
inline void runtimes_in_child() noexcept {
  runtime_forks.after([]() noexcept {
    for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_) s->mark_dead();
    schedulers.first = nullptr;
    // relaxed: there is no other thread.
    schedulers.runtime_threads.store(0, memory_order_relaxed);
    schedulers.parked_threads.store(0, memory_order_relaxed);
    service_threads.store(0, memory_order_relaxed);
    runtimes_after_fork(true);
  });
}

// Before the first runtime, or the collector, is there. Without memory for them fork stays as it is without handlers.
inline void register_runtime_fork_handlers() noexcept {
  caches.register_fork_handlers();
  static_cast<void>(runtime_forks.ensure(&runtimes_before_fork, &runtimes_in_parent, &runtimes_in_child));
}

}  // namespace tern::inline v1::detail

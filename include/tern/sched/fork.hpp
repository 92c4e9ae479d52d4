// Fork: what becomes of runtimes in a child process, which has one thread: the one that forked.
//
// Context     Registered by the first runtime. The allocator and the collector have handlers of their own.
// Protocol    Before  the registry, the stack pools and what else the whole process shares are locked, so that the child finds them whole.
//             Child   every runtime is marked dead and taken out of the registry: spawn, run, wakes from outside, tern::blocking and, on
//                     the fiber that forked, every scheduling point end the process with a line. Destroying a dead runtime does nothing.
//                     A new one may be made by a child that a plain thread forked.
// Invariants  I1 the checks lie where others are made already: the request word, the gate's limit, the slow paths of the inject queue.
// Limits      The fibers' stacks and the memory of dead runtimes stay in the child. exec and posix_spawn are not concerned.
#pragma once

#include <pthread.h>

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
inline void runtimes_before_fork() noexcept {
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
}
inline void runtimes_after_fork() noexcept {
  the_sigquit.lock.unlock();
  the_fault_handlers.lock.unlock();
  local_index_registry.lock.unlock();
  inspectors.lock.unlock();
  tracer.foreign_lock.unlock();
  stack_pool::unlock_all();
  schedulers.lock.unlock();
  tracer.control_lock.unlock();
  the_environment_trace.lock.unlock();
}
inline void runtimes_in_child() noexcept {
  for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_) s->mark_dead();
  schedulers.first = nullptr;
  // relaxed: there is no other thread.
  schedulers.runtime_threads.store(0, memory_order_relaxed);
  schedulers.parked_threads.store(0, memory_order_relaxed);
  service_threads.store(0, memory_order_relaxed);
  runtimes_after_fork();
}

// Once per process. Without memory for them fork stays as it is without handlers.
inline void register_runtime_fork_handlers() noexcept {
  static constinit atomic<bool> registered{false};
  if (!registered.exchange(true, memory_order_relaxed))  // relaxed: the handlers read what locks protect
    static_cast<void>(::pthread_atfork(&runtimes_before_fork, &runtimes_after_fork, &runtimes_in_child));
}

}  // namespace tern::inline v1::detail

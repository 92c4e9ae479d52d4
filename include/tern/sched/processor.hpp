// Processor: the right to run fibers, with all that is local to it.
//
// Context     A worker (an OS thread) runs fibers only while it holds a processor. There are as many as the runtime was asked
//             for, plus at most a few extra ones that the monitor adds while fibers hog theirs.
// Structure   Fields stand in three groups: the owner's, those that all read, those that thieves contend for.
// Invariants  I1 the owner's group is touched by the worker that holds the processor, and by nobody while it is idle.
//             I2 only the owner moves the ring's tail; anybody may take from its head and take run_next by CAS.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/base/function_ref.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/hooks.hpp>

namespace tern::inline v1::detail {

class thread_cache;
struct worker;

struct processor;

// The processor that this thread holds; null on a plain thread and inside tern::blocking.
processor* current_processor() noexcept;

// Calls fn for each processor of every runtime, idle ones included, under the registry lock: fn must not spawn, park or
// create runtimes.
void for_each_processor(function_ref<void(processor&)> fn);

// Sets request_safepoint in every processor and wakes nobody: idle ones have released theirs (processor_release).
void request_safepoint_all() noexcept;

// Answers a pending safepoint request of this thread's processor, if it has one. For slow paths of the collector and allocator.
void poll_safepoint() noexcept;

// Installs the collector's table. Once per process; calls processor_attach for each processor that exists, and before that
// processor_release semantics do not apply: each running one sees the table at its next safepoint.
void install_collector_hooks(const collector_hooks& table) noexcept;

}  // namespace tern::inline v1::detail

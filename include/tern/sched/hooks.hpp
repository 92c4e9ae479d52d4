// Collector hooks: how a garbage collector above the scheduler sees processors and fibers, without the scheduler knowing it.
//
// Context     The collector installs one constant table, once. The scheduler works with none: then each call is a load of
//             one pointer on a cold path, and the hot ones stand behind `hooks_armed`, which is zero outside marking.
// Protocol    processor_attach before a processor first runs a fiber, processor_detach before it is destroyed.
//             processor_release when its worker stops running it (idle sleep, blocking): from then on the collector may act
//             on its behalf. processor_acquire when a worker takes it again; may wait for a collector that is acting.
//             safepoint when the request word holds request_safepoint, on the running fiber's stack or, where no fiber runs,
//             on the worker's.
//             thread_wait around each wait of a thread that is in the kernel and runs no fiber meanwhile.
//             While armed: try_resume before each switch into a suspended fiber, suspended after each switch out of one,
//             fiber_start before a new fiber first runs, crossing for words that leave one stack for another.
// Invariants  I1 every hook but `crossing`, `thread_wait` and those of a fork runs on the worker that owns the processor, or, at installation time, under the
//                registry lock. I2 no hook parks.
// Ordering    The collector arms, then asks for a safepoint of every processor. A worker reads `hooks_armed` relaxed between two of
//             its own safepoints, so after its acknowledgement it has seen the new value (the request word carries the order).
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/base/function_ref.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1::detail {

struct fiber;
struct processor;

struct collector_hooks {
  void (*processor_attach)(processor&) noexcept;
  void (*processor_detach)(processor&) noexcept;
  void (*processor_release)(processor&) noexcept;
  void (*processor_acquire)(processor&) noexcept;
  void (*safepoint)(processor&) noexcept;
  bool (*try_resume)(processor&,
                     fiber&) noexcept;  // false: the fiber goes to the queue's tail, another is picked
  void (*suspended)(processor&, fiber&) noexcept;  // the fiber's registers and stack are saved
  void (*fiber_start)(processor&, fiber&) noexcept;
  void (*crossing)(const void* words, std::size_t bytes) noexcept;
  void (*thread_wait)(function_ref<void()> wait) noexcept;  // calls wait(), which touches nothing managed
  void (*before_fork)() noexcept;                           // takes the collector's locks
  void (*after_fork)(bool in_child) noexcept;
};

// Held by a collector from before it starts until the table is installed. At a fork the first of the scheduler's locks, the collector's
// others are the last.
inline constinit spin_lock<> collector_start_lock;

// Written once by install_collector_hooks(), under the registry lock; never taken back.
alignas(cache_line_size) inline constinit atomic<const collector_hooks*> installed_hooks{nullptr};

// Non-zero while somebody wants to see switches: then they go through the cold paths, which look at the bits. On a line of its own,
// since every switch reads it. Each bit belongs to one writer, which changes it by an RMW.
inline constexpr std::uint32_t armed_marking = 1;  // the collector marks: all that is said above of `armed`
inline constexpr std::uint32_t armed_inspection = 2;  // inspect.hpp: a resume is a CAS
inline constexpr std::uint32_t armed_trace = 4;       // trace.hpp: events are recorded
// stack_pool.hpp: some slots have a canary; says nothing about resumes, and stays.
inline constexpr std::uint32_t armed_canaries = 8;
struct alignas(contended_line_size) armed_line {
  atomic<std::uint32_t> value{0};
};
inline constinit armed_line hooks_armed_line{};
inline constinit atomic<std::uint32_t>& hooks_armed = hooks_armed_line.value;

// Bits of processor::request.
inline constexpr std::uint32_t request_safepoint =
    1;  // set by the collector, cleared by the worker before it calls safepoint
inline constexpr std::uint32_t request_retire =
    2;  // set by the monitor: an extra processor ends at its next dispatch
inline constexpr std::uint32_t request_dead =
    4;  // set in a fork child: the worker's other fibers cannot run there

// What every use of a runtime leads to in a child process that was forked while it existed (fork.hpp).
[[noreturn]] TERN_COLD inline void dead_fatal() noexcept {
  fatal(
      "a runtime does not live on in a fork child: exec, or fork from a plain thread and make a new runtime");
}

// The signal by which a collector interrupts a fiber that computes; workers leave it open. By default it does nothing, and the kernel drops it
// where nobody has installed a handler.
inline constexpr int interrupt_signal = SIGURG;

// Threads of the library that run no fibers (a collector's, a scavenger's): they do not count as foreign threads for the
// deadlock report. The thread itself adds and takes away one.
inline constinit atomic<int> service_threads{0};

TERN_COLD inline void crossing_slow(const void* words, std::size_t bytes) noexcept {
  if ((hooks_armed.load(memory_order_relaxed) & armed_marking) == 0) return;
  if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) h->crossing(words, bytes);
}

// Words that leave one stack for another: a spawn's closure, a value handed to a parked waiter, a join result. Called before they have left: a
// collector that interrupts the thread up to then finds them there, and afterwards they are shaded. A new fiber's closure is found
// otherwise until the fiber is (gc/signal.hpp).
TERN_ALWAYS_INLINE void crossing(const void* words, std::size_t bytes) noexcept {
  // relaxed: see Ordering above.
  if (TERN_UNLIKELY(hooks_armed.load(memory_order_relaxed) != 0)) crossing_slow(words, bytes);
}

// Calls wait(), in which the calling thread sleeps for as long as it takes.
inline void wait_in_kernel(function_ref<void()> wait) noexcept {
  if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) return h->thread_wait(wait);
  wait();
}

}  // namespace tern::inline v1::detail

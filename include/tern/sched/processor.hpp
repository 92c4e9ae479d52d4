// Processor: the right to run fibers, with all that is local to it; and the worker, the OS thread that holds one.
//
// Context     A worker runs fibers only while it holds a processor. There are as many processors as the runtime may be asked for, of
//             which those beyond the present count are unused, plus at most a few extra ones that the monitor adds while fibers hog theirs.
// Structure   Fields stand in groups: the owner's, those that all read, those that thieves contend for.
// Invariants  I1 the owner's group is touched by the worker that holds the processor, and by nobody while it is idle.
//             I2 only the owner moves the ring's tail; anybody may take from its head and from run_next.
//             I3 while a fiber runs, its worker's `current` and its processor's `current` name it; inside tern::blocking the
//                worker holds no processor and keeps `current`.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>

#include <tern/alloc/thread_cache.hpp>
#include <tern/arch/tls.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/base/function_ref.hpp>
#include <tern/base/random.hpp>
#include <tern/ds/inject_queue.hpp>
#include <tern/ds/next_slot.hpp>
#include <tern/ds/run_queue.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/ds/split_deque.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/hooks.hpp>
#include <tern/sched/idle.hpp>
#include <tern/sched/park.hpp>
#include <tern/sched/pin_box.hpp>
#include <tern/sched/stats.hpp>
#include <tern/sched/timer.hpp>

namespace tern::inline v1::detail {

class scheduler;
struct processor;
struct trace_buffer;

// What the incoming side of a switch does with the fiber that was left (finish_switch).
enum class leave_action : std::uint8_t {
  nothing,  // the worker's own stack was left
  requeue,  // yield: to the tail of the ring
  park,     // wait in `wait`
  inject,   // the worker has no processor: to the shared queue
  move,     // with the processor to the worker's successor
  exit,     // the fiber has ended
  joined,   // the same, and `joiner` was taken from its join word; null: that one goes on here
};

// Where a worker is that runs no fibers; the scheduler's lock.
enum class worker_place : std::uint8_t { busy, spare, wanting };

struct worker {
  // Handed from the outgoing to the incoming side of a switch; both run on this thread.
  processor* held = nullptr;
  fiber* current = nullptr;  // the running fiber, also inside tern::blocking
  fiber* left = nullptr;     // who leaves, from before another one is taken out of a queue
  leave_action action = leave_action::nothing;
  waiter* wait = nullptr;
  wait_core* joiner = nullptr;
  park_commit commit = nullptr;
  void* commit_argument = nullptr;
  exception_globals* exceptions = nullptr;  // this thread's, as the C++ runtime keeps it
  context own_context;                      // the worker's own stack, while a fiber runs
  [[no_unique_address]] sanitizer_fiber sanitizer;
  sanitizer_fiber* left_sanitizer = nullptr;

  scheduler* home = nullptr;
  processor* assigned = nullptr;  // what the next signal makes it run; written before the signal
  processor* lent = nullptr;      // what it left behind in tern::blocking
  list_hook hook{};               // spare or all; the scheduler's lock protects it
  worker* next = nullptr;         // all workers of the runtime; the scheduler's lock
  pthread_t thread{};
  int thread_id = 0;  // the system's
  unsigned index = 0;

  unsigned pins = 0;            // fibers that are pinned to it; its own
  worker* successor = nullptr;  // for leave_action::move
  worker_place place = worker_place::busy;
  pin_box<fiber, processor, inject_queue<fiber, &fiber::next>> box;  // of them, those that may run

  static constexpr std::uint32_t signalled = 1;
  static constexpr std::uint32_t polls = 2;                  // it waits in the poller, not on this word
  alignas(cache_line_size) atomic<std::uint32_t> signal{0};  // futex word: 0 none, or one of these
};

// Bits of processor::request beside the collector's and the monitor's (hooks.hpp); see jobs.hpp.
inline constexpr std::uint32_t request_share = 256;  // set by searchers: publish a fork
inline constexpr std::uint32_t request_jobs =
    512;  // set by the owner: the worker loop makes a fiber for a job

// Set by whoever wakes a pinned fiber or looks for a processor, and by the worker while it runs a pinned fiber: the worker loop looks.
inline constexpr std::uint32_t request_pins = 1024;
inline constexpr std::uint32_t request_poll =
    2048;  // set by the owner: the worker loop looks into the poller
// Set by the monitor where a processor has slept for a while: its worker wakes, gives the cache's blocks back, and sleeps on. Work that has come
// meanwhile goes first, so not among those below.
inline constexpr std::uint32_t request_flush = 4096;
// What the worker loop is for, at the next dispatch.
inline constexpr std::uint32_t request_loop =
    request_safepoint | request_retire | request_jobs | request_pins | request_poll;

enum class processor_state : std::uint32_t { unused, idle, running, lent };

struct alignas(contended_line_size) processor {
  static constexpr std::uint32_t poll_interval =
      61;  // prime, so that it does not beat with a program's own periods

  // The owner's.
  fiber* current = nullptr;
  worker* runner = nullptr;
  scheduler* home = nullptr;
  atomic<scheduler*> wake_home{
      nullptr};  // home; null while a trace records, which leads wakes to the cold path
  thread_cache* cache = nullptr;
  fiber* free_slots = nullptr;  // last in, first out: the warmest slot first
  std::uint32_t free_count = 0;
  std::uint64_t next_poll = 0;  // the tick at which dispatch polls; 0 while private forks are about
  std::uint64_t next_id = 0;    // fiber ids, taken in blocks
  std::uint64_t id_end = 0;
  fast_random random{};
  std::uint32_t index = 0;
  bool extra = false;
  bool carried = false;           // a carrier has run tasks since the last poll
  task_node* transfer = nullptr;  // what the carrier that runs here resumes next; see jobs.hpp
  bool ran_pinned = false;        // last; now it is the turn of others
  trace_buffer* trace = nullptr;  // trace.hpp

  // Read by all, written by one.
  alignas(cache_line_size) atomic<std::uint32_t> request{
      0};  // request_*: set by others with an RMW, cleared by the owner
  alignas(cache_line_size) atomic<std::uint64_t> tick{
      0};  // dispatches; owner writes, thieves and the monitor read
  atomic<processor_state> state{processor_state::unused};  // a hint for thieves, the monitor and dumps
  atomic<int> thread_id{
      0};  // the system's, of the worker that held it last: whom a signal would have to go to
  processor_counters counters;

  // Contended.
  alignas(contended_line_size) next_slot<fiber> run_next;
  run_queue<fiber, 256> ring;
  split_deque<> forks;
  run_queue<task_node, 256> tasks;  // ready ones; see jobs.hpp
  alignas(contended_line_size) spin_lock<> timers_lock;
  bool keeps_timers = false;  // timers_lock; false for extra processors and for those that are not in use
  timer_heap timers;
  idle_member idle;

  // True if something that lies in the ring has lain there for `queue_patience`, as far as those know who have looked: each look begins
  // a new count where all that the last count was about has left. Anybody. The clock of the counts wraps after an hour, and the ring's indices
  // do in the end: a thief then comes early or late once.
  bool queue_waits(run_queue<fiber, 256>::view now_there, std::int64_t now_ns) noexcept {
    return has_waited(queue_count, now_there, now_ns);
  }
  // The same for the ready tasks.
  bool tasks_wait(run_queue<task_node, 256>::view now_there, std::int64_t now_ns) noexcept {
    return has_waited(task_count, now_there, now_ns);
  }
  template <class View>
  static bool has_waited(atomic<std::uint64_t>& word, View now_there, std::int64_t now_ns) noexcept {
    const auto now = static_cast<std::uint32_t>(static_cast<std::uint64_t>(now_ns) >> 10);
    const std::uint64_t count = word.load(memory_order_relaxed);  // relaxed: a hint, whoever writes it
    const auto tail = static_cast<std::uint32_t>(count >> 32);
    if (static_cast<std::int32_t>(now_there.head - tail) < 0)
      return now - static_cast<std::uint32_t>(count) >= queue_patience;
    word.store((std::uint64_t{now_there.tail} << 32) | now, memory_order_relaxed);
    return false;
  }
  static constexpr std::uint32_t queue_patience = 10;  // in 1,024 ns

  alignas(cache_line_size) atomic<std::uint64_t> queue_count{0};  // the tail and the time when a count began
  atomic<std::uint64_t> task_count{0};                            // the same of `tasks`

  // Anybody who looks for work and sees forks that only the owner can publish. relaxed: one that is set is not set again.
  void ask_to_share() noexcept {
    if ((request.load(memory_order_relaxed) & request_share) == 0 && forks.has_private())
      request.fetch_or(request_share, memory_order_seq_cst);
  }

  // The monitor's notes.
  std::uint64_t monitor_tick = 0;
  std::int64_t monitor_since = 0;
  std::uint64_t rest_tick = 0;     // at which it was asleep, or about to
  std::int64_t rest_since = 0;     // or since it was last asked to flush
  std::uint64_t flushed_tick = 0;  // at which its cache had next to nothing
};

TERN_TLS_POINTER(current_worker_word);
TERN_TLS_POINTER(current_processor_word);

// The processor that this thread holds; null on a plain thread and inside tern::blocking. Rejected: the fiber from the stack pointer
// (stack_pool::control_of), 18 instructions instead of 5, for callers of which most want the processor.
TERN_ALWAYS_INLINE processor* current_processor() noexcept {
  return static_cast<processor*>(current_processor_word_get());
}

// The worker that this thread is; null on a plain thread.
TERN_ALWAYS_INLINE worker* current_worker() noexcept {
  return static_cast<worker*>(current_worker_word_get());
}

inline fiber* current_fiber() noexcept {
  if (processor* p = current_processor()) return p->current;
  worker* w = current_worker();
  return w == nullptr ? nullptr : w->current;
}

inline bool in_fiber() noexcept { return current_fiber() != nullptr; }

inline waiter::waiter(const char* what_, const void* object_, waiter_kind kind_) noexcept
    : wait_core{what_, object_, kind_, current_fiber()} {}

}  // namespace tern::inline v1::detail

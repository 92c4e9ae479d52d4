// The collector's state: mutators, flags, queues, counters.
//
// Context     One collector for the process. Everything here is constant-initialised; threads start with the first mutator.
// Structure   mutator   one for each processor and each attached thread: bins, grey buffer, greyed count, port
//             barrier   the flag that every store into managed memory reads, on a line of its own
//             heap_state  the rest, by who may touch it
// Invariants  I1 a mutator's plain fields are touched by its owner, or by the collector while it has the port claimed, or under
//                the registry's lock before the mutator is on the list.
//             I2 a phase changes, and a handshake is posted, under the registry's lock: who attaches meanwhile is told the phase.
//             I3 mark bits, the mark stack and `marked` belong to the holder of mark_lock.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <new>

#include <tern/alloc/metadata.hpp>
#include <tern/alloc/thread_cache.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/histogram.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/gc/cpu_cap.hpp>
#include <tern/gc/handshake.hpp>
#include <tern/gc/pacer.hpp>
#include <tern/gc/span.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/memory.hpp>

namespace tern::inline v1::detail {
struct processor;
struct fiber;
}  // namespace tern::inline v1::detail

namespace tern::inline v1::detail::gc {

// Words on their way to the marker: object addresses, or pieces of arrays in the mark stack.
struct grey_chunk {
  static constexpr std::uint32_t capacity = 252;
  grey_chunk* next = nullptr;
  grey_chunk* pool_next = nullptr;
  std::uint32_t count = 0;
  std::uintptr_t words[capacity];
};

// Memory of its own: the acknowledgement by signal takes chunks, wherever in the allocator it has interrupted its thread.
inline constinit metadata_pool chunk_memory;
inline constinit type_stable_pool<grey_chunk, chunk_memory> grey_chunks;

inline grey_chunk* take_chunk() noexcept {
  grey_chunk* c = grey_chunks.take();
  // A grey object that cannot be noted would be lost, and with it the heap.
  if (c == nullptr) fatal("gc: no memory for the mark queue");
  c->next = nullptr;
  c->count = 0;
  return c;
}

// Free cells of one shape, ready to be handed out.
struct bin {
  char* cursor = nullptr;  // next cell
  char* limit = nullptr;   // end of the run
  span* held = nullptr;
  std::uint32_t next = 0;  // cell after the run
  bool listed = false;     // in mutator::used
};

// What a mutator needs for each shape; a reservation, of which only used parts are ever touched.
struct bin_table {
  bin bins[max_shapes];
  std::uint16_t used[max_shapes];
};

// Words that were shaded lately, the newest of each place: a store of one of them again needs no look at its span (gc/barrier_line).
class shade_filter {
 public:
  TERN_ALWAYS_INLINE bool has(std::uintptr_t word) const noexcept { return words_[place(word)] == word; }
  TERN_ALWAYS_INLINE void note(std::uintptr_t word) noexcept { words_[place(word)] = word; }
  void clear() noexcept {
    for (std::uintptr_t& w : words_) w = 0;
  }

 private:
  static constexpr std::size_t size = 64;
  // Objects are of 16 bytes and more; neighbours of one size, also of a larger power of two, have places of their own.
  static constexpr std::size_t place(std::uintptr_t word) noexcept {
    return ((word >> 4) ^ (word >> 9)) % size;
  }
  std::uintptr_t words_[size] = {};
};

// The fiber for which a signal acknowledged last, for the trace. Its owner, a handler, notes; the collector takes each one once.
class late_fiber_note {
 public:
  static constexpr std::size_t name_capacity = 24;

  template <class Fiber>
  void note(const Fiber& f) noexcept {
    if (id_.load(memory_order_relaxed) == f.id) return;  // relaxed: own word
    // 0 while the name changes: take() looks before and after it reads.
    id_.store(0, memory_order_relaxed);
    const char* name = f.display_name();
    for (std::size_t i = 0; i + 1 < name_capacity; ++i) {
      name_[i].store(*name, memory_order_release);  // pairs-with: take(), which sees the 0 as well
      if (*name != 0) ++name;
    }
    id_.store(f.id, memory_order_release);  // pairs-with: take()
  }

  // Its id; 0: none that was not taken yet, or one is just being noted.
  std::uint64_t take(char (&name)[name_capacity]) noexcept {
    const std::uint64_t id = id_.load(memory_order_acquire);  // pairs-with: note()
    if (id == 0 || id == taken_) return 0;
    for (std::size_t i = 0; i + 1 < name_capacity; ++i)
      name[i] = name_[i].load(memory_order_acquire);  // pairs-with: note(); a new byte comes with the 0
    if (id_.load(memory_order_relaxed) != id) return 0;
    return taken_ = id;
  }

 private:
  atomic<std::uint64_t> id_{0};
  atomic<char> name_[name_capacity] = {};
  std::uint64_t taken_ = 0;  // registry lock
};

struct mutator {
  bin* bins = nullptr;  // first: the fast path reads it
  bin_table* table = nullptr;
  std::uint32_t used_count = 0;
  bool allocate_black = false;
  // The run that it got last while it allocates black: whatever lies in it is marked until the cycle ends. Owner (or claimer).
  std::uintptr_t black_low = 0;
  std::size_t black_bytes = 0;
  std::uint64_t epoch = 0;  // of the heap, as of this mutator's last sweep handshake
  std::uint64_t acked_round = 0;
  grey_chunk* buffer = nullptr;
  assist_account assists;

  mutator_port<> port;
  // Objects that this mutator found white and put into its buffer. Owner (or claimer) writes.
  atomic<std::uint64_t> greyed{0};

  // Where the stack is while the port is idle, if there is one to scan; else 0.
  std::uintptr_t idle_sp = 0;
  std::uintptr_t idle_top = 0;
  fiber* idle_fiber = nullptr;
  void* idle_fake_stack = nullptr;  // ASan's
  bool idle_exposed = false;        // others may have references into its frames

  processor* owner = nullptr;      // processors only
  atomic<bool> in_runtime{false};  // no signal handler acts for it

  // Attached threads only.
  std::uintptr_t stack_low = 0;
  std::uintptr_t stack_high = 0;
  pthread_t thread{};
  bool claimed_by_verifier = false;  // registry lock
  bool named_late = false;           // registry lock: gctrace has told that it got a signal
  late_fiber_note late_fiber;        // processors only

  list_hook hook;  // registry lock
  mutator* pool_next = nullptr;

  shade_filter shaded;  // of this cycle; last, since it is long

  TERN_ALWAYS_INLINE bool has_just_made(std::uintptr_t word) const noexcept {
    return word - black_low < black_bytes;
  }
  void end_black() noexcept {
    allocate_black = false;
    black_bytes = 0;
  }
};

// Off: a load and a predicted branch in every store.
struct alignas(contended_line_size) barrier_line {
  atomic<std::uint32_t> on{0};
};
inline constinit barrier_line barrier;

// Whether stores must shade. relaxed: a mutator acknowledges barrier_on at a safepoint, which orders the flag before all of its
// later stores; between this load and the store there is no safepoint.
TERN_ALWAYS_INLINE bool is_barrier_on() noexcept { return barrier.on.load(memory_order_relaxed) != 0; }

// Test hooks: called by the collector's thread at the named places. Null costs a load for each.
enum class test_point : std::uint8_t {
  barrier_on,
  roots_scanned,
  mid_mark,
  round_done,
  weak_judged,
  marking_done,
  sweep_begin,
  cycle_done
};
struct test_hooks {
  atomic<void (*)(test_point) noexcept> at{nullptr};
  atomic<bool> verify_each_cycle{false};
  atomic<bool> verify_unmanaged_memory{false};  // with each of those
  atomic<bool> poison_freed{false};             // fill the bytes of dead objects
  atomic<std::uint32_t> mark_quantum{0};        // objects per hold of the mark lock; 0: the default
  atomic<bool> signal_at_once{
      false};  // the collector interrupts whoever has not answered when it first looks
};
inline constinit test_hooks testing;

inline void at_test_point(test_point p) noexcept {
  if (auto* f = testing.at.load(memory_order_acquire)) f(p);  // pairs-with: the test's store
}

inline constexpr unsigned char poison_byte = 0xdb;

// Counters that anybody reads and one thread (or holder of a lock) writes.
struct gc_counters {
  atomic<std::uint64_t> cycles{0};
  atomic<std::uint64_t> rounds{0};
  atomic<std::uint64_t> mark_ns{0};
  atomic<std::uint64_t> sweep_ns{0};
  atomic<std::uint64_t> handshakes{0};
  atomic<std::uint64_t> handshake_ns{0};
  atomic<std::uint64_t> handshake_max_ns{0};
  atomic<std::uint64_t> interruptions{0};  // any thread: acknowledgements by signal
  atomic<std::uint64_t> stack_scans{0};    // any thread
  atomic<std::uint64_t> stack_scan_max_ns{0};
  atomic<std::uint64_t> assists{0};  // any thread
  atomic<std::uint64_t> assist_max_ns{0};
  atomic<std::uint64_t> brakes{0};           // any thread
  atomic<std::uint64_t> allocated_bytes{0};  // any thread; whole runs, counted when a mutator takes them
  atomic<std::uint64_t> freed_bytes{0};      // any thread
  atomic<std::uint64_t> destroyed{0};        // the executor
  atomic<std::uint64_t> verified_cycles{0};
  atomic<std::uint64_t> verified{0};             // objects that verification reached
  atomic<std::uint64_t> lost{0};                 // reachable through members, but not marked or not allocated
  atomic<std::uint64_t> suspects{0};             // found only through a word of a stack, which may be stale
  atomic<std::uint64_t> rescued{0};              // found only in a frame of a fiber that waits for others
  atomic<std::uint64_t> suspects_in_objects{0};  // through a word that its object's type does not name
  atomic<std::uint64_t> suspects_in_blocks{0};   // through a word of unmanaged memory
  atomic<std::uint64_t> live_bytes{0};           // after the last cycle
  atomic<std::uint64_t> live_objects{0};
};

inline void raise_to(atomic<std::uint64_t>& maximum, std::uint64_t v) noexcept {
  std::uint64_t seen = maximum.load(memory_order_relaxed);  // relaxed, both: a statistic
  while (seen < v && !maximum.compare_exchange_weak(seen, v, memory_order_relaxed, memory_order_relaxed)) {
  }
}

// From each request to its last acknowledgement, in nanoseconds. Its memory comes with the collector's start: programs that have none need not carry it.
struct handshake_times {
  spin_lock<> lock;
  histogram* times = nullptr;  // lock; null as well where memory was short

  void prepare() noexcept {
    lock_scope hold{lock};
    if (times != nullptr) return;
    if (void* p = os::reserve(sizeof(histogram))) times = ::new (p) histogram;
  }
  void record(std::uint64_t ns) noexcept {
    lock_scope hold{lock};
    if (times != nullptr) times->record(static_cast<std::int64_t>(ns));
  }
  std::uint64_t percentile(double quantile) noexcept {
    lock_scope hold{lock};
    return times == nullptr ? 0 : static_cast<std::uint64_t>(times->percentile(quantile));
  }
};
inline constinit handshake_times handshakes;

// What the cap's clocks showed when its last window ended.
struct cpu_readings {
  os::nanoseconds now = 0;
  os::nanoseconds process = 0;
  os::nanoseconds collector = 0;  // by the collector's thread
  os::nanoseconds assists = 0;
  os::nanoseconds brakes = 0;
};

struct heap_state {
  // The registry of mutators.
  spin_lock<> mutators_lock;
  list<mutator, &mutator::hook> mutators;  // mutators_lock
  std::uint64_t retired_greyed = 0;        // mutators_lock: counts of mutators that are gone
  handshake_request<> request;             // posted under mutators_lock
  // What a new mutator begins with. The epoch is that of the last sweep that was asked for: who comes between the end of marking
  // and the request allocates black into spans that must be swept.
  bool allocation_black = false;   // mutators_lock
  std::uint64_t attach_epoch = 0;  // mutators_lock
  type_stable_pool<mutator> records;

  atomic<std::uint64_t> epoch{0};        // cycles that ended marking
  atomic<std::uint64_t> round{0};        // written under mutators_lock; never falls
  atomic<std::uint64_t> first_round{0};  // of the running cycle; written before barrier_on is posted

  // Acks wake the collector.
  atomic<std::uint32_t> ack_word{0};
  atomic<std::uint32_t> collector_waits{0};

  // Marking.
  grey_exchange<grey_chunk> grey;
  spin_lock<> mark_lock;
  grey_chunk* mark_stack = nullptr;       // mark_lock; linked by next
  atomic<std::uint64_t> marked{0};        // mark_lock writes: objects marked, all cycles
  atomic<std::uint64_t> marked_bytes{0};  // mark_lock writes: this cycle
  std::uint64_t marked_objects_at_start = 0;
  spin_lock<> foreign_lock;  // grey objects of threads that are not attached
  atomic<std::uint64_t> foreign_greyed{0};

  // Pacing. Bytes in use count from the last cycle's live bytes.
  spin_lock<> pacer_lock;
  pacer pace;                         // pacer_lock
  cpu_cap cap;                        // pacer_lock
  cpu_readings last_readings;         // pacer_lock
  atomic<std::size_t> heap_bytes{0};  // live after the last cycle, plus allocated since
  atomic<std::size_t> trigger{default_minimum_heap - default_minimum_heap / 20};
  atomic<std::size_t> brake{SIZE_MAX};
  atomic<std::size_t> hard_limit{SIZE_MAX};  // of heap_bytes
  atomic<std::size_t> last_marked_bytes{
      0};                                // by the last cycle that ended: lived when it began, more or less
  atomic<bool> marking{false};           // assists and brake apply
  atomic<os::nanoseconds> assist_ns{0};  // any thread
  atomic<os::nanoseconds> brake_ns{0};   // any thread
  atomic<clockid_t> collector_clock{0};  // CPU of the collector's thread; written by it

  // The collector's thread.
  atomic<bool> thread_started{false};
  atomic<std::uint32_t> wake{0};    // futex: increments when there is something to do
  atomic<std::uint64_t> wanted{0};  // cycles that somebody asked for
  atomic<std::uint64_t> started{0};
  atomic<std::uint64_t> completed{0};
  atomic<std::uint32_t> completed_word{0};  // futex: increments with completed
  atomic<bool> dead{false};                 // in a fork child: no thread, no cycles

  gc_counters counters;
};
inline constinit heap_state state;

// The sum of rule R4. Requires: the acks (or the states) that order the counts were read before.
inline std::uint64_t greyed_sum() noexcept {
  lock_scope foreign{state.foreign_lock};  // threads that ack nothing count under it
  lock_scope hold{state.mutators_lock};
  // relaxed, all: see above.
  std::uint64_t sum = state.retired_greyed + state.marked.load(memory_order_relaxed) +
                      state.foreign_greyed.load(memory_order_relaxed);
  for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m))
    sum += m->greyed.load(memory_order_relaxed);
  return sum;
}

// Asks for a cycle, if none is asked for already, and returns its number.
inline std::uint64_t request_cycle() noexcept {
  // A cycle that has begun may have passed by what the caller wants collected.
  const std::uint64_t number = state.started.load(memory_order_seq_cst) + 1;
  std::uint64_t seen = state.wanted.load(memory_order_relaxed);  // relaxed: validated by the exchange
  while (seen < number &&
         !state.wanted.compare_exchange_weak(seen, number, memory_order_seq_cst, memory_order_relaxed)) {
  }
  state.wake.fetch_add(1, memory_order_seq_cst);
  os::futex_wake(state.wake, 1);
  return number;
}

}  // namespace tern::inline v1::detail::gc

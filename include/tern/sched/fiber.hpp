// Fiber control block: everything that is known of one green thread, at a place that never moves.
//
// Context     Lies at the top of the fiber's own slot (stack_pool.hpp), so a spawn allocates nothing. Slots are type-stable:
//             a pointer to a control block stays readable for ever; `stack_state` tells whether a fiber lives there, and a
//             slot whose memory went back to the OS reads as zero, which is `free`.
// Structure   low address                                                                    high address
//             | guard | stack ... grows down <- sp | closure | control block | colour padding |
//                                                  ^closure   ^this           ^stack_top()
//             stack_state:  free -> saved (spawned) -> on_cpu <-> saved -> ... on_cpu -> free
//                           saved -> claimed -> saved   (collector while armed, inspect.hpp)
// Invariants  I1 outside `free`, the control block is written by the fiber's worker, the closure and the stack too. I2 whoever
//                holds a fiber in state saved and took it from a queue is the only one that may switch to it.
//             I3 join_word: 0 running, then exactly one of `done`; a waiter's address or `detached` between (thread.hpp).
// Ordering    stack_state.store(saved, release) in finish_switch pairs with the acquire of whoever scans or resumes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>

#include <tern/arch/context.hpp>
#include <tern/arch/sanitizer.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

class scheduler;
struct worker;
struct cancel_state;  // cancel.hpp
struct local_table;   // local_table.hpp

// What the C++ runtime keeps per thread about exceptions in flight (Itanium ABI, __cxa_eh_globals).
struct exception_globals {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};

// What a fiber waits for that waits for other fibers, whose closures may refer to its frames. Told by their addresses.
inline constexpr char join_wait[] = "thread::join";
inline constexpr char nursery_wait[] = "nursery";

struct alignas(cache_line_size) fiber {
  enum : std::uint32_t { free, on_cpu, saved, claimed };  // stack_state

  // Bits of `flags`; written by the fiber's worker, and by the spawner before the first run.
  enum : std::uint32_t {
    has_name = 1,
    has_exception_globals = 2,  // saved_globals holds what the park took from the thread
    has_error = 4,              // error is constructed
    heap_closure = 8,           // the closure did not fit the slot
    is_main = 16,               // the function given to runtime::run
    started = 32,               // has been switched to at least once
    in_blocking = 64,           // runs without a processor, inside tern::blocking
    own_size = 128,             // the slot is not of the runtime's usual size
    cancellable = 256,          // `cancel` is set, and the waits of this fiber heed it
    has_locals = 512,           // `locals` is set
    pin_one = 1u << 16,         // from here on: how many pins are under way (pin.hpp)
    pin_mask = 0xffffu << 16,
  };

  // join_word values other than a waiter's address.
  static constexpr std::uintptr_t join_running = 0;
  static constexpr std::uintptr_t join_done = 1;
  static constexpr std::uintptr_t join_detached = 2;

  static constexpr std::size_t name_capacity = 24;

  // Line 0: what a switch touches.
  context saved_context;  // valid in state saved and claimed
  atomic<std::uint32_t> stack_state{free};
  std::uint32_t flags = 0;
  fiber* next = nullptr;  // inject queue, free list, batch: whoever holds the fiber
  union {
    void (*body)(fiber&) noexcept =
        nullptr;        // until it runs: runs and destroys the closure, keeps what it throws in `error`
    worker* pinned_to;  // valid while it is pinned
  };
  void* closure = nullptr;

  // Line 1: spawn, join, collector.
  scheduler* home = nullptr;  // while it is pinned tagged, so that it compares unequal to every runtime
  atomic<std::uintptr_t> join_word{join_running};
  atomic<const char*> wait_what{
      nullptr};  // for dumps: what a parked fiber waits for, null while it is runnable
  atomic<const void*> wait_object{nullptr};  // and the address of that thing; see also note_later()
  std::uint64_t id = 0;                      // unique in the process; 0: never used
  atomic<std::uint64_t> gc_word{0};          // the collector's, which may look while the slot is reused
  atomic<std::int64_t> parked_since{
      0};  // valid while wait_what is noted: the monitor's clock when it first saw this wait

  // Line 2: rarely touched.
  union {
    std::exception_ptr error;  // lives while has_error is set
  };
  exception_globals saved_globals;
  local_table* locals;       // valid while has_locals is set
  cancel_state* cancel;      // valid while cancellable is set; also behind a shield
  char name[name_capacity];  // valid while has_name is set; zero-terminated
  [[no_unique_address]] sanitizer_fiber sanitizer;

  fiber() noexcept {}  // NOLINT: `error` and `name` live while their flags say so
  ~fiber() {}          // NOLINT: never runs; slots are type-stable

  // wait_what is noted, by its top bit, once the monitor has seen the wait (dump.hpp): the park itself takes no time stamp. The next park
  // writes the word anew.
  static constexpr std::uintptr_t noted_bit = std::uintptr_t{1} << 63;
  static bool is_noted(const char* what) noexcept { return (to_word(what) & noted_bit) != 0; }
  static const char* noted(const char* what) noexcept {
    return reinterpret_cast<const char*>(to_word(what) | noted_bit);
  }
  static const char* text_of(const char* what) noexcept {
    return reinterpret_cast<const char*>(to_word(what) & ~noted_bit);
  }

  // In a queue: that `f` comes some places behind this one. While a fiber is runnable, nobody reads wait_object for what it says of a wait.
  void note_later(const fiber& f) noexcept { wait_object.store(&f, memory_order_relaxed); }
  // Whoever was noted: or what this one waited for last, if none was, which does no harm.
  void prefetch_later() const noexcept {
    const std::uintptr_t f = to_word(wait_object.load(memory_order_relaxed));  // it may be no fiber, or null
    __builtin_prefetch(reinterpret_cast<const void*>(f), 1);
    __builtin_prefetch(reinterpret_cast<const void*>(f + cache_line_size), 1);
  }

  // Where the suspended fiber's stack pointer is. Requires: state saved or claimed.
  std::uintptr_t saved_sp() const noexcept { return to_word(saved_context.sp); }
  // One past the last byte that can hold a root of this fiber: closure and saved registers included.
  std::uintptr_t stack_top() const noexcept { return to_word(this) + sizeof(fiber); }

  bool is_pinned() const noexcept { return flags >= pin_one; }
  static scheduler* tagged(scheduler* s) noexcept { return reinterpret_cast<scheduler*>(to_word(s) | 1); }
  static scheduler* untagged(scheduler* s) noexcept {
    return reinterpret_cast<scheduler*>(to_word(s) & ~std::uintptr_t{1});
  }
  scheduler& runtime() const noexcept { return *untagged(home); }

  const char* display_name() const noexcept { return (flags & has_name) != 0 ? name : ""; }
};

// The fiber that runs on this thread, also inside tern::blocking; null on a plain thread or on a worker's own stack.
fiber* current_fiber() noexcept;

// Calls fn(fiber&) for each slot that is not free, in every runtime. Fibers may start and end meanwhile: fn must allow for a slot
// that becomes free or another fiber under its eyes. Not to be called from a fiber that holds the registry lock.
template <class F>
void for_each_fiber(F&& fn);

}  // namespace tern::inline v1::detail

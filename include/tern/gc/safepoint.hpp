// Safepoints: how mutators come and go, and how each does its part of a handshake.
//
// Context     A processor's mutator hangs on the processor's cache, a plain thread's on its own, in the slot that alloc keeps for
//             the collector: finding it is one thread-local read and one load.
// Protocol    Owner: poll() in slow paths; safepoint_slow() saves all registers on the own stack, scans from there, acks.
//             Collector: serve_idle() for a mutator whose port is idle.
//             Attach: a plain thread at its first gc::make or by gc::attach_thread; it detaches at its exit. It begins with the
//             phase's colour and with everything posted so far acked: its stack holds no managed pointer yet.
// Invariants  I1 serve() is called by the owner while running, or by the collector while the port is claimed, and then under the
//                registry's lock: a mutator cannot go away under the collector.
// Limits      A plain thread that neither allocates, stores, polls nor declares itself idle delays the end of a cycle; see signal.hpp.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <new>

#include <tern/alloc/thread_cache.hpp>
#include <tern/gc/grey.hpp>
#include <tern/gc/heap.hpp>
#include <tern/os/thread.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/processor.hpp>

namespace tern::inline v1::detail::gc {

void ensure_started();  // collector.hpp: the collector's threads and the scheduler's hooks

// ---- the word of a fiber ----

inline auto scan_of(fiber& f) noexcept {
  return fiber_scan<fiber, atomic<std::uint32_t>, atomic<std::uint64_t>>{f.stack_state, f.gc_word};
}

inline void* fake_stack_of([[maybe_unused]] fiber& f) noexcept {
#if TERN_ASAN
  return f.sanitizer.fake_stack;
#else
  return nullptr;
#endif
}

// The stack that a mutator stands on; low == 0: none.
struct stack_view {
  std::uintptr_t low = 0;
  std::uintptr_t high = 0;
  void* fake_stack = nullptr;
  fiber* runs = nullptr;
};

// A closure that did not fit the fiber's slot belongs to its stack all the same. Requires: there is one.
inline stack_view heap_closure_of(const fiber& f) noexcept {
  const page_entry e = heap.map().find(f.closure);
  const std::size_t bytes =
      e.kind() == span_kind::object ? class_size(e.size_class()) : e.get<detail::span>()->mapped_bytes;
  return {to_word(f.closure), to_word(f.closure) + bytes};
}

inline void scan_heap_closure(mutator& m, const fiber& f) noexcept {
  if (TERN_LIKELY((f.flags & fiber::heap_closure) == 0)) return;
  const stack_view c = heap_closure_of(f);
  scan_words(m, c.low, c.high, nullptr);
}

// Requires: the fiber is saved and claimed.
inline void scan_saved_stack(mutator& m, fiber& f) noexcept {
  scan_heap_closure(m, f);
  scan_words(m, f.saved_sp() - red_zone_size, f.stack_top(), fake_stack_of(f));
}

// ---- the part of a handshake ----

inline constinit atomic<std::uint32_t> world_stopped{0};  // futex; 1 while the verifier looks

inline void wait_while_stopped() noexcept {
  // acquire pairs-with: the verifier's store; else this mutator runs on with what it had before.
  while (world_stopped.load(memory_order_acquire) != 0) os::futex_wait(world_stopped, 1);
}

inline void serve_round(mutator& m, const stack_view& stack) noexcept {
  const std::uint64_t round =
      state.round.load(memory_order_relaxed);  // relaxed, both: written before the request
  const bool is_first = round == state.first_round.load(memory_order_relaxed);
#if !TERN_GC_WITHOUT_BLACK_ALLOCATION
  if (!m.allocate_black) {
    blacken(m);
    m.allocate_black = true;
  }
#endif
  if (stack.low != 0 && (is_first || !TERN_GC_WITHOUT_RESCAN)) {
    scan_stack(m, stack.low - red_zone_size, stack.high, stack.fake_stack);
    if (stack.runs != nullptr) {
      scan_heap_closure(m, *stack.runs);
      scan_of(*stack.runs).stamp_running(round);
    }
  }
  m.acked_round = round;
  // Since this cycle's first round no sweep is under way. What was found marked before may have been so in the last cycle.
  m.shaded.clear();
  hand_over(m);
}

inline void serve(mutator& m, handshake_kind kind, const stack_view& stack) noexcept {
  switch (kind) {
    case handshake_kind::barrier_on: m.shaded.clear(); break;
    case handshake_kind::round: serve_round(m, stack); break;
    case handshake_kind::sweep:
      m.end_black();
      release_all_bins(m);
      m.epoch = state.epoch.load(memory_order_acquire);  // pairs-with: the end of marking
      if (m.buffer != nullptr) m.buffer->count = 0;  // noted after marking ended: nothing white was reachable
      m.assists.forgive();
      break;
    case handshake_kind::stop:
    case handshake_kind::none: break;
  }
}

inline void wake_collector() noexcept {
  state.ack_word.fetch_add(1, memory_order_release);  // pairs-with: wait_for_acks()
  if (state.collector_waits.load(memory_order_relaxed) != 0)
    os::futex_wake(state.ack_word, 1);  // it looks again soon anyway
}

// A stack of the program's own making (an alternate signal stack, another library's coroutine) would hide the thread's frames.
TERN_COLD inline void check_stack_slow(mutator& m, std::uintptr_t sp) noexcept {
  const os::stack_bounds now = os::thread_stack_bounds();  // the main thread's may have been allowed to grow
  m.stack_low = now.low;
  m.stack_high = now.high;
  if (sp < m.stack_low || sp >= m.stack_high)
    fatal("gc: managed memory was used on a stack that is not the attached thread's own");
}

inline stack_view own_stack(mutator& m, std::uintptr_t sp) noexcept {
  if (m.owner == nullptr) {
    if (TERN_UNLIKELY(sp < m.stack_low || sp >= m.stack_high)) check_stack_slow(m, sp);
    return {sp, m.stack_high, current_fake_stack(), nullptr};
  }
  fiber* f = m.owner->current;
  if (f == nullptr) return {};  // the worker's own stack holds nothing of the program's
  return {sp, f->stack_top(), current_fake_stack(), f};
}

// What others may have written to the frames of a plain thread that has waited for them. Requires: its stack is still published; nobody acts for it.
inline void look_at_exposed_frames([[maybe_unused]] mutator& m) noexcept {
#if !TERN_GC_WITHOUT_EXPOSED_FRAMES
  // relaxed, both: what was acked for this mutator came after the flag. A stale look scans for nothing, or leaves it to the next ack.
  if (!m.idle_exposed || !is_barrier_on() || m.acked_round < state.first_round.load(memory_order_relaxed))
    return;
  scan_stack(m, m.idle_sp - red_zone_size, m.idle_top, m.idle_fake_stack);
#endif
}

// Calls f() with the port idle and the caller's stack published, so that the collector can do without this mutator.
// f must not touch managed memory. `waits_for_fibers`: which may have references into the caller's frames.
template <class F>
TERN_NOINLINE void while_idle(mutator& m, F&& f, bool waits_for_fibers = false) {
  with_registers_saved([&](std::uintptr_t sp) {
    const stack_view s = own_stack(m, sp);
    m.idle_exposed = waits_for_fibers && m.owner == nullptr;
    m.idle_sp = s.low;
    m.idle_top = s.high;
    m.idle_fiber = s.runs;
    m.idle_fake_stack = s.fake_stack;
    m.port.release();
    struct scope {  // f may throw
      mutator& m;
      ~scope() {
        // Not while the collector scans this stack.
        while (!m.port.try_leave([this]() noexcept { look_at_exposed_frames(m); })) ::sched_yield();
        m.idle_sp = 0;
        m.idle_fiber = nullptr;
      }
    };
    const scope end{m};
    f();
  });
}

// Does what is asked. On the stack that the mutator's fiber or thread runs on. Owner only.
TERN_COLD inline void safepoint_slow(mutator& m) noexcept {
  with_registers_saved([&](std::uintptr_t sp) noexcept {
    for (;;) {
      const std::uint64_t n = state.request.number();
      if (n == m.port.acked()) break;
      const handshake_kind kind = state.request.kind();
      serve(m, kind, own_stack(m, sp));
      if (kind == handshake_kind::stop) {
        const stack_view s = own_stack(m, sp);
        m.idle_sp = s.low;
        m.idle_top = s.high;
        m.port.set_acked(n);
        wake_collector();
        wait_while_stopped();
        m.idle_sp = 0;
        continue;
      }
      m.port.set_acked(n);
      wake_collector();
    }
  });
}

TERN_ALWAYS_INLINE bool is_late(const mutator& m) noexcept {
  return state.request.number() != m.port.acked();
}
TERN_ALWAYS_INLINE void poll(mutator& m) noexcept {
  if (TERN_UNLIKELY(is_late(m))) safepoint_slow(m);
}

// Collector. Requires: mutators_lock, the port is claimed.
inline void serve_idle(mutator& m, std::uint64_t number) noexcept {
  serve(m, state.request.kind(), {m.idle_sp, m.idle_top, m.idle_fake_stack, m.idle_fiber});
  m.port.set_acked(number);
}

// A signal handler leaves a mutator alone that is inside one of these.
class runtime_scope {
 public:
  explicit runtime_scope(mutator& m) noexcept : m_{m}, outer_{m.in_runtime.load(memory_order_relaxed)} {
    m.in_runtime.store(true, memory_order_relaxed);  // relaxed: read by a handler on this thread
    asm volatile("" ::: "memory");
  }
  ~runtime_scope() {
    asm volatile("" ::: "memory");
    m_.in_runtime.store(outer_, memory_order_relaxed);
  }
  runtime_scope(const runtime_scope&) = delete;
  runtime_scope& operator=(const runtime_scope&) = delete;

 private:
  mutator& m_;
  bool outer_;
};

// ---- mutators ----

// `stack`: of a plain thread, which is the caller.
inline mutator* create_mutator(processor* owner, os::stack_bounds stack = {}) noexcept {
  mutator* m = state.records.take();
  if (m == nullptr) return nullptr;
  if (m->table == nullptr) {
    void* t = os::reserve(sizeof(bin_table));  // zeroed memory is a valid table
    if (t == nullptr) {
      state.records.give(m);
      return nullptr;
    }
    m->table = static_cast<bin_table*>(t);
    m->bins = m->table->bins;
  }
  m->owner = owner;
  m->stack_low = stack.low;
  m->stack_high = stack.high;
  if (owner == nullptr) m->thread = ::pthread_self();
  m->shaded.clear();
  m->end_black();
  m->idle_sp = m->idle_top = 0;
  m->idle_fiber = nullptr;
  m->assists = {};
  m->in_runtime.store(false, memory_order_relaxed);
  m->named_late = false;
  m->greyed.store(0, memory_order_relaxed);
  lock_scope hold{state.mutators_lock};
#if !TERN_GC_WITHOUT_BLACK_ALLOCATION
  m->allocate_black = state.allocation_black;
#endif
  m->epoch = state.attach_epoch;
  m->acked_round = state.round.load(memory_order_relaxed);  // relaxed: written under this lock
  // While the verifier has the world stopped the newcomer must stop as well, at the poll that follows.
  const std::uint64_t posted = state.request.number();
  m->port.set_acked(world_stopped.load(memory_order_relaxed) != 0 ? posted - 1 : posted);
  state.mutators.push_back(*m);
  return m;
}

// Owner, running.
inline void destroy_mutator(mutator& m) noexcept {
  release_all_bins(m);
  hand_over(m);
  {
    lock_scope hold{state.mutators_lock};
    state.retired_greyed += m.greyed.load(memory_order_relaxed);
    state.mutators.erase(m);
  }
  wake_collector();
  state.records.give(&m);
}

inline void on_thread_exit(thread_cache* c) noexcept {
  auto* m = static_cast<mutator*>(c->attachments[thread_cache::gc_slot]);
  c->attachments[thread_cache::gc_slot] = nullptr;
  destroy_mutator(*m);
}

// The calling thread's or processor's mutator; null if it has none.
TERN_ALWAYS_INLINE mutator* current_mutator_if_any() noexcept {
  thread_cache* c = current_cache_if_any();
  return TERN_LIKELY(c != nullptr) ? static_cast<mutator*>(c->attachments[thread_cache::gc_slot]) : nullptr;
}

// A processor's mutator. It is made under the scheduler's registry lock, possibly while the processor runs, and hung on the
// processor's cache by its owner only: no other thread writes what the fast path reads. Owner, or while nobody runs p.
TERN_COLD inline mutator* mutator_of_slow(processor& p) noexcept {
  lock_scope hold{state.mutators_lock};
  for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m))
    if (m->owner == &p) {
      p.cache->attachments[thread_cache::gc_slot] = m;
      return m;
    }
  return nullptr;
}

inline mutator* mutator_of(processor& p) noexcept {
  void* m = p.cache->attachments[thread_cache::gc_slot];
  return TERN_LIKELY(m != nullptr) ? static_cast<mutator*>(m) : mutator_of_slow(p);
}

// The same for slow paths. A processor whose fiber runs on since the hooks came has a mutator that its cache does not know yet; what
// waits here must not keep the collector waiting for it.
inline mutator* own_mutator_if_any() noexcept {
  if (mutator* m = current_mutator_if_any()) return m;
  processor* p = current_processor();
  return p != nullptr ? mutator_of_slow(*p) : nullptr;
}

TERN_COLD inline mutator& attach_current() {
  ensure_started();
  if (processor* p = current_processor())
    if (mutator* m = mutator_of(*p)) return *m;
  if (current_worker() != nullptr) fatal("gc: managed memory was used inside tern::blocking");
  thread_cache* c = current_cache();
  if (c->is_shared()) throw std::bad_alloc{};
  const os::stack_bounds bounds = os::thread_stack_bounds();
  mutator* m = create_mutator(nullptr, bounds);
  if (m == nullptr) throw std::bad_alloc{};
  const runtime_scope in{*m};
  c->attachments[thread_cache::gc_slot] = m;
  poll(*m);
  return *m;
}

// The mutator, attached now if need be. Throws std::bad_alloc or std::system_error.
TERN_ALWAYS_INLINE mutator& current_mutator() {
  mutator* m = current_mutator_if_any();
  return TERN_LIKELY(m != nullptr) ? *m : attach_current();
}

}  // namespace tern::inline v1::detail::gc

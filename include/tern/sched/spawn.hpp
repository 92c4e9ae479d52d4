// Spawn: a slot, a closure in it, and a place in the ring.
//
// Context     thread.hpp and nursery.hpp put their closures here; nothing is allocated unless the closure is larger than 2 KiB (in a
//             tiny slot: 128 bytes).
// Protocol    1. take a slot: the processor's free list, last in first out   2. construct the closure under the control block
//             3. state saved, then the ring's tail. A thread without a processor goes through the pool and the inject queue.
// Invariants  I1 a slot goes back once: by finish_exit if the fiber was detached, else by the handle that joined it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

#include <tern/alloc/allocator.hpp>
#include <tern/alloc/root_ranges.hpp>
#include <tern/sched/cancel.hpp>
#include <tern/sched/dispatch.hpp>
#include <tern/sched/local_table.hpp>
#include <tern/sched/scheduler.hpp>

#if TERN_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tern::inline v1::detail {

inline constexpr std::uint64_t id_block = 1024;

inline std::uint64_t next_fiber_id(processor* p) noexcept {
  // relaxed: ids are unique, not ordered.
  if (p == nullptr) return schedulers.next_id.fetch_add(1, memory_order_relaxed);
  if (TERN_UNLIKELY(p->next_id == p->id_end)) {
    p->next_id = schedulers.next_id.fetch_add(id_block, memory_order_relaxed);
    p->id_end = p->next_id + id_block;
  }
  return p->next_id++;
}

// A slot from a pool, of the runtime's usual size (`bytes` 0), of another, or a tiny one (tiny_request). Throws std::system_error.
TERN_COLD inline fiber& take_pooled_slot(scheduler& s, std::size_t bytes) {
  stack_pool& pool = bytes == 0 ? s.pool() : s.pool_for(bytes);
  return *static_cast<fiber*>(pool.acquire());
}

// The same for a spawner that holds a processor, or null.
TERN_ALWAYS_INLINE fiber& take_slot(scheduler& s, processor* p, std::size_t bytes) {
  fiber* f;
  if (TERN_UNLIKELY(p == nullptr || bytes != 0)) {
    f = &take_pooled_slot(s, bytes);
  } else {
    if (TERN_UNLIKELY(p->free_slots == nullptr)) s.fill_slots(*p);
    f = p->free_slots;
    p->free_slots = f->next;
    --p->free_count;
  }
#if TERN_ASAN
  // What the last fiber's frames have left, of which some never return. Before the closure comes to lie there.
  const void* limit = stack_pool::stack_limit(f);
  __asan_unpoison_memory_region(limit, to_word(f) - to_word(limit));
#endif
  return *f;
}

// Fills in all that a fiber needs but its closure. Requires: flags and home are set.
TERN_ALWAYS_INLINE void prepare_fiber(fiber& f, processor* p) noexcept {
  f.join_word.store(fiber::join_running,
                    memory_order_relaxed);  // relaxed, all: published by stack_state and the queue
  f.wait_what.store(nullptr, memory_order_relaxed);
  f.id = next_fiber_id(p);
  f.gc_word.store(0, memory_order_relaxed);
#if TERN_ASAN
  const void* limit = stack_pool::stack_limit(&f);
  f.sanitizer.create(limit, to_word(&f) - to_word(limit));
#else
  f.sanitizer.create(nullptr, 0);
#endif
}

TERN_COLD inline void set_name(fiber& f, std::string_view name) noexcept {
  if (name.empty()) return;
  const std::size_t n = name.size() < fiber::name_capacity - 1 ? name.size() : fiber::name_capacity - 1;
  std::memcpy(f.name, name.data(), n);
  f.name[n] = 0;
  f.flags |= fiber::has_name;
}

// Runs the closure, destroys it, keeps what it throws.
template <class Closure>
void run_closure(fiber& f) noexcept {
  auto* c = static_cast<Closure*>(f.closure);
  try {
    (*c)();
  } catch (...) {
    ::new (static_cast<void*>(&f.error)) std::exception_ptr(std::current_exception());
    f.flags |= fiber::has_error;
  }
  c->~Closure();
  if (TERN_UNLIKELY((f.flags & (fiber::heap_closure | fiber::has_locals)) != 0)) {
    if ((f.flags & fiber::has_locals) != 0) destroy_locals(f);
    if ((f.flags & fiber::heap_closure) == 0) return;
    f.flags &= ~static_cast<std::uint32_t>(fiber::heap_closure);  // a collector looks where the flag is set
    deallocate(c, sizeof(Closure), alignof(Closure));
  }
}

struct spawn_options {
  std::string_view name{};
  std::size_t stack_size = 0;  // 0: the runtime's; or tiny_request
  bool detached = false;
  bool is_main = false;
};
inline constexpr spawn_options default_spawn{};

// The processor that this thread holds, if it is one of `s`; else null.
TERN_ALWAYS_INLINE processor* processor_in(scheduler& s) noexcept {
  processor* p = current_processor();
  return TERN_LIKELY(p != nullptr && p->home == &s) ? p : nullptr;
}

// Whoever wants to know of a spawn, before it is published.
TERN_COLD inline void spawned_slow(processor* p, fiber& f, const void* closure, std::size_t bytes) noexcept {
  crossing(closure, bytes);
  if (is_tracing()) record_spawn(p, f);
}

// A slot for a new fiber, and the processor that the spawner holds if it is one of the fiber's runtime.
struct spawn_place {
  fiber* slot;
  processor* spawner;
};

// The runtime of the running fiber. Throws std::system_error(operation_not_permitted) outside any.
TERN_COLD inline scheduler& home_scheduler(const char* otherwise) {
  if (worker* w = current_worker()) return *w->home;
  throw std::system_error(std::make_error_code(std::errc::operation_not_permitted), otherwise);
}

// Spawning is a call before the closure is made and one after, or a single one where the closure is copied as bytes, so that a place that
// spawns is some 150 bytes of code, not a thousand. `s` null: the runtime of the caller. Throws std::system_error.
TERN_ALWAYS_INLINE spawn_place begin_spawn_here(scheduler* s, const spawn_options& o) {
  // Most have no options, and are known by that address.
  const bool plain = &o == &default_spawn;
  processor* p = current_processor();
  if (TERN_UNLIKELY(p == nullptr)) {
    if (s == nullptr) s = &home_scheduler("tern::thread outside a runtime: use runtime::spawn");
  } else if (s == nullptr) {
    s = p->home;
  } else if (p->home != s) {
    p = nullptr;
  }
  fiber& f = take_slot(*s, p, plain ? 0 : o.stack_size);
  f.flags = plain ? 0
                  : (o.is_main ? std::uint32_t{fiber::is_main} : 0) |
                        (o.stack_size != 0 ? std::uint32_t{fiber::own_size} : 0);
  f.home = s;
  return {&f, p};
}
TERN_NOINLINE inline spawn_place begin_spawn(scheduler* s, const spawn_options& o) {
  return begin_spawn_here(s, o);
}

// Requires: begin_spawn(); f.closure and f.body are set. Afterwards others can find the fiber.
TERN_ALWAYS_INLINE void finish_spawn_here(fiber& f, processor* p, const spawn_options& o, void* stack_top,
                                          std::size_t closure_bytes) noexcept {
  prepare_fiber(f, p);
  make_context(f.saved_context, stack_top, &fiber_entry);
  if (&o != &default_spawn) {
    if (TERN_UNLIKELY(!o.name.empty())) set_name(f, o.name);
    if (o.detached) f.join_word.store(fiber::join_detached, memory_order_relaxed);
  }
  // relaxed: see hooks.hpp.
  if (TERN_UNLIKELY(hooks_armed.load(memory_order_relaxed) != 0))
    spawned_slow(p, f, f.closure, closure_bytes);
  f.stack_state.store(fiber::saved, memory_order_release);  // pairs-with: for_each_fiber()
}

// The last step: it may run, and be gone.
TERN_ALWAYS_INLINE void queue_spawned(fiber& f, processor* p) noexcept {
  if (TERN_LIKELY(p != nullptr)) {
    bump(p->counters.spawned);
    push_tail(*p, f);
  } else {
    f.home->external_spawned_.fetch_add(1, memory_order_relaxed);
    f.home->inject(f);
  }
}

TERN_NOINLINE inline void finish_spawn(fiber& f, processor* p, const spawn_options& o,
                                       std::size_t closure_bytes) noexcept {
  const bool on_heap = (f.flags & fiber::heap_closure) != 0;
  finish_spawn_here(f, p, o, on_heap ? &f : f.closure, closure_bytes);
  if (TERN_UNLIKELY(on_heap)) unregister_root_range(f.closure);  // now it is found with the fiber
  queue_spawned(f, p);
}

// A closure of so many bytes that is copied as bytes: nothing of the user's runs between the two halves.
template <std::size_t Bytes>
TERN_NOINLINE fiber& spawn_copied(scheduler* s, const void* closure, void (*body)(fiber&) noexcept,
                                  const spawn_options& o) {
  const auto [slot, p] = begin_spawn_here(s, o);
  void* place = reinterpret_cast<void*>(to_word(slot) - round_up(Bytes, 16));
  std::memcpy(place, closure, Bytes);
  slot->closure = place;
  slot->body = body;
  finish_spawn_here(*slot, p, o, place, Bytes);
  queue_spawned(*slot, p);
  return *slot;
}

// Starts a fiber that runs `function` (called once, destroyed on the fiber). From a fiber of `s`, or from any other thread; null is
// the runtime of the caller.
template <class Closure>
fiber& spawn_fiber(scheduler* s, Closure&& function, const spawn_options& o = default_spawn) {
  using closure_type = std::remove_cvref_t<Closure>;
  constexpr std::size_t alignment = alignof(closure_type) > 16 ? alignof(closure_type) : 16;
  // The smallest slot has 12 KiB of stack: a quarter of it always fits. A tiny one has less.
  constexpr bool never_fits = sizeof(closure_type) > 2048 || alignof(closure_type) > 1024;
  constexpr bool always_fits =
      sizeof(closure_type) <= tiny_closure_bytes && alignof(closure_type) <= cache_line_size;
  if constexpr (always_fits && sizeof(closure_type) <= 64 && alignof(closure_type) <= 16 &&
                std::is_trivially_copyable_v<closure_type> &&
                std::is_trivially_constructible_v<closure_type, Closure&&>)
    return spawn_copied<sizeof(closure_type)>(s, std::addressof(function), &run_closure<closure_type>, o);
  const bool on_heap = never_fits || (!always_fits && o.stack_size == tiny_request);
  auto [slot, p] = begin_spawn(s, o);
  fiber& f = *slot;
  void* place = nullptr;
  try {
    if (on_heap) {
      place = allocate(sizeof(closure_type), alignof(closure_type));
      // Until others can find the fiber, and with it what the closure points to.
      register_root_range(place, sizeof(closure_type));
      f.flags |= fiber::heap_closure;
      crossing(std::addressof(function), sizeof(closure_type));
    } else {
      place = reinterpret_cast<void*>(round_down(to_word(&f) - sizeof(closure_type), alignment));
    }
    ::new (place) closure_type(std::forward<Closure>(function));
  } catch (...) {
    if ((f.flags & fiber::heap_closure) != 0) unregister_root_range(place);
    if (on_heap && place != nullptr) deallocate(place, sizeof(closure_type), alignof(closure_type));
    release_slot(f);
    throw;
  }
  // The constructor is the user's and may have parked: then this may be another worker's processor by now.
  if constexpr (!std::is_trivially_constructible_v<closure_type, Closure&&>) p = processor_in(*f.home);
  f.closure = place;
  f.body = &run_closure<closure_type>;
  finish_spawn(f, p, o, sizeof(closure_type));
  return f;
}

// acquire: pairs with finish_exit() and take_joiner().
TERN_ALWAYS_INLINE bool has_ended(const fiber& f) noexcept {
  return f.join_word.load(memory_order_acquire) == fiber::join_done;
}

// Puts the waiter into a join word. False: what it belongs to has ended.
inline bool commit_join(waiter& w, void* word) noexcept {
  std::uintptr_t running = fiber::join_running;
  // release: pairs with finish_exit(), which reads the waiter. acquire: the fiber has ended meanwhile.
  return static_cast<atomic<std::uintptr_t>*>(word)->compare_exchange_strong(
      running, to_word(static_cast<wait_core*>(&w)), memory_order_acq_rel, memory_order_acquire);
}

// Waits until `word`, the join word of a fiber or a task, is done. False where the wait was cancelled; `Always`: it cannot be. `child`: the
// fiber, if it is one.
template <bool Always>
inline bool wait_for_end(atomic<std::uintptr_t>& word, const char* what, const void* object,
                         fiber* child = nullptr) noexcept {
  // acquire: pairs with finish_exit().
  if (word.load(memory_order_acquire) == fiber::join_done) return true;
  waiter x{what, object};
  if (!Always && is_cancellable(x) && !is_unwinding()) return wait_for_end_cancellable(x, word);
  if (child != nullptr && x.owner != nullptr)
    park_fiber_joining(x, *child, &commit_join);
  else
    park(x, &commit_join, &word);
  return true;
}

// Waits for the fiber's end. Its error stays in the control block. False as above.
template <bool Always>
inline bool wait_for_exit(fiber& f) noexcept {
  return wait_for_end<Always>(f.join_word, join_wait, &f, &f);
}

// Requires: waited for. Moves the error out and frees the slot.
inline std::exception_ptr take_result(fiber& f) noexcept {
  std::exception_ptr e;
  if (TERN_UNLIKELY((f.flags & fiber::has_error) != 0)) {
    e = std::move(f.error);
    f.error.~exception_ptr();
    f.flags &= ~static_cast<std::uint32_t>(fiber::has_error);
  }
  release_slot(f);
  return e;
}

}  // namespace tern::inline v1::detail

// The scheduler's hooks: processors are mutators, saved fibers are stacks that the collector scans.
//
// Context     Installed once, when the first managed object is made. handshake.hpp argues why this is sound.
// Structure   processor_attach/detach       a mutator comes and goes
//             processor_release/acquire     its port becomes idle and runs again
//             safepoint                     the owner acks
//             try_resume                    a fiber comes back: scanned first where its processor has acked this round
//             suspended, fiber_start        nothing: a fiber counts as "ran" from its resume on; the first resume scans the closure
//             crossing                      shades each word
//             thread_wait                   the caller's port is idle meanwhile
//             before_fork, after_fork       the child finds the heap whole, and collects nothing
#pragma once

#include <sched.h>

#include <cstddef>
#include <cstdint>

#include <tern/gc/fork.hpp>
#include <tern/gc/write_barrier.hpp>
#include <tern/sched/runtime.hpp>

namespace tern::inline v1::detail::gc {

inline void hook_attach(processor& p) noexcept {
  // Without a record the processor could not be waited for; some hundred bytes are missing.
  if (create_mutator(&p) == nullptr) fatal("gc: no memory for a processor's record");
}

// The scheduler may release and acquire a processor that was never acquired before: attached ones begin as running.
inline void hook_release(processor& p) noexcept {
  mutator* m = mutator_of(p);
  if (m == nullptr) return;  // of a runtime that was ending when the hooks came: it runs no fibers any more
  m->idle_sp = 0;
  m->idle_fiber = nullptr;
  m->port.release();
}

// Takes the port back from idle; the collector holds it for the time of one scan at most.
inline void take_port(mutator& m) noexcept {
  while (!m.port.is_running() && !m.port.try_acquire()) ::sched_yield();
}

inline void hook_detach(processor& p) noexcept {
  mutator* m = mutator_of(p);
  if (m == nullptr) return;
  take_port(*m);
  p.cache->attachments[thread_cache::gc_slot] = nullptr;
  destroy_mutator(*m);
}

// Whether stacks that come back must be looked at: a round later than the first, or the first.
inline bool rescans(const mutator& m) noexcept {
#if TERN_GC_WITHOUT_RESCAN
  return m.acked_round <= state.first_round.load(memory_order_relaxed);
#else
  return static_cast<void>(m), true;
#endif
}

inline void hook_acquire(processor& p) noexcept {
  mutator* const known = mutator_of(p);
  if (known == nullptr) return;  // as above
  mutator& m = *known;
  const runtime_scope in{m};
  take_port(m);
  if (TERN_UNLIKELY(world_stopped.load(memory_order_relaxed) != 0))
    poll(m);  // attached while the verifier looks
  fiber* f = p.current;
  if (f == nullptr || (hooks_armed.load(memory_order_relaxed) & armed_marking) == 0)
    return;  // relaxed: see hooks.hpp
  // Back from tern::blocking on a processor that may have acked this round meanwhile, by the collector's hand.
  with_registers_saved([&](std::uintptr_t sp) noexcept {
    scan_of(*f).check_resumed(m.acked_round, state.first_round.load(memory_order_relaxed), [&]() noexcept {
      if (!rescans(m)) return;
      scan_heap_closure(m, *f);
      scan_stack(m, sp - red_zone_size, f->stack_top(), current_fake_stack());
    });
  });
}

inline void hook_safepoint(processor& p) noexcept {
  mutator* m = mutator_of(p);
  if (m == nullptr) return;
  const runtime_scope in{*m};
  poll(*m);
}

// Whether other fibers may have references into the frames of this one, which is saved and claimed. Debug builds take that of all.
inline bool is_exposed([[maybe_unused]] const fiber& f) noexcept {
#if TERN_GC_WITHOUT_EXPOSED_FRAMES
  return false;
#elif TERN_DEBUG_LEVEL >= 2
  return true;
#else
  const char* what =
      fiber::text_of(f.wait_what.load(memory_order_relaxed));  // relaxed: it was set before the park
  return what == join_wait || what == nursery_wait;
#endif
}

inline bool hook_try_resume(processor& p, fiber& f) noexcept {
  mutator& m = *mutator_of(p);
  // relaxed: written before the handshake that this processor has acked.
  return scan_of(f).resume_checked(m.acked_round, state.first_round.load(memory_order_relaxed),
                                   [&]() noexcept {
                                     if (rescans(m)) scan_saved_stack(m, f);
                                   });
}

inline void hook_suspended(processor&, fiber&) noexcept {}
inline void hook_fiber_start(processor&, fiber&) noexcept {}

inline void hook_crossing(const void* words, std::size_t bytes) noexcept {
  if (!is_barrier_on()) return;
  mutator* m = own_mutator_if_any();
  auto f = [m](std::uintptr_t w) noexcept {
    if (m != nullptr)
      shade_word(*m, w);
    else
      shade_foreign(w);
  };
  const std::uintptr_t low = to_word(words);
  if (m == nullptr) return for_each_stack_word(low, low + bytes, nullptr, f);
  const runtime_scope in{*m};
  for_each_stack_word(low, low + bytes, nullptr, f);
}

// Also for a fiber that ends another runtime: it keeps its processor meanwhile.
inline void hook_thread_wait(function_ref<void()> wait) noexcept {
  mutator* m = own_mutator_if_any();
  if (m == nullptr) return wait();
  const runtime_scope in{*m};
  while_idle(*m, wait, true);
  poll(*m);
}

inline constexpr collector_hooks scheduler_hooks{
    .processor_attach = &hook_attach,
    .processor_detach = &hook_detach,
    .processor_release = &hook_release,
    .processor_acquire = &hook_acquire,
    .safepoint = &hook_safepoint,
    .try_resume = &hook_try_resume,
    .suspended = &hook_suspended,
    .fiber_start = &hook_fiber_start,
    .crossing = &hook_crossing,
    .thread_wait = &hook_thread_wait,
    .before_fork = &before_fork,
    .after_fork = &after_fork,
};

}  // namespace tern::inline v1::detail::gc

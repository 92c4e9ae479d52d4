// Finish: what the incoming side of a switch does for the fiber that was left.
//
// Context     dispatch.hpp switches; the first act on the incoming stack is finish_switch(). Only now is the left fiber's stack saved, or
//             free, so only now may others come to know of it.
// Protocol    worker::action tells what is to be done, and is `nothing` again afterwards. A yield, and a wait that is published by a lock's
//             becoming free, leave nothing to do: their last act, in the switch itself, is the store that publishes them.
// Ordering    A fiber is handed over by the release of the queue, lock or join word it goes through.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/sched/hooks.hpp>
#include <tern/sched/park.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/ready.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/slots.hpp>
#include <tern/sched/stack_guard.hpp>
#include <tern/sched/trace.hpp>

namespace tern::inline v1::detail {

TERN_COLD inline void mark_saved_slow(worker& w, fiber& f, leave_action action) noexcept {
  if (!stack_pool::is_intact(&f)) overflow_fatal(&f);  // while it counts as running, which the report tells
  f.stack_state.store(fiber::saved, memory_order_release);  // as below
  // relaxed: not older than what the caller has read.
  const std::uint32_t armed = hooks_armed.load(memory_order_relaxed);
  if (w.held == nullptr) return;
  if ((armed & armed_trace) != 0) {
    const bool waits = action == leave_action::park;
    record(w.held, trace_kind::leave,
           {.fiber = f.id,
            .what = waits ? w.wait->what : nullptr,
            .object = waits ? w.wait->object : nullptr,
            .value = static_cast<std::uint32_t>(action)});
  }
  if ((armed & armed_marking) == 0) return;
  if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) h->suspended(*w.held, f);
}

// The fiber's registers and stack are saved: whoever finds it may run or scan it.
TERN_ALWAYS_INLINE void mark_saved(worker& w, fiber& f, leave_action action) noexcept {
  // relaxed: a worker passes a safepoint after the flag was set and before the collector relies on it (hooks.hpp).
  if (TERN_UNLIKELY(hooks_armed.load(memory_order_relaxed) != 0)) return mark_saved_slow(w, f, action);
  // release: pairs with the collector's claim, which reads saved_context and the stack.
  f.stack_state.store(fiber::saved, memory_order_release);
}

// The runtime may be gone: the address tells the pool. Not inlined: it would have all registers saved at each end of a fiber.
TERN_COLD inline void release_pooled_slot(fiber& f) noexcept { stack_pool::pool_of(&f).release(&f); }

// Gives a fiber's slot back. Requires: it has ended and nobody will look at it.
inline void release_slot(fiber& f) noexcept {
  processor* p = current_processor();
  // The id: a runtime that is gone may have had this one's address, and slots of another size.
  if (TERN_LIKELY(p != nullptr && p->home == f.home && (f.flags & fiber::own_size) == 0 &&
                  f.id >= p->home->first_id())) {
    f.next = p->free_slots;
    p->free_slots = &f;
    if (TERN_UNLIKELY(++p->free_count > max_local_slots)) p->home->drain_slots(*p, max_local_slots / 2);
    return;
  }
  release_pooled_slot(f);
}

// What the error of a fiber that nobody can join leads to. Called in its own catch, so that terminate handlers see it.
[[noreturn]] TERN_COLD inline void terminate_named(std::uint64_t id, const char* name,
                                                   const std::exception_ptr& error) noexcept {
  std::fprintf(stderr, "tern: an exception left fiber #%llu '%s', which nobody joins\n",
               static_cast<unsigned long long>(id), name);
  try {
    std::rethrow_exception(error);
  } catch (...) {
    std::terminate();
  }
}
[[noreturn]] inline void terminate_named(fiber& f) noexcept {
  terminate_named(f.id, f.display_name(), f.error);
}

// Requires: f has ended and its stack is not in use.
TERN_ALWAYS_INLINE void note_end(worker& w, fiber& f) noexcept {
  f.sanitizer.destroy();
  if (TERN_UNLIKELY(!stack_pool::is_intact(&f))) overflow_fatal(&f);
  f.stack_state.store(fiber::free, memory_order_release);  // pairs-with: for_each_fiber()
  atomic<std::uint64_t>& finished = w.held->counters.finished;
  // release: pairs with live_fibers(), which counts no end of a fiber whose start, or whose children's, it misses.
  finished.store(finished.load(memory_order_relaxed) + 1, memory_order_release);
}

// The same; the joiner is still to be woken, or runs already and calls this.
inline void finish_joined(worker& w, fiber& f) noexcept {
  note_end(w, f);
  if (w.joiner != nullptr) unpark(*w.joiner, wake_place::tail);
}

inline void finish_exit(worker& w, fiber& f) noexcept {
  note_end(w, f);
  // acq_rel: pairs with join and detach; what the fiber did is visible to whoever joins.
  const std::uintptr_t joiner = f.join_word.exchange(fiber::join_done, memory_order_acq_rel);
  if (joiner == fiber::join_running) return;  // its handle frees the slot
  if (joiner == fiber::join_detached) {
    if (TERN_UNLIKELY((f.flags & fiber::has_error) != 0)) terminate_named(f);
    return release_slot(f);
  }
  unpark(*reinterpret_cast<wait_core*>(joiner), wake_place::tail);
}

inline void finish_park(worker& w, fiber& left) noexcept {
  waiter& x = *w.wait;
  const park_commit commit = w.commit;
  void* const argument = w.commit_argument;
  mark_saved(w, left, leave_action::park);
  bump(w.held->counters.parks);
  if (x.kind == waiter_kind::single && commit != nullptr) {
    x.state.park_single();
    if (commit(x, argument)) return;
    x.state.take_back_single();
    return make_ready(left, wake_place::next);
  }
  // Armed, the waiter stays whoever ends it: they only set the state, and the fiber is made ready below.
  const bool stay = commit == nullptr || commit(x, argument);
  if (!x.state.finish(stay)) make_ready(left, wake_place::next);
}

TERN_COLD inline void finish_inject(worker& w, fiber& left) noexcept {
  mark_saved(w, left, leave_action::inject);
  left.home->inject(left);
}

TERN_COLD inline void finish_requeue(worker& w, fiber& left) noexcept {
  mark_saved(w, left, leave_action::requeue);
  bump(w.held->counters.yields);
  push_yielded(*w.held, left);
}

// First thing after every switch, on the incoming stack. Nothing is left to do where the left fiber published itself (switch_publishing).
TERN_ALWAYS_INLINE void finish_switch(worker& w) noexcept {
  const leave_action action = w.action;
  if (TERN_LIKELY(action == leave_action::nothing)) return;
  w.action = leave_action::nothing;
  fiber* left = w.left;
  // In this order, which a switch statement would not keep: the fewer instructions an action takes itself.
  if (action == leave_action::exit) return finish_exit(w, *left);
  if (action == leave_action::park) return finish_park(w, *left);
  if (action == leave_action::joined) return finish_joined(w, *left);
  if (action == leave_action::requeue) return finish_requeue(w, *left);
  if (action == leave_action::inject) finish_inject(w, *left);
}

}  // namespace tern::inline v1::detail

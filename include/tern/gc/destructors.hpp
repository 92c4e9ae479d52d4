// Destructors of dead objects: who runs them, and when.
//
// Context     The sweep queues spans with doomed cells (heap.hpp); a thread of the collector's takes them, and runs
//             what is due, or hands it to the executor that the program has set.
// Structure   batch   one span that was taken off the queue: its cells are nobody else's until each destructor has run
// Protocol    span:  none -> queued -> running -> none. What the next sweep dooms while it is running makes it
//             running_queued: whoever runs it then looks once more. A batch that waits for its turn counts as running,
//             too. executor:  the thread says which one it calls; who has set another one waits until it is another
//             one.
// Invariants  pending counts spans queued or running, batches of the program's included: wait_for_destructors() waits
//             for these.
// Rejected    Fibers of the library's own: it would have to choose a runtime, and destructors would keep it from
//             ending.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include <tern/gc/safepoint.hpp>

namespace tern::inline v1 {

namespace detail::gc {

// Runs what is due in one span. Nobody else touches a doomed cell.
inline void destroy_doomed_cells(span& s) noexcept {
  const shape& k = *s.kind_of;
  const bool poison_dead = testing.poison_freed.load(memory_order_relaxed);
  for (unsigned g = 0; g < s.used_groups(); ++g) {
    bit_group& b = s.bits[g];
    std::uint64_t due = b.doomed();
    const auto count = static_cast<std::uint64_t>(std::popcount(due));
    for (; due != 0; due &= due - 1) {
      const std::uint32_t i = g * 64 + static_cast<std::uint32_t>(std::countr_zero(due));
      void* object = reinterpret_cast<void*>(s.cell(i));
      k.destroy(object);
      if (poison_dead) std::memset(object, poison_byte, s.cell_bytes);
      b.end_of(span::mask(i));
    }
    // relaxed: a statistic, of whoever runs destructors.
    if (count != 0) state.counters.destroyed.fetch_add(count, memory_order_relaxed);
  }
}

// Requires: the span was taken off the queue.
inline void run_destructors_of(span& s) noexcept {
  for (bool again = true; again;) {
    destroy_doomed_cells(s);
    lock_scope hold{doomed.lock};
    again = s.destroying == destroy_state::running_queued;
    s.destroying = again ? destroy_state::running : destroy_state::none;
    if (again) continue;
    if (doomed.pending.fetch_sub(1, memory_order_relaxed) == 1) {  // relaxed: under the lock
      doomed.idle_word.fetch_add(1, memory_order_release);         // pairs-with: wait_for_destructors()
      os::futex_wake(doomed.idle_word, INT32_MAX);
    }
  }
}

}  // namespace detail::gc

namespace gc {

/// Destructors that are due, of up to 1,024 objects of one type, for the function given to set_destructor_executor().
/// Calling it runs them, on any thread or fiber, once; with them those of objects that died beside them meanwhile. A
/// batch that is destroyed, or assigned to, before runs there and then: none is left out.
class destructor_batch {
 public:
  destructor_batch() noexcept = default;
  destructor_batch(destructor_batch&& o) noexcept : span_{std::exchange(o.span_, nullptr)} {}
  destructor_batch& operator=(destructor_batch&& o) noexcept {
    destructor_batch(std::move(o)).swap(*this);
    return *this;
  }
  ~destructor_batch() { (*this)(); }

  /// Whether something is due.
  explicit operator bool() const noexcept { return span_ != nullptr; }
  void operator()() noexcept {
    if (detail::gc::span* const s = std::exchange(span_, nullptr)) detail::gc::run_destructors_of(*s);
  }
  void swap(destructor_batch& o) noexcept { std::swap(span_, o.span_); }

  // The library's: of a span that was taken off the queue.
  explicit destructor_batch(detail::gc::span& s) noexcept : span_{&s} {}

 private:
  detail::gc::span* span_ = nullptr;
};

using destructor_executor = std::function<void(destructor_batch)>;

}  // namespace gc

namespace detail::gc {

struct executor_slot {
  spin_lock<> lock;
  ::tern::gc::destructor_executor* current = nullptr;  // lock; null: the collector's thread runs them itself
  ::tern::gc::destructor_executor* called = nullptr;   // lock; the one that is being called
  atomic<std::uint32_t> returned{0};                   // futex: increments when a call has returned
};
inline constinit executor_slot executor;

// The collector's thread for destructors.
inline void dispatch_destructors_of(span& s) noexcept {
  {
    lock_scope hold{executor.lock};
    executor.called = executor.current;
  }
  if (executor.called == nullptr) return run_destructors_of(s);  // written by this thread alone
  (*executor.called)(::tern::gc::destructor_batch{s});
  {
    lock_scope hold{executor.lock};
    executor.called = nullptr;
  }
  executor.returned.fetch_add(1, memory_order_release);  // pairs-with: change_executor()
  os::futex_wake(executor.returned, INT32_MAX);
}

// The former one, which is not being called any more.
inline std::unique_ptr<::tern::gc::destructor_executor> change_executor(
    std::unique_ptr<::tern::gc::destructor_executor> fresh) noexcept {
  ::tern::gc::destructor_executor* former = nullptr;
  {
    lock_scope hold{executor.lock};
    former = std::exchange(executor.current, fresh.release());
  }
  for (;;) {
    const std::uint32_t seen =
        executor.returned.load(memory_order_acquire);  // pairs-with: dispatch_destructors_of()
    {
      lock_scope hold{executor.lock};
      if (former == nullptr || executor.called != former) break;
    }
    os::futex_wait(executor.returned, seen);
  }
  return std::unique_ptr<::tern::gc::destructor_executor>{former};
}

inline void* destroyer_entry(void*) {
  service_threads.fetch_add(1, memory_order_relaxed);
  for (;;) {
    // A destructor that makes an object attaches this thread, which no signal reaches.
    if (mutator* m = current_mutator_if_any()) {
      const runtime_scope in{*m};
      poll(*m);
    }
    const std::uint32_t seen = doomed.wake.load(memory_order_acquire);  // pairs-with: enqueue_doomed()
    span* s = nullptr;
    {
      lock_scope hold{doomed.lock};
      s = doomed.first;
      if (s != nullptr) {
        doomed.first = s->next_doomed;
        if (doomed.first == nullptr) doomed.last = nullptr;
        s->destroying = destroy_state::running;
      }
    }
    if (s != nullptr) {
      dispatch_destructors_of(*s);
      continue;
    }
    // What destructors have left on this stack would be roots for as long as it sleeps.
    if (current_mutator_if_any() != nullptr) on_thread_exit(current_cache_if_any());
    wait_in_kernel([seen]() noexcept { os::futex_wait(doomed.wake, seen); });
  }
}

}  // namespace detail::gc
}  // namespace tern::inline v1

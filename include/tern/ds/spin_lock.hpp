// Spin lock: a 4-byte lock for critical sections of a few dozen instructions, which sleeps when the holder has lost its CPU.
//
// Context     The mutual exclusion of all layers: page heap, central lists, registries, queues, primitives. Holders never park a fiber.
// Structure   0 free, 1 held, 2 held and somebody may be asleep.
// Protocol    lock:   exchange 0 -> 1; else watch the word with pause; after spin_limit rounds exchange it to 2 and sleep while it is 2.
//             unlock: exchange to 0; wake one if it was 2. The woken one takes the lock as 2, since others may still sleep.
// Invariants  I1 whoever sleeps has seen a 2, and only an unlock turns 2 into 0; that unlock wakes.
// Rejected    Pure spinning: with more threads than CPUs the waiters burn the holder's time slice. sched_yield: says nothing
//             about who should run. Fair (ticket, MCS): a preempted waiter then stops all.
// Limits      Not fair, not recursive. Never held across a park.
// References  U. Drepper, Futexes are tricky, 2011.
#pragma once

#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/ds/policy.hpp>

namespace tern::inline v1::detail {

// Lockable (std::lock_guard works). Constant-initialised.
template <class Atomics = native_atomics, unsigned SpinLimit = 128>
class spin_lock {
 public:
  constexpr spin_lock() noexcept = default;
  spin_lock(const spin_lock&) = delete;
  spin_lock& operator=(const spin_lock&) = delete;

  void lock() noexcept {
    if (TERN_UNLIKELY(!try_lock())) lock_slow();
  }

  [[nodiscard]] bool try_lock() noexcept {
    std::uint32_t expected = free;
    // acquire: pairs with the release of unlock(); else the section reads what the last holder had not yet written.
    return state_.compare_exchange_strong(expected, held, memory_order_acquire, memory_order_relaxed);
  }

  // Requires: the caller holds the lock.
  void unlock() noexcept {
    // release: pairs with the acquires of try_lock() and lock_slow().
    const std::uint32_t was = state_.exchange(free, memory_order_release);
    TERN_ASSERT(was != free, "spin_lock: unlock of a lock that is free");
    if (TERN_UNLIKELY(was == contended)) waiter_of<Atomics>::wake(state_, 1);
  }

  // For assertions only: another thread may change it at once. relaxed: the holder wrote it itself.
  [[nodiscard]] bool is_locked() const noexcept { return state_.load(memory_order_relaxed) != free; }

 private:
  enum : std::uint32_t { free, held, contended };

  TERN_COLD void lock_slow() noexcept {
    for (unsigned i = 0; i < SpinLimit; ++i) {
      // relaxed: only a hint, try_lock() decides.
      if (state_.load(memory_order_relaxed) == free && try_lock()) return;
      Atomics::pause();
    }
    // acquire: as in try_lock(). Taking the lock as `contended` may cost one needless wake, never a lost one.
    while (state_.exchange(contended, memory_order_acquire) != free)
      waiter_of<Atomics>::wait(state_, contended);
  }

  typename Atomics::template atomic<std::uint32_t> state_{free};
};

// Scope of a held lock. As std::lock_guard, for those who include no <mutex>.
template <class Lock>
class [[nodiscard]] lock_scope {
 public:
  explicit lock_scope(Lock& l) noexcept : lock_{l} { lock_.lock(); }
  ~lock_scope() { lock_.unlock(); }
  lock_scope(const lock_scope&) = delete;
  lock_scope& operator=(const lock_scope&) = delete;

 private:
  Lock& lock_;
};

}  // namespace tern::inline v1::detail

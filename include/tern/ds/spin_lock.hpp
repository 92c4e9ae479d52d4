// Spin lock: a 4-byte lock for critical sections of a few dozen instructions, whose waiters nap when the holder has lost its CPU.
//
// Context     The mutual exclusion of all layers: page heap, central lists, registries, queues, primitives. Holders never park a fiber.
// Structure   0 free, 1 held.
// Protocol    lock:   CAS 0 -> 1; else stay away from the line for some pauses, look, try; each time for twice as long, up to max_backoff;
//                     after SpinLimit pauses nap in the kernel between the looks.
//             unlock: store 0. Nobody is woken: a nap ends by itself.
// Invariants  I1 the store is the last access of an unlock, so the next holder may destroy what the lock lies in.
// Rejected    A third state and a futex wake: the unlock is then a read-modify-write, which is half the cost of a section that nobody
//             disturbs, and two CPUs that want the lock all the time spend theirs in the kernel. Looking after each pause: each look takes the line from the holder, whose
//             next sections then cost ten times as much; two CPUs that take turns at longer intervals lose little. Pure spinning: with more
//             threads than CPUs the waiters burn the holder's time slice. sched_yield: says nothing about who should run. Fair
//             (ticket, MCS): a preempted waiter then stops all, and each hand-over moves the line.
// Limits      Not fair, not recursive. Never held across a park. A holder that has lost its CPU is noticed up to max_nap late.
#pragma once

#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/ds/policy.hpp>

namespace tern::inline v1::detail {

// Lockable (std::lock_guard works). Constant-initialised. SpinLimit: pauses before the first nap.
template <class Atomics = native_atomics, unsigned SpinLimit = 512>
class spin_lock {
 public:
  constexpr spin_lock() noexcept = default;
  spin_lock(const spin_lock&) = delete;
  spin_lock& operator=(const spin_lock&) = delete;

  TERN_ALWAYS_INLINE void lock() noexcept {
    if (TERN_UNLIKELY(!try_lock())) lock_slow();
  }

  [[nodiscard]] TERN_ALWAYS_INLINE bool try_lock() noexcept {
    std::uint32_t expected = free;
    // acquire: pairs with the release of unlock(); else the section reads what the last holder had not yet written.
    return state_.compare_exchange_strong(expected, held, memory_order_acquire, memory_order_relaxed);
  }

  // Requires: the caller holds the lock.
  TERN_ALWAYS_INLINE void unlock() noexcept {
    TERN_ASSERT(is_locked(), "spin_lock: unlock of a lock that is free");
    // release: pairs with the acquire of try_lock().
    state_.store(free, memory_order_release);
  }

  // For a holder whose unlock is the last store of a context switch: it stores `unlocked` to this word, with release.
  static constexpr std::uint32_t unlocked = 0;
  [[nodiscard]] typename Atomics::template atomic<std::uint32_t>& unlock_word() noexcept { return state_; }

  // For assertions only: another thread may change it at once. relaxed: the holder wrote it itself.
  [[nodiscard]] bool is_locked() const noexcept { return state_.load(memory_order_relaxed) != free; }

 private:
  enum : std::uint32_t { free, held };
  static constexpr unsigned first_backoff = 64;  // pauses
  static constexpr unsigned max_backoff = 256;
  static constexpr std::int64_t first_nap = 20'000;  // ns; the kernel adds its timer slack
  static constexpr std::int64_t max_nap = 200'000;

  // relaxed: only a hint, try_lock() decides.
  bool look() noexcept { return state_.load(memory_order_relaxed) == free && try_lock(); }

  TERN_COLD void lock_slow() noexcept {
    for (unsigned spent = 0, wait = first_backoff; spent < SpinLimit; spent += wait) {
      for (unsigned i = 0; i < wait; ++i) Atomics::pause();
      if (look()) return;
      if (wait < max_backoff) wait *= 2;
    }
    for (std::int64_t nap = first_nap; !look(); nap = nap < max_nap ? 2 * nap : nap)
      waiter_of<Atomics>::nap(state_, held, nap);
  }

  typename Atomics::template atomic<std::uint32_t> state_{free};
};

// For locks of what fibers wait on, of which there is one worker for each CPU: whoever finds it held has rarely met a holder without a CPU, but
// one that takes it again and again. While the first one naps for its 70 us the other runs out of work, which waits on this one's stack
// (sched/chan_mpmc/processors:2 takes 0.88 of what it takes with the short limit). Heaps, whose threads may be more than the CPUs, keep that: there
// a waiter who spins spends the time of a holder that has lost its CPU. On a quiet machine their rows are the same with either.
template <class Atomics = native_atomics>
using wait_lock = spin_lock<Atomics, 8192>;

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

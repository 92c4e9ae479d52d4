#pragma once

// futex_lock: the allocator's mutual exclusion, one word.
//
// Context     Protects the page heap, the central lists and the registries. Holders never park a fiber and never allocate, so
//             that a worker may block on it; the sections are some hundred ns long, hence the short spin.
// Structure   0 free, 1 held, 2 held and somebody may sleep.
// Ordering    The acquire of lock() pairs with the release of unlock(): what one holder wrote is seen by the next.
// Limits      Not recursive, not fair.
// References  Drepper, "Futexes are tricky", 2011 (the third mutex).

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/os/futex.hpp>

namespace tern::inline v1::detail {

class futex_lock {
 public:
  constexpr futex_lock() noexcept = default;
  futex_lock(const futex_lock&) = delete;
  futex_lock& operator=(const futex_lock&) = delete;

  void lock() noexcept {
    std::uint32_t expected = 0;
    // pairs-with: unlock(); else the new holder reads the structure as it was before the last holder's writes.
    if (TERN_LIKELY(state_.compare_exchange_strong(expected, 1, memory_order_acquire, memory_order_relaxed)))
      return;
    lock_slow();
  }

  bool try_lock() noexcept {
    std::uint32_t expected = 0;
    return state_.compare_exchange_strong(expected, 1, memory_order_acquire,
                                          memory_order_relaxed);  // pairs-with: unlock()
  }

  void unlock() noexcept {
    // pairs-with: lock(), lock_slow().
    if (TERN_UNLIKELY(state_.exchange(0, memory_order_release) == 2)) os::futex_wake(state_, 1);
  }

 private:
  TERN_COLD void lock_slow() noexcept {
    for (int i = 0; i < spins; ++i) {
      spin_pause();
      std::uint32_t expected = 0;
      // relaxed load: only a hint when to try; the exchange that follows orders.
      if (state_.load(memory_order_relaxed) == 0 &&
          state_.compare_exchange_strong(expected, 1, memory_order_acquire, memory_order_relaxed))
        return;
    }
    // Taken as 2, since others may sleep: costs one superfluous wake at most.
    while (state_.exchange(2, memory_order_acquire) != 0) os::futex_wait(state_, 2);
  }

  static constexpr int spins = 60;

  atomic<std::uint32_t> state_{0};
};

// Scope of a held lock.
class [[nodiscard]] lock_scope {
 public:
  explicit lock_scope(futex_lock& l) noexcept : lock_{l} { lock_.lock(); }
  ~lock_scope() { lock_.unlock(); }
  lock_scope(const lock_scope&) = delete;
  lock_scope& operator=(const lock_scope&) = delete;

 private:
  futex_lock& lock_;
};

}  // namespace tern::inline v1::detail

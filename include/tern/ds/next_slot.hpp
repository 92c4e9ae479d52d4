// Next slot: a place for one item. Its owner fills and empties it all the time, without a read-modify-write; others take from it now and then.
//
// Context     A processor's run_next: the fiber that was just woken. Two fibers that wake each other fill and empty it at every switch; an
//             idle processor takes from it where that has not happened for a while.
// Structure   item_; busy_: the owner is emptying it; closed_: 0, or bits: a thief is at work; no barrier is to be had, as it is at first.
// Protocol    take (owner):   1. busy_ := 1   2. look at closed_   3. 0: read item_, item_ := null, busy_ := 0
//                             else: busy_ := 0, exchange item_ with null.
//             steal (others): 1. closed_ from 0 to thief, by CAS   2. a barrier in every thread   3. busy_: give up, the owner is about to have
//                             it; else item_ from what was seen to null, by CAS   4. closed_ := 0. Without barriers 2 and busy_ are left out.
//             open:           closed_ from `no barrier` to 0, by CAS, where barriers are to be had.
// Invariants  I1 only the owner puts an item in, and only where there is none. I2 an item leaves once: by the owner's store of null while closed_
//             is 0, and thieves keep out, or by a read-modify-write of item_.
// Ordering    1 and 2 of take are a store and a load of two words, and nothing that the owner pays for orders them: 2 of steal does, for both.
//             A take whose look came before the barrier has its busy_ seen by the thief; one whose look comes after it finds the slot closed.
//             The thief's 4 (release) pairs with the owner's look (acquire): what has been taken is not found again.
//             The owner's busy_ := 0 (release) pairs with the thief's look at it (acquire): else the thief could find the item that is gone.
//             fill (release) pairs with the thief's CAS (acquire): what was written to the item before.
// Rejected    An exchange by the owner at each take: a fifth more for a ping-pong of two fibers on a Xeon (variants that are not kept), where each
//             costs 7 ns.
// Limits      A thief that cannot have its barrier any more, though open() could, never takes anything.
// References  Dice, Huang, Yang: Asymmetric Dekker synchronization (2001).
#pragma once

#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/os/barrier.hpp>

namespace tern::inline v1::detail {

struct process_barrier {
  static bool in_every_thread() noexcept { return os::barrier_in_every_thread(); }
};

template <class T, class Atomics = native_atomics, class Barrier = process_barrier>
class next_slot {
 public:
  constexpr next_slot() noexcept = default;
  next_slot(const next_slot&) = delete;
  next_slot& operator=(const next_slot&) = delete;

  // What lies there at some moment, or null. Anybody. relaxed: a hint; for the owner, null is the truth.
  [[nodiscard]] TERN_ALWAYS_INLINE T* look() const noexcept { return item_.load(memory_order_relaxed); }

  // Owner only. Requires: it is empty, which it stays until the owner fills it.
  TERN_ALWAYS_INLINE void fill(T* item) noexcept {
    TERN_ASSERT(look() == nullptr, "next_slot: filled twice");
    item_.store(item, memory_order_release);  // pairs-with: steal()
  }

  // Owner only. What lay there, or null.
  [[nodiscard]] TERN_ALWAYS_INLINE T* take() noexcept {
    if (look() == nullptr) return nullptr;
    busy_.store(1, memory_order_relaxed);  // relaxed: the thief's barrier orders it before the look below
    compiler_fence();
    // acquire: pairs with the end of steal(); else the item that was taken is found again.
    if (TERN_LIKELY(closed_.load(memory_order_acquire) == 0)) {
      T* const item = item_.load(memory_order_relaxed);  // relaxed, both: no thief is about
      item_.store(nullptr, memory_order_relaxed);
      busy_.store(0, memory_order_release);  // pairs-with: steal()
      return item;
    }
    busy_.store(0, memory_order_relaxed);                  // relaxed: what follows is a read-modify-write
    return item_.exchange(nullptr, memory_order_relaxed);  // relaxed: the owner filled it itself
  }

  // Owner only. take() and fill().
  [[nodiscard]] T* replace(T* item) noexcept {
    T* const before = take();
    fill(item);
    return before;
  }

  // Anybody but the owner. Takes `item` if it lies there; it may fail all the same. Some microseconds.
  [[nodiscard]] bool steal(T* item) noexcept {
    std::uint32_t mode = closed_.load(memory_order_relaxed);  // relaxed: the CAS decides
    if ((mode & thief) != 0) return false;
    // relaxed: the barrier, or the read-modify-writes of both sides, order what follows.
    if (!closed_.compare_exchange_strong(mode, mode | thief, memory_order_relaxed, memory_order_relaxed))
      return false;
    bool taken = false;
    // acquire: pairs with take().
    if (mode == no_barrier || (Barrier::in_every_thread() && busy_.load(memory_order_acquire) == 0))
      // acquire: pairs with fill().
      taken = item_.compare_exchange_strong(item, nullptr, memory_order_acquire, memory_order_relaxed);
    closed_.store(mode, memory_order_release);  // pairs-with: take()
    return taken;
  }

  // Anybody, once barriers are to be had. False where a thief is at work: try again.
  [[nodiscard]] bool open() noexcept {
    std::uint32_t mode = no_barrier;
    // relaxed: an owner that sees it late uses the exchange.
    return closed_.compare_exchange_strong(mode, 0, memory_order_relaxed, memory_order_relaxed) || mode == 0;
  }

 private:
  static constexpr std::uint32_t thief = 1;
  static constexpr std::uint32_t no_barrier = 2;

  typename Atomics::template atomic<T*> item_{nullptr};
  typename Atomics::template atomic<std::uint32_t> busy_{0};
  typename Atomics::template atomic<std::uint32_t> closed_{no_barrier};
};

}  // namespace tern::inline v1::detail

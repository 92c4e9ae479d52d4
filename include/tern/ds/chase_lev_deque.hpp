// Chase-Lev deque: the owner pushes and takes at the bottom, thieves steal single items at the top.
//
// Context     Fork-join: the youngest task is the owner's next, the oldest (the largest) is the thieves'.
// Structure   top <= bottom, both only count (64 bits: no wrap); slot i is slots[i mod Capacity]. Bounded: a full deque refuses,
//             and the caller runs the task in place, which is what it would do next anyway.
//
//               ..... | top | task task task | bottom | .....
//                       ^ thieves, and the owner's last take: CAS      ^ owner: store
//
// Protocol    take:  1 bottom - 1 is stored, 2 top is read; more than one left: the owner has it. The last one: CAS on top decides.
//             steal: 1 top, 2 bottom is read, 3 the slot, 4 CAS on top.
// Invariants  I1 index i goes to the owner without a CAS only if the owner has read top < i after it stored bottom = i.
//             I2 a slot in [top, bottom) is not written.
// Ordering    take's store of bottom, its load of top and steal's two loads are one StoreLoad pair (Dekker): all four are seq_cst, and so
//             is the CAS, so that a thief that missed the lowered bottom has moved top before the owner read it. The paper
//             puts stand-alone fences there; operations say the same and TSan understands them. push: bottom's release with steal's
//             acquire (slot and task); steal's CAS with push's acquire of top (the slot has been read before it is reused).
// Rejected    Growing: the old buffer must outlive every thief.
// Limits      Bounded. Steals one.
// References  Chase, Lev, Dynamic circular work-stealing deque, 2005; Le, Pop, Cohen, Zappa Nardelli, Correct and efficient
//             work-stealing for weak memory models, 2013.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

template <class T, std::size_t Capacity = 256, class Atomics = native_atomics>
class chase_lev_deque {
  static_assert(std::has_single_bit(Capacity));

 public:
  using index = std::int64_t;
  static constexpr std::size_t capacity = Capacity;

  constexpr chase_lev_deque() noexcept = default;
  chase_lev_deque(const chase_lev_deque&) = delete;
  chase_lev_deque& operator=(const chase_lev_deque&) = delete;

  // Owner only. False if the deque is full. O(1).
  [[nodiscard]] bool try_push(T* item) noexcept {
    const index bottom = bottom_.load(memory_order_relaxed);  // relaxed: owner's own word
    // acquire: pairs with the CAS of steal(); else a slot may be overwritten before its thief has read it.
    const index top = top_.load(memory_order_acquire);
    if (TERN_UNLIKELY(bottom - top >= static_cast<index>(Capacity))) return false;
    slot(bottom).store(item, memory_order_relaxed);  // relaxed: published by the next line
    // release: pairs with the load of bottom in steal(); else the thief reads an old slot or an unwritten task.
    bottom_.store(bottom + 1, memory_order_release);
    return true;
  }

  // Owner only. The youngest item, or null. O(1).
  [[nodiscard]] T* take() noexcept {
    const index bottom = bottom_.load(memory_order_relaxed) - 1;  // relaxed: owner's own word
    // seq_cst, both: the StoreLoad against steal(); else owner and thief both get the same item.
    bottom_.store(bottom, memory_order_seq_cst);
    index top = top_.load(memory_order_seq_cst);
    if (top < bottom) return slot(bottom).load(memory_order_relaxed);  // relaxed: owner wrote it
    T* item = nullptr;
    if (top == bottom) {
      item = slot(bottom).load(memory_order_relaxed);  // relaxed: owner wrote it
      // seq_cst: in one order with the loads of steal(). The last item goes to whoever moves top.
      if (!top_.compare_exchange_strong(top, top + 1, memory_order_seq_cst, memory_order_relaxed))
        item = nullptr;
    }
    // relaxed: the deque is empty; a thief that reads this finds top == bottom, or fails its CAS.
    bottom_.store(bottom + 1, memory_order_relaxed);
    return item;
  }

  enum class outcome : std::uint8_t { taken, empty, lost };
  struct steal_result {
    T* item;
    outcome what;
  };

  // Any thread. The oldest item; `lost` says that another taker was faster and there may be more. O(1), never loops.
  [[nodiscard]] steal_result steal() noexcept {
    // seq_cst, both: pair with take(), see Ordering. The load of bottom also acquires the slot and the task from try_push().
    index top = top_.load(memory_order_seq_cst);
    const index bottom = bottom_.load(memory_order_seq_cst);
    if (top >= bottom) return {nullptr, outcome::empty};
    T* const item =
        slot(top).load(memory_order_relaxed);  // relaxed: ordered by bottom's acquire; void if the CAS fails
    // seq_cst: in one order with take(); its release part pairs with try_push()'s acquire of top.
    if (!top_.compare_exchange_strong(top, top + 1, memory_order_seq_cst, memory_order_relaxed)) {
      return {nullptr, outcome::lost};
    }
    return {item, outcome::taken};
  }

  // Anybody. True: it was empty at some moment of the call, or its last item was being taken. seq_cst: for a rescan before going idle.
  [[nodiscard]] bool is_empty() const noexcept {
    const index top = top_.load(memory_order_seq_cst);
    return top >= bottom_.load(memory_order_seq_cst);
  }

  // relaxed: a figure.
  [[nodiscard]] std::size_t size() const noexcept {
    const index n = bottom_.load(memory_order_relaxed) - top_.load(memory_order_relaxed);
    return n > 0 ? static_cast<std::size_t>(n) : 0;
  }

 private:
  using slot_type = typename Atomics::template atomic<T*>;

  slot_type& slot(index i) noexcept { return slots_[static_cast<std::size_t>(i) & (Capacity - 1)]; }

  alignas(contended_line_size) typename Atomics::template atomic<index> top_{0};
  // Own line: the owner writes it at every push and take.
  alignas(contended_line_size) typename Atomics::template atomic<index> bottom_{0};
  alignas(contended_line_size) std::array<slot_type, Capacity> slots_{};
};

}  // namespace tern::inline v1::detail

// Run queue: a processor's bounded ring of runnable items. Its owner pushes and pops; anybody may steal half of it.
//
// Context     One per processor. What does not fit goes to the inject queue in a batch, so that a burst does not pay its lock
//             for each item.
// Structure   head <= tail, both count up for ever and wrap at 2^32; slot i is slots[i mod Capacity].
//
//               ..... | head | item item item | tail | .....      tail - head <= Capacity
//                       ^ moved by CAS: owner's pop, thieves        ^ moved by the owner's store
//
// Protocol    push (owner):   1 read head, 2 if there is room write the slot, 3 publish tail + 1.
//             rotate (owner): 1 pop, 2 write the slot at tail, 3 publish tail + 1, which the caller does.
//             overflow:       1 CAS head forward over half, 2 read those slots: nobody but the owner writes slots.
//             pop (owner):    1 read head, 2 read the slot, 3 CAS head + 1.
//             steal (thief):  1 read head, then tail, 2 copy the slots to its own ring past its own tail, 3 CAS head over them,
//                             4 publish its own tail.
// Invariants  I1 only the owner writes tail and slots. I2 a slot in [head, tail) is not written. I3 an item leaves by the one CAS
//             that moves head over it, so it leaves once. I4 tail - head <= Capacity in every consistent view.
// Ordering    tail: push's release with the thieves' acquire (slot, item). head: every CAS's release with push's acquire (the
//             slot has been read before it is written again) and with the thieves' acquire (tail is never seen behind head).
// Rejected    LIFO for the owner (unfair without a bound; the run-next slot of the processor gives the locality). Plain pops by an
//             owner that is alone: others may come at any moment to take a hog's items.
// Limits      A thief that sleeps through exactly 2^32 moves of head between its read and its CAS would steal stale slots.
//             The run-next slot belongs to the processor, not to this.
// References  Go runtime, proc.go (runqput, runqgrab); Le et al., Correct and efficient work-stealing for weak memory models, 2013.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

template <class T, std::size_t Capacity = 256, class Atomics = native_atomics>
class run_queue {
  static_assert(std::has_single_bit(Capacity) && Capacity >= 2 && Capacity <= (std::size_t{1} << 30));

 public:
  using index = std::uint32_t;
  static constexpr std::size_t capacity = Capacity;

  // `first` is where the indices begin; tests start them close to the wrap.
  constexpr explicit run_queue(index first = 0) noexcept : head_{first}, tail_{first} {}
  run_queue(const run_queue&) = delete;
  run_queue& operator=(const run_queue&) = delete;

  // Owner only. False if the ring is full. `publish` is release, or seq_cst where the caller next reads a word of the idle
  // protocol with seq_cst and a processor going idle may miss the item otherwise. O(1).
  [[nodiscard]] TERN_ALWAYS_INLINE bool try_push(T* item,
                                                 memory_order publish = memory_order_release) noexcept {
    // acquire: pairs with the release of every CAS on head; else the slot may be overwritten before its taker has read it.
    const index head = head_.load(memory_order_acquire);
    const index tail = tail_.load(memory_order_relaxed);  // relaxed: owner's own word
    if (TERN_UNLIKELY(tail - head >= Capacity)) return false;
    slot(tail).store(item, memory_order_relaxed);  // relaxed: published by the next line
    // release at least: pairs with the acquire of grab(); else a thief reads an old slot, or an item not yet written.
    tail_.store(tail + 1, publish);
    return true;
  }

  // Owner only. Pushes; if the ring is full, calls sink(T*) for its older half, oldest first, and for `item`: the caller puts
  // those into the inject queue. True if nothing overflowed. O(1), O(Capacity) on overflow.
  template <class Sink>
  bool push(T* item, Sink&& sink, memory_order publish = memory_order_release) noexcept {
    while (TERN_UNLIKELY(!try_push(item, publish))) {
      if (overflow(sink)) {
        sink(item);
        return false;
      }
    }
    return true;
  }

  // Owner only. The oldest item, or null. O(1).
  [[nodiscard]] TERN_ALWAYS_INLINE T* pop() noexcept {
    // relaxed: the CAS checks it, and the slots were written by this thread.
    index head = head_.load(memory_order_relaxed);
    for (;;) {
      if (head == tail_.load(memory_order_relaxed)) return nullptr;  // relaxed: owner's own word
      T* const item = slot(head).load(memory_order_relaxed);         // relaxed: owner wrote it
      // release: keeps thieves' and the owner's takes in one release sequence that push acquires.
      if (head_.compare_exchange_weak(head, head + 1, memory_order_release, memory_order_relaxed))
        return item;
    }
  }

  // Owner only. pop(), and a push of `item` whose last step, the store of `value` to `word` (release), is left to the caller: for a fiber
  // that publishes itself with the very last store that it does. Null, and nothing is pushed, if the ring is empty or a thief was
  // quicker. O(1).
  struct rotation {
    T* oldest = nullptr;
    typename Atomics::template atomic<index>* word = nullptr;
    index value = 0;
  };
  [[nodiscard]] TERN_ALWAYS_INLINE rotation rotate(T* item) noexcept {
    index head = head_.load(memory_order_relaxed);  // relaxed, here and below: as in pop()
    const index tail = tail_.load(memory_order_relaxed);
    if (TERN_UNLIKELY(head == tail)) return {};
    T* const oldest = slot(head).load(memory_order_relaxed);
    // release: as in pop(). acquire: as in try_push(), for the slot below, for which this makes room.
    if (head_.compare_exchange_strong(head, head + 1, memory_order_acq_rel, memory_order_relaxed)) {
      slot(tail).store(item, memory_order_relaxed);  // relaxed: the caller publishes it
      return {oldest, &tail_, tail + 1};
    }
    return {};
  }

  // Thief only, and owner of `mine`. Moves the older half of this ring (as far as `mine` has room) behind `mine`, except one
  // item, which is returned to be run at once. Null if there was nothing. Requires: &mine != this. O(Capacity).
  [[nodiscard]] T* steal_into(run_queue& mine) noexcept {
    TERN_ASSERT(&mine != this, "run_queue: stealing from itself");
    const index tail = mine.tail_.load(memory_order_relaxed);  // relaxed: the thief owns `mine`
    // acquire: as in try_push().
    const index room = static_cast<index>(Capacity) - (tail - mine.head_.load(memory_order_acquire));
    const index n = grab(mine, tail, room);
    if (n == 0) return nullptr;
    // The last one taken is run now; the others keep their order.
    T* const item = mine.slot(tail + n - 1).load(memory_order_relaxed);  // relaxed: written by this thread
    // release: as in try_push().
    if (n > 1) mine.tail_.store(tail + n - 1, memory_order_release);
    return item;
  }

  // Anybody. Takes the oldest item, or null. For those that have no ring (a monitor, a plain thread). O(1).
  [[nodiscard]] T* steal_one() noexcept {
    for (;;) {
      // acquire: else the slot below could be read from before the last take. acquire of tail: pairs with try_push().
      index head = head_.load(memory_order_acquire);
      const index tail = tail_.load(memory_order_acquire);
      if (head == tail) return nullptr;
      T* const item =
          slot(head).load(memory_order_relaxed);  // relaxed: ordered by tail's acquire; void if the CAS fails
      // release: pairs with try_push()'s acquire of head.
      if (head_.compare_exchange_strong(head, head + 1, memory_order_release, memory_order_relaxed))
        return item;
    }
  }

  // Anybody. True: the ring was empty at some moment of the call. seq_cst: the rescan of a processor going idle pairs with a
  // push published by seq_cst (see try_push) through the idle protocol's words.
  [[nodiscard]] bool is_empty() const noexcept {
    // head first: if tail equals an older head, nothing was in between when head was read.
    const index head = head_.load(memory_order_seq_cst);
    return head == tail_.load(memory_order_seq_cst);
  }

  // Where the ring stands. What lay in it at an earlier view has left it when the head has come to that view's tail.
  struct view {
    index head;
    index tail;
    // 0 also where the two do not fit together, since items came and went between the loads.
    std::size_t size() const noexcept {
      const index n = tail - head;
      return n <= Capacity ? n : 0;
    }
  };
  // Anybody. relaxed: a hint, by which a thief decides whether to come.
  [[nodiscard]] view look() const noexcept {
    const index head = head_.load(memory_order_relaxed);
    return {head, tail_.load(memory_order_relaxed)};
  }

  // Anybody; exact for the owner while nobody steals. relaxed: a figure.
  [[nodiscard]] std::size_t size() const noexcept {
    const index head = head_.load(memory_order_relaxed);
    const index n = tail_.load(memory_order_relaxed) - head;
    return n <= Capacity ? n : Capacity;
  }

 private:
  using slot_type = typename Atomics::template atomic<T*>;

  slot_type& slot(index i) noexcept { return slots_[i & (Capacity - 1)]; }

  // Owner only. Takes the older half out. False if thieves have made room meanwhile.
  template <class Sink>
  TERN_COLD bool overflow(Sink& sink) noexcept {
    constexpr index half = static_cast<index>(Capacity / 2);
    index head = head_.load(memory_order_relaxed);  // relaxed: the CAS checks it
    if (tail_.load(memory_order_relaxed) - head < Capacity) return false;
    // release: head must not be seen past a tail that is not: whoever acquires head finds tail at or behind it.
    if (!head_.compare_exchange_strong(head, head + half, memory_order_release, memory_order_relaxed))
      return false;
    for (index i = 0; i < half; ++i) sink(slot(head + i).load(memory_order_relaxed));
    return true;
  }

  // Thief only. Copies up to half of this ring (rounded up) to `mine` from index `to`, and takes it. Returns how many.
  index grab(run_queue& mine, index to, index room) noexcept {
    for (;;) {
      // acquire: head before tail, and before the slots; pairs with the CASes of other takers.
      index head = head_.load(memory_order_acquire);
      // acquire: pairs with try_push()'s release; else the slots below may be old.
      const index tail = tail_.load(memory_order_acquire);
      const index present = tail - head;
      index n = present - present / 2;
      if (n == 0) return 0;
      if (n > static_cast<index>(Capacity / 2)) continue;  // head was old by the time tail was read
      if (n > room) n = room;
      if (n == 0) return 0;
      // relaxed: void unless the CAS succeeds; then no slot was written since tail was read (I2).
      for (index i = 0; i < n; ++i)
        mine.slot(to + i).store(slot(head + i).load(memory_order_relaxed), memory_order_relaxed);
      // release: pairs with try_push()'s acquire of head; else the owner could write a slot that is still being copied.
      if (head_.compare_exchange_strong(head, head + n, memory_order_release, memory_order_relaxed)) return n;
    }
  }

  alignas(contended_line_size) typename Atomics::template atomic<index> head_;
  // Own line: the owner writes it at every push, thieves write head.
  alignas(contended_line_size) typename Atomics::template atomic<index> tail_;
  alignas(contended_line_size) std::array<slot_type, Capacity> slots_{};
};

}  // namespace tern::inline v1::detail

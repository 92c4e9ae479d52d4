// Split deque: fork-join's jobs, a private stack for the owner and a public queue for thieves; jobs cross over on demand.
//
// Context     One per processor. The owner is whoever holds the processor; a job lies in the frame of the fiber that forked it.
// Structure   youngest_ -> job -> job -> oldest     private: linked through `older`, touched by the owner alone
//             public_: oldest ... youngest          under lock_; publish moves jobs here, in the order of their age
//             item:  private --publish--> public --steal--> taken
//                       `--try_pop             `--reclaim
// Protocol    Fork     push, two plain stores. Join: try_pop, if the job is the youngest private one; else reclaim.
//             Publish  the owner, when it is asked to or leaves: lock, move, count.
//             Steal    lock, take the oldest. Reclaim: lock, and take the job out if no thief has it.
// Invariants  I1 the private part holds only jobs of one fiber, the one that runs on the owner: who leaves publishes all. So the
//                youngest private job is that of the innermost fork of the running fiber, wherever its older ones went.
//             I2 a job that its fiber cannot pop has been published, so `where` names its deque.
//             I3 public_count_ equals the list's length whenever the lock is free.
// Ordering    The lock orders all that is public. youngest_ and public_count_ are read by others only to see whether there is
//             something: seq_cst where the idle protocol needs the StoreLoad (push_first, publish; has_private, has_public).
// Rejected    Chase-Lev for the private part: a StoreLoad per join, five times the rest of it. Chase-Lev for the public part: an item leaves it
//             also from the middle, when a fiber has moved to another processor and takes its job back, and by then the slot of an
//             array may hold another's; steals are rare here, one per demand, and a lock costs them nothing. An array for the
//             private part: a bound on the depth, and no fewer stores.
// Limits      publish_oldest is O(depth). A private job is invisible until its owner forks, is asked and forks again, or leaves.
// References  Acar, Charguéraud, Rainey: Scheduling parallel programs by work stealing with private deques (2013); Dinan et al.:
//             Scalable work stealing (2009); van Dijk, van de Pol: Lace (2014).
#pragma once

#include <cstddef>
#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1::detail {

// No initialisers: a job that is popped again has only `older` written.
struct split_item {
  split_item() noexcept {}  // NOLINT: see above
  split_item* older;        // the owner's, while private
  list_hook hook;           // lock_, from the publication on
  const void* where;        // the deque that published it; written by its owner then
  std::uint32_t taken;      // lock_; 1: a thief has it
};

template <class Atomics = native_atomics, class Lock = spin_lock<Atomics>>
class split_deque {
 public:
  constexpr split_deque() noexcept = default;
  split_deque(const split_deque&) = delete;
  split_deque& operator=(const split_deque&) = delete;

  // ---- the owner ----

  // False, and nothing done, if the private part is empty: that is for push_first(). O(1).
  [[nodiscard]] TERN_ALWAYS_INLINE bool try_push(split_item& item) noexcept {
    split_item* top = youngest_.load(memory_order_relaxed);  // relaxed: owner's own word
    item.older = top;
    if (TERN_UNLIKELY(top == nullptr)) return false;
    // relaxed: nobody else follows it.
    youngest_.store(&item, memory_order_relaxed);
    return true;
  }
  // Requires: the private part is empty. With seq_cst the caller next looks for sleepers, who would look at has_private().
  TERN_ALWAYS_INLINE void push_first(split_item& item, memory_order publish) noexcept {
    item.older = nullptr;
    youngest_.store(&item, publish);  // pairs-with: has_private(), see Ordering
  }
  // True: the item was the youngest private one, and is the caller's again. O(1).
  [[nodiscard]] TERN_ALWAYS_INLINE bool try_pop(split_item& item) noexcept {
    // relaxed, both: owner's own word.
    if (TERN_UNLIKELY(youngest_.load(memory_order_relaxed) != &item)) return false;
    youngest_.store(item.older, memory_order_relaxed);
    return true;
  }

  // Makes the oldest private job public. False if there is none. O(depth).
  bool publish_oldest() noexcept {
    split_item* item = youngest_.load(memory_order_relaxed);
    if (item == nullptr) return false;
    split_item* younger = nullptr;
    for (; item->older != nullptr; item = item->older) younger = item;
    if (younger == nullptr)
      youngest_.store(nullptr, memory_order_relaxed);  // relaxed, here and above: owner's own word
    else
      younger->older = nullptr;
    lock_scope hold{lock_};
    append_locked(*item);
    count_locked(1);
    return true;
  }
  // Makes all of them public. How many. O(depth).
  std::size_t publish_all() noexcept {
    split_item* item = youngest_.load(memory_order_relaxed);
    if (item == nullptr) return 0;
    youngest_.store(nullptr, memory_order_relaxed);
    split_item* oldest = nullptr;  // the stack turned over
    while (item != nullptr) {
      split_item* next = item->older;
      item->older = oldest;
      oldest = item;
      item = next;
    }
    std::size_t n = 0;
    lock_scope hold{lock_};
    for (item = oldest; item != nullptr; item = item->older, ++n) append_locked(*item);
    count_locked(static_cast<std::ptrdiff_t>(n));
    return n;
  }

  // ---- anybody ----

  // Offers the oldest public job to `take(split_item&)`, under the lock; it is the caller's if that returns true. Null: there is
  // none, or it was not taken. O(1) beside take.
  template <class Take>
  split_item* steal(Take&& take) noexcept {
    if (!has_public()) return nullptr;
    lock_scope hold{lock_};
    split_item* item = public_.front();
    if (item == nullptr || !take(*item)) return nullptr;
    item->taken = 1;
    remove_locked(*item);
    return item;
  }

  // The fiber that forked it, when try_pop() has failed. True: nobody has taken it, and nobody will. O(1).
  [[nodiscard]] static bool reclaim(split_item& item) noexcept {
    auto& d = *static_cast<split_deque*>(const_cast<void*>(item.where));
    lock_scope hold{d.lock_};
    if (item.taken != 0) return false;
    d.remove_locked(item);
    return true;
  }

  // seq_cst, both: for a rescan before going idle, see Ordering.
  [[nodiscard]] bool has_public() const noexcept { return public_count_.load(memory_order_seq_cst) != 0; }
  [[nodiscard]] bool has_private() const noexcept { return youngest_.load(memory_order_seq_cst) != nullptr; }

 private:
  void append_locked(split_item& item) noexcept {
    item.hook = list_hook{};
    item.where = this;
    item.taken = 0;
    public_.push_back(item);
  }
  void remove_locked(split_item& item) noexcept {
    public_.erase(item);
    count_locked(-1);
  }
  void count_locked(std::ptrdiff_t change) noexcept {
    // relaxed: the lock. seq_cst: pairs with has_public(), see Ordering.
    const auto n = static_cast<std::ptrdiff_t>(public_count_.load(memory_order_relaxed)) + change;
    public_count_.store(static_cast<std::uint32_t>(n), memory_order_seq_cst);
  }

  alignas(cache_line_size) typename Atomics::template atomic<split_item*> youngest_{nullptr};
  alignas(cache_line_size) typename Atomics::template atomic<std::uint32_t> public_count_{0};
  Lock lock_{};
  list<split_item, &split_item::hook> public_{};  // lock_
};

}  // namespace tern::inline v1::detail

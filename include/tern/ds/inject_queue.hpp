// Inject queue: the shared FIFO of runnable items, for what has no ring to go to: overflow, plain threads, timers, the poller.
//
// Context     Every processor polls it now and then and when its ring is empty; so the empty check touches no lock.
// Structure   An intrusive list under a spin lock, and its length beside it for readers without the lock.
// Invariants  I1 size_ equals the list's length whenever the lock is free.
// Ordering    size_ is written and read seq_cst: submit (push, then read the idle protocol's word) against going idle (write that
//             word, then is_empty) is a Dekker pair, and one of the two sees the other.
// Rejected    A lock-free queue: batches in one step, length and order matter more here than the last nanoseconds.
// Limits      Not for hot paths; contention shows as time in spin_lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include <tern/base/atomic.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1::detail {

// Items are linked through `Next` while they are inside; nothing is allocated. All functions: any thread.
template <class T, T* T::* Next, class Atomics = native_atomics, class Lock = spin_lock<Atomics>>
class inject_queue {
 public:
  using batch = slist<T, Next>;

  constexpr inject_queue() noexcept = default;

  // O(1).
  void push(T* item) noexcept {
    const std::lock_guard guard{lock_};
    items_.push_back(item);
    publish_locked();
  }

  // Moves all of `from` behind the queue, in its order. O(1).
  void push(batch& from) noexcept {
    if (from.is_empty()) return;
    const std::lock_guard guard{lock_};
    items_.append(from);
    publish_locked();
  }

  // The oldest item, or null. O(1); without the lock when the queue is empty.
  [[nodiscard]] T* pop() noexcept {
    if (is_empty()) return nullptr;
    const std::lock_guard guard{lock_};
    T* const item = items_.pop_front();
    if (item != nullptr) publish_locked();
    return item;
  }

  // Moves up to `most` of the oldest items behind `to`; how many. O(most). Where more are left, passing(T*) is called for each, under the
  // lock and before its successor is read: for prefetches.
  template <class F>
  std::size_t pop(batch& to, std::size_t most, F&& passing) noexcept {
    if (most == 0 || is_empty()) return 0;
    const std::lock_guard guard{lock_};
    const std::size_t n = items_.move_front(to, most, passing);
    if (n != 0) publish_locked();
    return n;
  }

  std::size_t pop(batch& to, std::size_t most) noexcept {
    return pop(to, most, [](T*) noexcept {});
  }

  // seq_cst: pairs with publish_locked() through the idle protocol's word, see Ordering.
  [[nodiscard]] bool is_empty() const noexcept { return size_.load(memory_order_seq_cst) == 0; }

  // relaxed: a figure.
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(memory_order_relaxed); }

 private:
  // seq_cst: pairs with is_empty(), see Ordering.
  void publish_locked() noexcept { size_.store(items_.size(), memory_order_seq_cst); }

  Lock lock_{};
  batch items_{};  // lock_ protects it
  typename Atomics::template atomic<std::size_t> size_{0};
};

}  // namespace tern::inline v1::detail

// MPSC queue: many producers, one consumer, intrusive, a wait-free push of one exchange.
//
// Structure   A list from tail (the consumer's end, oldest) to head (the producers' end), never empty thanks to a stub node.
//
//               tail -> node -> node -> ... -> node <- head
//
// Protocol    push: 1 next = null, 2 previous = exchange(head, node), 3 previous.next = node. Between 2 and 3 the list is cut: what
//             is behind the cut cannot be popped yet, though its pushes may have returned.
//             pop:  the oldest node that has a successor; the stub is put in again to give the last node one.
// Invariants  I1 a popped node has been linked to its successor: its producer and the next one no longer touch it.
// Ordering    previous.next: release with pop's acquire (the item). head: acquire and release, so that a producer may write the
//             next of a node that another one initialised, and so that each push's link is ordered after all earlier pushes: one
//             acquire per popped item is enough.
// Limits      pop may answer null while a producer stands between 2 and 3, even for items behind it: the producer's own wake-up,
//             which comes after its push, must make the consumer look again. Not linearisable for that reason; per producer FIFO.
// References  D. Vyukov, Intrusive MPSC node-based queue, 2010.
#pragma once

#include <type_traits>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// Base class of the items.
template <class Atomics = native_atomics>
struct mpsc_node {
  typename Atomics::template atomic<mpsc_node*> next{nullptr};
};

template <class T, class Atomics = native_atomics>
class mpsc_queue {
  using node = mpsc_node<Atomics>;

 public:
  constexpr mpsc_queue() noexcept : head_{&stub_}, tail_{&stub_} {}
  mpsc_queue(const mpsc_queue&) = delete;
  mpsc_queue& operator=(const mpsc_queue&) = delete;

  // Any thread. Requires: the item is in no queue. Wait-free, O(1).
  void push(T* item) noexcept {
    static_assert(std::is_base_of_v<node, T>);
    push_node(item);
  }

  // Consumer only. The oldest item, or null if there is none or its successor is being linked (see Limits). O(1).
  [[nodiscard]] T* pop() noexcept {
    node* tail = tail_;
    // acquire: pairs with the release of push_node(); else the item is read before it is written.
    node* next = tail->next.load(memory_order_acquire);
    if (tail == &stub_) {
      if (next == nullptr) return nullptr;
      tail_ = next;
      tail = next;
      // relaxed: `next` is returned by a later pop, which orders it; `tail` was ordered above.
      next = tail->next.load(memory_order_relaxed);
    }
    if (next == nullptr) {
      // `tail` looks like the last. relaxed: only compared; if a producer has moved head its link is on the way.
      if (head_.load(memory_order_relaxed) != tail) return nullptr;
      push_node(&stub_);
      // relaxed: the exchange in push_node() has read from those of all earlier pushes, which orders `tail`.
      next = tail->next.load(memory_order_relaxed);
      if (next == nullptr) return nullptr;
    }
    tail_ = next;
    return static_cast<T*>(tail);
  }

  // Consumer only. True if no push has begun that was not popped. seq_cst: head's exchange in push_node() is seq_cst as well, so
  // that a consumer going to sleep (flag, then is_empty) and a producer (push, then flag) cannot miss each other.
  [[nodiscard]] bool is_empty() const noexcept {
    return tail_ == &stub_ && head_.load(memory_order_seq_cst) == &stub_;
  }

 private:
  void push_node(node* n) noexcept {
    n->next.store(nullptr, memory_order_relaxed);  // relaxed: published by the exchange
    // release: publishes next = null to the producer behind, whose acquire this pairs with. acquire: pairs with the
    // exchange before it, and carries all earlier items to whoever acquires the link below. seq_cst: see is_empty().
    node* const previous = head_.exchange(n, memory_order_seq_cst);
    // release: pairs with pop()'s acquire.
    previous->next.store(n, memory_order_release);
  }

  node stub_{};
  alignas(contended_line_size) typename Atomics::template atomic<node*> head_;
  alignas(contended_line_size) node* tail_;  // the consumer's own
};

}  // namespace tern::inline v1::detail

// Timer heap: the deadlines of one processor's waits.
//
// Context     One heap per processor. Its worker inserts; it, idle workers and the monitor take what is due, so that a busy
//             processor's timers are not late. A woken fiber cancels its own timer before its wait returns.
// Structure   A pairing heap of nodes that live in the waiters: no memory of its own, insert O(1), the least O(1), removal
//             O(log n) amortised. Siblings are linked both ways: `previous` is the left sibling, or the parent for a first child.
// Invariants  I1 a node's deadline is not below its parent's. I2 heap_ != null iff the node is in a heap. Asserted by is_valid().
// Ordering    `earliest` is written under the lock and read without: a reader that sees an old value looks again at the
//             latest when its own sleep ends, and the inserting worker looks before it sleeps.
// Rejected    A binary heap in an array: allocates in park. A wheel: ticks, or a scan, to find the earliest deadline.
// References  Fredman, Sedgewick, Sleator, Tarjan: The pairing heap (1986).
#pragma once

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/os/clock.hpp>

namespace tern::inline v1::detail {

class timer_heap;
struct processor;

// Fields are protected by the lock of the heap that the node is in; no constructor, so that untimed waits pay nothing.
struct timer_node {
  timer_node() noexcept {
  }  // NOLINT: every field is set by insert(); `deadline` and `home` by the waiter before a timed wait
  processor* home;  // whose heap; it changes under both heaps' locks
  os::nanoseconds deadline;
  timer_node* child;
  timer_node* next;
  timer_node* previous;
  bool queued;
};

// Requires for each function: the caller holds the lock that the heap's owner keeps beside it, except earliest().
class timer_heap {
 public:
  constexpr timer_heap() noexcept = default;
  timer_heap(const timer_heap&) = delete;
  timer_heap& operator=(const timer_heap&) = delete;

  // The least deadline, `never` when empty. Any thread, no lock.
  os::nanoseconds earliest() const noexcept { return earliest_.load(memory_order_seq_cst); }

  bool is_empty() const noexcept { return root_ == nullptr; }
  std::size_t size() const noexcept { return size_; }

  // True if the node is the earliest now.
  bool insert(timer_node& n) noexcept {
    n.child = n.next = n.previous = nullptr;
    n.queued = true;
    root_ = root_ == nullptr ? &n : meld(root_, &n);
    ++size_;
    publish();
    return root_ == &n;
  }

  // Takes the node out if it is in. True if it was.
  bool remove(timer_node& n) noexcept {
    if (!n.queued) return false;
    if (root_ == &n) {
      root_ = merge_pairs(n.child);
    } else {
      if (n.previous->child == &n)
        n.previous->child = n.next;
      else
        n.previous->next = n.next;
      if (n.next != nullptr) n.next->previous = n.previous;
      if (timer_node* rest = merge_pairs(n.child)) root_ = meld(root_, rest);
    }
    if (root_ != nullptr) root_->previous = root_->next = nullptr;
    n.queued = false;
    --size_;
    publish();
    return true;
  }

  // Takes out the earliest node if its deadline has come.
  timer_node* pop_due(os::nanoseconds now) noexcept {
    timer_node* n = root_;
    if (n == nullptr || n->deadline > now) return nullptr;
    remove(*n);
    return n;
  }

  // O(n). For tests and level 3.
  bool is_valid() const noexcept {
    std::size_t count = 0;
    const bool ok = root_ == nullptr || (root_->next == nullptr && subtree_valid(root_, count));
    return ok && count == size_;
  }

 private:
  // Requires: both are roots without siblings.
  static timer_node* meld(timer_node* a, timer_node* b) noexcept {
    // The one with the later deadline becomes the first child of the other.
    if (b->deadline < a->deadline) {
      timer_node* t = a;
      a = b;
      b = t;
    }
    b->previous = a;
    b->next = a->child;
    if (a->child != nullptr) a->child->previous = b;
    a->child = b;
    a->next = nullptr;
    return a;
  }

  // Two passes without recursion: pairs from left to right, kept on a stack through `previous`, then melded from the right.
  static timer_node* merge_pairs(timer_node* first) noexcept {
    timer_node* pairs = nullptr;
    while (first != nullptr) {
      timer_node* a = first;
      timer_node* b = a->next;
      first = b == nullptr ? nullptr : b->next;
      a->next = a->previous = nullptr;
      if (b != nullptr) {
        b->next = b->previous = nullptr;
        a = meld(a, b);
      }
      a->previous = pairs;
      pairs = a;
    }
    timer_node* result = nullptr;
    while (pairs != nullptr) {
      timer_node* rest = pairs->previous;
      pairs->previous = nullptr;
      result = result == nullptr ? pairs : meld(result, pairs);
      pairs = rest;
    }
    return result;
  }

  // Only level-3 assertions and tests walk; the depth is logarithmic in practice, and tests keep the heaps small.
  static bool subtree_valid(const timer_node* n, std::size_t& count) noexcept {
    ++count;
    const timer_node* before = n;
    for (const timer_node* c = n->child; c != nullptr; before = c, c = c->next) {
      if (c->deadline < n->deadline || c->previous != before || !c->queued) return false;
      if (!subtree_valid(c, count)) return false;
    }
    return true;
  }

  void publish() noexcept {
    // pairs-with: earliest() in a worker that is going to sleep; seq_cst, so that one of the two sees the other.
    const os::nanoseconds e = root_ == nullptr ? os::never : root_->deadline;
    if (e != earliest_.load(memory_order_relaxed)) earliest_.store(e, memory_order_seq_cst);
  }

  timer_node* root_ = nullptr;
  std::size_t size_ = 0;
  atomic<os::nanoseconds> earliest_{os::never};
};

}  // namespace tern::inline v1::detail

#pragma once

// Intrusive lists: the hook is a member of the element, so that linking allocates nothing and unlinking is O(1).
//
// Limits      Not thread-safe; the owner's lock protects list and hooks. An element is on one list per hook.

#include <cstddef>

#include <tern/base/assert.hpp>

namespace tern::inline v1::detail {

// A hook of a doubly linked list. Unlinked: both pointers null.
struct list_hook {
  list_hook* next = nullptr;
  list_hook* previous = nullptr;
  bool is_linked() const noexcept { return next != nullptr; }
};

template <class T, class M>
T* element_of(M* member, M T::* pointer) noexcept {
  // The offset of a member is the same for every object of a standard-layout or single-inheritance class, which elements are.
  alignas(T) static constexpr char storage[sizeof(T)]{};
  const auto* fake = reinterpret_cast<const T*>(storage);
  const auto offset = reinterpret_cast<const char*>(&(fake->*pointer)) - storage;
  return reinterpret_cast<T*>(reinterpret_cast<char*>(member) - offset);
}

// Doubly linked circular list with a sentinel. Never copied or moved, since the hooks point at the sentinel.
template <class T, list_hook T::* Hook>
class list {
 public:
  constexpr list() noexcept = default;
  list(const list&) = delete;
  list& operator=(const list&) = delete;

  bool is_empty() const noexcept { return head_.next == nullptr || head_.next == &head_; }

  void push_back(T& e) noexcept { link(head_previous(), e.*Hook); }
  void push_front(T& e) noexcept { link(&sentinel(), e.*Hook); }

  T* front() noexcept { return is_empty() ? nullptr : element_of<T>(head_.next, Hook); }
  T* back() noexcept { return is_empty() ? nullptr : element_of<T>(head_.previous, Hook); }
  T* next(T& e) noexcept {
    list_hook* n = (e.*Hook).next;
    return n == &head_ ? nullptr : element_of<T>(n, Hook);
  }

  T* pop_front() noexcept {
    T* e = front();
    if (e != nullptr) erase(*e);
    return e;
  }
  T* pop_back() noexcept {
    T* e = back();
    if (e != nullptr) erase(*e);
    return e;
  }

  // Moves all of `other` behind the last element. O(1).
  void append(list& other) noexcept {
    if (other.is_empty()) return;
    list_hook& last = *head_previous();
    last.next = other.head_.next;
    last.next->previous = &last;
    head_.previous = other.head_.previous;
    head_.previous->next = &head_;
    other.head_.next = other.head_.previous = &other.head_;
  }

  // Requires: e is on this list.
  static void erase(T& e) noexcept {
    list_hook& h = e.*Hook;
    TERN_ASSERT(h.is_linked(), "list: erase of an element that is on no list");
    h.previous->next = h.next;
    h.next->previous = h.previous;
    h.next = h.previous = nullptr;
  }

 private:
  // The sentinel is linked to itself at first use, so that a list is constant-initialised.
  list_hook& sentinel() noexcept {
    if (head_.next == nullptr) head_.next = head_.previous = &head_;
    return head_;
  }
  list_hook* head_previous() noexcept { return sentinel().previous; }

  void link(list_hook* after, list_hook& h) noexcept {
    TERN_ASSERT(!h.is_linked(), "list: element is on a list already");
    h.previous = after;
    h.next = after->next;
    after->next->previous = &h;
    after->next = &h;
  }

  list_hook head_{};
};

// Singly linked FIFO over a `T*` member: push at the tail, pop at the head, splice in O(1).
template <class T, T* T::* Next>
class slist {
 public:
  constexpr slist() noexcept = default;

  bool is_empty() const noexcept { return head_ == nullptr; }
  T* front() const noexcept { return head_; }
  std::size_t size() const noexcept { return size_; }

  void push_back(T* e) noexcept {
    e->*Next = nullptr;
    if (tail_ == nullptr)
      head_ = e;
    else
      tail_->*Next = e;
    tail_ = e;
    ++size_;
  }
  void push_front(T* e) noexcept {
    e->*Next = head_;
    if (tail_ == nullptr) tail_ = e;
    head_ = e;
    ++size_;
  }
  T* pop_front() noexcept {
    T* e = head_;
    if (e == nullptr) return nullptr;
    head_ = e->*Next;
    if (head_ == nullptr) tail_ = nullptr;
    e->*Next = nullptr;
    --size_;
    return e;
  }
  // Moves up to `most` elements from the front behind `to`; how many. O(most), which only reads all but the last, and calls passing(T*)
  // for each on its way; O(1), without, where all of them move.
  template <class F>
  std::size_t move_front(slist& to, std::size_t most, F&& passing) noexcept {
    if (most >= size_) {
      const std::size_t all = size_;
      to.append(*this);
      return all;
    }
    if (most == 0) return 0;
    slist taken;
    taken.head_ = taken.tail_ = head_;
    for (std::size_t i = 1; i < most; ++i) {
      passing(taken.tail_);
      taken.tail_ = taken.tail_->*Next;
    }
    passing(taken.tail_);
    head_ = taken.tail_->*Next;
    taken.tail_->*Next = nullptr;
    taken.size_ = most;
    size_ -= most;
    to.append(taken);
    return most;
  }
  std::size_t move_front(slist& to, std::size_t most) noexcept {
    return move_front(to, most, [](T*) noexcept {});
  }
  // Moves all of `other` behind this list.
  void append(slist& other) noexcept {
    if (other.head_ == nullptr) return;
    if (tail_ == nullptr)
      head_ = other.head_;
    else
      tail_->*Next = other.head_;
    tail_ = other.tail_;
    size_ += other.size_;
    other.head_ = other.tail_ = nullptr;
    other.size_ = 0;
  }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace tern::inline v1::detail

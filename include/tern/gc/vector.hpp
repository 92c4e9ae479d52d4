// gc::vector: a growing sequence over a managed array.
//
// Context     A value: on a stack, or inside a managed object: a field of an aggregate, or named by trace(). Three words: buffer, size, capacity.
// Structure   buffer: gc::array<T> whose elements are all constructed; those beyond size() are T{} where a T can hold anything, so that
//             nothing that left the vector is kept alive by it.
// Invariants  I1 a member is only ever assigned, never moved as bytes: each move of an element goes through the barrier.
//             I2 a buffer that was left behind by growth keeps its length: an iterator into it is stale, and valid memory.
// Rejected    Elements as raw storage, constructed one by one: the marker reads the whole buffer, half-built elements included.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <tern/gc/make.hpp>

namespace tern::inline v1::gc {

/// A sequence that grows, as std::vector, in managed memory; pointers in it are gc::member. T is default constructible and moves
/// without throwing; a T that leaves is overwritten by T{}, and destroyed with its buffer, on the collector's thread.
///
/// Lives on stacks and in managed objects (an aggregate's field, or `v(vector)` in trace()), nowhere else, and needs no destructor. Iterators and references
/// are invalid after growth, but never dangle: they keep the buffer in which they lie. One thread at a time, as std::vector.
/// Growth throws what gc::make_array throws, and the vector is as before.
template <manageable T>
  requires std::is_nothrow_default_constructible_v<T> && std::is_nothrow_move_assignable_v<T>
class vector {
 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using iterator = T*;
  using const_iterator = const T*;

  vector() noexcept = default;
  explicit vector(std::size_t n) { resize(n); }
  vector(std::size_t n, const T& value) {
    reserve(n);
    while (size_ < n) push_back(value);
  }
  vector(std::initializer_list<T> values) : vector(values.begin(), values.end()) {}
  template <std::input_iterator It>
  vector(It first, It last) {
    if constexpr (std::forward_iterator<It>) reserve(static_cast<std::size_t>(std::distance(first, last)));
    for (; first != last; ++first) push_back(*first);
  }
  vector(const vector& o) : vector(o.begin(), o.end()) {}
  vector(vector&& o) noexcept { swap(o); }
  ~vector() = default;

  vector& operator=(const vector& o) {
    if (this != &o) vector(o).swap(*this);
    return *this;
  }
  vector& operator=(vector&& o) noexcept {
    if (this != &o) {
      vector empty;
      swap(o);
      o.swap(empty);
    }
    return *this;
  }
  void swap(vector& o) noexcept {
    using std::swap;
    swap(buffer_, o.buffer_);
    swap(size_, o.size_);
    swap(capacity_, o.capacity_);
  }
  friend void swap(vector& a, vector& b) noexcept { a.swap(b); }

  std::size_t size() const noexcept { return size_; }
  std::size_t capacity() const noexcept { return capacity_; }
  bool empty() const noexcept { return size_ == 0; }
  T* data() noexcept { return elements(); }
  const T* data() const noexcept { return elements(); }
  iterator begin() noexcept { return elements(); }
  iterator end() noexcept { return elements() + size_; }
  const_iterator begin() const noexcept { return elements(); }
  const_iterator end() const noexcept { return elements() + size_; }

  T& operator[](std::size_t i) noexcept {
    TERN_ASSERT(i < size_, "gc::vector: index out of range");
    return elements()[i];
  }
  const T& operator[](std::size_t i) const noexcept {
    TERN_ASSERT(i < size_, "gc::vector: index out of range");
    return elements()[i];
  }
  /// Throws std::out_of_range.
  T& at(std::size_t i) {
    if (i >= size_) throw std::out_of_range{"tern::gc::vector::at"};
    return elements()[i];
  }
  const T& at(std::size_t i) const { return const_cast<vector*>(this)->at(i); }
  T& front() noexcept { return (*this)[0]; }
  const T& front() const noexcept { return (*this)[0]; }
  T& back() noexcept { return (*this)[size_ - 1]; }
  const T& back() const noexcept { return (*this)[size_ - 1]; }

  /// O(1) amortised. The value may be an element of this vector.
  void push_back(const T& value) {
    if (TERN_UNLIKELY(size_ == capacity_)) return push_back_slow(T(value));
    elements()[size_] = value;
    ++size_;
  }
  void push_back(T&& value) {
    if (TERN_UNLIKELY(size_ == capacity_)) return push_back_slow(T(std::move(value)));
    elements()[size_] = std::move(value);
    ++size_;
  }
  template <class... Args>
  T& emplace_back(Args&&... args) {
    push_back(T(std::forward<Args>(args)...));
    return back();
  }
  void pop_back() noexcept {
    TERN_ASSERT(size_ > 0, "gc::vector: pop_back of an empty vector");
    forget(size_ - 1, size_);
    --size_;
  }

  /// O(size() - index). Returns where the value is.
  iterator insert(const_iterator at, T value) {
    const auto i = static_cast<std::size_t>(at - elements());
    push_back(std::move(value));
    T* const e = elements();
    if (i + 1 < size_) {
      T last(std::move(e[size_ - 1]));
      for (std::size_t k = size_ - 1; k > i; --k) e[k] = std::move(e[k - 1]);
      e[i] = std::move(last);
    }
    return e + i;
  }
  iterator erase(const_iterator at) noexcept { return erase(at, at + 1); }
  iterator erase(const_iterator first, const_iterator last) noexcept {
    T* const e = elements();
    auto to = static_cast<std::size_t>(first - e);
    const std::size_t result = to;
    for (auto from = static_cast<std::size_t>(last - e); from < size_; ++from, ++to)
      e[to] = std::move(e[from]);
    forget(to, size_);
    size_ = to;
    return e + result;
  }
  void clear() noexcept {
    forget(0, size_);
    size_ = 0;
  }
  void resize(std::size_t n) {
    reserve(n);
    if (n < size_)
      forget(n, size_);
    else if constexpr (!forgets)
      for (std::size_t i = size_; i < n; ++i) elements()[i] = T{};
    size_ = n;
  }
  void reserve(std::size_t n) {
    if (n > capacity_) move_to(n);
  }
  void shrink_to_fit() {
    if (size_ == 0)
      *this = vector{};
    else if (size_ < capacity_)
      move_to(size_);
  }

  friend bool operator==(const vector& a, const vector& b) {
    if (a.size_ != b.size_) return false;
    for (std::size_t i = 0; i < a.size_; ++i)
      if (!(a[i] == b[i])) return false;
    return true;
  }

  void trace(visitor& v) const { v(buffer_); }

 private:
  T* elements() const noexcept {
    array<T>* const b = buffer_.get();
    return b == nullptr ? nullptr : b->data();
  }

  TERN_NOINLINE void push_back_slow(T value) {
    move_to(capacity_ < 4 ? 4 : 2 * capacity_);
    elements()[size_] = std::move(value);
    ++size_;
  }

  void move_to(std::size_t n) {
    array<T>* const fresh = make_array<T>(n);
    T* const from = elements();
    for (std::size_t i = 0; i < size_; ++i) fresh->data()[i] = std::move(from[i]);
    buffer_ = fresh;
    capacity_ = n;
  }

  // Bytes hold nothing that anybody would wait for.
  static constexpr bool forgets = detail::gc::has_members<T> || !std::is_trivially_destructible_v<T>;

  void forget([[maybe_unused]] std::size_t first, [[maybe_unused]] std::size_t last) noexcept {
    if constexpr (forgets)
      for (T* const e = elements(); first < last; ++first) e[first] = T{};
  }

  member<array<T>> buffer_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace tern::inline v1::gc

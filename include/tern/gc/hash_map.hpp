// gc::hash_map: keys to values in one managed array.
//
// Context     A value: on a stack, or inside a managed object: a field of an aggregate, or named by trace().
// Structure   open addressing, linear probing, a power of two of slots, at most three quarters full
//             slot   tag (0: empty; else the top bit and 31 bits of the hash), key, value
//             home   the low bits of the tag: neither growth nor erasure calls the hash function
// Protocol    erase: what follows in the same run of slots moves back over the hole (no tombstones), the last slot becomes slot{}.
// Invariants  I1 members are assigned, never moved as bytes: each move goes through the barrier.
//             I2 an empty slot's key and value are K{} and V{}: it keeps nothing alive.
// Rejected    Control bytes apart from the slots: a second cache miss for each look-up, which costs more than the wider slot.
//             Chains: an object for each entry, which the collector would have to mark one by one.
// References  Knuth, The Art of Computer Programming 3, 6.4, Algorithm R (deletion with linear probing).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <type_traits>
#include <utility>

#include <tern/gc/make.hpp>

namespace tern::inline v1::gc {

/// Equality of a key and what a look-up is given.
struct equal_keys {
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return a == b;
  }
};

/// A map without order, in managed memory; pointers in it are gc::member. Keys and values are default constructible and move without
/// throwing; what leaves is overwritten by K{} and V{}, and destroyed with the table, on the collector's thread.
///
/// Lives on stacks and in managed objects (an aggregate's field, or `v(map)` in trace()), nowhere else, and needs no destructor. Pointers to values are
/// invalid after an insertion or erasure, but never dangle: they keep the table in which they lie. One thread at a time.
/// Look-ups are O(1) expected. At most 2^30 entries. Growth throws what gc::make_array throws, and the map is as before.
template <class K, class V, class Hash = std::hash<K>, class Equal = equal_keys>
class hash_map {
  static_assert(std::is_nothrow_move_assignable_v<K> && std::is_nothrow_move_assignable_v<V>);
  static_assert(std::is_nothrow_default_constructible_v<K> && std::is_nothrow_default_constructible_v<V>);

  struct slot {
    std::uint32_t tag = 0;
    K key{};
    V value{};

    void trace(visitor& v) const
      requires(detail::gc::has_members<K> || detail::gc::has_members<V>)
    {
      if constexpr (detail::gc::has_members<K>) v(key);
      if constexpr (detail::gc::has_members<V>) v(value);
    }
  };

 public:
  using key_type = K;
  using mapped_type = V;

  hash_map() noexcept = default;
  explicit hash_map(std::size_t expected) { reserve(expected); }
  hash_map(const hash_map& o) {
    reserve(o.size_);
    o.for_each([&](const K& key, const V& value) { insert_or_assign(key, value); });
  }
  hash_map(hash_map&& o) noexcept { swap(o); }
  ~hash_map() = default;
  hash_map& operator=(const hash_map& o) {
    if (this != &o) hash_map(o).swap(*this);
    return *this;
  }
  hash_map& operator=(hash_map&& o) noexcept {
    if (this != &o) {
      hash_map empty;
      swap(o);
      o.swap(empty);
    }
    return *this;
  }
  void swap(hash_map& o) noexcept {
    using std::swap;
    swap(slots_, o.slots_);
    swap(size_, o.size_);
    swap(mask_, o.mask_);
  }
  friend void swap(hash_map& a, hash_map& b) noexcept { a.swap(b); }

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  /// Entries that fit before it grows.
  std::size_t capacity() const noexcept { return slots_ ? most(mask_ + 1) : 0; }

  /// The value of the key, or null. The key may be of another type where Hash and Equal take it.
  template <class Q = K>
  V* find(const Q& key) {
    slot* const s = find_slot(key);
    return s == nullptr ? nullptr : &s->value;
  }
  template <class Q = K>
  const V* find(const Q& key) const {
    return const_cast<hash_map*>(this)->find(key);
  }
  template <class Q = K>
  bool contains(const Q& key) const {
    return find(key) != nullptr;
  }

  /// The value of the key, made as V(args...) if there is none; and whether it was made.
  template <class... Args>
  std::pair<V*, bool> try_emplace(const K& key, Args&&... args) {
    const std::uint32_t tag = tag_of(key);
    if (slot* const s = slots_ ? slots_->data() : nullptr) {
      std::size_t i = tag & mask_;
      for (; s[i].tag != 0; i = (i + 1) & mask_)
        if (s[i].tag == tag && Equal{}(s[i].key, key)) return {&s[i].value, false};
      if (TERN_LIKELY(size_ < most(mask_ + 1)))
        return {fill(s[i], tag, key, std::forward<Args>(args)...), true};
    }
    const K copy(key);  // it may lie in this table
    V value(std::forward<Args>(args)...);
    grow(slots_ ? 2 * (mask_ + 1) : 8);
    slot* const s = slots_->data();
    return {fill(s[free_slot(s, mask_, tag)], tag, copy, std::move(value)), true};
  }
  V& operator[](const K& key) { return *try_emplace(key).first; }
  /// Whether the key is new.
  template <class U>
  bool insert_or_assign(const K& key, U&& value) {
    const auto [at, is_new] = try_emplace(key, std::forward<U>(value));
    if (!is_new) *at = std::forward<U>(value);  // untouched where the key was there
    return is_new;
  }

  /// Whether there was one.
  template <class Q = K>
  bool erase(const Q& key) {
    const slot* const found = find_slot(key);
    if (found == nullptr) return false;
    slot* const s = slots_->data();
    auto hole = static_cast<std::size_t>(found - s);
    for (std::size_t i = (hole + 1) & mask_; s[i].tag != 0; i = (i + 1) & mask_) {
      // May move if the hole lies between its home and itself.
      if (((i - s[i].tag) & mask_) < ((i - hole) & mask_)) continue;
      s[hole] = std::move(s[i]);
      hole = i;
    }
    s[hole] = slot{};
    --size_;
    return true;
  }
  /// Drops all, and the table.
  void clear() noexcept { *this = hash_map{}; }
  void reserve(std::size_t n) {
    std::size_t slots = slots_ ? mask_ + 1 : 8;
    while (most(slots) < n) slots *= 2;
    if (!slots_ || slots > mask_ + 1) grow(slots);
  }

  /// Calls f(const K&, V&) for each entry, in no order. f must not insert or erase.
  template <class F>
  void for_each(F&& f) {
    if (slots_)
      for (slot& s : *slots_)
        if (s.tag != 0) f(std::as_const(s.key), s.value);
  }
  template <class F>
  void for_each(F&& f) const {
    if (slots_)
      for (const slot& s : *slots_)
        if (s.tag != 0) f(s.key, s.value);
  }

  void trace(visitor& v) const { v(slots_); }

 private:
  static constexpr std::size_t most_slots = std::size_t{1} << 31;

  static constexpr std::size_t most(std::size_t slots) noexcept { return slots - slots / 4; }
  template <class Q>
  static std::uint32_t tag_of(const Q& key) {
    // Fibonacci hashing: std::hash of an integer is the integer. The middle bits of the product: the low ones depend on few of the key's.
    const std::uint64_t h = static_cast<std::uint64_t>(Hash{}(key)) * 0x9E3779B97F4A7C15U;
    return static_cast<std::uint32_t>(h >> 32) | 0x80000000U;
  }
  // Null where there is none.
  template <class Q>
  slot* find_slot(const Q& key) {
    if (size_ == 0) return nullptr;
    slot* const s = slots_->data();
    const std::uint32_t tag = tag_of(key);
    for (std::size_t i = tag & mask_;; i = (i + 1) & mask_) {
      if (s[i].tag == tag && Equal{}(s[i].key, key)) return &s[i];
      if (s[i].tag == 0) return nullptr;
    }
  }
  static std::size_t free_slot(const slot* s, std::size_t mask, std::uint32_t tag) noexcept {
    std::size_t i = tag & mask;
    while (s[i].tag != 0) i = (i + 1) & mask;
    return i;
  }
  template <class... Args>
  V* fill(slot& s, std::uint32_t tag, const K& key, Args&&... args) {
    s.value = V(std::forward<Args>(args)...);
    s.key = key;
    s.tag = tag;  // last: what throws before leaves the slot empty
    ++size_;
    return &s.value;
  }
  TERN_NOINLINE void grow(std::size_t slots) {
    if (slots > most_slots) throw std::bad_alloc{};
    array<slot>* const fresh = make_array<slot>(slots);
    if (slots_)
      for (slot& s : *slots_)
        if (s.tag != 0) fresh->data()[free_slot(fresh->data(), slots - 1, s.tag)] = std::move(s);
    slots_ = fresh;
    mask_ = slots - 1;
  }

  member<array<slot>> slots_;
  std::size_t size_ = 0;
  std::size_t mask_ = 0;
};

}  // namespace tern::inline v1::gc

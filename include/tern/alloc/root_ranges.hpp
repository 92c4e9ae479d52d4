#pragma once

// Memory ranges outside stacks and managed objects that a collector must scan for roots.
//
// Context     The hook by which lower layers (rooted channel buffers, handles) tell a collector above of memory that holds
//             managed pointers. Without a collector a range costs one table entry.
// Structure   A hash table from a range's start to its length, linear probing, at most half full, under one lock.
// Ordering    The lock (caches.root_ranges_lock) comes before all others of the allocator, since the table grows under it. A forking thread
//             holds it with them, so that the child finds the table whole.
// Limits      for_each runs under the lock: its function must neither register nor unregister, nor fork. The bytes of a range may
//             change while they are scanned: reading them tolerantly is the collector's matter.

#include <cstddef>
#include <cstdint>

#include <tern/alloc/allocator.hpp>
#include <tern/base/bits.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1::detail {

class root_range_registry {
 public:
  constexpr root_range_registry() noexcept = default;

  // Throws std::bad_alloc. Requires: p is not null and no range of the registry starts there.
  void add(void* p, std::size_t bytes) {
    caches.register_fork_handlers();
    lock_scope hold{caches.root_ranges_lock};
    if (2 * (count_ + 1) > capacity_) grow_locked();
    if (!insert_locked(table_, capacity_, {p, bytes})) fatal("root range registered twice");
    ++count_;
  }

  // Requires: a range of the registry starts at p.
  void remove(void* p) noexcept {
    lock_scope hold{caches.root_ranges_lock};
    if (count_ == 0) fatal("root range unregistered that is not registered");
    std::size_t hole = home(p, capacity_);
    while (table_[hole].start != p) {
      if (table_[hole].start == nullptr) fatal("root range unregistered that is not registered");
      hole = (hole + 1) & (capacity_ - 1);
    }
    // Backward shift: entries that probed across the hole move into it, so that no probe ends early.
    for (std::size_t i = hole;;) {
      i = (i + 1) & (capacity_ - 1);
      if (table_[i].start == nullptr) break;
      const std::size_t distance_home = (i - home(table_[i].start, capacity_)) & (capacity_ - 1);
      const std::size_t distance_hole = (i - hole) & (capacity_ - 1);
      if (distance_home >= distance_hole) {
        table_[hole] = table_[i];
        hole = i;
      }
    }
    table_[hole] = {};
    --count_;
  }

  // Calls f(void* start, std::size_t bytes) for each range, under the lock.
  template <class F>
  void for_each(F&& f) {
    caches.register_fork_handlers();
    lock_scope hold{caches.root_ranges_lock};
    for (std::size_t i = 0; i < capacity_; ++i)
      if (table_[i].start != nullptr) f(table_[i].start, table_[i].bytes);
  }

  std::size_t size() noexcept {
    lock_scope hold{caches.root_ranges_lock};
    return count_;
  }

 private:
  struct entry {
    void* start = nullptr;
    std::size_t bytes = 0;
  };

  static std::size_t home(const void* p, std::size_t capacity) noexcept {
    const std::uint64_t h = static_cast<std::uint64_t>(to_word(p)) * 0x9e3779b97f4a7c15u;
    return static_cast<std::size_t>(h >> 32) & (capacity - 1);
  }

  static bool insert_locked(entry* table, std::size_t capacity, entry e) noexcept {
    std::size_t i = home(e.start, capacity);
    while (table[i].start != nullptr) {
      if (table[i].start == e.start) return false;
      i = (i + 1) & (capacity - 1);
    }
    table[i] = e;
    return true;
  }

  void grow_locked() {
    const std::size_t capacity = capacity_ == 0 ? 64 : capacity_ * 2;
    auto* table = static_cast<entry*>(allocate(capacity * sizeof(entry)));
    for (std::size_t i = 0; i < capacity; ++i) table[i] = {};
    for (std::size_t i = 0; i < capacity_; ++i)
      if (table_[i].start != nullptr) insert_locked(table, capacity, table_[i]);
    if (table_ != nullptr) deallocate(table_, capacity_ * sizeof(entry));
    table_ = table;
    capacity_ = capacity;
  }

  // All protected by the lock.
  entry* table_ = nullptr;
  std::size_t capacity_ = 0;  // a power of two
  std::size_t count_ = 0;
};

inline constinit root_range_registry root_ranges;

// Declares [p, p + bytes) as roots. Throws std::bad_alloc. p is aligned to a word and starts no other range.
inline void register_root_range(void* p, std::size_t bytes) { root_ranges.add(p, bytes); }

// Withdraws the range that starts at p.
inline void unregister_root_range(void* p) noexcept { root_ranges.remove(p); }
inline void unregister_root_range(void* p, std::size_t) noexcept { root_ranges.remove(p); }

// Calls f(void* start, std::size_t bytes) for each range under the registry's lock.
template <class F>
void for_each_root_range(F&& f) {
  root_ranges.for_each(f);
}

}  // namespace tern::inline v1::detail

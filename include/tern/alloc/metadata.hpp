#pragma once

// Memory for the allocator's own records: taken from the OS, never given back, reused by type.
//
// Context     Span records, caches and their pointer arrays. They must not come from the heap that they describe.
// Structure   metadata_pool: a bump region under one lock. type_stable_pool<T>: constructed objects over it with a free list.
// Invariants  I1 A record's memory holds objects of its type for ever: a stale pointer to a record reads old fields of a
//                record, never another type's bytes, and never faults.
// Limits      Exhaustion is nullptr.

#include <cstddef>
#include <cstdint>
#include <new>

#include <tern/base/bits.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/memory.hpp>

namespace tern::inline v1::detail {

class metadata_pool {
 public:
  constexpr metadata_pool() noexcept = default;

  // Zeroed memory, aligned to a cache line. nullptr when the OS has no more.
  void* allocate(std::size_t bytes) noexcept {
    bytes = round_up(bytes, cache_line_size);
    lock_scope hold{lock_};
    if (bytes > static_cast<std::size_t>(end_ - cursor_) && !refill_locked(bytes)) return nullptr;
    char* p = cursor_;
    cursor_ += bytes;
    used_ += bytes;
    return p;
  }

  std::size_t used_bytes() noexcept {
    lock_scope hold{lock_};
    return used_;
  }

  // Each of the locks in their order, for the handlers around fork. So in every class that has one.
  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

 private:
  bool refill_locked(std::size_t bytes) noexcept {
    std::size_t region = region_bytes;
    if (region < bytes) region = bytes;
    void* p = os::reserve(region);
    if (p == nullptr && region > bytes) {
      region = bytes;  // the limit is near: only what is needed
      p = os::reserve(region);
    }
    if (p == nullptr) return false;
    cursor_ = static_cast<char*>(p);
    end_ = cursor_ + round_up(region, os::page_size());
    return true;
  }

  static constexpr std::size_t region_bytes = std::size_t{256} << 10;

  spin_lock<> lock_;
  char* cursor_ = nullptr;
  char* end_ = nullptr;
  std::size_t used_ = 0;
};

inline constinit metadata_pool metadata;

// Objects of T which are constructed once and reused as they were left. T has a member pool_next: T* or a base of T.
template <class T, metadata_pool& Memory = metadata>
class type_stable_pool {
 public:
  constexpr type_stable_pool() noexcept = default;

  T* take() noexcept {
    {
      lock_scope hold{lock_};
      if (free_ != nullptr) {
        T* t = free_;
        free_ = static_cast<T*>(t->pool_next);
        return t;
      }
    }
    void* p = Memory.allocate(sizeof(T));
    return p == nullptr ? nullptr : ::new (p) T{};
  }

  void give(T* t) noexcept {
    lock_scope hold{lock_};
    t->pool_next = free_;
    free_ = t;
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

 private:
  spin_lock<> lock_;
  T* free_ = nullptr;
};

}  // namespace tern::inline v1::detail

#pragma once

// pool<T>: objects of one type, made and destroyed through the caches of their size class.
//
// Context     For nodes that come and go. The reuse is the bound cache's, which is the processor's on a fiber: a pool keeps no
//             list of its own, so it costs nothing when empty and any thread may destroy an object.
// Limits      The pool's destructor does not destroy objects that are left: that is fatal at debug level 1, a leak else.

#include <cstddef>
#include <new>
#include <utility>

#include <tern/alloc/allocator.hpp>
#include <tern/base/atomic.hpp>

namespace tern::inline v1 {

template <class T>
class pool {
 public:
  pool() noexcept = default;
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;
  ~pool() {
    TERN_ASSERT(live_.load(detail::memory_order_relaxed) == 0, "pool: destroyed with objects alive");
  }

  // Thread-safe. Throws std::bad_alloc, or what T's constructor throws.
  template <class... Arguments>
  [[nodiscard]] T* create(Arguments&&... arguments) {
    void* p = tern::allocate(sizeof(T), alignof(T));
    T* object = nullptr;
    try {
      object = ::new (p) T(std::forward<Arguments>(arguments)...);
    } catch (...) {
      tern::deallocate(p, sizeof(T), alignof(T));
      throw;
    }
    count(1);
    return object;
  }

  // Thread-safe. Null is ignored. Requires: create() of this pool made it.
  void destroy(T* object) noexcept {
    if (object == nullptr) return;
    object->~T();
    tern::deallocate(object, sizeof(T), alignof(T));
    count(-1);
  }

 private:
  void count([[maybe_unused]] int by) noexcept {
    // relaxed: read when all users are done, which their own synchronisation tells.
    if constexpr (TERN_DEBUG_LEVEL >= 1) live_.fetch_add(by, detail::memory_order_relaxed);
  }

  detail::atomic<long> live_{0};
};

}  // namespace tern::inline v1

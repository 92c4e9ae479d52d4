// tern::fiber_local: a variable of which each fiber, and each plain thread, has its own.
#pragma once

#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include <tern/base/atomic.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/sched/local_table.hpp>
#include <tern/sched/processor.hpp>

namespace tern::inline v1::detail {

// Indices that are in use. Taken and given back by constructors and destructors of fiber_local alone.
struct local_indices {
  static constexpr std::uint32_t limit = 4096;
  spin_lock<> lock;
  std::uint32_t used[limit / 32] = {};  // lock
  std::uint64_t next_key = 1;           // lock; 2^64 are enough
};
inline constinit local_indices local_index_registry;

struct local_name {
  std::uint32_t index;
  std::uint64_t key;
};

inline local_name take_local_index() {
  local_indices& all = local_index_registry;
  lock_scope hold{all.lock};
  for (std::uint32_t i = 0; i < local_indices::limit; ++i)
    if (std::uint32_t& word = all.used[i / 32]; (word >> (i % 32) & 1) == 0) {
      word |= std::uint32_t{1} << (i % 32);
      return {i, all.next_key++};
    }
  throw std::bad_alloc{};
}
inline void give_local_index(std::uint32_t i) noexcept {
  local_indices& all = local_index_registry;
  lock_scope hold{all.lock};
  all.used[i / 32] &= ~(std::uint32_t{1} << (i % 32));
}

// Those of a plain thread end with it. Not inlined: the address is the thread's.
TERN_NOINLINE inline local_table& thread_locals() {
  struct owner {
    local_table table;
    ~owner() { table.clear(); }
  };
  static thread_local owner mine;
  return mine.table;
}

// The calling fiber's; made on demand. Throws std::bad_alloc.
TERN_COLD inline local_table& make_locals(fiber* f) {
  if (f == nullptr) return thread_locals();
  if ((f->flags & fiber::has_locals) == 0) {
    f->locals = ::new (allocate(sizeof(local_table))) local_table;
    f->flags |= fiber::has_locals;
  }
  return *f->locals;
}

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// Makes the values of a fiber_local<T> by default.
template <class T>
struct default_value {
  T operator()() const { return T(); }
};

/// A variable of which each fiber has its own, made by `Make` at first use in that fiber and destroyed when the fiber ends, before its
/// join returns; the newest first, on the fiber itself, where destructors may wait. A plain thread has one too, which ends with the thread.
///
/// Use is O(1): three loads. A fiber that uses none pays nothing. Thread-safe; a value is touched by its own fiber alone. At most 4,096
/// at a time (std::bad_alloc); first use may throw std::bad_alloc and what Make throws. A value outlives its fiber_local until its fiber ends.
/// Values lie in the heap, where a collector does not look: keep managed objects in a gc::handle.
template <class T, class Make = default_value<T>>
class fiber_local {
  static_assert(std::is_object_v<T> && std::is_nothrow_destructible_v<T>);

 public:
  explicit fiber_local(Make make = Make()) : name_{detail::take_local_index()}, make_{std::move(make)} {}
  fiber_local(const fiber_local&) = delete;
  fiber_local& operator=(const fiber_local&) = delete;
  ~fiber_local() { detail::give_local_index(name_.index); }

  /// The running fiber's value.
  T& get() {
    if (detail::local_record* r = find(); TERN_LIKELY(r != nullptr)) return static_cast<record*>(r)->value;
    return make_value();
  }
  T& operator*() { return get(); }
  T* operator->() { return &get(); }

  /// True if this fiber has a value already.
  bool has_value() const noexcept { return find() != nullptr; }

  /// Destroys this fiber's value, if it has one; the next use makes it anew. O(values of the fiber).
  void reset() noexcept {
    if (detail::local_record* r = find()) table(detail::current_fiber())->remove(*r);
  }

 private:
  struct record : detail::local_record {
    explicit record(Make& make) : value(make()) {}
    T value;
  };

  static detail::local_table* table(detail::fiber* f) noexcept {
    if (f == nullptr) return &detail::thread_locals();
    return (f->flags & detail::fiber::has_locals) != 0 ? f->locals : nullptr;
  }
  detail::local_record* find() const noexcept {
    const detail::local_table* t = table(detail::current_fiber());
    return t == nullptr ? nullptr : t->find(name_.index, name_.key);
  }

  TERN_NOINLINE T& make_value() {
    constexpr std::size_t alignment = alignof(record) > 16 ? alignof(record) : 16;
    void* place = allocate(sizeof(record), alignment);
    record* r = nullptr;
    try {
      r = ::new (place) record(make_);  // may wait, and may use other fiber_locals
      r->key = name_.key;
      r->index = name_.index;
      r->destroy = [](detail::local_record& base) noexcept {
        auto& mine = static_cast<record&>(base);
        mine.~record();
        deallocate(&mine, sizeof(record), alignment);
      };
      detail::local_table& t = detail::make_locals(detail::current_fiber());
      t.reserve(name_.index);
      t.add(*r);
    } catch (...) {
      if (r != nullptr) r->~record();
      deallocate(place, sizeof(record), alignment);
      throw;
    }
    return r->value;
  }

  const detail::local_name name_;
  Make make_;
};

}  // namespace tern::inline v1

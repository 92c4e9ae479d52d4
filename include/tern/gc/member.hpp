// gc::member and gc::atomic_member: pointers inside managed objects.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include <tern/gc/slot.hpp>
#include <tern/gc/write_barrier.hpp>

namespace tern::inline v1::gc {

/// A pointer to a managed object (or into one), held by a managed object: as a field of an aggregate, or named by its type's trace().
///
/// Behaves as a T*. Each store of a non-null pointer goes through the collector's write barrier: a load and a predicted branch
/// while no cycle marks. A member may also live on a stack. Not atomic for the program: concurrent access to one member needs
/// synchronisation, as with a plain pointer; the collector reads it at any time.
template <class T>
class member {
 public:
  member() noexcept {
    detail::gc::check_slot(this);
    detail::gc::slot_store(p_, static_cast<T*>(nullptr));
  }
  member(std::nullptr_t) noexcept : member() {}
  member(T* p) noexcept { set(p); }
  member(const member& o) noexcept { set(o.get()); }
  template <class U>
    requires std::is_convertible_v<U*, T*>
  member(const member<U>& o) noexcept {
    set(o.get());
  }
  ~member() = default;

  member& operator=(const member& o) noexcept { return *this = o.get(); }
  template <class U>
    requires std::is_convertible_v<U*, T*>
  member& operator=(const member<U>& o) noexcept {
    return *this = static_cast<T*>(o.get());
  }
  member& operator=(T* p) noexcept {
    set(p);
    return *this;
  }
  member& operator=(std::nullptr_t) noexcept {
    detail::gc::slot_store(p_, static_cast<T*>(nullptr));
    return *this;
  }

  T* get() const noexcept { return detail::gc::slot_load(p_); }
  operator T*() const noexcept { return get(); }
  T* operator->() const noexcept { return get(); }
  std::add_lvalue_reference_t<T> operator*() const noexcept
    requires(!std::is_void_v<T>)
  {
    return *get();
  }
  explicit operator bool() const noexcept { return get() != nullptr; }

  /// Stores p and returns what was there.
  T* exchange(T* p) noexcept {
    T* old = get();
    set(p);
    return old;
  }
  friend void swap(member& a, member& b) noexcept {
    T* x = a.get();
    a = b.get();
    b = x;
  }

 private:
  TERN_ALWAYS_INLINE void set(T* p) noexcept {
    detail::gc::check_slot(this);
    detail::gc::shade(p);
    detail::gc::slot_store(p_, p);
  }

  T* p_;
};

/// A member that several mutators may read and write at the same time. Loads acquire, stores release, exchanges both: what a
/// pointer leads to is seen by whoever loads it.
template <class T>
class atomic_member {
 public:
  atomic_member() noexcept {
    detail::gc::check_slot(this);
    detail::gc::slot_store(p_, static_cast<T*>(nullptr));
  }
  explicit atomic_member(T* p) noexcept { store(p); }
  atomic_member(const atomic_member&) = delete;
  atomic_member& operator=(const atomic_member&) = delete;

  T* load() const noexcept { return __atomic_load_n(&p_, __ATOMIC_ACQUIRE); }
  void store(T* p) noexcept {
    detail::gc::check_slot(this);
    detail::gc::shade(p);
    __atomic_store_n(&p_, p, __ATOMIC_RELEASE);
  }
  T* exchange(T* p) noexcept {
    detail::gc::shade(p);
    return __atomic_exchange_n(&p_, p, __ATOMIC_ACQ_REL);
  }
  /// On failure `expected` becomes what is there. The new value is shaded before: afterwards another mutator may have
  /// taken it out again, and a failed exchange keeps it alive for one cycle at most.
  bool compare_exchange(T*& expected, T* desired) noexcept {
    detail::gc::shade(desired);
    return __atomic_compare_exchange_n(&p_, &expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  }

 private:
  T* p_;
};

}  // namespace tern::inline v1::gc

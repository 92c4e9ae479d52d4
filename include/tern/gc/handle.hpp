// gc::handle and gc::weak: references from outside stacks and managed objects.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include <tern/gc/roots.hpp>
#include <tern/gc/write_barrier.hpp>

namespace tern::inline v1 {

namespace detail::gc {

// What a handle and a weak reference share: one slot of a table.
template <slot_table& Table>
class slot_owner {
 public:
  constexpr slot_owner() noexcept = default;
  slot_owner(slot_owner&& o) noexcept : slot_{std::exchange(o.slot_, nullptr)} {}
  slot_owner& operator=(slot_owner&& o) noexcept {
    std::swap(slot_, o.slot_);
    return *this;
  }
  ~slot_owner() {
    if (slot_ != nullptr) Table.give(slot_);
  }

  void* get() const noexcept { return slot_ == nullptr ? nullptr : slot_load(slot_->object); }
  void*& slot() {
    if (slot_ == nullptr && (slot_ = Table.take()) == nullptr) throw std::bad_alloc{};
    return slot_->object;
  }
  void clear() noexcept {
    if (slot_ != nullptr) slot_store(slot_->object, static_cast<void*>(nullptr));
  }

 private:
  root_slot* slot_ = nullptr;
};

}  // namespace detail::gc

namespace gc {

/// Keeps a managed object alive from anywhere: globals, the C++ heap, other libraries. One handle object is for one thread
/// at a time, as a smart pointer is. Inside a managed object it is a root too: a cycle through it is never freed; use member.
/// Throws std::bad_alloc where it first holds a pointer.
template <class T>
class handle {
 public:
  constexpr handle() noexcept = default;
  constexpr handle(std::nullptr_t) noexcept {}
  handle(T* p) { set(p); }
  handle(const handle& o) { set(o.get()); }
  handle(handle&&) noexcept = default;
  ~handle() = default;

  handle& operator=(const handle& o) {
    set(o.get());
    return *this;
  }
  handle& operator=(handle&& o) noexcept {
    slot_ = std::move(o.slot_);
    o.slot_.clear();
    return *this;
  }
  handle& operator=(T* p) {
    set(p);
    return *this;
  }

  T* get() const noexcept { return static_cast<T*>(slot_.get()); }
  operator T*() const noexcept { return get(); }
  T* operator->() const noexcept { return get(); }
  std::add_lvalue_reference_t<T> operator*() const noexcept
    requires(!std::is_void_v<T>)
  {
    return *get();
  }
  explicit operator bool() const noexcept { return get() != nullptr; }
  void reset() noexcept { slot_.clear(); }

 private:
  void set(T* p) {
    if (p == nullptr) return slot_.clear();
    void*& slot = slot_.slot();
    void* object = const_cast<std::remove_cv_t<T>*>(p);
    if (TERN_UNLIKELY(detail::gc::current_mutator_if_any() == nullptr))
      return detail::gc::store_foreign(slot, object);
    detail::gc::shade(object);
    detail::gc::slot_store(slot, object);
  }

  detail::gc::slot_owner<detail::gc::handle_slots> slot_;
};

/// Refers to a managed object without keeping it alive. May live anywhere; in a managed object it gives the object's type a
/// destructor. Throws std::bad_alloc where it first holds a pointer.
template <class T>
class weak {
 public:
  constexpr weak() noexcept = default;
  constexpr weak(std::nullptr_t) noexcept {}
  weak(T* p) { set(p); }
  weak(const weak& o) { set(o.lock()); }
  weak(weak&&) noexcept = default;
  ~weak() = default;

  weak& operator=(const weak& o) {
    set(o.lock());
    return *this;
  }
  weak& operator=(weak&& o) noexcept {
    slot_ = std::move(o.slot_);
    o.slot_.clear();
    return *this;
  }
  weak& operator=(T* p) {
    set(p);
    return *this;
  }

  /// The object, or null once a cycle found it unreachable. O(1); takes a lock while a cycle marks.
  T* lock() const noexcept {
    detail::gc::mutator* m = detail::gc::current_mutator_if_any();
    if (TERN_UNLIKELY(m == nullptr)) return lock_slow();
    const detail::gc::runtime_scope in{*m};  // no handler acknowledges anything between the flag and the slot
    // Off: no cycle can end its marking before this thread's next safepoint, so nothing is cleared between here and the return.
    // acquire pairs-with: the flag's clearing at the end of marking, which follows that of the slots.
    if (TERN_LIKELY(detail::gc::barrier.on.load(detail::memory_order_acquire) == 0))
      return static_cast<T*>(slot_.get());
    return lock_slow();
  }

 private:
  TERN_COLD T* lock_slow() const noexcept {
    detail::lock_scope hold{detail::gc::weak_lock};
    void* p = slot_.get();
    if (!detail::gc::weak_judged)
      detail::gc::shade_weak(p);
    else if (!detail::gc::is_marked_object(detail::to_word(p)))
      p = nullptr;
    return static_cast<T*>(p);
  }

  void set(T* p) {
    if (p == nullptr) return slot_.clear();
    detail::gc::slot_store(slot_.slot(), static_cast<void*>(const_cast<std::remove_cv_t<T>*>(p)));
  }

  detail::gc::slot_owner<detail::gc::weak_slots> slot_;
};

// Slots outside managed memory, both.
template <class T>
inline constexpr bool is_pointer_free<handle<T>> = true;
template <class T>
inline constexpr bool is_pointer_free<weak<T>> = true;

}  // namespace gc
}  // namespace tern::inline v1

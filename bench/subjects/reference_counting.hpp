// Reference counting in four forms, and the two baselines below it: unique ownership and bare pointers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench/subjects/concepts.hpp"

namespace tern_bench {

/// What all of these share: the process has threads, nothing polls, parallel work runs on OS threads.
struct unmanaged_world {
  static constexpr role subject_role = role::baseline;

  template <class F>
  static void run(const row_params&, F&& fn) {
    become_threaded();  // else libstdc++ leaves shared_ptr's counters unlocked and malloc takes its short cut
    fn();
  }
  static void poll() noexcept {}
  /// A reference inside an object that does not own.
  template <class T>
  using link = T*;
  using numbers = std::vector<double>;
  template <class F>
  static void parallel(std::size_t count, F&& fn) {
    std::vector<std::thread> threads;
    threads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&fn, i] { fn(i); });
    for (std::thread& t : threads) t.join();
  }
};

/// A subject whose reference type is the same everywhere and counts its owners.
template <template <class> class Pointer>
struct counted_world : unmanaged_world {
  template <class T>
  using ref = Pointer<T>;
  template <class T>
  using field = Pointer<T>;

  template <class T>
  static Pointer<T> take(const Pointer<T>& f) {
    return f;
  }
  template <class T>
  static T* peek(const Pointer<T>& f) noexcept {
    return f.get();
  }
  template <class T>
  static T* peek(T* const& f) noexcept {
    return f;
  }
  template <class T>
  static void release(Pointer<T>& r) {
    r = nullptr;
  }
  template <class T>
  class table {
   public:
    explicit table(std::size_t size) : slots_(size) {}
    void set(std::size_t i, Pointer<T> r) { slots_[i] = std::move(r); }
    [[nodiscard]] T* peek(std::size_t i) const noexcept { return slots_[i].get(); }
    [[nodiscard]] Pointer<T> get(std::size_t i) const { return slots_[i]; }

   private:
    std::vector<Pointer<T>> slots_;
  };
  template <class T>
  class map {
   public:
    [[nodiscard]] T* find(std::uint64_t key) const {
      const auto at = map_.find(key);
      return at == map_.end() ? nullptr : at->second.get();
    }
    [[nodiscard]] Pointer<T> get(std::uint64_t key) const {
      const auto at = map_.find(key);
      return at == map_.end() ? Pointer<T>{} : at->second;
    }
    void set(std::uint64_t key, Pointer<T> r) { map_[key] = std::move(r); }
    void erase(std::uint64_t key) { map_.erase(key); }

   private:
    std::unordered_map<std::uint64_t, Pointer<T>> map_;
  };
};

/// std::shared_ptr with std::make_shared: one block for counters and object, atomic counters.
struct shared_ptr_subject : counted_world<std::shared_ptr> {
  static constexpr const char* name = "shared_ptr";
  static std::string version() { return "libstdc++ " + std::to_string(__GLIBCXX__); }
  template <class T, class... Args>
  static std::shared_ptr<T> make(Args&&... args) {
    return std::make_shared<T>(std::forward<Args>(args)...);
  }
};

/// The same without atomic counters, which libstdc++ offers as a lock policy: right within one thread only.
template <class T>
using plain_shared_ptr = std::__shared_ptr<T, __gnu_cxx::_S_single>;
struct shared_ptr_plain_subject : counted_world<plain_shared_ptr> {
  static constexpr const char* name = "shared_ptr_plain";
  static std::string version() { return shared_ptr_subject::version(); }
  template <class T, class... Args>
  static plain_shared_ptr<T> make(Args&&... args) {
    return std::__make_shared<T, __gnu_cxx::_S_single>(std::forward<Args>(args)...);
  }
};

struct atomic_count {
  std::atomic<std::uint32_t> value{0};
  // relaxed: whoever copies a reference has one already
  void up() noexcept { value.fetch_add(1, std::memory_order_relaxed); }
  // acq_rel: the last owner sees what all others did to the object
  bool down() noexcept { return value.fetch_sub(1, std::memory_order_acq_rel) == 1; }
};
struct plain_count {
  std::uint32_t value = 0;
  void up() noexcept { ++value; }
  bool down() noexcept { return --value == 0; }
};

/// The counter in front of the object, one word wide as a pointer; otherwise as boost::intrusive_ptr.
template <class T, class Count>
class intrusive_ptr {
 public:
  intrusive_ptr() = default;
  intrusive_ptr(std::nullptr_t) {}
  template <class... Args>
  static intrusive_ptr make(Args&&... args) {
    intrusive_ptr p;
    p.box_ = new box(std::forward<Args>(args)...);
    p.box_->count.up();
    return p;
  }
  intrusive_ptr(const intrusive_ptr& other) noexcept : box_(other.box_) {
    if (box_ != nullptr) box_->count.up();
  }
  intrusive_ptr(intrusive_ptr&& other) noexcept : box_(std::exchange(other.box_, nullptr)) {}
  intrusive_ptr& operator=(const intrusive_ptr& other) noexcept {
    if (box_ != other.box_) intrusive_ptr(other).swap(*this);
    return *this;
  }
  intrusive_ptr& operator=(intrusive_ptr&& other) noexcept {
    intrusive_ptr(std::move(other)).swap(*this);
    return *this;
  }
  ~intrusive_ptr() {
    if (box_ != nullptr && box_->count.down()) delete box_;
  }
  void swap(intrusive_ptr& other) noexcept { std::swap(box_, other.box_); }
  [[nodiscard]] T* get() const noexcept { return box_ != nullptr ? &box_->object : nullptr; }
  T* operator->() const noexcept { return &box_->object; }
  T& operator*() const noexcept { return box_->object; }
  explicit operator bool() const noexcept { return box_ != nullptr; }

 private:
  struct box {
    template <class... Args>
    explicit box(Args&&... args) : object(std::forward<Args>(args)...) {}
    Count count;
    T object;
  };
  box* box_ = nullptr;
};

template <class T>
using atomic_intrusive_ptr = intrusive_ptr<T, atomic_count>;
template <class T>
using plain_intrusive_ptr = intrusive_ptr<T, plain_count>;

struct intrusive_subject : counted_world<atomic_intrusive_ptr> {
  static constexpr const char* name = "intrusive";
  static std::string version() { return "this tree's"; }
  template <class T, class... Args>
  static atomic_intrusive_ptr<T> make(Args&&... args) {
    return atomic_intrusive_ptr<T>::make(std::forward<Args>(args)...);
  }
};
struct intrusive_plain_subject : counted_world<plain_intrusive_ptr> {
  static constexpr const char* name = "intrusive_plain";
  static std::string version() { return "this tree's"; }
  template <class T, class... Args>
  static plain_intrusive_ptr<T> make(Args&&... args) {
    return plain_intrusive_ptr<T>::make(std::forward<Args>(args)...);
  }
};

/// Unique ownership: a field owns what is assigned to it, release() deletes. Nothing is counted.
struct manual_subject : unmanaged_world {
  static constexpr const char* name = "manual";
  static std::string version() { return "new and delete"; }

  template <class T>
  using ref = T*;
  template <class T>
  class field {
   public:
    field() = default;
    field(const field&) = delete;
    field& operator=(const field&) = delete;
    field& operator=(T* object) noexcept {
      delete std::exchange(object_, object);
      return *this;
    }
    ~field() { delete object_; }
    [[nodiscard]] T* get() const noexcept { return object_; }
    /// Gives the object up without deleting it: how an owner breaks a ring.
    T* detach() noexcept { return std::exchange(object_, nullptr); }

   private:
    T* object_ = nullptr;
  };

  template <class T, class... Args>
  static T* make(Args&&... args) {
    return new T(std::forward<Args>(args)...);
  }
  template <class T>
  static T* take(const field<T>& f) noexcept {
    return f.get();
  }
  template <class T>
  static T* peek(const field<T>& f) noexcept {
    return f.get();
  }
  template <class T>
  static T* peek(T* const& f) noexcept {
    return f;
  }
  template <class T>
  static void release(T*& r) noexcept {
    delete std::exchange(r, nullptr);
  }
  template <class T>
  class table {
   public:
    explicit table(std::size_t size) : slots_(size) {}
    void set(std::size_t i, T* r) { slots_[i] = r; }
    [[nodiscard]] T* peek(std::size_t i) const noexcept { return slots_[i].get(); }
    [[nodiscard]] T* get(std::size_t i) const noexcept { return slots_[i].get(); }

   private:
    std::vector<field<T>> slots_;
  };
  template <class T>
  class map {
   public:
    [[nodiscard]] T* find(std::uint64_t key) const {
      const auto at = map_.find(key);
      return at == map_.end() ? nullptr : at->second.get();
    }
    void set(std::uint64_t key, T* r) { map_[key] = r; }
    void erase(std::uint64_t key) { map_.erase(key); }

   private:
    std::unordered_map<std::uint64_t, field<T>> map_;
  };
};

/// Bare pointers: no ownership at all, the least that a store or a copy can cost. Objects live as long as their table.
struct raw_subject : unmanaged_world {
  static constexpr const char* name = "raw";
  static std::string version() { return "bare pointers"; }

  template <class T>
  using ref = T*;
  template <class T>
  using field = T*;

  template <class T, class... Args>
  static T* make(Args&&... args) {
    return new T(std::forward<Args>(args)...);
  }
  template <class T>
  static T* take(T* const& f) noexcept {
    return f;
  }
  template <class T>
  static T* peek(T* const& f) noexcept {
    return f;
  }
  template <class T>
  static void release(T*& r) noexcept {
    r = nullptr;
  }
  template <class T>
  class table {
   public:
    explicit table(std::size_t size) : slots_(size) {}
    table(const table&) = delete;
    table& operator=(const table&) = delete;
    ~table() {
      for (T* object : slots_) delete object;
    }
    void set(std::size_t i, T* r) { slots_[i] = r; }
    [[nodiscard]] T* peek(std::size_t i) const noexcept { return slots_[i]; }
    [[nodiscard]] T* get(std::size_t i) const noexcept { return slots_[i]; }

   private:
    std::vector<T*> slots_;
  };
};

}  // namespace tern_bench

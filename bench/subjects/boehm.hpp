// The collector of Boehm, Demers and Weiser (libgc), where CMake finds it; elsewhere its rows are recorded as skipped.
//
// Structure   ref<T> and field<T> are bare pointers: marking is conservative in objects too. A type without fields is allocated as
//             pointer-free and never scanned. Every call of a row has a fresh process, whose heap nothing else has touched.
// Best form   Linked statically (no call through the linker's table), thread-local free lists (GC_malloc in a library with threads),
//             no interior pointers from the heap, so that an object has no byte after it (stacks may still hold such pointers);
//             large tables ignore pointers off their first page. The library's own number of marker threads: one for each CPU.
// Limits      Its pauses stop all threads that it knows. Incremental mode (write-protected pages) is left off, as it is by default.
// References  Boehm, Weiser, "Garbage collection in an uncooperative environment", 1988.
#pragma once

#include <string>

#include "bench/subjects/concepts.hpp"
#include "bench/subjects/pthread.hpp"

#if TERN_BENCH_BOEHM && !TERN_ASAN && !TERN_TSAN

#define GC_THREADS
#define GC_NO_THREAD_REDIRECTS
#include <gc/gc.h>
#include <gc/gc_allocator.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tern_bench {

struct boehm_subject {
  static constexpr const char* name = "boehm";
  static constexpr role subject_role = role::peer;
  static constexpr bool one_world_per_process = true;  // the heap is the process's, and is never taken down
  static std::string version() { return "libgc " TERN_BENCH_BOEHM_VERSION; }

  template <class F>
  static void run(const row_params&, F&& fn) {
    become_threaded();
    GC_set_all_interior_pointers(0);
    GC_set_warn_proc(GC_ignore_warn_proc);  // a large table is no mistake here
    GC_INIT();
    GC_allow_register_threads();
    fn();
  }

  template <class T>
  using ref = T*;
  template <class T>
  class field {
   public:
    field() = default;
    field(std::nullptr_t) {}
    field(T* object) noexcept : object_(object) {}
    [[nodiscard]] T* get() const noexcept { return object_; }

   private:
    T* object_ = nullptr;
  };

  template <class T, class... Args>
  static T* make(Args&&... args) {
    // What is pointer-free does not come zeroed; the constructor does it, as it does for malloc.
    void* p = has_fields<T> ? GC_malloc(sizeof(T)) : GC_malloc_atomic(sizeof(T));
    if (p == nullptr) throw std::bad_alloc{};
    return ::new (p) T(std::forward<Args>(args)...);
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
  static void release(T*& r) noexcept {
    r = nullptr;
  }
  /// The table, and so its pointer to the slots, is on the stack of the thread that runs the workload.
  template <class T>
  class table {
   public:
    explicit table(std::size_t size)
        : slots_(static_cast<T**>(size * sizeof(T*) < large ? GC_malloc(size * sizeof(T*))
                                                            : GC_malloc_ignore_off_page(size * sizeof(T*)))) {
      if (slots_ == nullptr) throw std::bad_alloc{};
    }
    void set(std::size_t i, T* r) noexcept { slots_[i] = r; }
    [[nodiscard]] T* peek(std::size_t i) const noexcept { return slots_[i]; }
    [[nodiscard]] T* get(std::size_t i) const noexcept { return slots_[i]; }

   private:
    static constexpr std::size_t large = 100'000;  // the library's own advice
    T** slots_;
  };

  template <class T>
  using link = field<T>;
  template <class T>
  class map {
   public:
    [[nodiscard]] T* find(std::uint64_t key) const {
      const auto at = map_.find(key);
      return at == map_.end() ? nullptr : at->second;
    }
    void set(std::uint64_t key, T* r) { map_[key] = r; }
    void erase(std::uint64_t key) { map_.erase(key); }

   private:
    std::unordered_map<std::uint64_t, T*, std::hash<std::uint64_t>, std::equal_to<>,
                       gc_allocator<std::pair<const std::uint64_t, T*>>>
        map_;
  };
  class numbers {
   public:
    explicit numbers(std::size_t n)
        : values_(static_cast<double*>(GC_malloc_atomic_ignore_off_page(n * sizeof(double)))) {
      if (values_ == nullptr) throw std::bad_alloc{};
      std::memset(values_, 0, n * sizeof(double));
    }
    double& operator[](std::size_t i) noexcept { return values_[i]; }

   private:
    double* values_;
  };

  static void poll() noexcept {}
  static void collect() { GC_gcollect(); }

  template <class F>
  static void parallel(std::size_t count, F&& fn) {
    std::vector<std::thread> threads;
    threads.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
      threads.emplace_back([&fn, i] {
        GC_stack_base base;
        GC_get_stack_base(&base);
        GC_register_my_thread(&base);
        fn(i);
        GC_unregister_my_thread();
      });
    for (std::thread& t : threads) t.join();
  }

  static std::uint64_t collections() { return GC_get_gc_no(); }

 private:
  struct any_visitor {
    template <class... F>
    void operator()(const F&...) {}
  };
  template <class T>
  static constexpr bool has_fields = requires(const T& t, any_visitor& v) { t.trace(v); };
};

}  // namespace tern_bench

#else

namespace tern_bench {

struct boehm_subject {
  static constexpr const char* name = "boehm";
  static constexpr role subject_role = role::peer;
  static std::string version() { return {}; }
  static measurement measure_external(const std::string&, const std::string&, const row_params&, run_budget) {
    measurement m;
#if TERN_BENCH_BOEHM
    m.error = "skipped: libgc does not go together with a sanitizer";
#else
    m.error = "skipped: there was no libgc for this machine at build time";
#endif
    return m;
  }
};

}  // namespace tern_bench

#endif

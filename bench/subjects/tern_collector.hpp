// tern's collector, over its scheduler and allocator.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <tern/gc.hpp>
#include <tern/sched.hpp>

#include "bench/subjects/concepts.hpp"
#include "bench/subjects/pthread.hpp"

namespace tern_bench {

struct tern_collector {
  static constexpr const char* name = "tern";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }

  /// fn is the main fiber of a runtime with as many processors as the row has processors or threads, else one. The settings of the
  /// collector are its defaults.
  template <class F>
  static void run(const row_params& params, F&& fn) {
    become_threaded();
    const std::int64_t processors = std::max(params.value_or("processors", 1), params.value_or("threads", 1));
    tern::runtime rt{{.processors = static_cast<unsigned>(processors)}};
    rt.run(fn);
  }

  template <class T>
  using ref = T*;
  template <class T>
  using field = tern::gc::member<T>;

  template <class T, class... Args>
  static T* make(Args&&... args) {
    return tern::gc::make<T>(std::forward<Args>(args)...);
  }
  template <class T>
  static T* take(const tern::gc::member<T>& f) noexcept {
    return f.get();
  }
  template <class T>
  static T* peek(const tern::gc::member<T>& f) noexcept {
    return f.get();
  }
  template <class T>
  static void release(T*& r) noexcept {
    r = nullptr;
  }
  /// A managed array; the table, and so its pointer to it, is on the stack of the fiber that runs the workload.
  template <class T>
  class table {
   public:
    explicit table(std::size_t size) : slots_(tern::gc::make_array<tern::gc::member<T>>(size)) {}
    void set(std::size_t i, T* r) noexcept { (*slots_)[i] = r; }
    [[nodiscard]] T* peek(std::size_t i) const noexcept { return (*slots_)[i].get(); }
    [[nodiscard]] T* get(std::size_t i) const noexcept { return (*slots_)[i].get(); }

   private:
    tern::gc::array<tern::gc::member<T>>* slots_;
  };

  /// A reference inside an object that does not own: here as any other.
  template <class T>
  using link = tern::gc::member<T>;
  /// References by number; on the stack as the table.
  template <class T>
  class map {
   public:
    [[nodiscard]] T* find(std::uint64_t key) {
      const tern::gc::member<T>* at = map_.find(key);
      return at == nullptr ? nullptr : at->get();
    }
    void set(std::uint64_t key, T* r) { map_.insert_or_assign(key, r); }
    void erase(std::uint64_t key) { map_.erase(key); }

   private:
    tern::gc::hash_map<std::uint64_t, tern::gc::member<T>> map_;
  };
  /// n zeros that the collector need not look at.
  class numbers {
   public:
    explicit numbers(std::size_t n) : values_(tern::gc::make_array<double>(n)) {}
    double& operator[](std::size_t i) noexcept { return (*values_)[i]; }

   private:
    tern::gc::array<double>* values_;
  };

  static void poll() noexcept { tern::checkpoint(); }

  template <class F>
  static void parallel(std::size_t count, F&& fn) {
    std::vector<tern::thread> threads;
    threads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&fn, i] { fn(i); });
    for (tern::thread& t : threads) t.join();
  }

  static void set_growth_percent(unsigned percent) { tern::gc::set_growth_percent(percent); }
  static void set_memory_limit(std::size_t bytes) { tern::gc::set_hard_memory_limit(bytes); }
  /// Bytes in use over those that the pacer aims at, now.
  static double heap_over_goal() {
    const tern::gc::statistics s = tern::gc::read_statistics();
    return static_cast<double>(s.heap_bytes) / static_cast<double>(s.goal_bytes);
  }
  static double heap_bytes() { return static_cast<double>(tern::gc::read_statistics().heap_bytes); }
  static std::uint64_t longest_assist_ns() { return tern::gc::read_statistics().assist_max_ns; }
  static std::uint64_t marking_ns() { return tern::gc::read_statistics().mark_ns; }
  /// A whole cycle, swept when it returns.
  static void collect() { tern::gc::collect(); }
  /// Collection cycles of the process so far.
  static std::uint64_t collections() { return tern::gc::read_statistics().cycles; }
};

}  // namespace tern_bench

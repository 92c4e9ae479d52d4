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

  static void poll() noexcept { tern::checkpoint(); }

  template <class F>
  static void parallel(std::size_t count, F&& fn) {
    std::vector<tern::thread> threads;
    threads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&fn, i] { fn(i); });
    for (tern::thread& t : threads) t.join();
  }

  /// Collection cycles of the process so far.
  static std::uint64_t collections() { return tern::gc::read_statistics().cycles; }
};

}  // namespace tern_bench

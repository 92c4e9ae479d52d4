// Boost.Fiber, where CMake finds it; elsewhere its rows are recorded as skipped.
//
// Structure   round_robin on one processor. On more, a thread each under work_stealing. The first task is a fiber and no thread's main
//             context, as those cannot migrate.
// Best form   Stacks are kept for reuse, per thread, as pooled_fixedsize_stack does; but that has no guards and takes no frees from
//             other threads, and protected_fixedsize_stack maps and unmaps at every start. So the stacks come from an
//             allocator of ours (a documented point of extension): 64 KiB with a guard, as tern's. Fibers start by launch::post;
//             launch::dispatch was no faster. work_stealing sleeps when it finds nothing: spinning made every case slower, the
//             fork-join ones too. A sleeper is woken by work that is sent to it and not by work that it could steal, so mostly
//             one processor does all. Its dispatcher has a turn in every round of the ready queue (8 tasks that yield: 9 switches for
//             8 yields), which no setting changes; tern polls at every 61st dispatch.
// Limits      A buffered channel's capacity is a power of two, of which it fills all but one. work_stealing numbers its threads for
//             the life of the process, so every call runs in a fresh one.
#pragma once

#include <string>

#include "bench/subjects/concepts.hpp"
#include "bench/subjects/pthread.hpp"

#if TERN_BENCH_BOOST_FIBER && !TERN_ASAN && !TERN_TSAN

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <boost/fiber/algo/round_robin.hpp>
#include <boost/fiber/algo/work_stealing.hpp>
#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>
#include <boost/fiber/unbuffered_channel.hpp>
#include <boost/version.hpp>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace tern_bench {

/// Stacks of 64 KiB whose lowest 16 KiB are a guard (the last such page only, where the kernel has no guards without mappings, and
/// none beyond 30,000 there: the limit on mappings, as in tern). Any thread may free; most frees and allocations touch only a list
/// of the calling thread.
class boost_stacks {
 public:
  // Not inlined: a fiber may go on on another thread, whose list must then be found anew.
  [[gnu::noinline]] boost::context::stack_context allocate() {
    cache& mine = mine_;
    if (mine.first == nullptr) refill(mine);
    link* const top = mine.first;
    mine.first = top->next;
    --mine.count;
    boost::context::stack_context s;
    s.size = bytes;
    s.sp = top + 1;
    return s;
  }
  [[gnu::noinline]] void deallocate(boost::context::stack_context& s) noexcept {
    cache& mine = mine_;
    link* const top = static_cast<link*>(s.sp) - 1;
    top->next = mine.first;
    mine.first = top;
    if (++mine.count >= 2 * batch) spill(mine);
  }

 private:
  struct link {  // in the topmost words of a free stack
    link* next;
    void* unused;
  };
  struct cache {
    link* first;
    std::size_t count;
  };
  struct shared_list {
    std::mutex mutex;
    std::vector<link*> chains;  // of `batch` stacks each
    std::size_t guards = 0;
    bool cheap_guards = true;
  };
  static constexpr std::size_t bytes = std::size_t{64} * 1024;
  static constexpr std::size_t batch = 1024;

  static shared_list& shared() {
    static shared_list list;
    return list;
  }

  static void refill(cache& mine) {
    shared_list& list = shared();
    const std::lock_guard lock(list.mutex);
    mine.count = batch;
    if (!list.chains.empty()) {
      mine.first = list.chains.back();
      list.chains.pop_back();
      return;
    }
    void* const region = mmap(nullptr, batch * bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) throw std::bad_alloc();
    madvise(region, batch * bytes, MADV_NOHUGEPAGE);
    for (std::size_t i = batch; i-- > 0;) {
      auto* const stack = static_cast<std::byte*>(region) + i * bytes;
      guard(list, stack);
      auto* const top = reinterpret_cast<link*>(stack + bytes) - 1;
      top->next = mine.first;
      mine.first = top;
    }
  }

  static void guard(shared_list& list, std::byte* stack) {
    constexpr int guard_install = 102;  // MADV_GUARD_INSTALL, Linux 6.13
    if (list.cheap_guards && madvise(stack, bytes / 4, guard_install) == 0) return;
    list.cheap_guards = false;
    if (list.guards++ >= 30'000) return;
    mprotect(stack, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), PROT_NONE);
  }

  static void spill(cache& mine) noexcept {
    link* const chain = mine.first;
    link* last = chain;
    for (std::size_t i = 1; i < batch; ++i) last = last->next;
    mine.first = std::exchange(last->next, nullptr);
    mine.count -= batch;
    shared_list& list = shared();
    const std::lock_guard lock(list.mutex);
    list.chains.push_back(chain);
  }

  static inline thread_local cache mine_{nullptr, 0};
};

struct boost_fiber_subject {
  static constexpr const char* name = "boost_fiber";
  static constexpr role subject_role = role::peer;
  static constexpr bool one_world_per_process = true;
  static std::string version() {
    return std::to_string(BOOST_VERSION / 100000) + "." + std::to_string(BOOST_VERSION / 100 % 1000) + "." +
           std::to_string(BOOST_VERSION % 100);
  }
  static std::string unfit(const row_params& p) {
    // The scheduler's own context waits at the head of a queue whose thread is busy, and a thief looks at the head alone.
    if (p.value_or("spinning", 0) != 0) return "a task is not stolen while the one that started it computes";
    return on_processors::unfit(p);
  }

  /// fn is a fiber; as many threads run fibers as the row has processors.
  template <class F>
  static void run(const row_params& params, F&& fn) {
    namespace fibers = boost::fibers;
    const auto count = static_cast<std::uint32_t>(on_processors::count(params));
    const confine here(static_cast<int>(count));
    become_threaded();
    std::exception_ptr error;
    const auto first = [&] {
      fibers::fiber root(std::allocator_arg, boost::context::fixedsize_stack(std::size_t{256} * 1024), [&] {
        try {
          fn();
        } catch (...) {
          error = std::current_exception();
        }
      });
      root.join();
    };
    if (count == 1) {
      fibers::use_scheduling_algorithm<fibers::algo::round_robin>();
      first();
    } else {
      fibers::mutex mutex;
      fibers::condition_variable over;
      bool ended = false;
      std::vector<std::thread> others;
      for (std::uint32_t i = 1; i < count; ++i) {
        others.emplace_back([&] {
          fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count, true);
          std::unique_lock lock(mutex);
          over.wait(lock, [&] { return ended; });
        });
      }
      fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count, true);  // waits for the others
      first();
      {
        const std::lock_guard lock(mutex);
        ended = true;
      }
      over.notify_all();
      for (std::thread& other : others) other.join();
    }
    if (error) std::rethrow_exception(error);
  }

  class thread {
   public:
    template <class F>
    explicit thread(F fn) : fiber_(std::allocator_arg, boost_stacks(), std::move(fn)) {}
    void join() { fiber_.join(); }
    void detach() { fiber_.detach(); }

   private:
    boost::fibers::fiber fiber_;
  };

  static void yield() { boost::this_fiber::yield(); }
  using mutex = boost::fibers::mutex;

  /// The library has none: a count, and a lock for whoever brings it to zero or waits.
  class wait_group {
   public:
    void add(std::int64_t n) { count_.fetch_add(n, std::memory_order_relaxed); }
    void done() {
      // acq_rel: what a task did is seen by whoever comes back from wait().
      for (std::int64_t n = count_.load(std::memory_order_relaxed); n > 1;) {
        if (count_.compare_exchange_weak(n, n - 1, std::memory_order_acq_rel, std::memory_order_relaxed))
          return;
      }
      // The last under the lock: the waiter may destroy this object as soon as it can take it.
      const std::lock_guard lock(mutex_);
      if (count_.fetch_sub(1, std::memory_order_acq_rel) == 1) zero_.notify_all();
    }
    void wait() {
      std::unique_lock lock(mutex_);
      zero_.wait(lock, [&] { return count_.load(std::memory_order_acquire) <= 0; });  // pairs-with: done()
    }

   private:
    std::atomic<std::int64_t> count_{0};
    boost::fibers::mutex mutex_;
    boost::fibers::condition_variable zero_;
  };

  /// Capacity 0 is a rendezvous. One predictable branch chooses between the library's two kinds.
  template <class T>
  class channel {
   public:
    explicit channel(std::size_t capacity) {
      if (capacity == 0) {
        direct_.emplace();
      } else {
        buffered_.emplace(std::bit_ceil(capacity < 2 ? 2 : capacity));
      }
    }
    void send(T value) {
      if (direct_) {
        direct_->push(std::move(value));
      } else {
        buffered_->push(std::move(value));
      }
    }
    std::optional<T> receive() {
      T value{};
      const auto status = direct_ ? direct_->pop(value) : buffered_->pop(value);
      return status == boost::fibers::channel_op_status::success ? std::optional<T>(std::move(value))
                                                                 : std::nullopt;
    }
    /// Requires a buffer.
    std::optional<T> try_receive() {
      T value{};
      const auto status = buffered_->try_pop(value);
      return status == boost::fibers::channel_op_status::success ? std::optional<T>(std::move(value))
                                                                 : std::nullopt;
    }
    void close() { direct_ ? direct_->close() : buffered_->close(); }

   private:
    std::optional<boost::fibers::unbuffered_channel<T>> direct_;
    std::optional<boost::fibers::buffered_channel<T>> buffered_;
  };

  using event = blocking::basic_event<boost::fibers::mutex, boost::fibers::condition_variable>;

  static void sleep_until(std::int64_t ns) { boost::this_fiber::sleep_until(at_ns(ns)); }
};
static_assert(scheduler_subject<boost_fiber_subject>);

}  // namespace tern_bench

#else

namespace tern_bench {

struct boost_fiber_subject {
  static constexpr const char* name = "boost_fiber";
  static constexpr role subject_role = role::peer;
  static std::string version() { return {}; }
  static measurement measure_external(const std::string&, const std::string&, const row_params&, run_budget) {
    measurement m;
#if TERN_BENCH_BOOST_FIBER
    m.error = "skipped: Boost.Fiber as distributions build it does not tell a sanitizer of its switches";
#else
    m.error = "skipped: there was no Boost.Fiber for this machine at build time";
#endif
    return m;
  }
};

}  // namespace tern_bench

#endif

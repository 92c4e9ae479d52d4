// tern's scheduler with its own synchronisation.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "bench/subjects/concepts.hpp"
#include "bench/subjects/pthread.hpp"

namespace tern_bench {

struct tern_scheduler {
  static constexpr const char* name = "tern";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }
  static std::string unfit(const row_params& p) { return on_processors::unfit(p); }

  /// fn is the main fiber of a runtime of its own, with the row's processors and the default slots of 64 KiB.
  template <class F>
  static void run(const row_params& params, F&& fn) {
    const confine here(on_processors::count(params));
    become_threaded();
    // In wake_latency plain threads, of which the runtime knows nothing, wake the only fiber: no deadlock.
    // No signal handler here but those of the runtime, which have their own stack: tern_tiny may run.
    tern::runtime rt{{.processors = static_cast<unsigned>(on_processors::count(params)),
                      .on_deadlock = tern::deadlock_policy::ignore,
                      .signals_on_alternate_stack = true}};
    runtime_ = &rt;
    rt.run(fn);
    runtime_ = nullptr;
  }

  using thread = tern::thread;
  static void yield() { tern::this_thread::yield(); }
  static void pin() { tern::this_thread::pin(); }
  static void set_processors(unsigned n) { runtime_->set_processors(n); }
  using mutex = tern::mutex;
  using rw_mutex = tern::rw_mutex;
  using wait_group = tern::wait_group;
  template <class T>
  using channel = tern::channel<T>;

  template <class T>
  class either {
   public:
    explicit either(std::size_t capacity) : sides_{channel<T>(capacity), channel<T>(capacity)} {}
    void send(std::size_t which, T value) { sides_[which].send(std::move(value)); }
    T receive() {
      T value{};
      const auto take = [&](std::optional<T> v) { value = std::move(*v); };
      tern::select(tern::on_receive(sides_[0], take), tern::on_receive(sides_[1], take));
      return value;
    }

   private:
    channel<T> sides_[2];
  };

  class event {
   public:
    void set() { permits_.release(); }
    bool wait_for(std::int64_t ns) { return permits_.try_acquire_for(std::chrono::nanoseconds(ns)); }

   private:
    tern::semaphore permits_{0};
  };

  static void sleep_until(std::int64_t ns) { tern::this_thread::sleep_until(at_ns(ns)); }
  static ssize_t read(int fd, void* to, std::size_t n) {
    return tern::blocking([&] { return ::read(fd, to, n); });
  }
  /// From a thread that is not the runtime's.
  template <class F>
  static void start_from_outside(F fn) {
    runtime_->spawn(std::move(fn)).detach();
  }

 private:
  // Written by the one thread that runs rows, while no task exists.
  static inline tern::runtime* runtime_ = nullptr;
};
static_assert(scheduler_subject<tern_scheduler>);

/// The same with tasks in slots of 2 KiB, which have a canary instead of a guard. The main task has a default slot.
struct tern_tiny : tern_scheduler {
  static constexpr const char* name = "tern_tiny";
  // A process that has canaries looks for them at every switch: the rows of `tern` must not.
  static constexpr bool one_world_per_process = true;
  static std::string unfit(const row_params& p) {
    if (!tern::detail::tiny_slots_fit) return "tiny fibers have larger slots in this build";
    return tern_scheduler::unfit(p);
  }

  class thread : public tern::thread {
   public:
    template <class F>
    explicit thread(F fn) : tern::thread({.tiny = true}, std::move(fn)) {}
  };
};
static_assert(scheduler_subject<tern_tiny>);

}  // namespace tern_bench

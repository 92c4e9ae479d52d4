// sched/inject_vs_local/outside:O
//
// One operation  one of 8,192 tasks that nobody joins: its start, its run (it counts a wait group down) and its end.
//                outside:0  a task starts them     outside:1  a plain thread does, which the scheduler knows nothing of
// Kept equal     one processor, to which all threads are confined, the plain one too (its own start is in the clock, spread over the
//                8,192); stacks of 64 KiB with a guard (the pool's tasks have none of their own).
// Best form      as in sched/spawn_detached. Go and Boost.Fiber have no outside: a goroutine has no thread that Go does not know, and a
//                fiber belongs to the scheduler of the thread that started it. To pthread the two are the same.
#include <atomic>
#include <thread>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class inject_vs_local {
 public:
  explicit inject_vs_local(const row_params& p)
      : outside_(p["outside"] != 0), tasks_(static_cast<std::uint32_t>(p.value_or("tasks", 8192))) {}
  static std::string unfit(const row_params& p) {
    // Only the adapters whose starter differs have one of their own for it.
    if constexpr (!requires { S::start_from_outside([] {}); }) {
      if (p["outside"] != 0) return "its tasks cannot be started from outside, or that is no different";
    }
    return {};
  }
  std::uint64_t operations() const { return tasks_; }
  std::uint32_t run() {
    typename S::wait_group ended;
    ended.add(static_cast<std::int32_t>(tasks_));
    std::atomic<std::uint64_t> total{0};
    const auto task = [&] {
      total.fetch_add(1, std::memory_order_relaxed);  // relaxed: the wait group publishes the sum
      ended.done();
    };
    if (outside_) {
      if constexpr (requires { S::start_from_outside(task); }) {
        std::thread starter([&] {
          for (std::uint32_t i = 0; i < tasks_; ++i) S::start_from_outside(task);
        });
        ended.wait();
        starter.join();
      }
    } else {
      for (std::uint32_t i = 0; i < tasks_; ++i) {
        if constexpr (requires { S::start_detached(task); }) {
          S::start_detached(task);
        } else {
          typename S::thread(task).detach();
        }
      }
      ended.wait();
    }
    return fold(0, total.load(std::memory_order_relaxed));
  }

 private:
  bool outside_;
  std::uint32_t tasks_;
};

const registration<inject_vs_local, fork_join_schedulers> inject_vs_local_registered{{
    .area = "sched",
    .name = "inject_vs_local",
    .smoke = {{"outside", 1}, {"tasks", 64}},
    .points = {{{{"outside", 1}}, tier::standard}, {{{"outside", 0}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

// sched/dynamic_processors/processors:2/yields:N
//
// One operation  one change of the number of processors, from two to one or back, by a task; with yields:N until the task that changes has
//                yielded N times after it. 16 other tasks yield all the time, so both processors have work. yields:1024 against
//                yields:0 is the throughput right after a shrink or a grow.
// Kept equal     two processors at the most, to which all threads are confined; the start and the end of the tasks are inside the clock, spread
//                over 64 changes.
// Not equal      tern's call returns at once, and a surplus processor stops at its next dispatch; Go's returns when it has stopped the world.
// Best form      go: runtime.GOMAXPROCS. pthread and Boost.Fiber cannot change a number of processors.
#include <atomic>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class dynamic_processors {
 public:
  explicit dynamic_processors(const row_params& p)
      : changes_(static_cast<std::uint64_t>(p.value_or("changes", 64))),
        yields_(static_cast<std::uint64_t>(p["yields"])) {}
  std::uint64_t operations() const { return changes_; }
  std::uint32_t run() {
    std::atomic<bool> stop{false};
    std::vector<typename S::thread> threads;
    threads.reserve(tasks);
    for (std::size_t i = 0; i < tasks; ++i)
      threads.emplace_back([&stop] {
        while (!stop.load(std::memory_order_relaxed)) S::yield();
      });
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < changes_; ++i) {
      S::set_processors(i % 2 == 0 ? 1 : 2);
      for (std::uint64_t n = 0; n < yields_; ++n) S::yield();
      sum = fold(sum, i);
    }
    stop.store(true, std::memory_order_relaxed);
    for (auto& t : threads) t.join();
    S::set_processors(2);
    return sum;
  }

 private:
  static constexpr std::size_t tasks = 16;
  std::uint64_t changes_;
  std::uint64_t yields_;
};

using dynamic_schedulers = subjects<tern_scheduler, go_peer>;

const registration<dynamic_processors, dynamic_schedulers> dynamic_processors_registered{{
    .area = "sched",
    .name = "dynamic_processors",
    .smoke = {{"processors", 2}, {"yields", 1}, {"changes", 4}},
    .points = {{{{"processors", 2}, {"yields", 0}}}, {{{"processors", 2}, {"yields", 1024}}}},
}};

}  // namespace
}  // namespace tern_bench

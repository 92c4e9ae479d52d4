// sched/hogs/processors:P
//
// One operation  one wake-up of a task that sleeps, while P other tasks compute on the P processors and never yield, park or call
//                anything. The latency is from the *intended* time of the wake-up (every 5 ms, whether the one before is over or not)
//                until the task runs. The row's time is the mean latency. The hogs' start is part of the first wake-up of a batch of 20.
// Kept equal     P processors, and P CPUs to which all threads are confined: hogs and sleeper share them.
// Best form      pthread: the kernel takes the CPU from a hog that has had its share. Boost.Fiber is cooperative only, the sleeper would
//                not run before a hog ends: it has no rows.
#include <atomic>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class hogs {
 public:
  explicit hogs(const row_params& p) : processors_(p.size_of("processors")), wakes_(p.size_of("wakes")) {}
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    const auto batch = static_cast<std::uint64_t>(p["wakes"]);
    return (static_cast<std::uint64_t>(time_ms) / 5 / batch + 1) * batch;
  }
  std::uint64_t operations() const { return wakes_; }
  std::uint32_t run(histogram& latencies) {
    std::atomic<bool> stop{false};
    std::vector<typename S::thread> threads;
    threads.reserve(processors_);
    for (std::size_t i = 0; i < processors_; ++i) {
      threads.emplace_back([&stop] {
        while (!stop.load(std::memory_order_relaxed)) {  // relaxed: nothing else is told
        }
      });
    }
    std::uint32_t sum = 0;
    std::int64_t intended = now_ns();
    for (std::size_t i = 0; i < wakes_; ++i) {
      intended += period_ns;
      S::sleep_until(intended);
      latencies.record(now_ns() - intended);
      sum = fold(sum, i);
    }
    stop.store(true, std::memory_order_relaxed);
    for (auto& t : threads) t.join();
    return sum;
  }

 private:
  static constexpr std::int64_t period_ns = 5'000'000;
  std::size_t processors_;
  std::size_t wakes_;
};

const registration<hogs, subjects<tern_scheduler, pthread_subject, go_peer>> hogs_registered{{
    .area = "sched",
    .name = "hogs",
    .smoke = {{"processors", 1}, {"wakes", 2}},
    .points = {{{{"processors", 2}, {"wakes", 20}}, tier::quick, false, 150},
               {{{"processors", 1}, {"wakes", 20}}, tier::standard, false, 150}},
}};

}  // namespace
}  // namespace tern_bench

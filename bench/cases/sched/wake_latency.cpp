// sched/wake_latency
//
// One operation  one wake-up of a task that waits in a receive, while its only processor is idle, by a plain thread. The latency
//                is from the *intended* time of the wake-up (every 200 us, whether the one before is over or not) until the task
//                runs; a late sender or a slow receiver is therefore in the figures. The row's time is the mean latency.
// Kept equal     the task and its processor are confined to the first CPU, the waking thread spins on the second: needs two CPUs.
#include <thread>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class wake_latency {
 public:
  static constexpr bool evolves = true;

  explicit wake_latency(const row_params&) {}
  static std::uint64_t fixed_operations(const row_params&, std::int64_t time_ms) {
    const auto wakes = static_cast<std::uint64_t>(time_ms) * 1'000'000 / period_ns;
    return (wakes / batch + 1) * batch;
  }
  static std::string unfit(const row_params&) {
    return usable_cpus() < 2 ? "needs 2 processors, this host has 1" : "";
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run(histogram& latencies) {
    typename S::template channel<std::int64_t> wakes(static_cast<std::size_t>(batch));
    std::thread waker([&wakes] {
      pin_to(1);
      const std::int64_t start = now_ns() + 100'000;
      for (std::uint64_t i = 0; i < batch; ++i) {
        const std::int64_t intended = start + static_cast<std::int64_t>(i * period_ns);
        while (now_ns() < intended) {
        }
        wakes.send(intended);
      }
    });
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::int64_t intended = wakes.receive().value_or(0);
      latencies.record(now_ns() - intended);
      sum = fold(sum, i);
    }
    waker.join();
    return sum;
  }

 private:
  static constexpr std::uint64_t batch = 50;
  static constexpr std::uint64_t period_ns = 200'000;
};

const registration<wake_latency, blocking_schedulers> wake_latency_registered{{
    .area = "sched",
    .name = "wake_latency",
    .smoke = {},
    .points = {{{}, tier::quick, false, 15}},
}};

}  // namespace
}  // namespace tern_bench

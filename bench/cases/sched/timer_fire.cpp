// sched/timer_fire/timers:N
//
// One operation  one task that sleeps until its time and wakes: N tasks whose times follow each other 10 us apart, in an order that has
//                nothing to do with the order in which they arm their timers. The latency is from a task's time until it runs; the
//                first time lies 100 ms after all have been told to sleep. The row's time is the mean latency.
// Kept equal     one processor, to which all threads are confined. The start of the N tasks is before their times.
// Limits         The kernel lets a plain thread's timer be 50 us late (its timer slack), which is in pthread's figures.
#include <memory>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class timer_fire {
 public:
  static constexpr bool cold = true;

  explicit timer_fire(const row_params& p) : count_(p.size_of("timers")), late_(count_) {}
  static std::string unfit(const row_params& p) { return unfit_for_tasks<S>(p["timers"]); }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t) {
    return static_cast<std::uint64_t>(p["timers"]);
  }
  std::uint64_t operations() const { return count_; }
  std::uint32_t run(histogram& latencies) {
    typename S::template channel<int> gate(0);
    typename S::wait_group here;
    here.add(static_cast<std::int32_t>(count_));
    std::int64_t base = 0;  // written before the gate opens
    std::vector<typename S::thread> threads;
    threads.reserve(count_);
    std::size_t place = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      place = (place + stride) % count_;
      threads.emplace_back([this, &gate, &here, &base, place] {
        here.done();
        static_cast<void>(gate.receive());
        const std::int64_t intended = base + static_cast<std::int64_t>(place) * spacing_ns;
        S::sleep_until(intended);
        late_[place] = now_ns() - intended;
      });
    }
    here.wait();
    base = now_ns() + 100'000'000;
    gate.close();
    for (auto& t : threads) t.join();
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      latencies.record(late_[i]);
      sum = fold(sum, late_[i] >= 0 ? i : 0);  // nobody wakes early
    }
    return sum;
  }

 private:
  static constexpr std::size_t stride = 7919;  // a prime that divides no count
  static constexpr std::int64_t spacing_ns = 10'000;
  std::size_t count_;
  std::vector<std::int64_t> late_;
};

const registration<timer_fire, blocking_schedulers> timer_fire_registered{{
    .area = "sched",
    .name = "timer_fire",
    .smoke = {{"timers", 64}},
    .points = {{{{"timers", 10000}}, tier::standard, false, 300},
               {{{"timers", 100000}}, tier::full, false, 2000}},
}};

}  // namespace
}  // namespace tern_bench

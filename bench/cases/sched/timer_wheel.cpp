// sched/timer_wheel/timers:N
//
// One operation  one wait with a time limit that is over before its time: N tasks wait, each on an event of its own and for 10 to 20 s;
//                another task sets the events in a pseudo-random order, whereupon the task that waited waits again. So a wake-up,
//                a timer cancelled and a timer armed, among N pending ones.
// Kept equal     one processor, to which all threads are confined; limits and orders from the same sequences. The start of the N
//                tasks is outside the clock.
// Best form      go: one timer per goroutine, stopped and reset, and a select over it and a channel of capacity 1. pthread,
//                boost_fiber: a condition variable per task.
#include <atomic>
#include <memory>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class timer_wheel {
 public:
  explicit timer_wheel(const row_params& p) : count_(p.size_of("timers")), tasks_(new task[count_]) {
    threads_.reserve(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      threads_.emplace_back([this, i] { wait_often(i); });
    }
    for (int i = 0; i < 4; ++i) S::yield();
  }
  static std::string unfit(const row_params& p) { return unfit_for_tasks<S>(p["timers"]); }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    const auto batch = static_cast<std::uint64_t>(p["timers"]);
    return (static_cast<std::uint64_t>(time_ms) * 1000 / batch + 1) * batch;  // as if one took a microsecond
  }
  std::uint64_t operations() const { return count_; }
  std::uint32_t run() {
    round_.add(static_cast<std::int32_t>(count_));
    // A stride that is coprime to the count visits each once.
    std::size_t at = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      at = (at + stride) % count_;
      tasks_[at].event.set();
      if (i % 64 == 63) S::yield();
    }
    round_.wait();
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < count_; ++i) sum = fold(sum, std::exchange(tasks_[i].woken, 0));
    return sum;
  }
  void finish(measurement&) {
    stopping_ = true;
    for (std::size_t i = 0; i < count_; ++i) tasks_[i].event.set();
    for (auto& t : threads_) t.join();
  }

 private:
  struct task {
    typename S::event event;
    std::uint64_t woken = 0;
  };

  void wait_often(std::size_t i) {
    sequence random(i + 1);
    for (;;) {
      const bool in_time = tasks_[i].event.wait_for(
          10'000'000'000 + static_cast<std::int64_t>(random.below(10'000'000'000 >> 3) << 3));
      if (stopping_.load(std::memory_order_relaxed)) return;  // relaxed: the event publishes it
      tasks_[i].woken += in_time ? i + 1 : 0;
      round_.done();
    }
  }

  static constexpr std::size_t stride = 7919;  // a prime that divides no count
  std::size_t count_;
  std::unique_ptr<task[]> tasks_;
  typename S::wait_group round_;
  std::atomic<bool> stopping_{false};
  std::vector<typename S::thread> threads_;
};

const registration<timer_wheel, blocking_schedulers> timer_wheel_registered{{
    .area = "sched",
    .name = "timer_wheel",
    .smoke = {{"timers", 64}},
    .points = {{{{"timers", 10000}}, tier::quick, false, 300},
               {{{"timers", 100000}}, tier::standard, false, 1000}},
}};

}  // namespace
}  // namespace tern_bench

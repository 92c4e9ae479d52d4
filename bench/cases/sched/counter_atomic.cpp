// sched/counter_atomic/processors:P
//
// One operation  one increment of a counter that all tasks share, by an atomic addition. 1,000 tasks make 64 each, and end: their starts and joins
//                are in the time, as in the programs that people write to try a scheduler. See sched/counter_mutex beside it.
// Kept equal     P processors, to which all threads are confined; stacks of 64 KiB with a guard (the pool's tasks have none of their
//                own).
// Best form      as in sched/spawn_join. An atomic addition is the same in every subject: what differs is the tasks.
#include <atomic>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class counter_atomic {
 public:
  explicit counter_atomic(const row_params& p) : tasks_(static_cast<std::size_t>(p.value_or("tasks", 1000))) {
    threads_.reserve(tasks_);
  }
  static std::string unfit(const row_params& p) { return unfit_for_tasks<S>(p.value_or("tasks", 1000)); }
  std::uint64_t operations() const { return tasks_ * each; }
  std::uint32_t run() {
    value_ = 0;
    for (std::size_t i = 0; i < tasks_; ++i) {
      threads_.emplace_back([this] {
        for (std::uint64_t n = 0; n < each; ++n) {
          value_.fetch_add(1, std::memory_order_relaxed);  // relaxed: the joins publish the sum
        }
      });
    }
    for (auto& t : threads_) t.join();
    threads_.clear();
    return fold(0, value_);
  }

 private:
  static constexpr std::uint64_t each = 64;
  std::size_t tasks_;
  std::atomic<std::uint64_t> value_{0};
  std::vector<typename S::thread> threads_;
};

const registration<counter_atomic, fork_join_schedulers> registered{{
    .area = "sched",
    .name = "counter_atomic",
    .smoke = {{"processors", 1}, {"tasks", 16}},
    .points = {{{{"processors", 2}}, tier::standard}, {{{"processors", 1}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

// sched/spawn_join/batch:B/processors:P
//
// One operation  one of B tasks that are started one after another and then joined in the same order: its start, its run (it
//                stores one word), its end and its join.
// Kept equal     P processors, to which all threads are confined; stacks of 64 KiB with a guard (the pool's tasks have none of
//                their own; tern_task: a coroutine frame each). Warm: one batch runs before the clock.
// Best form      pthread: glibc reuses the stacks of ended threads. pthread_pool: P threads made beforehand, joins run tasks.
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class spawn_join {
 public:
  explicit spawn_join(const row_params& p) : results_(p.size_of("batch")) {
    threads_.reserve(results_.size());
  }
  std::uint64_t operations() const { return results_.size(); }
  std::uint32_t run() {
    for (std::size_t i = 0; i < results_.size(); ++i) {
      threads_.emplace_back([slot = &results_[i], i] { *slot = i + 1; });
    }
    for (auto& t : threads_) t.join();
    threads_.clear();
    std::uint32_t sum = 0;
    for (std::uint64_t& result : results_) sum = fold(sum, std::exchange(result, 0));
    return sum;
  }

 private:
  std::vector<std::uint64_t> results_;
  std::vector<typename S::thread> threads_;
};

// The same with coroutines.
template <>
class spawn_join<tern_task> {
 public:
  explicit spawn_join(const row_params& p) : results_(p.size_of("batch")) { tasks_.reserve(results_.size()); }
  std::uint64_t operations() const { return results_.size(); }
  std::uint32_t run() {
    for (std::size_t i = 0; i < results_.size(); ++i)
      tasks_.push_back(tern::spawn_task(store(results_[i], i + 1)));
    for (auto& t : tasks_) t.join();
    tasks_.clear();
    std::uint32_t sum = 0;
    for (std::uint64_t& result : results_) sum = fold(sum, std::exchange(result, 0));
    return sum;
  }

 private:
  static tern::task<> store(std::uint64_t& slot, std::uint64_t value) {
    slot = value;
    co_return;
  }

  std::vector<std::uint64_t> results_;
  std::vector<tern::task_handle<>> tasks_;
};

const registration<spawn_join, fork_join_schedulers_and_tasks> spawn_join_registered{{
    .area = "sched",
    .name = "spawn_join",
    .smoke = {{"batch", 16}, {"processors", 1}},
    .points = {{{{"batch", 1024}, {"processors", 1}}, tier::quick, true},
               {{{"batch", 1024}, {"processors", 2}}},
               {{{"batch", 16}, {"processors", 1}}, tier::standard}},
    .control = "pthread_pool",
}};

}  // namespace
}  // namespace tern_bench

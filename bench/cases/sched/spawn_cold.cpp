// sched/spawn_cold/tasks:N
//
// One operation  one of N tasks that are started one after another and then joined, in a process that has started none before: the
//                first use of its stack, its first page faults and the growth of every table that holds it are in the time.
// Kept equal     a fresh process per row and a single batch; one processor, to which all threads are confined; stacks of 64 KiB with
//                a guard.
// Best form      as in sched/spawn_join; glibc reuses the stack of a thread that has ended before the next is started.
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class spawn_cold {
 public:
  static constexpr bool cold = true;

  explicit spawn_cold(const row_params& p) : results_(p.size_of("tasks")) {
    threads_.reserve(results_.size());
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t) {
    return static_cast<std::uint64_t>(p["tasks"]);
  }
  static std::string unfit(const row_params& p) { return unfit_for_tasks<S>(p["tasks"]); }
  std::uint64_t operations() const { return results_.size(); }
  std::uint32_t run() {
    for (std::size_t i = 0; i < results_.size(); ++i) {
      threads_.emplace_back([slot = &results_[i], i] { *slot = i + 1; });
    }
    for (auto& t : threads_) t.join();
    threads_.clear();
    std::uint32_t sum = 0;
    for (const std::uint64_t result : results_) sum = fold(sum, result);
    return sum;
  }

 private:
  std::vector<std::uint64_t> results_;
  std::vector<typename S::thread> threads_;
};

const registration<spawn_cold, blocking_schedulers> spawn_cold_registered{{
    .area = "sched",
    .name = "spawn_cold",
    .smoke = {{"tasks", 64}},
    .points = {{{{"tasks", 4096}}, tier::quick, false, 50}, {{{"tasks", 100000}}, tier::full, false, 2000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

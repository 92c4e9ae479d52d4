// sched/spawn_detached/processors:P
//
// One operation  one of 1,024 tasks that nobody joins: its start, its run (it stores one word and counts a wait group down) and its
//                end. The batch is over when the wait group is.
// Kept equal     P processors, to which all threads are confined; stacks of 64 KiB with a guard (the pool's tasks have none of
//                their own). Warm.
// Best form      as in sched/spawn_join; pthread_pool: the task that waits runs the others meanwhile.
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class spawn_detached {
 public:
  explicit spawn_detached(const row_params& p)
      : results_(static_cast<std::size_t>(p.value_or("batch", 1024))) {}
  std::uint64_t operations() const { return results_.size(); }
  std::uint32_t run() {
    typename S::wait_group ended;
    ended.add(static_cast<std::int32_t>(results_.size()));
    for (std::size_t i = 0; i < results_.size(); ++i) {
      const auto task = [slot = &results_[i], i, &ended] {
        *slot = i + 1;
        ended.done();
      };
      if constexpr (requires { S::start_detached(task); }) {
        S::start_detached(task);
      } else {
        typename S::thread(task).detach();
      }
    }
    ended.wait();
    std::uint32_t sum = 0;
    for (std::uint64_t& result : results_) sum = fold(sum, std::exchange(result, 0));
    return sum;
  }

 private:
  std::vector<std::uint64_t> results_;
};

const registration<spawn_detached, fork_join_schedulers> spawn_detached_registered{{
    .area = "sched",
    .name = "spawn_detached",
    .smoke = {{"processors", 1}, {"batch", 16}},
    .points = {{{{"processors", 1}}, tier::quick, true}, {{{"processors", 2}}, tier::standard}},
    .control = "pthread_pool",
}};

}  // namespace
}  // namespace tern_bench

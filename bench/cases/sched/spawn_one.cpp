// sched/spawn_one
//
// One operation  start one task, which stores one word, and join it before the next is started.
// Kept equal     one processor, to which all threads are confined; stacks of 64 KiB with a guard (the pool's tasks have none of
//                their own). Warm.
// Best form      as in sched/spawn_join.
#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class spawn_one {
 public:
  explicit spawn_one(const row_params& p) : batch_(static_cast<std::uint64_t>(p.value_or("batch", 1024))) {}
  std::uint64_t operations() const { return batch_; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch_; ++i) {
      std::uint64_t result = 0;
      typename S::thread t([&result, i] { result = i + 1; });
      t.join();
      sum = fold(sum, result);
    }
    return sum;
  }

 private:
  std::uint64_t batch_;
};

const registration<spawn_one, fork_join_schedulers> spawn_one_registered{{
    .area = "sched",
    .name = "spawn_one",
    .smoke = {{"batch", 16}},
    .points = {{{}, tier::quick, true}},
}};

}  // namespace
}  // namespace tern_bench

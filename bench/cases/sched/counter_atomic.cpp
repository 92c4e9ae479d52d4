// sched/counter_atomic/processors:P
//
// One operation  one increment of a counter that all tasks share, by an atomic addition. 1,000 tasks make 64 each, and end: their starts and joins
//                are in the time, as in the programs that people write to try a scheduler. See sched/counter_mutex beside it.
// Kept equal     P processors, to which all threads are confined; stacks of 64 KiB with a guard (the pool's tasks have none of their
//                own).
// Best form      as in sched/spawn_join. An atomic addition is the same in every subject: what differs is the tasks.
#include <atomic>

#include "bench/cases/sched/counter.hpp"

namespace tern_bench {
namespace {

class atomic_count {
 public:
  void add() { value_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the joins publish the sum
  std::uint64_t value() const { return value_; }
  void reset() { value_ = 0; }

 private:
  std::atomic<std::uint64_t> value_{0};
};

template <class S>
class counter_atomic : public shared_counter<S, atomic_count> {
  using shared_counter<S, atomic_count>::shared_counter;
};

const registration<counter_atomic, fork_join_schedulers> counter_atomic_registered{{
    .area = "sched",
    .name = "counter_atomic",
    .smoke = {{"processors", 1}, {"tasks", 16}},
    .points = {{{{"processors", 2}}, tier::standard}, {{{"processors", 1}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

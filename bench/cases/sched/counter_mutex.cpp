// sched/counter_mutex/processors:P
//
// One operation  one increment of a counter that all tasks share, under a mutex. 1,000 tasks make 64 each, and end: their starts and joins
//                are in the time, as in the programs that people write to try a scheduler. See sched/counter_atomic beside it.
// Kept equal     P processors, to which all threads are confined; stacks of 64 KiB with a guard (the pool's tasks have none of their
//                own).
// Best form      as in sched/spawn_join. pthread and pthread_pool use std::mutex: no task keeps it for long.
#include <mutex>

#include "bench/cases/sched/counter.hpp"

namespace tern_bench {
namespace {

template <class S>
class locked_count {
 public:
  void add() {
    const std::lock_guard lock(mutex_);
    ++value_;
    keep(&value_);
  }
  std::uint64_t value() const { return value_; }
  void reset() { value_ = 0; }

 private:
  typename S::mutex mutex_;
  std::uint64_t value_ = 0;
};

template <class S>
class counter_mutex : public shared_counter<S, locked_count<S>> {
  using shared_counter<S, locked_count<S>>::shared_counter;
};

const registration<counter_mutex, fork_join_schedulers> counter_mutex_registered{{
    .area = "sched",
    .name = "counter_mutex",
    .smoke = {{"processors", 1}, {"tasks", 16}},
    .points = {{{{"processors", 2}}, tier::standard}, {{{"processors", 1}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

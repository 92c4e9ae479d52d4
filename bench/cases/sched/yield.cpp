// sched/yield
//
// One operation  one yield of one of 8 runnable tasks: with 8 in the queue each yield switches to another task.
// Kept equal     one processor, to which all threads are confined; the start and the end of the 8 tasks are inside the clock,
//                spread over 32,768 yields (for pthread about 1% of the time). tern_task yields by co_await.
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class yield {
 public:
  explicit yield(const row_params& p) : each_(static_cast<std::uint64_t>(p.value_or("each", 4096))) {}
  std::uint64_t operations() const { return tasks * each_; }
  std::uint32_t run() {
    std::vector<std::uint64_t> counts(tasks * 16);  // a line pair apart
    std::vector<typename S::thread> threads;
    threads.reserve(tasks);
    for (std::size_t i = 0; i < tasks; ++i) {
      threads.emplace_back([count = &counts[i * 16], each = each_] {
        std::uint64_t mine = 0;
        for (std::uint64_t n = 0; n < each; ++n) {
          S::yield();
          mine += n;
        }
        *count = mine;
      });
    }
    for (auto& t : threads) t.join();
    std::uint32_t sum = 0;
    for (const std::uint64_t count : counts) sum = fold(sum, count);
    return sum;
  }

 private:
  static constexpr std::size_t tasks = 8;
  std::uint64_t each_;
};

// The same with coroutines.
template <>
class yield<tern_task> {
 public:
  explicit yield(const row_params& p) : each_(static_cast<std::uint64_t>(p.value_or("each", 4096))) {}
  std::uint64_t operations() const { return tasks * each_; }
  std::uint32_t run() {
    std::vector<std::uint64_t> counts(tasks * 16);  // a line pair apart
    std::vector<tern::task_handle<>> handles;
    handles.reserve(tasks);
    for (std::size_t i = 0; i < tasks; ++i) handles.push_back(tern::spawn_task(turn(counts[i * 16], each_)));
    for (auto& h : handles) h.join();
    std::uint32_t sum = 0;
    for (const std::uint64_t count : counts) sum = fold(sum, count);
    return sum;
  }

 private:
  static tern::task<> turn(std::uint64_t& count, std::uint64_t each) {
    std::uint64_t mine = 0;
    for (std::uint64_t n = 0; n < each; ++n) {
      co_await tern::this_task::yield();
      mine += n;
    }
    count = mine;
  }

  static constexpr std::size_t tasks = 8;
  std::uint64_t each_;
};

const registration<yield, blocking_schedulers_and_tasks> yield_registered{{
    .area = "sched",
    .name = "yield",
    .smoke = {{"each", 16}},
    .points = {{{}, tier::quick, true}},
}};

}  // namespace
}  // namespace tern_bench

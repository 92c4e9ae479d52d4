// sched/skynet/leaves:N/processors:P
//
// One operation  one task of a tree in which every task that is no leaf starts ten, joins them and adds up their results: start,
//                run, end and join. N leaves make (10 N - 1) / 9 tasks.
// Kept equal     P processors, to which all threads are confined; stacks of 64 KiB with a guard (the pool's tasks have none of
//                their own).
// Best form      pthread_pool: joins run the newest task, so the tree is walked depth first.
// Limits         A thread per task allows about 1,000 leaves; larger rows of `pthread` are recorded as skipped.
// References     A. Temelkov, github.com/atemerev/skynet, 2016 (which hands results over channels).
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class skynet {
 public:
  explicit skynet(const row_params& p) : leaves_(static_cast<std::uint64_t>(p["leaves"])) {}
  static std::string unfit(const row_params& p) { return unfit_for_tasks<S>(p["leaves"] * 10 / 9); }
  std::uint64_t operations() const { return (10 * leaves_ - 1) / 9; }
  std::uint32_t run() {
    std::uint64_t result = 0;
    typename S::thread root([this, &result] { node(0, leaves_, result); });
    root.join();
    return fold(0, result);
  }

 private:
  static void node(std::uint64_t number, std::uint64_t size, std::uint64_t& result) {
    if (size == 1) {
      result = number;
      return;
    }
    std::uint64_t results[10] = {};
    {
      std::vector<typename S::thread> children;
      children.reserve(10);
      for (std::uint64_t i = 0; i < 10; ++i) {
        children.emplace_back([first = number + i * (size / 10), part = size / 10, out = &results[i]] {
          node(first, part, *out);
        });
      }
      for (auto& child : children) child.join();
    }
    std::uint64_t sum = 0;
    for (const std::uint64_t part : results) sum += part;
    result = sum;
  }

  std::uint64_t leaves_;
};

const registration<skynet, fork_join_schedulers> skynet_registered{{
    .area = "sched",
    .name = "skynet",
    .smoke = {{"leaves", 10}, {"processors", 1}},
    .points = {{{{"leaves", 1000}, {"processors", 1}}, tier::quick, true},
               {{{"leaves", 100000}, {"processors", 2}}, tier::standard, false, 50},
               {{{"leaves", 1000000}, {"processors", 1}}, tier::full, false, 1000},
               {{{"leaves", 1000000}, {"processors", 2}}, tier::full, false, 1000}},
}};

}  // namespace
}  // namespace tern_bench

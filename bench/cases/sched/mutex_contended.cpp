// sched/mutex_contended/processors:P
//
// One operation  one lock and unlock, with an increment inside, by one of 16 tasks that all want the same mutex all the time.
// Kept equal     P processors, to which all threads are confined; with one processor only preemption or parking meets a held
//                lock. The start and end of the 16 tasks are inside the clock, spread over 65,536 operations. pthread is
//                std::mutex.
#include <mutex>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class mutex_contended {
 public:
  explicit mutex_contended(const row_params& p)
      : each_(static_cast<std::uint64_t>(p.value_or("each", 4096))) {}
  std::uint64_t operations() const { return tasks * each_; }
  std::uint32_t run() {
    value_ = 0;
    std::vector<typename S::thread> threads;
    threads.reserve(tasks);
    for (std::size_t task = 0; task < tasks; ++task) {
      threads.emplace_back([this, task] {
        for (std::uint64_t i = 0; i < each_; ++i) {
          const std::lock_guard lock(mutex_);
          value_ += task + i;
          keep(&value_);
        }
      });
    }
    for (auto& t : threads) t.join();
    return fold(0, value_);
  }

 private:
  static constexpr std::size_t tasks = 16;
  std::uint64_t each_;
  typename S::mutex mutex_;
  std::uint64_t value_ = 0;
};

const registration<mutex_contended, blocking_schedulers> mutex_contended_registered{{
    .area = "sched",
    .name = "mutex_contended",
    .smoke = {{"processors", 1}, {"each", 32}},
    .points = {{{{"processors", 1}}, tier::quick, true}, {{{"processors", 2}}}},
}};

}  // namespace
}  // namespace tern_bench

// sched/mutex_uncontended
//
// One operation  lock and unlock a mutex that nobody else wants; inside, one word in memory is incremented.
// Kept equal     one processor, to which all threads are confined, in a process that has other threads. pthread is std::mutex.
#include <mutex>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class mutex_uncontended {
 public:
  explicit mutex_uncontended(const row_params&) {}
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    value_ = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::lock_guard lock(mutex_);
      value_ += i;
      keep(&value_);
    }
    return fold(0, value_);
  }

 private:
  static constexpr std::uint64_t batch = 16384;
  typename S::mutex mutex_;
  std::uint64_t value_ = 0;
};

const registration<mutex_uncontended, blocking_schedulers> mutex_uncontended_registered{{
    .area = "sched",
    .name = "mutex_uncontended",
    .smoke = {},
    .points = {{{}, tier::quick, true}},
    .control = "pthread",
}};

}  // namespace
}  // namespace tern_bench

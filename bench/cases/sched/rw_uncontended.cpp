// sched/rw_uncontended
//
// One operation  a shared lock and unlock of a reader-writer mutex that nobody else wants; inside, one word of memory is read.
// Kept equal     one processor, to which all threads are confined, in a process that has other threads. pthread is std::shared_mutex.
#include <shared_mutex>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class rw_uncontended {
 public:
  explicit rw_uncontended(const row_params&) {}
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint64_t total = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::shared_lock lock(mutex_);
      keep(&value_);
      total += value_;
    }
    return fold(0, total);
  }

 private:
  static constexpr std::uint64_t batch = 16384;
  typename S::rw_mutex mutex_;
  std::uint64_t value_ = 1;
};

const registration<rw_uncontended, rw_schedulers> rw_uncontended_registered{{
    .area = "sched",
    .name = "rw_uncontended",
    .smoke = {},
    .points = {{{}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

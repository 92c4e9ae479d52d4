// sched/rw_mutex/write_percent:W/processors:P
//
// One operation  one look at, or with W of 100 one change of, an entry of a table of 64, by one of 16 tasks that all want its reader-writer
//                mutex all the time: a shared lock and unlock around two loads, or an exclusive one around two stores. An entry
//                is two words, each other's complement: a reader that meets a writer finds others, and the checksum says so.
// Kept equal     P processors, to which all threads are confined; with one processor only preemption or parking meets a held lock.
//                The order of looks and changes of a task is the same. The start and end of the 16 tasks are inside the clock, spread
//                over 65,536 operations. Sections are shorter than the way of a cache line between processors: what is measured is the lock.
// Best form      pthread is std::shared_mutex, a pthread_rwlock_t of the default kind, which prefers readers. tern and Go let no writer
//                wait for ever.
#include <cstdint>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class rw_mutex {
 public:
  explicit rw_mutex(const row_params& p)
      : each_(static_cast<std::uint64_t>(p.value_or("each", 4096))),
        percent_(static_cast<std::uint64_t>(p["write_percent"])) {}
  std::uint64_t operations() const { return tasks * each_; }
  std::uint32_t run() {
    for (entry& e : table_) e = entry{};
    std::vector<std::uint32_t> torn(tasks);
    std::vector<typename S::thread> threads;
    threads.reserve(tasks);
    for (std::size_t task = 0; task < tasks; ++task)
      threads.emplace_back([this, task, &torn] { torn[task] = look_and_change(task); });
    for (auto& t : threads) t.join();
    std::uint32_t sum = 0;
    for (const entry& e : table_) sum = fold(sum, e.value);
    return std::accumulate(torn.begin(), torn.end(), sum);
  }

 private:
  struct entry {
    std::uint64_t value = 0;
    std::uint64_t inverse = ~std::uint64_t{0};
  };

  // How many entries were found half changed.
  std::uint32_t look_and_change(std::uint64_t task) {
    std::uint32_t bad = 0;
    std::uint64_t due = task * 100 / tasks;  // the tasks do not change theirs at the same time
    for (std::uint64_t i = 0; i < each_; ++i) {
      entry& e = table_[(i + 5 * task) % entries];
      due += percent_;
      if (due >= 100) {
        due -= 100;
        const std::lock_guard lock(mutex_);
        e.value += task + i;
        e.inverse = ~e.value;
        keep(&e);
      } else {
        const std::shared_lock lock(mutex_);
        if (e.value != ~e.inverse) ++bad;
        keep(&e);
      }
    }
    return bad;
  }

  static constexpr std::size_t tasks = 16;
  static constexpr std::size_t entries = 64;
  std::uint64_t each_;
  std::uint64_t percent_;
  typename S::rw_mutex mutex_;
  entry table_[entries];
};

const registration<rw_mutex, rw_schedulers> rw_mutex_registered{{
    .area = "sched",
    .name = "rw_mutex",
    .smoke = {{"write_percent", 5}, {"processors", 1}, {"each", 32}},
    .points = {{{{"write_percent", 5}, {"processors", 1}}, tier::standard},
               {{{"write_percent", 5}, {"processors", 2}}, tier::standard},
               {{{"write_percent", 50}, {"processors", 2}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

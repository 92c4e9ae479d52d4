// The workload of counter_atomic and counter_mutex: tasks that start, add to one counter, and end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {

/// Count: add(), value(), reset(); the last two while no task runs.
template <class S, class Count>
class shared_counter {
 public:
  explicit shared_counter(const row_params& p) : tasks_(static_cast<std::size_t>(p.value_or("tasks", 1000))) {
    threads_.reserve(tasks_);
  }
  static std::string unfit(const row_params& p) { return unfit_for_tasks<S>(p.value_or("tasks", 1000)); }
  std::uint64_t operations() const { return tasks_ * each; }
  std::uint32_t run() {
    count_.reset();
    for (std::size_t i = 0; i < tasks_; ++i) {
      threads_.emplace_back([this] {
        for (std::uint64_t n = 0; n < each; ++n) count_.add();
      });
    }
    for (auto& t : threads_) t.join();
    threads_.clear();
    return fold(0, count_.value());
  }

 private:
  static constexpr std::uint64_t each = 64;
  std::size_t tasks_;
  Count count_;
  std::vector<typename S::thread> threads_;
};

}  // namespace tern_bench

// sched/parked_memory/count:N
//
// One operation  one task, started and parked in a receive on a channel to which nothing is sent. The time is that from the first
//                start until all N wait; bytes_per_op is what the process has grown by then (VmRSS + VmPTE: stacks, guards,
//                control blocks, join handles and page tables), divided by N.
// Kept equal     a fresh process per row; one processor; stacks of 64 KiB with a guard (tern_tiny: 2 KiB with a canary, and
//                goroutines begin with 2 KiB that can grow); every task parks at once, so a stack is as deep as one receive.
//                tern_task has no stacks: a coroutine waits in its frame.
// Limits         The kernel's own memory for threads and mappings (task structs, VMAs) is in no figure of the process.
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

/// What the process has grown by since `before`, for so many tasks.
void count_growth(measurement& m, const memory_use& before, std::size_t count) {
  const memory_use now = memory_now();
  const auto grown = static_cast<double>(now.resident_bytes - before.resident_bytes);
  m.counters["bytes_per_op"] = grown / static_cast<double>(count);
  m.counters["rss_bytes"] = grown;
  m.counters["page_table_bytes"] = static_cast<double>(now.page_table_bytes - before.page_table_bytes);
}

template <class S>
class parked_memory {
 public:
  static constexpr bool cold = true;

  explicit parked_memory(const row_params& p) : count_(p.size_of("count")), before_(memory_now()) {}
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t) {
    return static_cast<std::uint64_t>(p["count"]);
  }
  static std::string unfit(const row_params& p) { return unfit_for_tasks<S>(p["count"]); }
  std::uint64_t operations() const { return count_; }
  std::uint32_t run() {
    threads_.reserve(count_);
    arrived_.add(static_cast<std::int32_t>(count_));
    for (std::size_t i = 0; i < count_; ++i) {
      threads_.emplace_back([this] {
        arrived_.done();
        static_cast<void>(gate_.receive());
      });
    }
    arrived_.wait();
    return fold(0, count_);
  }
  void after_batch(measurement& m) {
    // The last to arrive may not wait yet; on one processor they do after they have had a turn.
    for (int i = 0; i < 16; ++i) S::yield();
    count_growth(m, before_, count_);
    gate_.close();
    for (auto& t : threads_) t.join();
    threads_.clear();
  }

 private:
  std::size_t count_;
  memory_use before_;
  typename S::wait_group arrived_;
  typename S::template channel<int> gate_{0};
  std::vector<typename S::thread> threads_;
};

// The same with coroutines: the channel, the handles and the order are equal, a task waits by co_await.
template <>
class parked_memory<tern_task> {
 public:
  static constexpr bool cold = true;

  explicit parked_memory(const row_params& p) : count_(p.size_of("count")), before_(memory_now()) {}
  std::uint64_t operations() const { return count_; }
  std::uint32_t run() {
    tasks_.reserve(count_);
    arrived_.add(static_cast<std::int32_t>(count_));
    for (std::size_t i = 0; i < count_; ++i) tasks_.push_back(tern::spawn_task(wait(*this)));
    arrived_.wait();
    return fold(0, count_);
  }
  void after_batch(measurement& m) {
    count_growth(m, before_, count_);
    gate_.close();
    for (auto& t : tasks_) t.join();
    tasks_.clear();
  }

 private:
  static tern::task<> wait(parked_memory& at) {
    at.arrived_.done();
    static_cast<void>(co_await tern::async_receive(at.gate_));
  }

  std::size_t count_;
  memory_use before_;
  tern::wait_group arrived_;
  tern::channel<int> gate_{0};
  std::vector<tern::task_handle<>> tasks_;
};

const registration<parked_memory, parked_schedulers> parked_memory_registered{{
    .area = "sched",
    .name = "parked_memory",
    .smoke = {{"count", 64}},
    .points = {{{{"count", 1000}}, tier::quick},
               {{{"count", 10000}}, tier::standard, false, 500},
               {{{"count", 100000}}, tier::standard, false, 1000},
               {{{"count", 1000000}}, tier::full, false, 10000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

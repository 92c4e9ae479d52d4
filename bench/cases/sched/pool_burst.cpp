// sched/pool_burst/jobs:N/processors:P
//
// One operation  one of N jobs that 4 producers give to a pool in equal shares, as fast as it takes them: its way into the queue, its run (it
//                stores one word, sleeps for 1 ms and counts its producer's wait group down) and its end. The batch is over when all have
//                ended; start and end of the producers are inside the clock.
// Kept equal     P processors, to which all threads are confined; 4 to 1,024 workers, of which one is started where none is free; room for
//                256 jobs that wait, then the producers wait. Warm: the pool lives as long as the row.
// Best form      tern: job_pool. The others: workers that take functions from a channel, as their users write it.
// Also           workers_max: workers at their most. unfinished_max: jobs that were given and had not ended, at their most, as the producers
//                see it: 1,280 where the bounds hold, and N without them.
// Limits         tern's pool ends a worker that has had no job for 30 s, the others keep theirs; no row is so long.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

constexpr std::size_t burst_pool_least = 4;
constexpr std::size_t burst_pool_most = 1024;
constexpr std::size_t burst_pool_queue = 256;

template <class S>
class bounded_pool {
 public:
  bounded_pool() : queue_(burst_pool_queue) {
    workers_.reserve(burst_pool_most);
    while (workers_.size() < burst_pool_least) start();
  }
  bounded_pool(const bounded_pool&) = delete;
  bounded_pool& operator=(const bounded_pool&) = delete;
  ~bounded_pool() {
    queue_.close();
    for (auto& t : workers_) t.join();
  }
  template <class F>
  void submit(F job) {
    const std::size_t others = unfinished_.fetch_add(1, std::memory_order_relaxed);  // a guess is enough
    if (others >= started_.load(std::memory_order_relaxed) && others < burst_pool_most) {
      const std::lock_guard hold(lock_);
      if (workers_.size() < burst_pool_most) start();
    }
    queue_.send(std::move(job));
  }
  [[nodiscard]] std::size_t workers() const { return workers_.size(); }

 private:
  void start() {
    workers_.emplace_back([this] {
      while (const auto job = queue_.receive()) {
        (*job)();
        unfinished_.fetch_sub(1, std::memory_order_relaxed);
      }
    });
    started_.store(workers_.size(), std::memory_order_relaxed);
  }

  typename S::template channel<std::function<void()>> queue_;
  typename S::mutex lock_;
  std::vector<typename S::thread> workers_;  // lock_
  std::atomic<std::size_t> started_{0};
  std::atomic<std::size_t> unfinished_{0};
};

template <>
class bounded_pool<tern_scheduler> {
 public:
  template <class F>
  void submit(F job) {
    static_cast<void>(pool_.submit(std::move(job)));
  }
  // None of them has ended: idle_time is longer than a row.
  [[nodiscard]] std::size_t workers() const { return pool_.statistics().fibers; }

 private:
  tern::job_pool pool_{{.least = burst_pool_least,
                        .most = burst_pool_most,
                        .queue_bound = burst_pool_queue,
                        .idle_time = std::chrono::seconds(30)}};
};

template <class S>
class pool_burst {
 public:
  explicit pool_burst(const row_params& p) : results_(p.size_of("jobs")), most_(producers) {}
  static std::string unfit(const row_params&) {
    return unfit_for_tasks<S>(static_cast<std::int64_t>(burst_pool_most + producers));
  }
  std::uint64_t operations() const { return results_.size(); }
  std::uint32_t run() {
    std::vector<typename S::thread> threads;
    threads.reserve(producers);
    for (std::size_t i = 0; i < producers; ++i) threads.emplace_back([this, i] { produce(i); });
    for (auto& t : threads) t.join();
    std::uint32_t sum = 0;
    for (std::uint64_t& result : results_) sum = fold(sum, std::exchange(result, 0));
    return sum;
  }
  void finish(measurement& m) const {
    m.counters["workers_max"] = static_cast<double>(pool_.workers());
    m.counters["unfinished_max"] = static_cast<double>(*std::max_element(most_.begin(), most_.end()));
  }

 private:
  static constexpr std::size_t producers = 4;
  static constexpr std::int64_t job_ns = 1'000'000;

  void produce(std::size_t which) {
    const std::size_t share = results_.size() / producers;
    typename S::wait_group ended;
    ended.add(static_cast<std::int32_t>(share));
    std::int64_t most = 0;
    for (std::size_t i = which * share; i < (which + 1) * share; ++i) {
      pool_.submit([this, slot = &results_[i], i, &ended] {
        *slot = i + 1;
        S::sleep_until(now_ns() + job_ns);
        unfinished_.fetch_sub(1, std::memory_order_relaxed);  // a counter
        ended.done();
      });
      most = std::max(most, unfinished_.fetch_add(1, std::memory_order_relaxed) + 1);
    }
    ended.wait();
    most_[which] = std::max(most_[which], most);
  }

  std::vector<std::uint64_t> results_;
  std::vector<std::int64_t> most_;           // of each producer
  std::atomic<std::int64_t> unfinished_{0};  // below zero while a job ends before its producer goes on
  bounded_pool<S> pool_;
};

const registration<pool_burst, blocking_schedulers> pool_burst_registered{{
    .area = "sched",
    .name = "pool_burst",
    .smoke = {{"jobs", 64}, {"processors", 1}},
    .points = {{{{"jobs", 8192}, {"processors", 1}}, tier::standard},
               {{{"jobs", 8192}, {"processors", 2}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

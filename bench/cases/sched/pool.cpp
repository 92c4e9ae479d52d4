// sched/pool/producers:N/processors:P
//
// One operation  one of 1,024 small jobs that N producers give to a pool in equal shares: its way into the queue, its run (it
//                stores one word and counts its producer's wait group down) and its end. A producer gives all of its jobs and
//                then waits until they have ended; the batch is over when every producer is. With N = 1 the task that measures
//                is the producer, else the start and end of the N tasks are inside the clock, spread over the 1,024.
// Kept equal     P processors, to which all threads are confined; P jobs run at a time; nobody waits for room in a queue; a job
//                is one allocation, and nobody keeps a handle of it. Warm: the pool lives as long as the row.
// Best form      tern: job_pool. pthread_pool: P threads over one deque; a producer that waits runs jobs meanwhile. go,
//                boost_fiber: P tasks that take functions from one channel with room for a batch, as their users write it.
#include <functional>
#include <utility>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

/// Tasks that take functions from a channel.
template <class S>
class worker_pool {
 public:
  worker_pool(int workers, std::size_t room) : queue_(room) {
    for (int i = 0; i < workers; ++i) {
      workers_.emplace_back([this] {
        while (const auto job = queue_.receive()) (*job)();
      });
    }
  }
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;
  ~worker_pool() {
    queue_.close();
    for (auto& t : workers_) t.join();
  }
  template <class F>
  void submit(F job) {
    queue_.send(std::move(job));
  }

 private:
  typename S::template channel<std::function<void()>> queue_;
  std::vector<typename S::thread> workers_;
};

template <>
class worker_pool<tern_scheduler> {
 public:
  worker_pool(int workers, std::size_t) : pool_{{.most = static_cast<std::size_t>(workers)}} {}
  template <class F>
  void submit(F job) {
    static_cast<void>(pool_.submit(std::move(job)));
  }

 private:
  tern::job_pool pool_;
};

/// The subject is a pool itself.
template <>
class worker_pool<pthread_pool_subject> {
 public:
  worker_pool(int, std::size_t) {}
  template <class F>
  void submit(F job) {
    pthread_pool_subject::start_detached(std::move(job));
  }
};

template <class S>
class pool {
 public:
  explicit pool(const row_params& p)
      : results_(static_cast<std::size_t>(p.value_or("batch", 1024))),
        producers_(p.size_of("producers")),
        pool_(on_processors::count(p), 2 * results_.size()) {}
  std::uint64_t operations() const { return results_.size(); }
  std::uint32_t run() {
    if (producers_ == 1) {
      produce(0);
    } else {
      std::vector<typename S::thread> producers;
      producers.reserve(producers_);
      for (std::size_t i = 0; i < producers_; ++i) producers.emplace_back([this, i] { produce(i); });
      for (auto& t : producers) t.join();
    }
    std::uint32_t sum = 0;
    for (std::uint64_t& result : results_) sum = fold(sum, std::exchange(result, 0));
    return sum;
  }

 private:
  void produce(std::size_t which) {
    const std::size_t share = results_.size() / producers_;
    typename S::wait_group ended;
    ended.add(static_cast<std::int32_t>(share));
    for (std::size_t i = which * share; i < (which + 1) * share; ++i) {
      pool_.submit([slot = &results_[i], i, &ended] {
        *slot = i + 1;
        ended.done();
      });
    }
    ended.wait();
  }

  std::vector<std::uint64_t> results_;
  std::size_t producers_;
  worker_pool<S> pool_;
};

using pools = subjects<tern_scheduler, pthread_pool_subject, go_peer, boost_fiber_subject>;
const registration<pool, pools> pool_registered{{
    .area = "sched",
    .name = "pool",
    .smoke = {{"producers", 2}, {"processors", 1}, {"batch", 16}},
    .points = {{{{"producers", 1}, {"processors", 1}}, tier::quick, true},
               {{{"producers", 1}, {"processors", 2}}},
               {{{"producers", 4}, {"processors", 1}}, tier::standard},
               {{{"producers", 4}, {"processors", 2}}, tier::standard}},
    .control = "pthread_pool",
}};

}  // namespace
}  // namespace tern_bench

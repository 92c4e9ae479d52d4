// gc/barrier_line/threads:T/marking:M
//
// One operation  each of T threads stores a reference to one of 64 objects of its own into a field of another of its own. M = 1: meanwhile a
//                thread beside them asks for one collection after the other, over a million live objects, so that the barrier is on most
//                of the time (marking_share: how much of it). The time is wall time over the operations of one thread.
// What it shows  All stores read one flag. Off, its line is shared and never written: T threads cost what one costs. On, each has a
//                buffer of its own.
// Kept equal     T threads (for tern T fibers on T processors) and the collecting one. Counting and bare pointers have no collection: their
//                rows with M = 1 are the same work again. Go's collecting goroutine has a processor of its own, as tern's marker.
#include <atomic>
#include <thread>
#include <vector>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class barrier_line {
 public:
  explicit barrier_line(const row_params& p)
      : threads_(p.size_of("threads")),
        sums_(threads_),
        own_(threads_ * 2 * count),
        ballast_(p["marking"] != 0 ? std::size_t{1} << 20 : 1) {
    for (std::size_t i = 0; i < threads_ * 2 * count; ++i) {
      auto fresh = S::template make<node>();
      fresh->value = i;
      own_.set(i, fresh);
    }
    if constexpr (requires { S::collect(); }) {
      if (p["marking"] == 0) return;
      for (std::size_t i = 0; i < std::size_t{1} << 20; ++i) ballast_.set(i, S::template make<node>());
      began_ = now_ns();
      marked_before_ = static_cast<double>(S::marking_ns());
      collecting_ = std::thread([this] {
        while (!stopping_.load(std::memory_order_relaxed))
          S::collect();  // relaxed, all: join() orders the rest
        ended_.store(true, std::memory_order_relaxed);
      });
    }
  }
  barrier_line(const barrier_line&) = delete;
  barrier_line& operator=(const barrier_line&) = delete;
  ~barrier_line() { stop(); }
  static std::string unfit(const row_params& p) {
    const std::int64_t needed = p["threads"] + p["marking"];
    if (needed <= usable_cpus()) return {};
    return "needs " + std::to_string(needed) + " processors, this host has " + std::to_string(usable_cpus());
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    if (threads_ == 1)
      work(0);
    else
      S::parallel(threads_, [this](std::size_t t) { work(t); });
    std::uint32_t total = 0;
    for (const std::uint64_t sum : sums_) total = fold(total, sum);
    return total;
  }
  void finish(measurement& m) {
    stop();
    if constexpr (requires { S::marking_ns(); })
      if (began_ != 0)
        m.counters["marking_share"] =
            (static_cast<double>(S::marking_ns()) - marked_before_) / static_cast<double>(now_ns() - began_);
  }

 private:
  using node = link_node<S>;
  static constexpr std::size_t count = 64;
  static constexpr std::uint64_t batch = 131072;

  void work(std::size_t t) {
    node* holders[count];
    typename S::template ref<node> targets[count];
    for (std::size_t i = 0; i < count; ++i) {
      holders[i] = own_.peek((2 * t) * count + i);
      targets[i] = own_.get((2 * t + 1) * count + i);
    }
    for_each_polled<S>(batch, [&](std::uint64_t i) {
      node* const holder = holders[i % count];
      holder->next = targets[(i * 7 + i / count) % count];
      keep(holder);
    });
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += S::peek(holders[i]->next)->value * (i + 1);
    sums_[t] = sum;
  }
  void stop() {
    stopping_.store(true, std::memory_order_relaxed);
    if (!collecting_.joinable()) return;
    while (!ended_.load(std::memory_order_relaxed))
      S::poll();  // a collection under way waits for this thread
    collecting_.join();
  }

  std::size_t threads_;
  std::vector<std::uint64_t> sums_;
  typename S::template table<node> own_;
  typename S::template table<node> ballast_;
  std::int64_t began_ = 0;
  double marked_before_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ended_{false};
  std::thread collecting_;
};

const registration<barrier_line, threaded_collectors> barrier_line_registered{{
    .area = "gc",
    .name = "barrier_line",
    .smoke = {{"threads", 1}, {"marking", 0}},
    .points = {{{{"threads", 1}, {"marking", 0}}, tier::standard},
               {{{"threads", 2}, {"marking", 0}}, tier::standard},
               {{{"threads", 1}, {"marking", 1}}, tier::standard, false, 200},
               {{{"threads", 2}, {"marking", 1}}, tier::full, false, 200}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

// What pause_max and assist share: each allocation timed by itself, at full speed.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {

template <class S>
class timed_allocation {
 public:
  static constexpr bool evolves = true;
  static constexpr bool reports_cpu = true;

  explicit timed_allocation(const row_params& p)
      : before_(memory_now().resident_bytes),
        threads_(static_cast<std::size_t>(p.value_or("threads", 1))),
        each_(p.size_of("live_mb") * (1 << 20) / payload / threads_),
        live_(each_ * threads_),
        own_(threads_) {
    for (std::size_t t = 0; t < threads_; ++t) own_[t] = std::make_unique<mutator>(t);
    for (std::size_t i = 0; i < each_ * threads_; ++i) replace(i, i);
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    if (time_ms <= 1) return batch;
    // Four times what lives: a few cycles of a collector that lets the heap double.
    return std::max<std::uint64_t>(p.size_of("live_mb") * 4 * (1 << 20) / payload, 16 * batch) / batch *
           batch;
  }
  std::uint64_t operations() const { return batch / threads_ * threads_; }
  std::uint32_t run(histogram& latencies) {
    if (threads_ == 1)
      work(0);
    else
      S::parallel(threads_, [this](std::size_t t) { work(t); });
    std::uint32_t sum = 0;
    for (const auto& m : own_) {
      sum += m->sum;
      latencies.merge(m->times);
      m->times.reset();
    }
    return sum;
  }
  void finish(measurement& m) const {
    add_heap_counters<S>(m, before_);
    if constexpr (requires { S::longest_assist_ns(); })
      m.counters["assist_max"] = static_cast<double>(S::longest_assist_ns());
  }

 private:
  using node = record_node<S>;
  static constexpr std::size_t payload = 64;
  static constexpr std::uint64_t batch = 65536;

  // Not on one line of the cache.
  struct alignas(128) mutator {
    explicit mutator(std::size_t t) : random(13 + t) {}
    sequence random;
    std::uint32_t sum = 0;
    histogram times;
  };

  void work(std::size_t t) {
    mutator& m = *own_[t];
    m.sum = 0;
    for (std::uint64_t i = 0; i < batch / threads_; ++i) {
      const std::size_t at = t * each_ + m.random.below(each_);
      m.sum = fold(m.sum, live_.peek(at)->words[0]);
      const std::int64_t begin = now_ns();
      replace(at, i);
      m.times.record(now_ns() - begin);
    }
  }
  void replace(std::size_t at, std::uint64_t value) { live_.set(at, make_record<S>(value)); }

  std::int64_t before_;
  std::size_t threads_;
  std::size_t each_;
  typename S::template table<node> live_;
  std::vector<std::unique_ptr<mutator>> own_;
};

}  // namespace tern_bench

// gc/pause_steady/live_mb:L/processors:P
//
// One operation  one allocation of 64 bytes of payload by a mutator that makes 1,600,000 a second (about 100 MB/s) on a fixed
//                schedule, each replacing one of the L MB of live objects at random. The latency is from the *intended* time of the
//                allocation until the object is in its place, so that a stall also counts for the allocations that it delays. The
//                row's time is the mean latency.
// From outside   a plain OS thread that no runtime knows wakes every 500 us by an absolute timer; how late it is goes to
//                hiccup_p50, hiccup_p99 and hiccup_max (ns): what the machine and the marker's CPU use do to a bystander. (In Go a goroutine
//                has to do: every thread of a Go program belongs to its runtime.)
// Kept equal     the schedule, the random sequence, one mutator, a fresh process per row. `manual` is the control run without
//                collection and counting. tern has P processors, of which the mutator uses one.
#include <time.h>

#include <atomic>
#include <thread>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

// Wakes every 500 us from construction to stop(); records how late each wake-up was against its intended time.
class bystander {
 public:
  bystander() : thread_([this] { watch(); }) {}
  bystander(const bystander&) = delete;
  bystander& operator=(const bystander&) = delete;
  ~bystander() { stop(); }
  const histogram& stop() {
    stopping_.store(true, std::memory_order_relaxed);  // join() orders everything else
    if (thread_.joinable()) thread_.join();
    return late_;
  }

 private:
  void watch() {
    std::int64_t intended = now_ns();
    while (!stopping_.load(std::memory_order_relaxed)) {
      intended += 500'000;
      const timespec until{static_cast<time_t>(intended / 1'000'000'000),
                           static_cast<long>(intended % 1'000'000'000)};
      while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) != 0) {
      }
      late_.record(now_ns() - intended);
    }
  }

  histogram late_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

template <class S>
class pause_steady {
 public:
  static constexpr bool evolves = true;

  explicit pause_steady(const row_params& p)
      : before_(memory_now().resident_bytes),
        count_(p.size_of("live_mb") * (1 << 20) / payload),
        live_(count_),
        random_(5) {
    for (std::size_t i = 0; i < count_; ++i) replace(i, i);
    outside_ = std::make_unique<bystander>();
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    if (time_ms <= 1) return batch;
    // Long enough for a few cycles of a collector that lets the heap double.
    const std::int64_t least_ms = std::max<std::int64_t>(400, p["live_mb"] * 25);
    return static_cast<std::uint64_t>(std::max(time_ms, least_ms)) * 1'000'000 / period_ns / batch * batch;
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run(histogram& latencies) {
    std::uint32_t sum = 0;
    const std::int64_t start = now_ns();
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::int64_t intended = start + static_cast<std::int64_t>(i * period_ns);
      while (now_ns() < intended) S::poll();
      const std::size_t at = random_.below(count_);
      sum = fold(sum, live_.peek(at)->words[0]);
      replace(at, i);
      latencies.record(now_ns() - intended);
    }
    return sum;
  }
  void finish(measurement& m) {
    const histogram& late = outside_->stop();
    m.counters["hiccup_p50"] = static_cast<double>(late.percentile(0.5));
    m.counters["hiccup_p99"] = static_cast<double>(late.percentile(0.99));
    m.counters["hiccup_max"] = static_cast<double>(late.max());
    add_heap_counters<S>(m, before_);
  }

 private:
  using node = record_node<S>;
  static constexpr std::size_t payload = 64;
  static constexpr std::uint64_t period_ns = 625;
  static constexpr std::uint64_t batch = 16000;  // 10 ms

  void replace(std::size_t at, std::uint64_t value) { live_.set(at, make_record<S>(value)); }

  std::int64_t before_;
  std::size_t count_;
  typename S::template table<node> live_;
  sequence random_;
  std::unique_ptr<bystander> outside_;
};

const registration<pause_steady, steady_collectors> pause_steady_registered{{
    .area = "gc",
    .name = "pause_steady",
    .smoke = {{"live_mb", 1}, {"processors", 1}},
    .points = {{{{"live_mb", 16}, {"processors", 2}}, tier::quick, false, 400},
               {{{"live_mb", 256}, {"processors", 2}}, tier::standard, false, 7000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

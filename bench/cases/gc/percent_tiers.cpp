// gc/percent_tiers/tiers:X/live_mb:L/processors:P
//
// One operation  one allocation of 64 bytes of payload on a fixed schedule, as in pause_steady, by a service whose load changes: low, middle,
//                high, middle, and again. Middle is twice and high four times the low load, of allocations (1,600,000 a second at most)
//                and of live objects (L MB at most), and each lasts until twice its live objects have been made. The schedule is in spells
//                of 10 ms, each of which begins when the one before has ended. The latency is from the *intended* time until the object is in its
//                place; the row's time is the mean latency.
//                tiers:1: the heap may grow by 100, 50 and 20 percent at low, middle and high load, set when the load changes. tiers:0: by
//                100 percent throughout. rss, p99 and cpu are what to look at.
// Kept equal     the schedule, the random sequence, one mutator on P processors, a fresh process. What the lower load no longer holds is
//                dropped before its clock starts; the new percentage is set after.
#include <array>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class percent_tiers {
 public:
  static constexpr bool evolves = true;
  static constexpr bool cold = true;
  static constexpr bool reports_cpu = true;

  explicit percent_tiers(const row_params& p)
      : before_(memory_now().resident_bytes),
        switches_(p["tiers"] != 0),
        count_(most_live(p)),
        live_(count_),
        random_(19) {
    for (; filled_ < count_ / 4; ++filled_) live_.set(filled_, make_record<S>(filled_));
    S::set_growth_percent(100);
    S::collect();
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    return one_round(most_live(p)) * (time_ms <= 1 ? 1 : 2);
  }
  std::uint64_t operations() const { return one_round(count_); }
  std::uint32_t run(histogram& latencies) {
    std::uint32_t sum = 0;
    for (const load& now : loads) sum += serve(now, latencies);
    return sum;
  }
  void finish(measurement& m) const { add_heap_counters<S>(m, before_); }

 private:
  using node = record_node<S>;
  static constexpr std::size_t payload = 64;
  struct load {
    std::size_t share;  // of the live objects: one in so many
    unsigned percent;
  };
  static constexpr load low{4, 100};
  static constexpr load middle{2, 50};
  static constexpr load high{1, 20};
  static constexpr std::array loads{low, middle, high, middle};
  static constexpr std::int64_t period_ns = 625;  // at high load
  static constexpr std::int64_t spell_ns = 10'000'000;

  static std::size_t most_live(const row_params& p) { return p.size_of("live_mb") * (1 << 20) / payload; }
  static std::uint64_t one_round(std::size_t count) {
    std::uint64_t sum = 0;
    for (const load& each : loads) sum += 2 * (count / each.share);
    return sum;
  }

  std::uint32_t serve(const load& now, histogram& latencies) {
    const std::size_t live = count_ / now.share;
    while (filled_ > live) live_.set(--filled_, typename S::template ref<node>{});
    const std::size_t spell = spell_ns / period_ns / now.share;
    std::uint32_t sum = 0;
    std::int64_t start = now_ns();
    if (switches_) S::set_growth_percent(now.percent);
    for (std::size_t i = 0; i < 2 * live; ++i) {
      if (i != 0 && i % spell == 0) start = now_ns();
      const std::int64_t intended = start + static_cast<std::int64_t>(i % spell * now.share) * period_ns;
      while (now_ns() < intended) S::poll();
      std::size_t at = filled_;
      if (at < live) {
        ++filled_;
      } else {
        at = random_.below(live);
        sum = fold(sum, live_.peek(at)->words[0]);
      }
      live_.set(at, make_record<S>(i));
      latencies.record(now_ns() - intended);
    }
    return sum;
  }

  std::int64_t before_;
  bool switches_;
  std::size_t count_;
  typename S::template table<node> live_;
  sequence random_;
  std::size_t filled_ = 0;
};

const registration<percent_tiers, paced_collectors> percent_tiers_registered{{
    .area = "gc",
    .name = "percent_tiers",
    .smoke = {{"tiers", 1}, {"live_mb", 1}, {"processors", 1}},
    .points = {{{{"tiers", 0}, {"live_mb", 16}, {"processors", 2}}, tier::full, false, 2800},
               {{{"tiers", 1}, {"live_mb", 16}, {"processors", 2}}, tier::full, false, 2800}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

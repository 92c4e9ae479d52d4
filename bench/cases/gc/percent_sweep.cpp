// gc/percent_sweep/percent:P/live_mb:L/processors:N
//
// One operation  replace one of the L MB of live objects of 64 bytes at random, as fast as it goes, while the heap may grow by P percent over
//                what lives (Go: GOGC). What a collector saves in memory it pays in CPU: cpu and rss are what to look at.
// Kept equal     one mutator on N processors, a fresh process; four times the live bytes are allocated.
//                heap_over_goal (tern) is the highest use of the heap over its goal at the time, looked at after every MB.
#include "bench/cases/gc/replacement.hpp"

namespace tern_bench {
namespace {

template <class S>
class percent_sweep : public replacement<S> {
 public:
  explicit percent_sweep(const row_params& p) : replacement<S>(p) {
    S::set_growth_percent(static_cast<unsigned>(p["percent"]));
    S::collect();  // what was made before the setting is not judged
  }
  void after_batch(measurement&) { over_ = std::max(over_, S::heap_over_goal()); }
  void finish(measurement& m) const {
    m.counters["rss_bytes"] = static_cast<double>(this->peak_bytes());
    m.counters["heap_over_goal"] = over_;
    m.counters["collections"] = static_cast<double>(S::collections());
  }

 private:
  double over_ = 0;
};

const registration<percent_sweep, paced_collectors> percent_sweep_registered{{
    .area = "gc",
    .name = "percent_sweep",
    .smoke = {{"percent", 100}, {"live_mb", 1}, {"processors", 1}},
    .points = {{{{"percent", 100}, {"live_mb", 32}, {"processors", 2}}, tier::standard, false, 300},
               {{{"percent", 75}, {"live_mb", 32}, {"processors", 2}}, tier::standard, false, 400},
               {{{"percent", 20}, {"live_mb", 32}, {"processors", 2}}, tier::full, false, 900},
               {{{"percent", 50}, {"live_mb", 32}, {"processors", 2}}, tier::full, false, 500},
               {{{"percent", 200}, {"live_mb", 32}, {"processors", 2}}, tier::full, false, 300}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

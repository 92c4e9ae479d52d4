// gc/memory_limit/live_mb:L/limit_percent:P/processors:N
//
// One operation  replace one of the L MB of live objects at random, as in percent_sweep, under a memory limit of P percent of what lives:
//                the objects' 64 bytes and the 8 of their slot in the table.
// Kept equal     one mutator on N processors, a fresh process. tern's limit is the hard one, on managed bytes; Go's (SetMemoryLimit) is
//                soft and counts all that its runtime has mapped, so it is given what that had before the first object as well.
// over_limit     the peak of the process above what it had before, over the limit: from outside, with all tables of the collector.
//                tern adds heap_over_limit, the managed bytes over the limit, looked at after every MB.
#include "bench/cases/gc/replacement.hpp"

namespace tern_bench {
namespace {

template <class S>
class memory_limit : public replacement<S> {
 public:
  explicit memory_limit(const row_params& p) : replacement<S>(p), limit_(limit_of(p)) {
    S::set_memory_limit(limit_);
    S::collect();
  }
  void after_batch(measurement&) { over_ = std::max(over_, S::heap_bytes() / static_cast<double>(limit_)); }
  void finish(measurement& m) const {
    m.counters["rss_bytes"] = static_cast<double>(this->peak_bytes());
    m.counters["over_limit"] = static_cast<double>(this->peak_bytes()) / static_cast<double>(limit_);
    m.counters["heap_over_limit"] = over_;
    m.counters["collections"] = static_cast<double>(S::collections());
  }

 private:
  static std::size_t limit_of(const row_params& p) {
    const std::size_t count = p.size_of("live_mb") * (1 << 20) / replacement<S>::payload;
    return count * (replacement<S>::payload + sizeof(void*)) * p.size_of("limit_percent") / 100;
  }
  std::size_t limit_;
  double over_ = 0;
};

const registration<memory_limit, paced_collectors> memory_limit_registered{{
    .area = "gc",
    .name = "memory_limit",
    .smoke = {{"live_mb", 1}, {"limit_percent", 120}, {"processors", 1}},
    .points = {{{{"live_mb", 32}, {"limit_percent", 120}, {"processors", 2}}, tier::standard, false, 900}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

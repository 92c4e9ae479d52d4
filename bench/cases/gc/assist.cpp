// gc/assist/live_mb:L/threads:T
//
// One operation  as in pause_max, by T mutators on T processors at a time, each over a T-th of the live objects: no processor is idle that
//                the collector could have, so that mutators must help to mark. max is the longest that one allocation took, and what
//                tern itself measured as its longest assist is in assist_max.
// Kept equal     T mutators (for tern T fibers on T processors), a fresh process.
#include "bench/cases/gc/timed_allocation.hpp"

namespace tern_bench {
namespace {

template <class S>
class assist : public timed_allocation<S> {
 public:
  using timed_allocation<S>::timed_allocation;
  static std::string unfit(const row_params& p) {
    if (p["threads"] <= usable_cpus()) return {};
    return "needs " + std::to_string(p["threads"]) + " processors, this host has " +
           std::to_string(usable_cpus());
  }
};

const registration<assist, steady_collectors> assist_registered{{
    .area = "gc",
    .name = "assist",
    .smoke = {{"live_mb", 1}, {"threads", 1}},
    .points = {{{{"live_mb", 32}, {"threads", 2}}, tier::standard, false, 400},
               {{{"live_mb", 256}, {"threads", 2}}, tier::full, false, 4000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

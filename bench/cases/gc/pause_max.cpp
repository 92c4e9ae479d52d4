// gc/pause_max/live_mb:L/processors:P
//
// One operation  make an object of 64 bytes of payload and put it over one of the L MB of live ones, at random, as fast as it goes; the
//                latency is that of this alone, between two readings of the clock. p999 and max are what to look at: a collector's
//                stalls, however short the whole row was. The row's time is the mean.
// Kept equal     one mutator on P processors, a fresh process; four times the live bytes are allocated. `manual` is the control run
//                without collection: what the machine itself takes away shows there.
#include "bench/cases/gc/timed_allocation.hpp"

namespace tern_bench {
namespace {

const registration<timed_allocation, steady_collectors> pause_max_registered{{
    .area = "gc",
    .name = "pause_max",
    .smoke = {{"live_mb", 1}, {"processors", 1}},
    .points = {{{{"live_mb", 32}, {"processors", 2}}, tier::standard, false, 400},
               {{{"live_mb", 256}, {"processors", 2}}, tier::full, false, 4000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

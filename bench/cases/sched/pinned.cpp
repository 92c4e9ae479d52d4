// sched/pinned/pinned:B/processors:P
//
// One operation  one round trip between two tasks over two unbuffered channels, as in ping_pong; with pinned:1 the one that answers may
//                run on its OS thread only, as one has to that calls into OpenGL or JNI. pinned:0 is the same without that.
// Kept equal     P processors, to which all threads are confined; messages of one word. The start of the second task, and its pinning,
//                are inside the clock, spread over 2,048 round trips.
// Best form      go: runtime.LockOSThread. pthread: a task is a thread anyway, so both rows are the same.
#include "bench/cases/sched/round_trips.hpp"

namespace tern_bench {
namespace {

template <class S>
class pinned {
 public:
  explicit pinned(const row_params& p)
      : rounds_(static_cast<std::uint64_t>(p.value_or("rounds", 2048))), pins_(p["pinned"] != 0) {}
  std::uint64_t operations() const { return rounds_; }
  std::uint32_t run() {
    return round_trips<S>(rounds_, [pins = pins_] {
      if (pins) S::pin();
    });
  }

 private:
  std::uint64_t rounds_;
  bool pins_;
};

// Boost.Fiber's work-stealing scheduler has no such thing for a fiber that has begun.
using pinning_schedulers = subjects<tern_scheduler, pthread_subject, go_peer>;

const registration<pinned, pinning_schedulers> pinned_registered{{
    .area = "sched",
    .name = "pinned",
    .smoke = {{"pinned", 1}, {"processors", 1}, {"rounds", 16}},
    .points = {{{{"pinned", 1}, {"processors", 1}}},
               {{{"pinned", 0}, {"processors", 1}}},
               {{{"pinned", 1}, {"processors", 2}}},
               {{{"pinned", 0}, {"processors", 2}}}},
}};

}  // namespace
}  // namespace tern_bench

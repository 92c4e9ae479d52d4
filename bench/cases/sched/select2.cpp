// sched/select2/waiting:W
//
// One operation  one message of one word that is sent on one of two channels and received by a select over both.
//                waiting:0  channels of capacity 128; the same task sends, then selects: exactly one of the two is ready.
//                waiting:1  unbuffered channels and a second task that sends on them in turn: every other select finds nothing and
//                           waits, the others find a sender that waits.
// Kept equal     one processor, to which all threads are confined; the sides in the same pseudo-random order.
// Best form      pthread has no select over condition variables: two queues under one lock, with one condition variable for both.
//                Boost.Fiber has no select, so it has no rows.
#include <cstddef>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class select2 {
 public:
  explicit select2(const row_params& p)
      : waiting_(p["waiting"] != 0), batch_(static_cast<std::uint64_t>(p.value_or("messages", 8192))) {}
  std::uint64_t operations() const { return batch_; }
  std::uint32_t run() {
    typename S::template either<std::uint64_t> both(waiting_ ? 0 : 128);
    sequence random(1);
    std::uint32_t sum = 0;
    if (!waiting_) {
      for (std::uint64_t i = 0; i < batch_; ++i) {
        both.send(static_cast<std::size_t>(random.below(2)), i);
        sum = fold(sum, both.receive());
      }
      return sum;
    }
    typename S::thread sender([&] {
      for (std::uint64_t i = 0; i < batch_; ++i) both.send(static_cast<std::size_t>(random.below(2)), i);
    });
    for (std::uint64_t i = 0; i < batch_; ++i) sum = fold(sum, both.receive());
    sender.join();
    return sum;
  }

 private:
  bool waiting_;
  std::uint64_t batch_;
};

const registration<select2, subjects<tern_scheduler, pthread_subject, go_peer>> select2_registered{{
    .area = "sched",
    .name = "select2",
    .smoke = {{"waiting", 0}, {"messages", 64}},
    .points = {{{{"waiting", 0}}, tier::quick, true}, {{{"waiting", 1}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

// sched/ping_pong/processors:P
//
// One operation  one round trip between two tasks over two unbuffered channels: two messages, each waited for.
// Kept equal     P processors, to which all threads are confined; messages of one word. The start of the second task is inside the
//                clock, spread over 2,048 round trips.
// Best form      pthread: a rendezvous over one mutex and condition variables of its own per direction.
#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class ping_pong {
 public:
  explicit ping_pong(const row_params& p) : rounds_(static_cast<std::uint64_t>(p.value_or("rounds", 2048))) {}
  std::uint64_t operations() const { return rounds_; }
  std::uint32_t run() {
    typename S::template channel<std::uint64_t> ping(0);
    typename S::template channel<std::uint64_t> pong(0);
    typename S::thread peer([&ping, &pong] {
      while (const auto value = ping.receive()) pong.send(*value + 1);
    });
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < rounds_; ++i) {
      ping.send(i);
      sum = fold(sum, pong.receive().value_or(0));
    }
    ping.close();
    peer.join();
    return sum;
  }

 private:
  std::uint64_t rounds_;
};

const registration<ping_pong, blocking_schedulers> registered{{
    .area = "sched",
    .name = "ping_pong",
    .smoke = {{"processors", 1}, {"rounds", 16}},
    .points = {{{{"processors", 1}}, tier::quick, true}, {{{"processors", 2}}}},
}};

}  // namespace
}  // namespace tern_bench

// sched/ping_pong/processors:P[/spinning:1]
//
// One operation  one round trip between two tasks over two unbuffered channels: two messages, each waited for.
// Kept equal     P processors, to which all threads are confined; messages of one word. The start of the second task is inside the
//                clock, spread over 2,048 round trips.
// spinning:1     the two run on a processor each, and poll channels of capacity 2 instead of waiting: no scheduler takes part, what
//                remains is a channel's own cost when its lines travel between two CPUs. Boost.Fiber does not get both to run.
// Best form      pthread: a rendezvous over one mutex and condition variables of its own per direction.
#include <atomic>

#include "bench/cases/sched/round_trips.hpp"

namespace tern_bench {
namespace {

template <class S>
class ping_pong {
 public:
  explicit ping_pong(const row_params& p)
      : rounds_(static_cast<std::uint64_t>(p.value_or("rounds", 2048))),
        spinning_(p.value_or("spinning", 0) != 0) {}
  std::uint64_t operations() const { return rounds_; }
  std::uint32_t run() {
    return spinning_ ? run_spinning() : round_trips<S>(rounds_, [] {});
  }

 private:
  using channel = typename S::template channel<std::uint64_t>;

  static std::uint64_t poll(channel& c) {
    for (;;) {
      if (const auto value = c.try_receive()) return *value;
    }
  }

  std::uint32_t run_spinning() {
    constexpr std::uint64_t stop = ~std::uint64_t{0};
    channel ping(2);
    channel pong(2);
    std::atomic<bool> here{false};
    typename S::thread peer([&] {
      here.store(true, std::memory_order_release);  // pairs-with: below
      for (std::uint64_t value = poll(ping); value != stop; value = poll(ping)) pong.send(value + 1);
    });
    // Neither lets go of its processor from here on: the peer has come, so it has another one.
    while (!here.load(std::memory_order_acquire)) {
    }
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < rounds_; ++i) {
      ping.send(i);
      sum = fold(sum, poll(pong));
    }
    ping.send(stop);
    peer.join();
    return sum;
  }

  std::uint64_t rounds_;
  bool spinning_;
};

const registration<ping_pong, blocking_schedulers> ping_pong_registered{{
    .area = "sched",
    .name = "ping_pong",
    .smoke = {{"processors", 1}, {"rounds", 16}},
    .points = {{{{"processors", 1}}, tier::quick, true},
               {{{"processors", 2}}},
               {{{"processors", 2}, {"spinning", 1}}}},
}};

}  // namespace
}  // namespace tern_bench

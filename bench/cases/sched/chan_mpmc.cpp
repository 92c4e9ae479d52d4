// sched/chan_mpmc/processors:P
//
// One operation  one message of one word through a channel of capacity 128 that has 8 senders and 8 receivers.
// Kept equal     P processors, to which all threads are confined. The start and end of the 16 tasks are inside the clock, spread
//                over 16,384 messages (for pthread about 3% of the time).
// Best form      as in sched/chan_spsc.
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class chan_mpmc {
 public:
  explicit chan_mpmc(const row_params& p) : each_(static_cast<std::uint64_t>(p.value_or("each", 2048))) {}
  std::uint64_t operations() const { return sides * each_; }
  std::uint32_t run() {
    typename S::template channel<std::uint64_t> channel(128);
    std::vector<std::uint32_t> sums(sides * 32);  // a line pair apart
    std::vector<typename S::thread> receivers;
    std::vector<typename S::thread> senders;
    receivers.reserve(sides);
    senders.reserve(sides);
    for (std::size_t side = 0; side < sides; ++side) {
      receivers.emplace_back([&channel, sum = &sums[side * 32]] {
        std::uint32_t mine = 0;
        while (const auto value = channel.receive()) mine = fold(mine, *value);
        *sum = mine;
      });
    }
    for (std::size_t side = 0; side < sides; ++side) {
      senders.emplace_back([&channel, side, each = each_] {
        for (std::uint64_t i = 0; i < each; ++i) channel.send(side * each + i);
      });
    }
    for (auto& t : senders) t.join();
    channel.close();
    for (auto& t : receivers) t.join();
    std::uint32_t total = 0;
    for (const std::uint32_t sum : sums) total += sum;
    return total;
  }

 private:
  static constexpr std::size_t sides = 8;
  std::uint64_t each_;
};

const registration<chan_mpmc, blocking_schedulers> chan_mpmc_registered{{
    .area = "sched",
    .name = "chan_mpmc",
    .smoke = {{"processors", 1}, {"each", 32}},
    .points = {{{{"processors", 1}}, tier::quick, true}, {{{"processors", 2}}}},
}};

}  // namespace
}  // namespace tern_bench

// sched/chan_spsc/processors:P
//
// One operation  one message of one word from one sender to one receiver, through a channel of capacity 128.
// Kept equal     P processors, to which all threads are confined. The start of the receiver is inside the clock, spread over
//                32,768 messages.
// Best form      pthread: a ring under one mutex, wake-ups outside of it.
#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

template <class S>
class chan_spsc {
 public:
  explicit chan_spsc(const row_params& p)
      : messages_(static_cast<std::uint64_t>(p.value_or("messages", 32768))) {}
  std::uint64_t operations() const { return messages_; }
  std::uint32_t run() {
    typename S::template channel<std::uint64_t> channel(128);
    std::uint32_t sum = 0;  // the receiver's until it is joined
    typename S::thread receiver([&channel, &sum] {
      std::uint32_t mine = 0;
      while (const auto value = channel.receive()) mine = fold(mine, *value);
      sum = mine;
    });
    for (std::uint64_t i = 0; i < messages_; ++i) channel.send(i);
    channel.close();
    receiver.join();
    return sum;
  }

 private:
  std::uint64_t messages_;
};

const registration<chan_spsc, blocking_schedulers> chan_spsc_registered{{
    .area = "sched",
    .name = "chan_spsc",
    .smoke = {{"processors", 1}, {"messages", 256}},
    .points = {{{{"processors", 1}}, tier::quick, true}, {{{"processors", 2}}}},
}};

}  // namespace
}  // namespace tern_bench

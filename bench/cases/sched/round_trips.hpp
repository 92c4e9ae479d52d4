// What ping_pong and pinned have in common: two tasks that answer each other over two unbuffered channels.
#pragma once

#include <cstdint>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {

/// `begin` is called in the task that answers, before it does.
template <class S, class Begin>
std::uint32_t round_trips(std::uint64_t rounds, Begin begin) {
  typename S::template channel<std::uint64_t> ping(0);
  typename S::template channel<std::uint64_t> pong(0);
  typename S::thread peer([&ping, &pong, begin] {
    begin();
    while (const auto value = ping.receive()) pong.send(*value + 1);
  });
  std::uint32_t sum = 0;
  for (std::uint64_t i = 0; i < rounds; ++i) {
    ping.send(i);
    sum = fold(sum, pong.receive().value_or(0));
  }
  ping.close();
  peer.join();
  return sum;
}

}  // namespace tern_bench

// Store buffering (Dekker's litmus test): two threads each store to one word and then load the other's, all seq_cst. At least one
// sees the other's store. Every protocol that sleeps or takes the last item rests on it, and an emulator was seen to break it.
//
// A round on a machine with other work may take two time slices, so the time bounds their number as well.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include <tern/base/atomic.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace tern::detail;

struct alignas(128) word {
  atomic<std::uint32_t> value{0};
};

TEST(store_buffering_stress, one_of_two_sees_the_other) {
  const std::uint32_t most = tern_test::scale(std::uint32_t{200'000});
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  word x, y, round, answered;
  std::uint32_t seen_by_other = 0;  // published by answered
  bool last = false;                // published by round
  const auto wait_for = [](word& w, std::uint32_t v) {
    for (int spins = 0; w.value.load(memory_order_acquire) != v; ++spins)
      if (spins > 1000) std::this_thread::yield();
  };
  std::thread other{[&] {
    for (std::uint32_t i = 1;; ++i) {
      wait_for(round, i);
      if (last) return;
      x.value.store(i, memory_order_seq_cst);
      seen_by_other = y.value.load(memory_order_seq_cst);
      answered.value.store(i, memory_order_release);
    }
  }};
  std::uint32_t neither = 0;
  std::uint32_t both = 0;
  fast_random random{tern_test::seed()};
  std::uint32_t rounds = 0;
  while (rounds < most && std::chrono::steady_clock::now() < end) {
    const std::uint32_t i = ++rounds;
    round.value.store(i, memory_order_release);
    for (std::uint32_t n = random.below(32); n > 0; --n) spin_pause();
    y.value.store(i, memory_order_seq_cst);
    const std::uint32_t seen = x.value.load(memory_order_seq_cst);
    wait_for(answered, i);
    neither += seen != i && seen_by_other != i ? 1U : 0U;
    both += seen == i && seen_by_other == i ? 1U : 0U;
  }
  last = true;
  round.value.store(rounds + 1, memory_order_release);
  other.join();
  EXPECT_EQ(neither, 0U) << "of " << rounds << " rounds";
  std::printf("  both saw the other in %u of %u rounds\n", both, rounds);
}

}  // namespace

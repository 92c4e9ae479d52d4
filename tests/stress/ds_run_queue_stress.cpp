// Stress of the run queue: an owner that pushes, pops and overflows against thieves; every item comes out once, with its payload.
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/ds/inject_queue.hpp>
#include <tern/ds/run_queue.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace tern::detail;

struct ring_item {
  std::uint64_t payload = 0;  // plain: TSan sees a publication that orders too little
  ring_item* next = nullptr;
  atomic<std::uint32_t> taken{0};
};

constexpr std::uint64_t cipher = 0x5bd1e995u;

template <std::size_t Capacity>
void race(unsigned thieves, std::uint64_t seed, std::size_t count) {
  using ring_type = run_queue<ring_item, Capacity>;
  const auto items = std::make_unique<ring_item[]>(count);
  std::vector<std::unique_ptr<ring_type>> rings;
  for (unsigned i = 0; i <= thieves; ++i) rings.push_back(std::make_unique<ring_type>(0xffff'ff00u + i));
  inject_queue<ring_item, &ring_item::next> inject;
  atomic<std::size_t> taken{0};
  atomic<std::size_t> wrong{0};

  const auto consume = [&](ring_item* it) {
    const auto index = static_cast<std::size_t>(it - items.get());
    if (it->payload != index * cipher) wrong.fetch_add(1, memory_order_relaxed);
    if (it->taken.fetch_add(1, memory_order_relaxed) != 0) wrong.fetch_add(1, memory_order_relaxed);
    taken.fetch_add(1, memory_order_relaxed);
  };
  const auto work = [&](unsigned self) {
    fast_random random{seed + self};
    ring_type& mine = *rings[self];
    std::size_t next = 0;
    while (taken.load(memory_order_relaxed) < count) {
      if (self == 0 && next < count && random.below(8) != 0) {
        const std::size_t burst = 1 + random.below(static_cast<std::uint32_t>(Capacity));
        typename decltype(inject)::batch batch;
        for (std::size_t i = 0; i < burst && next < count; ++i, ++next) {
          items[next].payload = next * cipher;
          mine.push(&items[next], [&](ring_item* it) { batch.push_back(it); });
        }
        inject.push(batch);
      }
      for (unsigned k = random.below(static_cast<std::uint32_t>(Capacity)); k > 0; --k) {
        ring_item* it = mine.pop();
        if (it == nullptr) break;
        consume(it);
      }
      switch (random.below(4)) {
        case 0:
          if (ring_item* it = inject.pop()) consume(it);
          break;
        case 1:
          if (ring_item* it = rings[random.below(thieves + 1)]->steal_one()) consume(it);
          break;
        default: {
          const unsigned victim = random.below(thieves + 1);
          if (victim == self) break;
          if (ring_item* it = rings[victim]->steal_into(mine))
            consume(it);
          else if (random.below(16) == 0)
            std::this_thread::yield();
        }
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i <= thieves; ++i) threads.emplace_back(work, i);
  work(0);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_EQ(taken.load(), count);
  for (const auto& ring : rings) EXPECT_TRUE(ring->is_empty());
  EXPECT_TRUE(inject.is_empty());
}

TEST(run_queue_stress, tiny_ring_one_thief) {
  race<4>(1, tern_test::seed(), tern_test::scale(std::size_t{400'000}));
}
TEST(run_queue_stress, tiny_ring_three_thieves) {
  race<4>(3, tern_test::seed() + 100, tern_test::scale(std::size_t{300'000}));
}
TEST(run_queue_stress, full_size_three_thieves) {
  race<256>(3, tern_test::seed() + 200, tern_test::scale(std::size_t{TERN_PERTURB ? 300'000 : 1'000'000}));
}

}  // namespace

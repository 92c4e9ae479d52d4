// Stress of the Chase-Lev deque: the owner keeps it near empty, so that most takes race for the last item.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/ds/chase_lev_deque.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace tern::detail;

struct deque_item {
  std::uint64_t payload = 0;  // plain: TSan sees a publication that orders too little
  atomic<std::uint32_t> taken{0};
};

template <std::size_t Capacity>
void contend(unsigned thieves, unsigned depth, std::uint64_t seed, std::size_t count) {
  using deque_type = chase_lev_deque<deque_item, Capacity>;
  const auto items = std::make_unique<deque_item[]>(count);
  const auto deque = std::make_unique<deque_type>();
  atomic<bool> done{false};
  atomic<std::size_t> wrong{0};
  atomic<std::size_t> stolen{0};
  atomic<unsigned> started{0};

  const auto consume = [&](deque_item* it) {
    const auto index = static_cast<std::size_t>(it - items.get());
    if (it->payload != index + 1) wrong.fetch_add(1, memory_order_relaxed);
    if (it->taken.fetch_add(1, memory_order_relaxed) != 0) wrong.fetch_add(1, memory_order_relaxed);
  };
  const auto thief = [&](unsigned self) {
    fast_random random{seed + self};
    std::size_t mine = 0;
    started.fetch_add(1, memory_order_relaxed);
    while (!done.load(memory_order_acquire)) {
      const auto r = deque->steal();
      if (r.item != nullptr) {
        consume(r.item);
        ++mine;
      } else if (r.what == deque_type::outcome::empty && random.below(4) == 0) {
        std::this_thread::yield();
      }
    }
    stolen.fetch_add(mine, memory_order_relaxed);
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < thieves; ++i) threads.emplace_back(thief, i);
  while (started.load(memory_order_relaxed) < thieves) std::this_thread::yield();
  fast_random random{seed + 1000};
  std::size_t next = 0;
  // Whoever spins here keeps the others from their turns: a loaded machine takes minutes for all, so there is an end.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  for (unsigned rounds = 0; next < count; ++rounds) {
    if (rounds % 256 == 0 && std::chrono::steady_clock::now() >= end) break;
    for (unsigned n = 1 + random.below(depth); n > 0 && next < count; --n) {
      items[next].payload = next + 1;
      if (!deque->try_push(&items[next])) break;
      ++next;
    }
    if (random.below(64) == 0) std::this_thread::yield();
    for (unsigned n = 1 + random.below(depth); n > 0; --n) {
      deque_item* it = deque->take();
      if (it == nullptr) break;
      consume(it);
    }
    // On a machine with few processors the thieves come to run only where the owner lets them, now and then with items left.
    if (random.below(128) == 0) std::this_thread::yield();
  }
  while (deque_item* it = deque->take()) consume(it);
  done.store(true, memory_order_release);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_TRUE(deque->is_empty());
  std::size_t lost = 0;
  for (std::size_t i = 0; i < next; ++i) lost += items[i].taken.load() == 0 ? 1U : 0U;
  EXPECT_EQ(lost, 0U);
  std::printf("  stolen %zu of %zu\n", stolen.load(), next);
}

TEST(chase_lev_stress, last_item) {
  contend<4>(1, 1, tern_test::seed(), tern_test::scale(std::size_t{TERN_PERTURB ? 500'000 : 1'500'000}));
}
TEST(chase_lev_stress, two_items_three_thieves) {
  contend<2>(3, 2, tern_test::seed() + 100,
             tern_test::scale(std::size_t{TERN_PERTURB ? 300'000 : 1'000'000}));
}
TEST(chase_lev_stress, deep) {
  contend<256>(3, 200, tern_test::seed() + 200,
               tern_test::scale(std::size_t{TERN_PERTURB ? 600'000 : 3'000'000}));
}

}  // namespace

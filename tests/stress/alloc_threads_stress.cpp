// The allocator under many threads: each block carries its own check, each test bounds what is held at the end.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/base/random.hpp>

#include "tests/support/seed.hpp"

namespace {

using tern::detail::fast_random;

constexpr std::size_t mib = std::size_t{1} << 20;

// The header of each block of these tests: what it is, so that a block handed out twice or overwritten shows.
struct header {
  std::uint64_t check;
  std::uint32_t size;
  std::uint32_t owner;
};

std::uint64_t check_of(const void* p, std::size_t size) {
  return (tern::detail::to_word(p) ^ 0xfeedfacecafebeefu) * 0x9e3779b97f4a7c15u + size;
}

void* make(std::size_t size, std::uint32_t owner) {
  if (size < sizeof(header) + 1) size = sizeof(header) + 1;
  auto* p = static_cast<unsigned char*>(tern::allocate(size));
  const header h{check_of(p, size), static_cast<std::uint32_t>(size), owner};
  std::memcpy(p, &h, sizeof h);
  p[size - 1] = static_cast<unsigned char>(size);
  return p;
}

// False when the block is damaged. Spoils the check, so that a second holder of the same block sees it.
bool check_and_free(void* block, fast_random& random) {
  auto* p = static_cast<unsigned char*>(block);
  header h;
  std::memcpy(&h, p, sizeof h);
  const bool good = h.check == check_of(p, h.size) && p[h.size - 1] == static_cast<unsigned char>(h.size);
  std::memset(p, 0xdd, sizeof h);
  if (!good) return false;
  if (random.below(2) == 0)
    tern::deallocate(p, h.size);
  else
    tern::deallocate(p);
  return true;
}

std::size_t random_size(fast_random& r) {
  const std::uint32_t k = r.below(1000);
  if (k < 900) return 16 + r.below(500);
  if (k < 990) return 16 + r.below(20000);
  if (k < 999) return 16 + r.below(300000);
  return 16 + r.below(3u << 20);
}

// Larson and Krishnan: threads replace random blocks in arrays which they inherit from dead threads.
TEST(AllocStress, BlocksOutliveTheirThreads) {
  constexpr unsigned threads = 4;
  constexpr unsigned slots = 1000;
  const std::size_t live_before = tern::allocation_statistics().live;
  std::vector<std::vector<void*>> arrays(threads, std::vector<void*>(slots));
  const int generations = tern_test::scale(100);
  std::atomic<bool> damaged{false};
  for (int g = 0; g < generations; ++g) {
    std::vector<std::thread> running;
    for (unsigned t = 0; t < threads; ++t)
      running.emplace_back([&, t, g] {
        fast_random random{tern_test::seed() + t + static_cast<unsigned>(g) * threads};
        std::vector<void*>& mine = arrays[(t + static_cast<unsigned>(g)) % threads];
        for (int i = 0; i < 10000; ++i) {
          void*& slot = mine[random.below(slots)];
          if (slot != nullptr && !check_and_free(slot, random)) damaged = true;
          slot = make(random_size(random), t);
        }
      });
    for (std::thread& t : running) t.join();
  }
  fast_random random{1};
  for (auto& a : arrays)
    for (void* p : a)
      if (p != nullptr && !check_and_free(p, random)) damaged = true;
  EXPECT_FALSE(damaged);
  EXPECT_EQ(tern::allocation_statistics().live, live_before);
}

// One thread allocates, another frees: what the freer's cache holds must flow back, or memory grows with the run.
TEST(AllocStress, ProducerAndConsumerStayWithinBounds) {
  struct channel {
    std::mutex m;
    std::condition_variable changed;
    std::deque<void*> blocks;
    bool closed = false;
  } c;
  constexpr std::size_t capacity = 2000;
  const int total = tern_test::scale(2000000);
  std::atomic<bool> damaged{false};
  std::size_t highest = 0;
  tern::release_memory();
  const std::size_t before = tern::allocation_statistics().in_use;
  std::thread consumer{[&] {
    fast_random random{tern_test::seed()};
    for (;;) {
      std::deque<void*> taken;
      {
        std::unique_lock hold{c.m};
        c.changed.wait(hold, [&] { return !c.blocks.empty() || c.closed; });
        taken.swap(c.blocks);
        if (taken.empty()) return;
      }
      c.changed.notify_all();
      for (void* p : taken)
        if (!check_and_free(p, random)) damaged = true;
    }
  }};
  fast_random random{tern_test::seed() + 1};
  for (int i = 0; i < total;) {
    std::vector<void*> batch;
    for (int k = 0; k < 100 && i < total; ++k, ++i) batch.push_back(make(16 + random.below(1000), 0));
    {
      std::unique_lock hold{c.m};
      c.changed.wait(hold, [&] { return c.blocks.size() < capacity; });
      c.blocks.insert(c.blocks.end(), batch.begin(), batch.end());
    }
    c.changed.notify_all();
    if (i % 20000 < 100) {
      const std::size_t now = tern::allocation_statistics().in_use;
      if (now > highest) highest = now;
    }
  }
  {
    std::lock_guard hold{c.m};
    c.closed = true;
  }
  c.changed.notify_all();
  consumer.join();
  EXPECT_FALSE(damaged);
  // Twice the channel of 1 KiB blocks, two caches at their budget, and a span for each class.
  EXPECT_LE(highest, before + 2 * (capacity + 100) * 1024 + 2 * 4 * mib + 8 * mib);
}

// A thousand threads one after the other and some at a time: caches are recycled, nothing stays.
TEST(AllocStress, ThreadChurnLeavesNothing) {
  const int rounds = tern_test::scale(250);
  std::atomic<bool> damaged{false};
  const auto round = [&](int r) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t)
      threads.emplace_back([&, t, r] {
        fast_random random{tern_test::seed() + t + static_cast<unsigned>(r) * 4};
        std::vector<void*> mine;
        for (int i = 0; i < 300; ++i) mine.push_back(make(random_size(random), t));
        for (void* p : mine)
          if (!check_and_free(p, random)) damaged = true;
      });
    for (std::thread& t : threads) t.join();
  };
  for (int r = 0; r < 10; ++r) round(r);
  tern::release_memory();
  const auto early = tern::allocation_statistics();
  for (int r = 0; r < rounds; ++r) round(r);
  tern::release_memory();
  const auto late = tern::allocation_statistics();
  EXPECT_FALSE(damaged);
  EXPECT_EQ(late.live, early.live);
  EXPECT_EQ(late.caches, early.caches);
  EXPECT_LE(late.in_use, early.in_use + mib);
  EXPECT_LE(late.metadata, early.metadata + mib / 2);
}

// Processors' caches change their threads all the time, and some threads use the shared cache, as in a scheduler.
TEST(AllocStress, CachesMigrateBetweenThreads) {
  constexpr unsigned cache_count = 3;
  constexpr unsigned threads = 4;
  std::mutex m;
  std::vector<tern::detail::thread_cache*> idle;
  for (unsigned i = 0; i < cache_count; ++i) idle.push_back(tern::detail::create_cache());
  std::vector<void*> common(512);
  std::atomic<bool> damaged{false};
  const std::size_t live_before = tern::allocation_statistics().live;
  const int turns = tern_test::scale(15000);
  std::vector<std::thread> running;
  for (unsigned t = 0; t < threads; ++t)
    running.emplace_back([&, t] {
      fast_random random{tern_test::seed() + t};
      for (int i = 0; i < turns; ++i) {
        tern::detail::thread_cache* mine = tern::detail::shared_cache();
        {
          std::lock_guard hold{m};
          if (!idle.empty()) {
            mine = idle.back();
            idle.pop_back();
          }
        }
        tern::detail::thread_cache* previous = tern::detail::bind_cache(mine);
        void* swap[40];
        for (void*& p : swap) p = make(random_size(random) % 3000 + 16, t);
        {
          std::lock_guard hold{m};
          for (void*& p : swap) std::swap(p, common[random.below(512)]);
        }
        for (void* p : swap)
          if (p != nullptr && !check_and_free(p, random)) damaged = true;
        tern::detail::bind_cache(previous);
        if (!mine->is_shared()) {
          std::lock_guard hold{m};
          idle.insert(idle.begin(), mine);
        }
      }
    });
  for (std::thread& t : running) t.join();
  fast_random random{1};
  for (void* p : common)
    if (p != nullptr && !check_and_free(p, random)) damaged = true;
  EXPECT_FALSE(damaged);
  EXPECT_EQ(tern::allocation_statistics().live, live_before);
  for (auto* c : idle) tern::detail::destroy_cache(c);
}

// All threads on the cache that locks, as in blocking regions.
TEST(AllocStress, TheSharedCacheIsShared) {
  std::atomic<bool> damaged{false};
  std::vector<std::thread> threads;
  const std::size_t live_before = tern::allocation_statistics().live;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      tern::detail::thread_cache* previous = tern::detail::bind_cache(tern::detail::shared_cache());
      fast_random random{tern_test::seed() + t};
      void* slots[16] = {};
      for (int i = 0; i < tern_test::scale(500000); ++i) {
        void*& slot = slots[random.below(16)];
        if (slot != nullptr && !check_and_free(slot, random)) damaged = true;
        slot = make(48, t);
      }
      for (void* p : slots)
        if (p != nullptr && !check_and_free(p, random)) damaged = true;
      tern::detail::bind_cache(previous);
    });
  for (std::thread& t : threads) t.join();
  EXPECT_FALSE(damaged);
  EXPECT_EQ(tern::allocation_statistics().live, live_before);
}

// Statistics and releases beside work.
TEST(AllocStress, ReadersAndReleasersDisturbNobody) {
  std::atomic<bool> stop{false};
  std::atomic<bool> damaged{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      fast_random random{tern_test::seed() + t};
      std::vector<void*> mine(300);
      for (int i = 0; i < tern_test::scale(400000); ++i) {
        void*& slot = mine[random.below(300)];
        if (slot != nullptr && !check_and_free(slot, random)) damaged = true;
        slot = make(random_size(random), t);
      }
      for (void* p : mine)
        if (p != nullptr && !check_and_free(p, random)) damaged = true;
    });
  std::thread reader{[&] {
    while (!stop) {
      const auto s = tern::allocation_statistics();
      if (s.in_use > s.mapped || s.mapped > s.reserved) damaged = true;
      tern::release_memory();
      std::this_thread::yield();
    }
  }};
  for (std::thread& t : threads) t.join();
  stop = true;
  reader.join();
  EXPECT_FALSE(damaged);
}

}  // namespace

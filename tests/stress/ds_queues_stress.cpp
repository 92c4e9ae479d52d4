// Stress of the inject queue, the MPSC queue, the event count and the spin lock by real threads, oversubscribed.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/ds/event_count.hpp>
#include <tern/ds/inject_queue.hpp>
#include <tern/ds/mpsc_queue.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/clock.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace tern::detail;

struct item : mpsc_node<> {
  std::uint64_t payload = 0;  // plain: TSan sees a publication that orders too little
  unsigned producer = 0;
  item* link = nullptr;
};

TEST(spin_lock_stress, excludes_with_more_threads_than_processors) {
  spin_lock<> lock;
  std::uint64_t count = 0;
  const auto rounds = tern_test::scale(std::uint64_t{200'000});
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      for (std::uint64_t k = 0; k < rounds; ++k) {
        const std::lock_guard guard{lock};
        ++count;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(count, 6 * rounds);
}

// Items travel through the inject queue, singly and in batches; each producer's keep their order.
TEST(inject_queue_stress, many_to_many) {
  constexpr unsigned producers = 3;
  constexpr unsigned consumers = 3;
  const auto each = tern_test::scale(std::size_t{150'000});
  const auto items = std::make_unique<item[]>(producers * each);
  inject_queue<item, &item::link> queue;
  atomic<std::size_t> taken{0};
  atomic<std::size_t> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned p = 0; p < producers; ++p) {
    threads.emplace_back([&, p] {
      fast_random random{tern_test::seed() + p};
      for (std::size_t i = 0; i < each;) {
        decltype(queue)::batch batch;
        for (unsigned n = 1 + random.below(8); n > 0 && i < each; --n, ++i) {
          item& it = items[p * each + i];
          it.payload = i + 1;
          it.producer = p;
          batch.push_back(&it);
        }
        if (batch.size() == 1)
          queue.push(batch.pop_front());
        else
          queue.push(batch);
      }
    });
  }
  for (unsigned c = 0; c < consumers; ++c) {
    threads.emplace_back([&, c] {
      fast_random random{tern_test::seed() + 50 + c};
      std::array<std::uint64_t, producers> last{};
      const auto consume = [&](item* it) {
        if (it->payload <= last[it->producer]) wrong.fetch_add(1, memory_order_relaxed);
        last[it->producer] = it->payload;
        taken.fetch_add(1, memory_order_relaxed);
      };
      while (taken.load(memory_order_relaxed) < producers * each) {
        decltype(queue)::batch batch;
        if (random.below(2) == 0) {
          if (item* it = queue.pop()) batch.push_back(it);
        } else {
          queue.pop(batch, 1 + random.below(6));
        }
        if (batch.is_empty()) std::this_thread::yield();
        while (item* it = batch.pop_front()) consume(it);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_EQ(taken.load(), producers * each);
  EXPECT_TRUE(queue.is_empty());
}

// MPSC under an event count: the consumer sleeps whenever it finds nothing. A lost wake-up would hang; the deadline names it.
TEST(mpsc_queue_stress, sleeping_consumer) {
  constexpr unsigned producers = 3;
  const auto each = tern_test::scale(std::size_t{150'000});
  const auto items = std::make_unique<item[]>(producers * each);
  mpsc_queue<item> queue;
  event_count<> ready;
  std::vector<std::thread> threads;
  for (unsigned p = 0; p < producers; ++p) {
    threads.emplace_back([&, p] {
      fast_random random{tern_test::seed() + p};
      for (std::size_t i = 0; i < each; ++i) {
        item& it = items[p * each + i];
        it.payload = i + 1;
        it.producer = p;
        queue.push(&it);
        // Both forms of notify are right here: push is a seq_cst exchange and the consumer's test a seq_cst load.
        if (random.below(2) == 0)
          ready.notify_one();
        else
          ready.notify_one_published();
        if (random.below(64) == 0) std::this_thread::yield();
      }
    });
  }
  std::array<std::uint64_t, producers> last{};
  std::size_t wrong = 0;
  std::size_t sleeps = 0;
  std::size_t got = 0;
  bool stuck = false;
  while (got < producers * each && !stuck) {
    if (item* it = queue.pop()) {
      if (it->payload != last[it->producer] + 1) ++wrong;
      last[it->producer] = it->payload;
      ++got;
      continue;
    }
    const auto key = ready.prepare_wait();
    if (!queue.is_empty()) {
      ready.cancel_wait();
      continue;
    }
    ++sleeps;
    stuck = !ready.wait_until(key, os::now() + 60'000'000'000) && !queue.is_empty();
  }
  EXPECT_FALSE(stuck) << "a wake-up was lost";
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(ready.waiters(), 0U);
  EXPECT_TRUE(stuck || queue.is_empty());
  std::printf("  slept %zu times\n", sleeps);
}

// Tokens under an event count, several sleepers: as many wake-ups as tokens are enough.
TEST(event_count_stress, tokens) {
  constexpr unsigned producers = 2;
  constexpr unsigned consumers = 4;
  const auto each = tern_test::scale(std::size_t{60'000});
  const std::size_t share = producers * each / consumers;
  atomic<std::size_t> tokens{0};
  atomic<std::size_t> stuck{0};
  event_count<> ready;
  std::vector<std::thread> threads;
  for (unsigned p = 0; p < producers; ++p) {
    threads.emplace_back([&, p] {
      fast_random random{tern_test::seed() + p};
      for (std::size_t i = 0; i < each; ++i) {
        tokens.fetch_add(1, memory_order_release);
        if (random.below(64) == 0)
          ready.notify_all();
        else
          ready.notify_one();
        if (random.below(32) == 0) std::this_thread::yield();
      }
    });
  }
  const auto try_take = [&] {
    std::size_t n = tokens.load(memory_order_acquire);
    while (n > 0) {
      if (tokens.compare_exchange_weak(n, n - 1, memory_order_acquire, memory_order_acquire)) return true;
    }
    return false;
  };
  for (unsigned c = 0; c < consumers; ++c) {
    threads.emplace_back([&] {
      for (std::size_t got = 0; got < share;) {
        if (try_take()) {
          ++got;
          continue;
        }
        const auto key = ready.prepare_wait();
        if (try_take()) {
          ready.cancel_wait();
          ++got;
        } else if (!ready.wait_until(key, os::now() + 60'000'000'000) && tokens.load() != 0) {
          stuck.fetch_add(1);
          return;
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(stuck.load(), 0U) << "a wake-up was lost";
  EXPECT_EQ(tokens.load(), producers * each - consumers * share);
  EXPECT_EQ(ready.waiters(), 0U);
}

}  // namespace

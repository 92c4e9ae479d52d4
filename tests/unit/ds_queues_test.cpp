// Unit tests of the queues and locks of ds/ by one thread: order, bounds, wrap of the indices, overflow, batches, timeouts.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/ds/chase_lev_deque.hpp>
#include <tern/ds/event_count.hpp>
#include <tern/ds/inject_queue.hpp>
#include <tern/ds/mpsc_queue.hpp>
#include <tern/ds/run_queue.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/clock.hpp>

namespace {

using namespace tern::detail;

struct item : mpsc_node<> {
  int value = 0;
  item* link = nullptr;
};

std::vector<item> numbered(int n) {
  std::vector<item> items(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) items[static_cast<std::size_t>(i)].value = i;
  return items;
}

// --- run queue ---------------------------------------------------------------------------------------------------------

constexpr std::uint32_t starts[] = {0, 0xffff'fffeu, 0x7fff'ffffu};

TEST(run_queue, is_a_bounded_fifo_across_the_wrap) {
  for (const std::uint32_t start : starts) {
    run_queue<item, 4> ring{start};
    auto items = numbered(5);
    EXPECT_TRUE(ring.is_empty());
    EXPECT_EQ(ring.pop(), nullptr);
    for (int round = 0; round < 3; ++round) {
      for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(ring.try_push(&items[i]));
      EXPECT_FALSE(ring.try_push(&items[4]));
      EXPECT_EQ(ring.size(), 4U);
      for (std::size_t i = 0; i < 4; ++i) ASSERT_EQ(ring.pop(), &items[i]);
      EXPECT_EQ(ring.pop(), nullptr);
    }
  }
}

TEST(run_queue, overflow_hands_out_the_older_half_and_the_new_item) {
  for (const std::uint32_t start : starts) {
    run_queue<item, 4> ring{start};
    auto items = numbered(5);
    std::vector<item*> out;
    const auto sink = [&](item* it) { out.push_back(it); };
    for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(ring.push(&items[i], sink));
    EXPECT_TRUE(out.empty());
    EXPECT_FALSE(ring.push(&items[4], sink));
    EXPECT_EQ(out, (std::vector<item*>{&items[0], &items[1], &items[4]}));
    EXPECT_EQ(ring.pop(), &items[2]);
    EXPECT_EQ(ring.pop(), &items[3]);
    EXPECT_EQ(ring.pop(), nullptr);
  }
}

TEST(run_queue, a_thief_takes_the_older_half_rounded_up) {
  for (std::size_t n = 0; n <= 8; ++n) {
    run_queue<item, 8> ring{0xffff'fffcu};
    run_queue<item, 8> mine{5};
    auto items = numbered(8);
    for (std::size_t i = 0; i < n; ++i) ASSERT_TRUE(ring.try_push(&items[i]));
    const std::size_t taken = n - n / 2;
    item* const now = ring.steal_into(mine);
    if (n == 0) {
      EXPECT_EQ(now, nullptr);
      continue;
    }
    EXPECT_EQ(now, &items[taken - 1]);
    EXPECT_EQ(mine.size(), taken - 1);
    for (std::size_t i = 0; i + 1 < taken; ++i) EXPECT_EQ(mine.pop(), &items[i]);
    for (std::size_t i = taken; i < n; ++i) EXPECT_EQ(ring.pop(), &items[i]);
    EXPECT_TRUE(mine.is_empty());
    EXPECT_TRUE(ring.is_empty());
  }
}

TEST(run_queue, a_thief_takes_no_more_than_it_has_room_for) {
  run_queue<item, 4> ring;
  run_queue<item, 4> mine;
  auto items = numbered(8);
  for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(ring.try_push(&items[i]));
  for (std::size_t i = 4; i < 7; ++i) ASSERT_TRUE(mine.try_push(&items[i]));
  EXPECT_EQ(ring.steal_into(mine), &items[0]);  // one slot free: one item, to be run at once
  ASSERT_TRUE(mine.try_push(&items[7]));
  EXPECT_EQ(ring.steal_into(mine), nullptr);
  EXPECT_EQ(ring.size(), 3U);
  EXPECT_EQ(ring.steal_one(), &items[1]);
  for (std::size_t i = 4; i < 8; ++i) EXPECT_EQ(mine.pop(), &items[i]);
}

TEST(run_queue, follows_a_reference_through_random_operations) {
  const auto ring = std::make_unique<run_queue<item, 16>>(0xffff'ff00u);
  const auto mine = std::make_unique<run_queue<item, 16>>();
  std::deque<item*> reference;
  auto items = numbered(4096);
  fast_random random{42};
  std::size_t next = 0;
  while (next < items.size()) {
    switch (random.below(4)) {
      case 0:
      case 1: {
        std::size_t out = 0;
        const bool local = ring->push(&items[next], [&](item* it) {
          if (it == &items[next]) return;
          ASSERT_EQ(it, reference.front());
          reference.pop_front();
          ++out;
        });
        if (local) reference.push_back(&items[next]);
        ASSERT_EQ(out, local ? 0U : 8U);
        ++next;
        break;
      }
      case 2: {
        item* const want = reference.empty() ? nullptr : reference.front();
        ASSERT_EQ(ring->pop(), want);
        if (want != nullptr) reference.pop_front();
        break;
      }
      default: {
        item* now = ring->steal_into(*mine);
        while (item* it = mine->pop()) {
          ASSERT_EQ(it, reference.front());
          reference.pop_front();
        }
        if (now != nullptr) {
          ASSERT_EQ(now, reference.front());
          reference.pop_front();
        }
      }
    }
    ASSERT_EQ(ring->size(), reference.size());
  }
}

// --- inject queue ------------------------------------------------------------------------------------------------------

TEST(inject_queue, keeps_order_through_batches) {
  inject_queue<item, &item::link> queue;
  decltype(queue)::batch batch;
  auto items = numbered(6);
  EXPECT_TRUE(queue.is_empty());
  EXPECT_EQ(queue.pop(), nullptr);
  EXPECT_EQ(queue.pop(batch, 3), 0U);
  queue.push(batch);  // an empty batch changes nothing
  EXPECT_TRUE(queue.is_empty());
  queue.push(&items[0]);
  for (std::size_t i = 1; i < 5; ++i) batch.push_back(&items[i]);
  queue.push(batch);
  EXPECT_TRUE(batch.is_empty());
  queue.push(&items[5]);
  EXPECT_EQ(queue.size(), 6U);
  EXPECT_EQ(queue.pop(), &items[0]);
  EXPECT_EQ(queue.pop(batch, 3), 3U);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(batch.pop_front(), &items[i]);
  EXPECT_EQ(queue.size(), 2U);
  EXPECT_EQ(queue.pop(batch, 0), 0U);
  EXPECT_EQ(queue.pop(batch, 100), 2U);
  EXPECT_TRUE(queue.is_empty());
  EXPECT_EQ(batch.size(), 2U);
}

// --- Chase-Lev deque ---------------------------------------------------------------------------------------------------

TEST(chase_lev_deque, owner_takes_the_youngest_thieves_the_oldest) {
  using deque_type = chase_lev_deque<item, 4>;
  deque_type deque;
  auto items = numbered(5);
  EXPECT_EQ(deque.take(), nullptr);
  EXPECT_EQ(deque.steal().what, deque_type::outcome::empty);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(deque.try_push(&items[i]));
    EXPECT_FALSE(deque.try_push(&items[4]));
    EXPECT_EQ(deque.size(), 4U);
    EXPECT_EQ(deque.take(), &items[3]);
    EXPECT_EQ(deque.steal().item, &items[0]);
    ASSERT_TRUE(deque.try_push(&items[4]));
    EXPECT_EQ(deque.take(), &items[4]);
    EXPECT_EQ(deque.steal().item, &items[1]);
    EXPECT_EQ(deque.take(), &items[2]);
    EXPECT_EQ(deque.take(), nullptr);
    EXPECT_TRUE(deque.is_empty());
    EXPECT_EQ(deque.size(), 0U);
  }
}

// --- MPSC queue --------------------------------------------------------------------------------------------------------

TEST(mpsc_queue, is_a_fifo_and_survives_running_empty) {
  mpsc_queue<item> queue;
  auto items = numbered(10);
  EXPECT_TRUE(queue.is_empty());
  EXPECT_EQ(queue.pop(), nullptr);
  for (std::size_t n = 1; n <= items.size(); ++n) {
    for (std::size_t i = 0; i < n; ++i) queue.push(&items[i]);
    EXPECT_FALSE(queue.is_empty());
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(queue.pop(), &items[i]);
    EXPECT_EQ(queue.pop(), nullptr);
    EXPECT_TRUE(queue.is_empty());
  }
  queue.push(&items[0]);
  EXPECT_EQ(queue.pop(), &items[0]);
  queue.push(&items[0]);  // at once again, while the stub is behind it
  queue.push(&items[1]);
  EXPECT_EQ(queue.pop(), &items[0]);
  EXPECT_EQ(queue.pop(), &items[1]);
}

// --- event count, spin lock --------------------------------------------------------------------------------------------

TEST(event_count, a_notify_between_prepare_and_wait_ends_the_wait) {
  event_count<> event;
  const auto key = event.prepare_wait();
  EXPECT_EQ(event.waiters(), 1U);
  event.notify_one();
  event.wait(key);
  EXPECT_EQ(event.waiters(), 0U);
  const auto cancelled = event.prepare_wait();
  static_cast<void>(cancelled);
  event.cancel_wait();
  EXPECT_EQ(event.waiters(), 0U);
}

TEST(event_count, a_timed_wait_gives_up_after_its_deadline_and_not_before) {
  event_count<> event;
  const auto deadline = os::now() + 20'000'000;
  const auto key = event.prepare_wait();
  EXPECT_FALSE(event.wait_until(key, deadline));
  EXPECT_GE(os::now(), deadline);
  EXPECT_EQ(event.waiters(), 0U);
  const auto second = event.prepare_wait();
  event.notify_all_published();
  EXPECT_TRUE(event.wait_until(second, 0));  // a notify that came first has its due
}

TEST(spin_lock, is_lockable) {
  spin_lock<> lock;
  EXPECT_FALSE(lock.is_locked());
  {
    const std::lock_guard guard{lock};
    EXPECT_TRUE(lock.is_locked());
    EXPECT_FALSE(lock.try_lock());
  }
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
  EXPECT_FALSE(lock.is_locked());
}

constinit spin_lock<> static_lock;
constinit inject_queue<item, &item::link> static_queue;
constinit mpsc_queue<item> static_mpsc;
constinit event_count<> static_event;

TEST(ds, objects_of_static_storage_are_constant_initialised) {
  EXPECT_TRUE(static_queue.is_empty());
  EXPECT_TRUE(static_mpsc.is_empty());
  EXPECT_EQ(static_event.waiters(), 0U);
  EXPECT_FALSE(static_lock.is_locked());
}

}  // namespace

// Seeded stress of the locks: random mixtures of operations by fibers and plain threads at 1, 2 and 4 processors. What each
// primitive must conserve is checked at the end of each round.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <vector>

#include <tern/base/random.hpp>

#include "tests/support/seed.hpp"
#include "tests/unit/sync_support.hpp"

using namespace std::chrono_literals;
using tern::detail::fast_random;

namespace {

void linger(fast_random& r) {
  switch (r.below(16)) {
    case 0: tern::this_thread::yield(); break;
    case 1: tern::this_thread::sleep_for(std::chrono::microseconds(r.below(60))); break;
    case 2:
      for (unsigned i = r.below(200); i > 0; --i) tern::detail::spin_pause();
      break;
    default: break;
  }
}

struct shape {
  unsigned processors, fibers, threads;
};

// f(index, random) in each fiber and thread.
template <class F>
void round_of(const shape& s, std::uint64_t seed, F f) {
  tern::runtime rt{{.processors = s.processors}};
  rt.run([&] {
    sync_test::in_parallel(s.fibers, s.threads, [&](unsigned i) {
      fast_random r{seed * 1000 + i};
      f(i, r);
    });
  });
  EXPECT_EQ(rt.statistics().live_fibers, 0u);
}

std::vector<shape> shapes(fast_random& r) {
  std::vector<shape> all;
  for (unsigned p : {1u, 2u, 4u}) all.push_back({p, 2 + r.below(20), r.below(4)});
  return all;
}

}  // namespace

TEST(sync_locks_stress, mutex_and_condition_variable_bound_a_buffer) {
  fast_random r{tern_test::seed()};
  for (int round = 0; round < tern_test::scale(12); ++round)
    for (const shape& s : shapes(r)) {
      tern::mutex m;
      tern::condition_variable not_empty, not_full;
      std::vector<int> buffer;
      const std::size_t room = 1 + r.below(4);
      long put = 0, taken = 0;
      const int each = 200;
      const unsigned pairs = (s.fibers + s.threads) / 2;
      round_of(s, r.next(), [&](unsigned i, fast_random& mine) {
        if (i >= 2 * pairs) return;
        for (int k = 0; k < each; ++k) {
          linger(mine);
          std::unique_lock hold{m};
          if (i % 2 == 0) {
            if (mine.below(3) == 0)
              while (!not_full.wait_for(hold, 30us, [&] { return buffer.size() < room; })) {
              }
            else
              not_full.wait(hold, [&] { return buffer.size() < room; });
            buffer.push_back(k);
            put += k;
            not_empty.notify_one();
          } else {
            if (mine.below(3) == 0)
              while (!not_empty.wait_for(hold, 30us, [&] { return !buffer.empty(); })) {
              }
            else
              not_empty.wait(hold, [&] { return !buffer.empty(); });
            taken += buffer.back();
            buffer.pop_back();
            not_full.notify_one();
          }
        }
      });
      EXPECT_EQ(put, taken);
      EXPECT_TRUE(buffer.empty());
    }
}

TEST(sync_locks_stress, mutex_with_try_lock_and_holders_that_wait) {
  fast_random r{tern_test::seed() + 1};
  for (int round = 0; round < tern_test::scale(12); ++round)
    for (const shape& s : shapes(r)) {
      tern::mutex m[3];
      long guarded[3] = {};
      std::atomic<long> expected{0};
      round_of(s, r.next(), [&](unsigned, fast_random& mine) {
        long own = 0;
        for (int k = 0; k < 400; ++k) {
          const unsigned which = mine.below(3);
          if (mine.below(4) == 0) {
            if (!m[which].try_lock()) continue;
          } else {
            m[which].lock();
          }
          ++guarded[which];
          ++own;
          linger(mine);
          m[which].unlock();
        }
        expected += own;
      });
      EXPECT_EQ(guarded[0] + guarded[1] + guarded[2], expected);
    }
}

TEST(sync_locks_stress, semaphore_permits_are_conserved) {
  fast_random r{tern_test::seed() + 2};
  for (int round = 0; round < tern_test::scale(12); ++round)
    for (const shape& s : shapes(r)) {
      const unsigned permits = 1 + r.below(3);
      tern::semaphore sem{permits};
      std::atomic<int> inside{0};
      std::atomic<bool> crowded{false};
      round_of(s, r.next(), [&](unsigned, fast_random& mine) {
        for (int k = 0; k < 300; ++k) {
          const unsigned how = mine.below(3);
          if (how == 0) {
            sem.acquire();
          } else if (how == 1 ? !sem.try_acquire()
                              : !sem.try_acquire_for(std::chrono::microseconds(mine.below(50)))) {
            continue;
          }
          if (++inside > static_cast<int>(permits)) crowded = true;
          linger(mine);
          --inside;
          sem.release();
        }
      });
      EXPECT_FALSE(crowded);
      unsigned left = 0;
      while (sem.try_acquire()) ++left;
      EXPECT_EQ(left, permits);
    }
}

TEST(sync_locks_stress, wait_group_and_once_in_short_lives) {
  fast_random r{tern_test::seed() + 3};
  for (int round = 0; round < tern_test::scale(12); ++round)
    for (const shape& s : shapes(r)) {
      const unsigned all = s.fibers + s.threads;
      const int generations = 40;
      struct generation {
        tern::wait_group arrived;
        tern::once flag;
        int calls = 0;
        std::atomic<unsigned> here{0};
      };
      std::vector<std::unique_ptr<generation>> g;
      for (int i = 0; i < generations; ++i) {
        g.push_back(std::make_unique<generation>());
        g.back()->arrived.add(static_cast<std::int32_t>(all));
      }
      round_of(s, r.next(), [&](unsigned, fast_random& mine) {
        for (const auto& now : g) {
          now->flag.call([&] { ++now->calls, linger(mine); });
          ++now->here;
          now->arrived.done();
          linger(mine);
          now->arrived.wait();
          EXPECT_EQ(now->here, all);
        }
      });
      for (const auto& now : g) EXPECT_EQ(now->calls, 1);
    }
}

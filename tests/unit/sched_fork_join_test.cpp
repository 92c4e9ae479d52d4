// fork_join as its users see it: results, exceptions, nesting, waits inside either half, theft, blocking, plain threads.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;

class SchedForkJoin : public testing::TestWithParam<unsigned> {
 protected:
  tern::runtime rt{{.processors = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(Processors, SchedForkJoin, testing::Values(1u, 2u, 4u));

std::uint64_t fib(unsigned n) {
  if (n < 2) return n;
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  tern::fork_join([&] { a = fib(n - 1); }, [&] { b = fib(n - 2); });
  return a + b;
}

TEST_P(SchedForkJoin, Computes) {
  EXPECT_EQ(rt.run([] { return fib(16); }), 987u);
  EXPECT_EQ(fib(10), 55u) << "on a plain thread";
  EXPECT_EQ(rt.run([] { return tern::blocking([] { return fib(10); }); }), 55u) << "inside blocking";
  EXPECT_EQ(rt.statistics().live_fibers, 0u);
}

TEST_P(SchedForkJoin, AFiberIsMadeOnlyForWhatWasStolen) {
  if (GetParam() != 1) GTEST_SKIP() << "others steal";
  // A worker that has lost its CPU for 10 ms looks like a hog, and gets company, which steals.
  for (bool alone = false; !alone;) {
    tern::runtime one{{.processors = 1}};
    one.run([] { EXPECT_EQ(fib(12), 144u); });
    const auto s = one.statistics();
    alone = s.extra_processors_added == 0;
    if (alone) {
      EXPECT_EQ(s.total.spawned, 1u);
    }
  }
}

TEST_P(SchedForkJoin, BothHalvesAreCalledAndTheFirstErrorWins) {
  const auto thrown = [](auto&& f, auto&& g) -> std::string {
    try {
      tern::fork_join(f, g);
    } catch (const std::runtime_error& e) {
      return e.what();
    }
    return "";
  };
  const auto all = [&] {
    int calls = 0;
    const auto fine = [&] { ++calls; };
    const auto first = [&] {
      ++calls;
      throw std::runtime_error("first");
    };
    std::atomic<int> others{0};
    const auto second = [&] {
      ++others;
      throw std::runtime_error("second");
    };
    EXPECT_EQ(thrown(first, [&] { ++others; }), "first");
    EXPECT_EQ(others.load(), 1);
    EXPECT_EQ(thrown(fine, second), "second");
    EXPECT_EQ(thrown(first, second), "first");
    EXPECT_EQ(calls, 3);
    EXPECT_EQ(others.load(), 3);
  };
  rt.run(all);
  all();
  // The same where the first half waits for the second, which another fiber then runs.
  rt.run([&] {
    tern::semaphore done{0};
    EXPECT_EQ(thrown(
                  [&] {
                    done.acquire();
                    throw std::runtime_error("first");
                  },
                  [&] {
                    done.release();
                    throw std::runtime_error("second");
                  }),
              "first");
    EXPECT_EQ(thrown([&] { done.acquire(); },
                     [&] {
                       done.release();
                       throw std::runtime_error("second");
                     }),
              "second");
  });
}

TEST_P(SchedForkJoin, TheFirstHalfMayWaitForTheSecond) {
  rt.run([] {
    tern::channel<int> there{0};
    tern::channel<int> back{0};
    int got = 0;
    tern::fork_join(
        [&] {
          there.send(20);
          got = *back.receive();
        },
        [&] { back.send(*there.receive() + 1); });
    EXPECT_EQ(got, 21);
  });
}

// The ring is never empty, and nobody is idle: a poll must get to the job all the same.
TEST_P(SchedForkJoin, AJobIsNotStarvedByFibersThatYield) {
  rt.run([] {
    std::atomic<bool> stop{false};
    std::vector<tern::thread> busy;
    for (int i = 0; i < 8; ++i)
      busy.emplace_back([&] {
        while (!stop.load(std::memory_order_relaxed)) tern::this_thread::yield();
      });
    tern::fork_join(
        [&] {
          while (!stop.load(std::memory_order_relaxed)) tern::this_thread::yield();
        },
        [&] { stop.store(true, std::memory_order_relaxed); });
    for (auto& t : busy) t.join();
  });
}

// Nobody but the forking fiber is there, and it yields for ever.
TEST_P(SchedForkJoin, ALoneYieldingParentGetsItsJobRun) {
  rt.run([] {
    std::atomic<bool> done{false};
    tern::fork_join(
        [&] {
          while (!done.load(std::memory_order_relaxed)) tern::this_thread::yield();
        },
        [&] { done.store(true, std::memory_order_relaxed); });
  });
}

TEST_P(SchedForkJoin, AnIdleProcessorTakesTheSecondHalf) {
  if (GetParam() == 1) GTEST_SKIP() << "there is no other processor";
  rt.run([] {
    // The first half keeps its processor and forks now and then, which is when it shares.
    std::atomic<bool> done{false};
    tern::fork_join(
        [&] {
          while (!done.load(std::memory_order_relaxed)) fib(5);
        },
        [&] { done.store(true, std::memory_order_relaxed); });
  });
}

TEST_P(SchedForkJoin, JobsOfAFiberThatBlocksAreTaken) {
  rt.run([] {
    std::atomic<bool> done{false};
    tern::fork_join(
        [&] {
          tern::blocking([&] {
            while (!done.load(std::memory_order_relaxed)) std::this_thread::yield();
          });
        },
        [&] { done.store(true, std::memory_order_relaxed); });
  });
}

TEST_P(SchedForkJoin, MoveOnlyAndConstFunctions) {
  struct once {
    std::unique_ptr<int> value;
    int* to;
    void operator()() && { *to = *value; }
  };
  rt.run([] {
    int a = 0;
    int b = 0;
    tern::fork_join(once{std::make_unique<int>(1), &a}, once{std::make_unique<int>(2), &b});
    EXPECT_EQ(a, 1);
    EXPECT_EQ(b, 2);
    const auto nothing = [] { return 5; };
    tern::fork_join(nothing, nothing);
  });
}

// A seeded tree whose halves yield, sleep, lock and wait at random: parents come back on other processors, with the jobs of other fibers
// between theirs.
std::uint64_t tree(std::uint64_t seed, unsigned depth, tern::mutex& m) {
  tern::detail::fast_random random{seed};
  if (depth == 0) return seed & 0xff;
  switch (random.below(12)) {
    case 0: tern::this_thread::yield(); break;
    case 1: tern::this_thread::sleep_for(std::chrono::microseconds{random.below(50)}); break;
    case 2: {
      m.lock();
      tern::this_thread::yield();
      m.unlock();
      break;
    }
    case 3: {
      std::uint64_t inner = 0;
      tern::thread t{[&] { inner = tree(seed * 5 + 3, depth - 1, m); }};
      t.join();
      return inner;
    }
    case 4: tern::blocking([] {}); break;
    default: break;
  }
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  const bool throws = random.below(10) == 0;
  try {
    tern::fork_join(
        [&] {
          a = tree(seed * 3 + 1, depth - 1, m);
          if (throws) throw std::runtime_error("a");
        },
        [&] {
          b = tree(seed * 7 + 2, depth - 1, m);
          if (throws) throw std::runtime_error("b");
        });
    EXPECT_FALSE(throws);
  } catch (const std::runtime_error&) {
    EXPECT_TRUE(throws);
  }
  return a + b;
}
std::uint64_t plain_tree(std::uint64_t seed, unsigned depth) {
  tern::detail::fast_random random{seed};
  if (depth == 0) return seed & 0xff;
  if (random.below(12) == 3) return plain_tree(seed * 5 + 3, depth - 1);
  return plain_tree(seed * 3 + 1, depth - 1) + plain_tree(seed * 7 + 2, depth - 1);
}

TEST_P(SchedForkJoin, RandomTrees) {
  const unsigned depth = tern::detail::tsan_build || tern_test::scale(std::size_t{100}) < 100 ? 7 : 10;
  for (unsigned round = 0; round < 6; ++round) {
    const std::uint64_t seed = tern_test::seed() + round;
    const std::uint64_t sum = rt.run([&] {
      tern::mutex m;
      std::uint64_t a = 0;
      std::uint64_t b = 0;
      tern::thread other{[&] { b = tree(seed + 100, depth, m); }};
      a = tree(seed, depth, m);
      other.join();
      return a + b;
    });
    EXPECT_EQ(sum, plain_tree(seed, depth) + plain_tree(seed + 100, depth)) << "seed " << seed;
  }
  EXPECT_EQ(rt.statistics().live_fibers, 0u);
}

}  // namespace

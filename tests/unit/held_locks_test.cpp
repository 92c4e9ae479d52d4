// TERN_CHECK_HELD_LOCKS, for which the whole program is built: what belongs to a thread is not held across a wait.
#define TERN_CHECK_HELD_LOCKS 1
#include <gtest/gtest.h>

#include <mutex>
#include <stdexcept>
#include <string>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

namespace {

#if TERN_CHECK_HELD_LOCKS

std::mutex mutex;
std::recursive_mutex recursive;

template <class F>
int made_by(F f) {
  static const int value = f();
  return value;
}

TEST(HeldLocks, AYieldInAMutexEndsTheProcess) {
  EXPECT_DEATH(tern::run([] {
                 const std::lock_guard hold{mutex};
                 tern::this_thread::yield();
               }),
               "tern: fatal: a fiber waits or yields while it holds a pthread mutex");
}

TEST(HeldLocks, AWaitInAMutexEndsTheProcess) {
  EXPECT_DEATH(tern::run([] {
                 const std::unique_lock hold{recursive, std::try_to_lock};
                 tern::channel<int>{1}.receive();  // which nobody ends: it must wait
               }),
               "tern: fatal: a fiber waits or yields while it holds a pthread mutex");
}

TEST(HeldLocks, AWaitInAnInitialiserEndsTheProcess) {
  EXPECT_DEATH(tern::run([] {
                 made_by([] {
                   tern::channel<int>{1}.receive();
                   return 1;
                 });
               }),
               "tern: fatal: a fiber waits or yields while it initialises a function-local static");
}

TEST(HeldLocks, WhatIsLetGoBeforeTheWaitIsFine) {
  int sum = 0;
  tern::run([&sum] {
    for (int i = 0; i < 3; ++i) {
      {
        const std::lock_guard hold{mutex};
        const std::lock_guard again{recursive};
        const std::lock_guard and_again{recursive};
      }
      if (recursive.try_lock()) recursive.unlock();
      tern::this_thread::yield();
      EXPECT_THROW(made_by([&sum]() -> int { throw std::runtime_error{std::to_string(sum)}; }),
                   std::runtime_error);
      sum += made_by([] { return 2; });
      tern::thread{[&sum] { ++sum; }}.join();
    }
  });
  EXPECT_EQ(sum, 9);
}

// Plain threads wait as they always did.
TEST(HeldLocks, APlainThreadMayHoldThem) {
  tern::runtime rt{{.processors = 1}};
  const std::lock_guard hold{mutex};
  EXPECT_EQ(made_by([&rt] {
              int seen = 0;
              rt.run([&seen] { seen = 1; });
              return seen;
            }),
            1);
}

#else

TEST(HeldLocks, Skipped) { GTEST_SKIP() << "the sanitizers count locks by definitions of their own"; }

#endif

}  // namespace

// park and unpark: no lost wake-up, exactly one winner between a wake and a timeout, commit's three outcomes, threads and fibers alike.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/sched.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;

// A one-place mailbox in the manner of the primitives of sync: a lock, a value, a waiter.
struct mailbox {
  spin_lock<> lock;
  waiter* waiting = nullptr;
  int value = 0;

  static bool unlock(waiter&, void* self) noexcept {
    static_cast<mailbox*>(self)->lock.unlock();
    return true;
  }
  void put(int v) {
    lock.lock();
    value = v;
    waiter* w = std::exchange(waiting, nullptr);
    lock.unlock();
    if (w != nullptr) {
      EXPECT_TRUE(unpark(*w));
    }
  }
  int get() {
    for (;;) {
      lock.lock();
      if (value != 0) {
        const int v = std::exchange(value, 0);
        lock.unlock();
        return v;
      }
      waiter w{"mailbox", this};
      waiting = &w;
      park(w, &unlock, this);
    }
  }
};

void ping_pong(mailbox& mine, mailbox& theirs, int rounds, bool first) {
  for (int i = 1; i <= rounds; ++i) {
    if (first) theirs.put(i);
    EXPECT_EQ(mine.get(), i);
    if (!first) theirs.put(i);
  }
}

class SchedPark : public testing::TestWithParam<unsigned> {
 protected:
  tern::runtime rt{{.processors = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(Processors, SchedPark, testing::Values(1u, 2u, 4u));

TEST_P(SchedPark, FibersPingPong) {
  rt.run([] {
    mailbox a;
    mailbox b;
    tern::thread t{[&] { ping_pong(a, b, 20'000, false); }};
    ping_pong(b, a, 20'000, true);
    t.join();
  });
}

TEST_P(SchedPark, AFiberAndAPlainThreadPingPong) {
  mailbox a;
  mailbox b;
  tern::thread t = rt.spawn([&] { ping_pong(a, b, 2'000, false); });
  ping_pong(b, a, 2'000, true);
  t.join();
}

TEST(SchedParkThreads, TwoPlainThreadsPingPongWithoutARuntime) {
  mailbox a;
  mailbox b;
  std::thread t{[&] { ping_pong(a, b, 2'000, false); }};
  ping_pong(b, a, 2'000, true);
  t.join();
}

TEST_P(SchedPark, CommitCanTakeTheParkBack) {
  const auto body = [] {
    for (int i = 0; i < 100; ++i) {
      for (const waiter_kind kind : {waiter_kind::single, waiter_kind::multi}) {
        waiter w{"test", nullptr, kind};
        park(w, [](waiter&, void*) noexcept -> bool { return false; });
        EXPECT_FALSE(w.state.is_parked());
      }
    }
  };
  rt.run(body);
  body();
}

TEST_P(SchedPark, AWakeBeforeTheParkIsNotLost) {
  const auto body = [] {
    for (int i = 0; i < 100; ++i) {
      waiter w{"test", nullptr, waiter_kind::multi};
      EXPECT_TRUE(unpark(w));
      EXPECT_FALSE(unpark(w)) << "ended already";
      park(w);
      w.rearm();
      EXPECT_TRUE(unpark(w));
      EXPECT_EQ(park_until(w, os::now() + 1'000'000'000), wake_reason::notified);
    }
  };
  rt.run(body);
  body();
}

TEST_P(SchedPark, ADeadlineEndsTheWait) {
  const auto body = [] {
    const auto begin = os::now();
    waiter w{"test", nullptr, waiter_kind::multi};
    EXPECT_EQ(park_until(w, begin + 2'000'000), wake_reason::timed_out);
    EXPECT_GE(os::now(), begin + 2'000'000);
    EXPECT_FALSE(unpark(w));
    w.rearm();
    EXPECT_EQ(park_until(w, begin), wake_reason::timed_out) << "a deadline in the past";
  };
  rt.run(body);
  body();
}

// A waker and a deadline race for each wait: the reports of both sides must agree.
TEST_P(SchedPark, ExactlyOneOfWakeAndTimeoutWins) {
  const std::uint64_t seed = tern_test::seed();
  const int rounds = tern_test::scale(3'000);
  const auto body = [&](auto&& start) {
    struct shared {
      std::atomic<waiter*> current{nullptr};
      std::atomic<bool> stop{false};
      std::atomic<long> won{0};
      std::atomic<bool> refused{false};
    } s;
    auto waker = start([&s] {
      while (!s.stop) {
        // Takes the waiter away, so that its owner can wait until it is given back.
        if (waiter* w = s.current.exchange(nullptr)) {
          if (unpark(*w))
            ++s.won;
          else
            s.refused = true;  // too late: tell that the waiter is no longer used
        } else {
          tern::this_thread::yield();
        }
      }
    });
    fast_random random{seed};
    long notified = 0;
    for (int i = 0; i < rounds; ++i) {
      waiter w{"test", nullptr, waiter_kind::multi};
      s.current = &w;
      const auto deadline = os::now() + static_cast<os::nanoseconds>(random.below(40'000));
      const wake_reason r = park_until(w, deadline);
      if (r == wake_reason::notified) {
        ++notified;
      } else {
        // Either the waker has not taken it, or it has and says so when it is done with it.
        waiter* mine = &w;
        if (!s.current.compare_exchange_strong(mine, nullptr)) {
          while (!s.refused.exchange(false)) tern::this_thread::yield();
        }
      }
    }
    s.stop = true;
    waker.join();
    EXPECT_EQ(s.won.load(), notified);
  };
  rt.run([&] { body([](auto f) { return tern::thread{f}; }); });
  body([&](auto f) { return rt.spawn(f); });  // a plain thread waits, a fiber wakes
  rt.run([&] { body([](auto f) { return std::thread{f}; }); });
}

TEST_P(SchedPark, SleepIsNeverShort) {
  rt.run([] {
    std::vector<tern::thread> all;
    for (int i = 0; i < 50; ++i)
      all.emplace_back([i] {
        const auto begin = std::chrono::steady_clock::now();
        const auto want = std::chrono::microseconds(100 * i);
        tern::this_thread::sleep_for(want);
        EXPECT_GE(std::chrono::steady_clock::now() - begin, want);
        const auto until = std::chrono::system_clock::now() + 1ms;
        tern::this_thread::sleep_until(until);
        EXPECT_GE(std::chrono::system_clock::now(), until);
      });
    for (auto& t : all) t.join();
    tern::this_thread::sleep_for(-1s);
  });
  // One for each time that is above zero; those on the system's clock may have come before their wait began.
  EXPECT_GE(rt.statistics().total.timers_fired, 49u);
}

}  // namespace

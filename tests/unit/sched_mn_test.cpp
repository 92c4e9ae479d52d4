// The scheduler is M:N in truth: work is stolen both ways, fibers migrate, a blocked worker's processor is taken over, hogs do not
// stop the others, runtimes can be restarted and live side by side.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include <tern/os/thread.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

// Computes for at least `d` without a scheduling point.
void hog_for(clock_type::duration d) {
  const auto end = clock_type::now() + d;
  while (clock_type::now() < end) {
  }
}

constexpr auto patience = 60s;

template <class F>
bool eventually(F&& condition) {
  const auto end = clock_type::now() + patience;
  while (!condition()) {
    if (clock_type::now() > end) return false;
    tern::this_thread::yield();
  }
  return true;
}

TEST(SchedMn, TenThousandFibersOnTwoWorkersAreStolenBothWays) {
  tern::runtime rt{{.processors = 2}};
  std::set<int> threads;
  tern::detail::spin_lock<> lock;
  std::atomic<int> ended{0};
  bool both = false;
  const int count = tern_test::scale(10'000);  // fewer under emulation, where a pool holds 8,192 slots
  // Every round gives each processor the chance to run dry first; a loaded machine may need several.
  while (!both) {
    rt.run([&] {
      std::vector<tern::thread> all;
      all.reserve(static_cast<std::size_t>(count));
      for (int i = 0; i < count; ++i)
        all.emplace_back([&, i] {
          volatile int x = 0;
          for (int k = 0; k < (i % 64) * 20; ++k) x = x + 1;
          if (i % 3 == 0) tern::this_thread::yield();
          if (i % 100 == 0) {
            tern::detail::lock_scope hold{lock};
            threads.insert(tern::detail::os::thread_id());
          }
          ++ended;
        });
      for (auto& t : all) t.join();
    });
    EXPECT_EQ(ended.exchange(0), count);
    const auto s = rt.statistics();
    both = s.processors[0].stolen > 0 && s.processors[1].stolen > 0 && threads.size() >= 2;
  }
  const auto s = rt.statistics();
  EXPECT_EQ(s.total.spawned, s.total.finished);
  EXPECT_EQ(s.live_fibers, 0u);
  RecordProperty("stolen_by_0", static_cast<int>(s.processors[0].stolen));
  RecordProperty("stolen_by_1", static_cast<int>(s.processors[1].stolen));
}

TEST(SchedMn, AFiberIsResumedOnAnotherWorkerThanItParkedOn) {
  tern::runtime rt{{.processors = 2}};
  rt.run([&] {
    std::atomic<bool> migrated{false};
    std::vector<tern::thread> all;
    for (int i = 0; i < 8; ++i)
      all.emplace_back([&] {
        const auto end = clock_type::now() + patience;
        while (!migrated && clock_type::now() < end) {
          const int before = tern::detail::os::thread_id();
          tern::this_thread::sleep_for(50us);
          if (tern::detail::os::thread_id() != before) migrated = true;
          hog_for(30us);
        }
      });
    for (auto& t : all) t.join();
    EXPECT_TRUE(migrated);
  });
}

// A fiber that has just been woken is left to its waker, who is about to wait: taken by an idle processor it would come back with the next
// message, and each would cost what moving between CPUs costs. It is taken where the waker goes on for 20 us, or has lost its CPU.
TEST(SchedMn, AFiberThatWasJustWokenIsNotStolen) {
  using namespace tern::detail;
  constexpr os::nanoseconds begin = 1'000'000;
  processor thief, victim, other;
  tern::runtime rt{{.processors = 1}};
  rt.run([&] {
    fiber* const woken = current_fiber();  // any fiber: nothing runs it
    run_next_watch watch;
    const auto steal = [&](processor& from, os::nanoseconds at) {
      return steal_run_next(thief, from, watch, begin + at);
    };
    EXPECT_EQ(steal(victim, 0), nullptr) << "there is none";
    victim.run_next.fill(woken);
    EXPECT_EQ(steal(victim, 0), nullptr) << "the first look";
    EXPECT_EQ(steal(victim, run_next_patience - 1), nullptr);
    victim.tick.store(1);
    EXPECT_EQ(steal(victim, run_next_patience), nullptr) << "another fiber runs since then: a new count";
    other.run_next.fill(woken);
    EXPECT_EQ(steal(other, 10 * run_next_patience), nullptr) << "another processor is watched";
    EXPECT_EQ(victim.run_next.take(), woken);
    EXPECT_EQ(steal(victim, 2 * run_next_patience), nullptr) << "its waker has run it";
    victim.run_next.fill(woken);
    EXPECT_EQ(steal(victim, 3 * run_next_patience), nullptr) << "a new count";
    EXPECT_EQ(thief.counters.stolen_next.load(), 0u);
    EXPECT_EQ(steal(victim, 4 * run_next_patience), woken);
    EXPECT_EQ(victim.run_next.look(), nullptr);
    EXPECT_EQ(thief.counters.stolen_next.load(), 1u);
  });
}

// The same of what lies in a queue: each look begins a new count where all that the last one was about has left.
TEST(SchedMn, AFiberInAQueueIsLeftForAMoment) {
  using namespace tern::detail;
  processor p;
  constexpr std::int64_t us = 1024, begin = 1'000'000 * us;
  constexpr auto limit = static_cast<std::int64_t>(processor::queue_patience) * us;
  EXPECT_FALSE(p.queue_waits({.head = 5, .tail = 7}, begin));
  EXPECT_FALSE(p.queue_waits({.head = 6, .tail = 9}, begin + limit - us)) << "the last of the two is there";
  EXPECT_TRUE(p.queue_waits({.head = 6, .tail = 9}, begin + limit));
  EXPECT_FALSE(p.queue_waits({.head = 7, .tail = 9}, begin + limit)) << "both have left: a new count";
  EXPECT_FALSE(p.queue_waits({.head = 8, .tail = 9}, begin + 2 * limit - us));
  EXPECT_TRUE(p.queue_waits({.head = 8, .tail = 9}, begin + 2 * limit));
}

TEST(SchedMn, ABlockedWorkersProcessorIsTakenOver) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  for (bool shown = false; !shown;) {
    tern::runtime rt{{.processors = 1}};
    rt.run([&] {
      std::atomic<bool> wrote{false};
      tern::thread reader{[&] {
        char c = 0;
        // With one processor the writer can only run if this one's is given away.
        const auto n = tern::blocking([&] { return ::read(ends[0], &c, 1); });
        EXPECT_EQ(n, 1);
        EXPECT_EQ(c, 'x');
        EXPECT_TRUE(wrote);
      }};
      tern::thread writer{[&] {
        tern::this_thread::yield();
        wrote = true;
        EXPECT_EQ(::write(ends[1], "x", 1), 1);
      }};
      reader.join();
      writer.join();
    });
    const auto s = rt.statistics();
    EXPECT_GE(s.total.blocking_calls, 1u);
    // A worker that has lost its CPU for 10 ms looks like a hog, and gets company, which may run the writer.
    if (s.extra_processors_added != 0) continue;
    EXPECT_GE(s.total.handed_off, 1u) << s.text();
    EXPECT_GE(s.workers, 2u);
    shown = true;
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(SchedMn, TimersOfALentProcessorKeepNobodyBusy) {
  tern::runtime rt{{.processors = 2}};
  const auto sleeps = [&] { return rt.statistics().total.sleeps; };
  std::atomic<bool> inside{false};
  tern::thread t = rt.spawn([&] {
    tern::thread sleeper{[] { tern::this_thread::sleep_for(700ms); }};
    tern::this_thread::yield();
    tern::blocking([&] {
      inside = true;
      std::this_thread::sleep_for(500ms);
    });
    sleeper.join();
  });
  while (!inside.load()) std::this_thread::sleep_for(1ms);
  const auto before = sleeps();
  std::this_thread::sleep_for(300ms);
  EXPECT_LT(sleeps() - before, 100u) << "a processor that has nothing to do looks again and again";
  t.join();
}

// The hog ends only when the fiber has run whose timer its own processor has.
TEST(SchedMn, TimersOfABusyProcessorFireOnAnIdleOne) {
  tern::runtime rt{{.processors = 2}};
  rt.run([&] {
    for (int shown = 0; shown < 20;) {
      const auto extra = rt.statistics().extra_processors_added;
      std::atomic<bool> woken{false};
      tern::thread sleeper{[&] {
        tern::this_thread::sleep_for(2ms);
        woken = true;
      }};
      tern::this_thread::yield();
      // It may have been stolen before it slept.
      const bool here = tern::detail::current_processor()->timers.earliest() != tern::detail::os::never;
      while (!woken) {
      }
      sleeper.join();
      // Else it may have been that one. A worker that is kept off its CPU for 10 ms looks like a hog of so long.
      if (here && rt.statistics().extra_processors_added == extra) ++shown;
    }
  });
}

TEST(SchedMn, ShortBlockingCallsWakeNobodyForADistantTimer) {
  tern::runtime rt{{.processors = 2}};
  int woke = 0, calls = 0;
  rt.run([&] {
    tern::detail::scheduler& s = tern::detail::current_fiber()->runtime();
    tern::channel<int> never;
    std::vector<tern::thread> sleepers;
    const auto the_other_sleeps = [&] {
      while (s.idle_.awake() != 1 || s.idle_.searching() != 0) ::usleep(50);
    };
    while (calls < 100) {
      // Whichever processor this fiber is on by now has the timer.
      if (tern::detail::current_processor()->timers.earliest() == tern::detail::os::never) {
        sleepers.emplace_back([&] { static_cast<void>(never.receive_for(1h)); });
        tern::this_thread::yield();
        continue;
      }
      the_other_sleeps();
      const auto before = rt.statistics().total.sleeps;
      tern::blocking([] {});
      ++calls;
      const bool is_awake = s.idle_.awake() != 1;
      the_other_sleeps();
      if (is_awake || rt.statistics().total.sleeps != before) ++woke;
    }
    never.close();
  });
  // Each, if it were for the timer; the monitor may have its reasons now and then.
  EXPECT_LT(woke, calls / 2);
}

TEST(SchedMn, WorkThatArrivesWhileAllProcessorsAreLentIsRun) {
  tern::runtime rt{{.processors = 2}};
  std::atomic<int> inside{0};
  std::atomic<bool> go{false};
  std::vector<tern::thread> blocked;
  for (int i = 0; i < 2; ++i)
    blocked.push_back(rt.spawn([&] {
      tern::blocking([&] {
        ++inside;
        while (!go) ::usleep(100);
      });
    }));
  while (inside != 2) ::usleep(100);
  // Nobody holds a processor now: this must adopt a lent one.
  EXPECT_EQ(rt.run([] { return 5; }), 5);
  // A timer on a lent processor's heap needs somebody to sleep for it.
  rt.run([] { tern::this_thread::sleep_for(2ms); });
  go = true;
  for (auto& t : blocked) t.join();
}

TEST(SchedMn, BlockingReturnsValuesAndExceptions) {
  tern::run([] {
    EXPECT_EQ(tern::blocking([] { return 7; }), 7);
    EXPECT_THROW(tern::blocking([]() -> int { throw std::runtime_error("x"); }), std::runtime_error);
    std::atomic<int> n{0};
    std::vector<tern::thread> all;
    for (int i = 0; i < 30; ++i)
      all.emplace_back([&] {
        for (int k = 0; k < 20; ++k) {
          tern::blocking([&] { ++n; });
          if (k % 5 == 0) tern::this_thread::yield();
        }
      });
    for (auto& t : all) t.join();
    EXPECT_EQ(n.load(), 600);
  });
  EXPECT_EQ(tern::blocking([] { return 8; }), 8) << "on a plain thread it is a call";
}

TEST(SchedMn, HogsOnEveryProcessorDoNotStopTheOthers) {
  tern::runtime rt{{.processors = 2}};
  rt.run([&] {
    std::atomic<bool> stop{false};
    std::atomic<int> others{0};
    std::atomic<int> hogging{0};
    std::vector<tern::thread> hogs;
    for (int i = 0; i < 2; ++i)
      hogs.emplace_back([&] {
        ++hogging;
        while (!stop) {
        }
      });
    // Once both run, only an extra processor lets this fiber go on.
    while (hogging != 2) tern::this_thread::sleep_for(1ms);
    std::vector<tern::thread> all;
    for (int i = 0; i < 100; ++i)
      all.emplace_back([&] {
        tern::this_thread::yield();
        ++others;
      });
    for (auto& t : all) t.join();
    EXPECT_EQ(others.load(), 100);
    stop = true;
    for (auto& t : hogs) t.join();
  });
  EXPECT_GE(rt.statistics().extra_processors_added, 1u);
  EXPECT_LE(rt.statistics().workers, 2u + 2u + 1u) << "processors, extra ones, a spare under way";
  // Extra ones retire once nothing hogs: the regular number serves again.
  rt.run([] {
    std::atomic<int> n{0};
    for (int round = 0; round < 20; ++round) {
      tern::nursery nu;
      for (int i = 0; i < 50; ++i) nu.spawn([&] { ++n; });
      nu.wait();
      tern::this_thread::sleep_for(2ms);
    }
    EXPECT_EQ(n.load(), 1000);
  });
}

TEST(SchedMn, ExtraProcessorsRetire) {
  tern::runtime rt{{.processors = 1}};
  for (int round = 0; round < 3; ++round)
    rt.run([&] {
      std::atomic<bool> stop{false};
      tern::thread hog{[&] {
        while (!stop) {
        }
      }};
      tern::this_thread::sleep_for(1ms);  // another fiber must end the hog
      tern::thread t{[&] { stop = true; }};
      t.join();
      hog.join();
      EXPECT_TRUE(eventually([&] {
        tern::this_thread::sleep_for(1ms);
        int used = 0;
        tern::detail::for_each_processor([&](tern::detail::processor& p) { used += p.extra ? 1 : 0; });
        return used == 0;
      }));
    });
  EXPECT_GE(rt.statistics().extra_processors_added, 3u);
}

TEST(SchedMn, YieldingFibersDoNotStarveTimersAndInjectedWork) {
  tern::runtime rt{{.processors = 1}};
  std::atomic<bool> stop{false};
  std::vector<tern::thread> busy;
  for (int i = 0; i < 3; ++i)
    busy.push_back(rt.spawn([&] {
      while (!stop) tern::this_thread::yield();
    }));
  EXPECT_EQ(rt.run([] { return 1; }), 1) << "injected";
  rt.run([] { tern::this_thread::sleep_for(1ms); });
  stop = true;
  for (auto& t : busy) t.join();
}

TEST(SchedMn, RestartInOneProcess) {
  for (int i = 0; i < 30; ++i) {
    const int n = tern::run(tern::runtime_options{.processors = 1u + static_cast<unsigned>(i % 3)}, [i] {
      int sum = 0;
      tern::thread t{[&] { sum += i; }};
      t.join();
      return sum;
    });
    EXPECT_EQ(n, i);
  }
}

TEST(SchedMn, TwoRuntimesAtOnceAndNested) {
  tern::runtime a{{.processors = 2, .name = "a"}};
  tern::runtime b{{.processors = 1, .name = "b"}};
  std::atomic<int> n{0};
  a.run([&] {
    tern::nursery nu;
    for (int i = 0; i < 20; ++i)
      nu.spawn([&] {
        // The fiber of a waits for one of b, which is run by b's workers.
        n += b.run([&] {
          tern::this_thread::yield();
          return 1;
        });
      });
    nu.wait();
  });
  EXPECT_EQ(n.load(), 20);
  EXPECT_EQ(b.statistics().total.finished, 20u);
}

TEST(SchedMn, RunFromSeveralThreadsAtOnce) {
  tern::runtime rt{{.processors = 2}};
  std::atomic<int> sum{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) sum += rt.run([] { return 1; });
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(sum.load(), 300);
}

TEST(SchedMn, AHundredThousandFibersLeaveNothing) {
#if TERN_TSAN
  const int count = 4'000;  // clang's TSan bears about 20,000 at once
#else
  const int count = tern_test::scale(100'000);
#endif
  tern::runtime rt{{.processors = 2}};
  std::atomic<int> n{0};
  rt.run([&] {
    for (int batch = 0; batch < 10; ++batch) {
      tern::nursery nu;
      for (int i = 0; i < count / 10; ++i) nu.spawn([&] { ++n; });
      nu.wait();
    }
  });
  EXPECT_EQ(n.load(), count);
  // A nursery waits for what its fibers do; the last may still be on its way out. One that stays lets this test time out.
  while (rt.statistics().live_fibers != 0) std::this_thread::yield();
}

TEST(SchedMn, CountersHaveATextForm) {
  tern::runtime rt{{.processors = 2}};
  rt.run([] { tern::thread{[] {}}.join(); });
  const auto s = rt.statistics();
  EXPECT_EQ(s.total.spawned, 2u);
  EXPECT_NE(s.text().find("processor 1:"), std::string::npos);
  EXPECT_NE(s.text().find("spawned=2"), std::string::npos) << s.text();
}

TEST(SchedMn, ImpossibleOptionsThrow) {
  EXPECT_THROW(tern::runtime({.processors = 1000}), std::system_error);
  EXPECT_THROW(tern::runtime({.processors = 1, .stack_size = 1u << 30}), std::system_error);
}

}  // namespace

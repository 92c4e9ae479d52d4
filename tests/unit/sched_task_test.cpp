// task<T> as its users see it: results, exceptions, waits, timers, channels, joins from everywhere, calls that park a carrier, misuse, what a
// million parked ones cost, and a seeded mix. TERN_PARKED=N sets the number of parked ones.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/error_of.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;
using tern_test::error_of;

class SchedTask : public testing::TestWithParam<unsigned> {
 protected:
  tern::runtime rt{{.processors = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(Processors, SchedTask, testing::Values(1u, 2u, 4u));

tern::task<int> one() { co_return 1; }
tern::task<int> sum_to(int n) {
  if (n == 0) co_return 0;
  if (n % 3 == 0) co_await tern::this_task::yield();
  co_return n + co_await sum_to(n - 1);
}
tern::task<> fails() {
  co_await tern::this_task::yield();
  throw std::runtime_error("from the task");
}
tern::task<std::unique_ptr<int>> owned() { co_return std::make_unique<int>(3); }
tern::task<int&> same(int& x) { co_return x; }
tern::task<> wait_for(tern::channel<int>& gate) { static_cast<void>(co_await tern::async_receive(gate)); }

tern::task<int> catches() {
  int caught = 0;
  try {
    co_await fails();
  } catch (const std::runtime_error&) {
    ++caught;
  }
  auto h = tern::spawn_task(fails());
  try {
    co_await std::move(h);
  } catch (const std::runtime_error&) {
    ++caught;
  }
  co_return caught + co_await tern::spawn_task(sum_to(4));
}

TEST_P(SchedTask, ResultsAndExceptionsCross) {
  rt.run([] {
    EXPECT_EQ(tern::spawn_task(one()).join(), 1);
    EXPECT_EQ(sum_to(100).get(), 5050);
    EXPECT_EQ(*owned().get(), 3);
    int x = 0;
    EXPECT_EQ(&same(x).get(), &x);
    EXPECT_THROW(fails().get(), std::runtime_error);
    EXPECT_EQ(catches().get(), 12);
  });
  const auto s = rt.statistics();
  EXPECT_EQ(s.live_tasks, 0u);
  EXPECT_EQ(s.total.tasks_spawned, s.total.tasks_finished);
}

tern::task<int> loop(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await one();
  co_return sum;
}
tern::task<> chain(int depth) {
  if (depth > 0) co_await chain(depth - 1);
}

// Neither calls that follow each other nor calls in calls go deeper into a stack, at any optimisation.
TEST_P(SchedTask, AwaitingUsesNoStack) {
  const int n = tern::detail::tsan_build || tern_test::is_emulated() ? 20'000 : 200'000;
  rt.run([n] {
    EXPECT_EQ(loop(n).get(), n);
    chain(n / 10).get();
  });
}

TEST_P(SchedTask, MisuseHasOneOutcomeEach) {
  EXPECT_EQ(error_of([] { static_cast<void>(one().get()); }), std::errc::operation_not_permitted);
  EXPECT_EQ(error_of([] { static_cast<void>(tern::spawn_task(one())); }), std::errc::operation_not_permitted);
  rt.run([] {
    tern::task_handle<> none;
    EXPECT_FALSE(none.joinable());
    EXPECT_EQ(error_of([&] { none.join(); }), std::errc::invalid_argument);
    EXPECT_EQ(error_of([&] { none.detach(); }), std::errc::invalid_argument);
    auto h = tern::spawn_task(one());
    EXPECT_EQ(h.join(), 1);
    EXPECT_FALSE(h.joinable());
    EXPECT_EQ(error_of([&] { static_cast<void>(h.join()); }), std::errc::invalid_argument) << "joined twice";

    auto t = one();
    EXPECT_TRUE(t.valid());
    EXPECT_EQ(std::move(t).get(), 1);
    EXPECT_FALSE(t.valid());  // NOLINT: that is what is asked
    EXPECT_EQ(error_of([&] { static_cast<void>(std::move(t).get()); }), std::errc::invalid_argument)
        << "got twice";
    struct body {
      static tern::task<int> twice() {
        auto inner = one();
        int n = co_await std::move(inner);
        try {
          n += 100 * co_await std::move(inner);
        } catch (const std::system_error& e) {
          if (e.code() == std::errc::invalid_argument) n += 10;
        }
        auto joined = tern::spawn_task(one());
        n += co_await std::move(joined);
        try {
          n += 100 * co_await std::move(joined);
        } catch (const std::system_error& e) {
          if (e.code() == std::errc::invalid_argument) n += 10;
        }
        co_return n;
      }
    };
    EXPECT_EQ(body::twice().get(), 22) << "awaited twice";
  });
}

TEST_P(SchedTask, DestroyedBeforeItsStartItRunsNothing) {
  const auto alive = std::make_shared<int>(0);
  struct body {
    static tern::task<> run(std::shared_ptr<int> p) {
      ++*p;
      co_return;
    }
  };
  {
    const auto unused = body::run(alive);
    auto replaced = body::run(alive);
    EXPECT_EQ(alive.use_count(), 3);
    replaced = body::run(alive);
    EXPECT_EQ(alive.use_count(), 3);
  }
  EXPECT_EQ(error_of([&] { static_cast<void>(tern::spawn_task(body::run(alive))); }),
            std::errc::operation_not_permitted);
  EXPECT_EQ(alive.use_count(), 1);
  EXPECT_EQ(*alive, 0);
  rt.run([&] { body::run(alive).get(); });
  EXPECT_EQ(*alive, 1);
  EXPECT_EQ(alive.use_count(), 1) << "the frame of a joined task is freed";
}

TEST_P(SchedTask, TheRuntimeWaitsForDetachedTasks) {
  std::atomic<int> ended{0};
  struct body {
    static tern::task<> run(std::atomic<int>& ended) {
      co_await tern::this_task::sleep_for(2ms);
      co_await tern::this_task::yield();
      ++ended;
    }
  };
  {
    tern::runtime own{{.processors = GetParam()}};
    own.run([&] {
      for (int i = 0; i < 50; ++i) tern::spawn_task(body::run(ended)).detach();
    });
  }
  EXPECT_EQ(ended.load(), 50);
}

TEST_P(SchedTask, StartedAndJoinedByAPlainThread) {
  EXPECT_EQ(tern::spawn_task(rt, sum_to(10)).join(), 55);
  tern::task_handle<int> h;
  rt.run([&] { h = tern::spawn_task(sum_to(10)); });
  EXPECT_EQ(h.join(), 55);
  EXPECT_THROW(tern::spawn_task(rt, fails()).join(), std::runtime_error);
  tern::runtime other{{.processors = 1}};
  other.run(
      [&] { EXPECT_EQ(tern::spawn_task(rt, sum_to(20)).join(), 210) << "by a fiber of another runtime"; });
}

TEST_P(SchedTask, StartedInsideBlocking) {
  rt.run([] { EXPECT_EQ(tern::blocking([] { return tern::spawn_task(sum_to(10)); }).join(), 55); });
}

TEST_P(SchedTask, SleepsAtLeastAsLongAsAsked) {
  struct body {
    static tern::task<bool> sleep(std::chrono::microseconds d) {
      const auto begin = std::chrono::steady_clock::now();
      co_await tern::this_task::sleep_for(d);
      co_return std::chrono::steady_clock::now() - begin >= d;
    }
  };
  rt.run([] {
    std::vector<tern::task_handle<bool>> all;
    for (int i = -1; i < 200; ++i)
      all.push_back(tern::spawn_task(body::sleep(std::chrono::microseconds{50 * i})));
    for (auto& h : all) EXPECT_TRUE(h.join());
  });
}

// Each waits for the other by turning in a circle, so the second must be taken from the first one's processor. With one processor the
// monitor adds another.
TEST_P(SchedTask, AReadyTaskIsStolenFromBehindAHog) {
  struct body {
    static tern::task<std::thread::id> meet(std::atomic<int>& arrived) {
      const auto here = std::this_thread::get_id();
      ++arrived;
      while (arrived.load() < 2) {
      }
      co_return here;
    }
  };
  rt.run([] {
    std::atomic<int> arrived{0};
    auto a = tern::spawn_task(body::meet(arrived));
    auto b = tern::spawn_task(body::meet(arrived));
    EXPECT_NE(a.join(), b.join());
  });
}

// Tasks that wait nowhere but on each other are spread over the processors.
TEST_P(SchedTask, ManyTasksUseAllProcessors) {
  if (GetParam() == 1) GTEST_SKIP() << "there is no other processor";
  struct body {
    static tern::task<> work(std::atomic<std::uint64_t>& sum, std::atomic<unsigned>& processors) {
      for (int i = 0; i < 20; ++i) {
        processors |= 1u << tern::detail::current_processor()->index;
        std::uint64_t x = 1;
        for (int k = 0; k < 2'000; ++k) x = x * 6364136223846793005u + 1;
        sum += x & 1;
        co_await tern::this_task::yield();
      }
    }
  };
  std::atomic<unsigned> processors{0};  // a bit each
  // Again where the machine has run the other processors' threads too late. For ever, if they take nothing.
  while (std::popcount(processors.load()) < 2)
    rt.run([&] {
      std::atomic<std::uint64_t> sum{0};
      std::vector<tern::task_handle<>> all;
      for (int i = 0; i < 500; ++i) all.push_back(tern::spawn_task(body::work(sum, processors)));
      for (auto& h : all) h.join();
    });
}

TEST_P(SchedTask, ACancelledJoinKeepsTheHandle) {
  tern::channel<int> gate;
  rt.run([&] {
    auto h = tern::spawn_task(wait_for(gate));
    bool was_cancelled = false;
    tern::nursery n;
    n.spawn([&] {
      try {
        h.join();
      } catch (const tern::cancelled&) {
        was_cancelled = true;
        throw;
      }
    });
    tern::this_thread::sleep_for(2ms);
    n.cancel();
    n.wait();
    EXPECT_TRUE(was_cancelled);
    EXPECT_TRUE(h.joinable());
    gate.close();
    h.join();
  });
}

// Nobody else has the handle: the outcome would be lost, and an exception would end the process.
TEST_P(SchedTask, ACancelledGetKeepsTheOutcome) {
  rt.run([] {
    tern::channel<int> gate;
    const auto later = [](tern::channel<int>& g) -> tern::task<int> {
      static_cast<void>(co_await tern::async_receive(g));
      throw std::runtime_error("from the task");
    };
    bool caught = false;
    tern::nursery n;
    n.spawn([&] {
      try {
        static_cast<void>(later(gate).get());
      } catch (const std::runtime_error&) {
        caught = true;
      }
    });
    tern::this_thread::sleep_for(2ms);
    n.cancel();
    gate.close();
    n.wait();
    EXPECT_TRUE(caught);
  });
}

TEST_P(SchedTask, ChannelsBetweenTasksFibersAndThreads) {
  tern::channel<int> there{0};
  tern::channel<int> back{2};
  struct body {
    static tern::task<int> echo(tern::channel<int>& from, tern::channel<int>& to) {
      int n = 0;
      while (auto v = co_await tern::async_receive(from)) {
        co_await tern::async_send(to, *v + 1);
        ++n;
      }
      co_return n;
    }
    static tern::task<> send_to_closed(tern::channel<int>& c) { co_await tern::async_send(c, 1); }
  };
  rt.run([&] {
    auto h = tern::spawn_task(body::echo(there, back));
    for (int i = 0; i < 300; ++i) {
      there.send(i);
      EXPECT_EQ(*back.receive(), i + 1);
    }
    std::thread outside([&] {
      for (int i = 0; i < 100; ++i) {
        there.send(i);
        EXPECT_EQ(*back.receive(), i + 1);
      }
      there.close();
    });
    EXPECT_EQ(h.join(), 400);
    outside.join();
    EXPECT_THROW(tern::spawn_task(body::send_to_closed(there)).join(), tern::channel_closed);
    tern::channel<int> full{0};
    auto waiting = tern::spawn_task(body::send_to_closed(full));
    tern::this_thread::yield();
    full.close();
    EXPECT_THROW(waiting.join(), tern::channel_closed);
  });
}

// A task that waits as a fiber does keeps its carrier; the other tasks get another.
TEST_P(SchedTask, ATaskMayParkItsCarrier) {
  struct body {
    static tern::task<> block(tern::semaphore& s) {
      s.acquire();
      co_return;
    }
    static tern::task<> open(tern::semaphore& s) {
      co_await tern::this_task::yield();
      s.release();
    }
    static tern::task<int> everything(tern::mutex& m) {
      int n = 0;
      {
        const std::lock_guard hold{m};
        tern::this_thread::sleep_for(100us);
        ++n;
      }
      co_await tern::this_task::yield();
      tern::thread t{[&n] { ++n; }};
      t.join();
      co_await tern::this_task::sleep_for(10us);
      n += tern::blocking([] { return 1; });
      n += tern::spawn_task(one()).join();
      co_return n;
    }
  };
  rt.run([] {
    tern::semaphore s{0};
    std::vector<tern::task_handle<>> all;
    for (int i = 0; i < 20; ++i) all.push_back(tern::spawn_task(body::block(s)));
    for (int i = 0; i < 20; ++i) all.push_back(tern::spawn_task(body::open(s)));
    for (auto& h : all) h.join();
    tern::mutex m;
    std::vector<tern::task_handle<int>> more;
    for (int i = 0; i < 20; ++i) more.push_back(tern::spawn_task(body::everything(m)));
    for (auto& h : more) EXPECT_EQ(h.join(), 4);
  });
  EXPECT_EQ(rt.statistics().live_tasks, 0u);
}

// One task that awaits others for ever and never waits leaves the others their turns.
TEST_P(SchedTask, ATaskThatNeverWaitsStarvesNobody) {
  struct body {
    static tern::task<> spin(std::atomic<bool>& stop) {
      while (!stop.load(std::memory_order_relaxed)) static_cast<void>(co_await one());
    }
    static tern::task<> set(std::atomic<bool>& stop) {
      for (int i = 0; i < 50; ++i) co_await tern::this_task::yield();
      stop.store(true, std::memory_order_relaxed);
    }
  };
  rt.run([] {
    std::atomic<bool> stop{false};
    std::vector<tern::task_handle<>> all;
    for (int i = 0; i < 8; ++i) all.push_back(tern::spawn_task(body::spin(stop)));
    all.push_back(tern::spawn_task(body::set(stop)));
    for (auto& h : all) h.join();
    stop.store(false);
    auto alone = tern::spawn_task(body::spin(stop));
    tern::thread{[&] {
      for (int i = 0; i < 50; ++i) tern::this_thread::yield();
      stop.store(true);
    }}.join();
    alone.join();
  });
}

// Neither tasks nor fibers starve where both yield for ever, and carriers do not pile up.
TEST_P(SchedTask, TasksAndFibersTakeTurns) {
  struct body {
    static tern::task<> spin(std::atomic<bool>& stop) {
      while (!stop.load(std::memory_order_relaxed)) co_await tern::this_task::yield();
    }
    static tern::task<> set(std::atomic<bool>& stop) {
      for (int i = 0; i < 200; ++i) co_await tern::this_task::yield();
      stop.store(true, std::memory_order_relaxed);
    }
  };
  rt.run([] {
    std::atomic<bool> stop{false};
    std::vector<tern::task_handle<>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(tern::spawn_task(body::spin(stop)));
    std::vector<tern::thread> fibers;
    for (int i = 0; i < 5; ++i)
      fibers.emplace_back([&] {
        while (!stop.load(std::memory_order_relaxed)) tern::this_thread::yield();
      });
    tasks.push_back(tern::spawn_task(body::set(stop)));
    for (auto& t : tasks) t.join();
    for (auto& f : fibers) f.join();
  });
  EXPECT_LT(rt.statistics().total.spawned, 2000u);
}

TEST_P(SchedTask, MoreThanTheRingHolds) {
  struct body {
    static tern::task<> run(std::atomic<int>& n, tern::channel<int>& gate) {
      ++n;
      static_cast<void>(co_await tern::async_receive(gate));
      ++n;
    }
  };
  rt.run([] {
    std::atomic<int> n{0};
    tern::channel<int> gate{0};
    std::vector<tern::task_handle<>> all;
    for (int i = 0; i < 3000; ++i) all.push_back(tern::spawn_task(body::run(n, gate)));
    while (n.load() < 3000) tern::this_thread::yield();
    gate.close();
    for (auto& h : all) h.join();
    EXPECT_EQ(n.load(), 6000);
  });
}

tern::task<std::uint64_t> mix(std::uint64_t seed, unsigned depth, tern::mutex& m, tern::channel<int>& c) {
  tern::detail::fast_random random{seed};
  switch (random.below(8)) {
    case 0: co_await tern::this_task::yield(); break;
    case 1: co_await tern::this_task::sleep_for(std::chrono::microseconds{random.below(100)}); break;
    case 2: {
      m.lock();
      tern::this_thread::yield();
      m.unlock();
      break;
    }
    case 3: co_await tern::async_send(c, 1); break;
    case 4: static_cast<void>(co_await tern::async_receive(c)); break;
    case 5: tern::blocking([] {}); break;
    default: break;
  }
  if (depth == 0) co_return 1;
  auto h = tern::spawn_task(mix(seed * 3 + 1, depth - 1, m, c));
  const std::uint64_t a = co_await mix(seed * 7 + 2, depth - 1, m, c);
  co_return a + co_await std::move(h);
}

TEST_P(SchedTask, RandomMix) {
  const unsigned depth = tern::detail::tsan_build || tern_test::is_emulated() ? 5 : 9;
  for (unsigned round = 0; round < 4; ++round) {
    const std::uint64_t seed = tern_test::seed() + round;
    const std::uint64_t n = rt.run([&] {
      tern::mutex m;
      tern::channel<int> c{2};
      std::atomic<bool> stop{false};
      // Whatever the tasks leave over: nobody waits on the channel for ever.
      tern::thread feeder{[&] {
        while (!stop.load()) {
          if (!c.try_send(1)) static_cast<void>(c.try_receive());
          tern::this_thread::yield();
        }
      }};
      const std::uint64_t r = tern::spawn_task(mix(seed, depth, m, c)).join();
      stop.store(true);
      feeder.join();
      return r;
    });
    EXPECT_EQ(n, std::uint64_t{1} << depth) << "seed " << seed;
  }
  EXPECT_EQ(rt.statistics().live_tasks, 0u);
}

// A claim of scheduler.md: a few hundred bytes each, a million at a time.
TEST(SchedTaskMemory, AMillionParked) {
  const bool measures = !tern::detail::asan_build && !tern::detail::tsan_build && !tern_test::is_emulated();
  const char* wanted = std::getenv("TERN_PARKED");
  const std::size_t count =
      wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : (measures ? 1'000'000 : 20'000);
  tern::run(tern::runtime_options{.processors = 2}, [&] {
    std::vector<tern::task_handle<>> all;
    all.reserve(count);
    tern::channel<int> gate;
    tern::wait_group arrived;
    arrived.add(static_cast<std::int32_t>(count));
    struct body {
      static tern::task<> wait(tern::wait_group& here, tern::channel<int>& gate) {
        here.done();
        static_cast<void>(co_await tern::async_receive(gate));
      }
    };
    const double before = tern_test::memory_now();
    for (std::size_t i = 0; i < count; ++i) all.push_back(tern::spawn_task(body::wait(arrived, gate)));
    arrived.wait();
    const double each = (tern_test::memory_now() - before) / static_cast<double>(count);
    std::printf("%zu parked tasks, %.0f bytes each (resident, page tables, handles)\n", count, each);
    if (measures && count >= 10'000) {
      EXPECT_LT(each, 400) << "bytes each";
    }
    gate.close();
    for (auto& h : all) h.join();
  });
}

class SchedTaskDeath : public testing::Test {
 protected:
  void SetUp() override {
    if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

TEST_F(SchedTaskDeath, ParkedTasksCountForTheDeadlockReport) {
  const auto body = [] {
    tern::run(tern::runtime_options{.processors = 2, .on_deadlock = tern::deadlock_policy::fatal}, [] {
      tern::channel<int> never;
      auto a = tern::spawn_task(wait_for(never));
      auto b = tern::spawn_task(wait_for(never));
      b.join();
    });
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(tern::deadlock_exit_status),
              "deadlock(.|\n)*waiting for task::join(.|\n)*1 fiber(.|\n)*2 task");
}

TEST_F(SchedTaskDeath, DetachedTasksThatWaitForEverAreReported) {
  const auto body = [] {
    static tern::channel<int> never;
    tern::run(tern::runtime_options{.processors = 1, .on_deadlock = tern::deadlock_policy::fatal},
              [] { tern::spawn_task(wait_for(never)).detach(); });
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(tern::deadlock_exit_status),
              "deadlock(.|\n)*0 fiber(.|\n)*1 task");
}

TEST_F(SchedTaskDeath, NoReportWhileATaskSleeps) {
  const auto body = [] {
    struct of {
      static tern::task<> sleep() { co_await tern::this_task::sleep_for(300ms); }
    };
    tern::run(tern::runtime_options{.processors = 1, .on_deadlock = tern::deadlock_policy::fatal},
              [] { of::sleep().get(); });
    std::exit(4);
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(4), "");
}

TEST_F(SchedTaskDeath, AnExceptionThatNobodyTakesTerminates) {
  EXPECT_DEATH(tern::run([] { tern::spawn_task(fails()).detach(); }), "an exception left a task");
  EXPECT_DEATH(tern::run([] { const auto h = tern::spawn_task(fails()); }), "an exception left a task");
}

TEST_F(SchedTaskDeath, ATaskThatParksInsideBlockingIsFatal) {
  struct of {
    static tern::task<> park() {
      tern::blocking([] { tern::this_thread::sleep_for(1ms); });
      co_return;
    }
  };
  EXPECT_DEATH(tern::run([] { of::park().get(); }), "tern: fatal:.*inside tern::blocking");
}

}  // namespace

// task<T> as its users see it: results, exceptions, waits, timers, channels, joins from everywhere, blocking calls inside, the end of a
// runtime, and a seeded mix.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;

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

TEST_P(SchedTask, ResultsAndExceptionsCross) {
  rt.run([] {
    EXPECT_EQ(tern::spawn_task(one()).join(), 1);
    EXPECT_EQ(tern::spawn_task(sum_to(100)).join(), 5050);
    EXPECT_EQ(*tern::spawn_task(owned()).join(), 3);
    EXPECT_THROW(tern::spawn_task(fails()).join(), std::runtime_error);
    struct outer {
      static tern::task<int> run() {
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
    };
    EXPECT_EQ(tern::spawn_task(outer::run()).join(), 12);
  });
  EXPECT_EQ(rt.statistics().live_fibers, 0u);
}

TEST_P(SchedTask, MisuseOfHandles) {
  tern::task_handle<> none;
  EXPECT_FALSE(none.joinable());
  EXPECT_THROW(none.join(), std::system_error);
  EXPECT_THROW(none.detach(), std::system_error);
  EXPECT_THROW(static_cast<void>(tern::spawn_task(one())), std::system_error) << "outside a runtime";
  const auto unused = one();  // freed without having run
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

TEST_P(SchedTask, JoinFromAPlainThread) {
  tern::task_handle<int> h;
  rt.run([&] { h = tern::spawn_task(sum_to(10)); });
  EXPECT_EQ(h.join(), 55);
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
  };
  rt.run([] {
    tern::semaphore s{0};
    std::vector<tern::task_handle<>> all;
    for (int i = 0; i < 20; ++i) all.push_back(tern::spawn_task(body::block(s)));
    for (int i = 0; i < 20; ++i) all.push_back(tern::spawn_task(body::open(s)));
    for (auto& h : all) h.join();
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
  const unsigned depth = tern::detail::tsan_build || tern_test::scale(std::size_t{100}) < 100 ? 5 : 9;
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
  EXPECT_EQ(rt.statistics().live_fibers, 0u);
}

}  // namespace

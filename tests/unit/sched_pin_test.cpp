// A pinned fiber resumes on its thread only, whatever becomes of the processor that it ran on; and others are not held up by that.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/comes_true.hpp"

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;
using tern_test::comes_true;

// Not cached across a switch by the compiler, as pthread_self() may be.
[[gnu::noinline]] pid_t thread_id() { return ::gettid(); }

TEST(SchedPin, StaysOnItsThreadThroughEveryKindOfWait) {
  tern::runtime rt{{.processors = 3}};
  rt.run([] {
    std::atomic<bool> stop{false};
    tern::nursery n;
    // Others that want every processor, so that an unpinned fiber would be moved.
    for (int i = 0; i < 6; ++i)
      n.spawn([&, i] {
        while (!stop) {
          tern::this_thread::yield();
          if (i % 2 == 0) tern::this_thread::sleep_for(10us);
        }
      });
    tern::nursery pinned;
    for (int i = 0; i < 4; ++i)
      pinned.spawn([] {
        tern::this_thread::yield();
        const tern::pin_scope here;
        EXPECT_TRUE(tern::this_thread::is_pinned());
        const pid_t thread = thread_id();
        for (int k = 0; k < 200; ++k) {
          tern::this_thread::yield();
          EXPECT_EQ(thread_id(), thread) << "yield";
          tern::this_thread::sleep_for(std::chrono::microseconds(k % 30));
          EXPECT_EQ(thread_id(), thread) << "sleep";
          tern::thread{[] { tern::this_thread::yield(); }}.join();
          EXPECT_EQ(thread_id(), thread) << "join";
          if (k % 10 == 0) tern::blocking([] { ::usleep(50); });
          EXPECT_EQ(thread_id(), thread) << "blocking";
          tern::checkpoint();
          EXPECT_EQ(thread_id(), thread) << "checkpoint";
        }
      });
    pinned.wait();
    stop = true;
    n.wait();
  });
}

TEST(SchedPin, WokenFromAPlainThreadAndAnotherRuntime) {
  tern::runtime rt{{.processors = 2}};
  tern::runtime other{{.processors = 1}};
  tern::channel<int> c{0};
  std::atomic<int> received{0};
  tern::thread t = rt.spawn([&] {
    const tern::pin_scope here;
    const pid_t thread = thread_id();
    for (int i = 0; i < 400; ++i) {
      EXPECT_EQ(c.receive(), i);
      EXPECT_EQ(thread_id(), thread);
      ++received;
    }
  });
  for (int i = 0; i < 400; ++i) {
    if (i % 2 == 0)
      c.send(i);
    else
      other.run([&] { c.send(i); });
    if (i % 16 == 0) ::usleep(300);  // asleep
  }
  t.join();
  EXPECT_EQ(received, 400);
}

TEST(SchedPin, PinsNest) {
  tern::run(tern::runtime_options{.processors = 2}, [] {
    EXPECT_FALSE(tern::this_thread::is_pinned());
    tern::this_thread::pin();
    {
      const tern::pin_scope inner;
      tern::this_thread::yield();
    }
    EXPECT_TRUE(tern::this_thread::is_pinned());
    const pid_t thread = thread_id();
    tern::this_thread::sleep_for(1us);
    EXPECT_EQ(thread_id(), thread);
    tern::this_thread::unpin();
    EXPECT_FALSE(tern::this_thread::is_pinned());
    EXPECT_EQ(current_worker()->pins, 0U);
    try {
      tern::this_thread::unpin();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::operation_not_permitted);
    }
    // Inside tern::blocking, into it and out of it.
    tern::blocking([] { tern::this_thread::pin(); });
    const pid_t there = thread_id();
    tern::this_thread::sleep_for(1us);
    EXPECT_EQ(thread_id(), there);
    tern::blocking([] { tern::this_thread::unpin(); });
    EXPECT_FALSE(tern::this_thread::is_pinned());
    tern::this_thread::yield();
  });
  tern::this_thread::pin();
  EXPECT_TRUE(tern::this_thread::is_pinned()) << "a plain thread does not move";
  tern::this_thread::unpin();
  tern::this_thread::unpin();
}

TEST(SchedPin, APinEndsWithItsFiber) {
  tern::run(tern::runtime_options{.processors = 1}, [] {
    for (int i = 0; i < 1'000; ++i)
      tern::thread{[] {
        tern::this_thread::pin();
        tern::this_thread::pin();
        tern::this_thread::yield();
      }}.join();
    EXPECT_EQ(current_worker()->pins, 0U);
    // The slot is another fiber's now, which is free to go.
    tern::thread{[] { EXPECT_FALSE(tern::this_thread::is_pinned()); }}.join();
  });
}

// What pinning is for: the thread that locked it must unlock it, and errno is the thread's.
TEST(SchedPin, APthreadMutexAndErrno) {
  tern::runtime rt{{.processors = 2}};
  rt.run([] {
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    tern::nursery n;
    for (int i = 0; i < 4; ++i)
      n.spawn([&] {
        pthread_mutex_t m;
        pthread_mutex_init(&m, &kind);
        for (int k = 0; k < 100; ++k) {
          const tern::pin_scope here;
          EXPECT_EQ(pthread_mutex_lock(&m), 0);
          tern::this_thread::sleep_for(std::chrono::microseconds(k));
          EXPECT_EQ(pthread_mutex_unlock(&m), 0);
        }
        pthread_mutex_destroy(&m);
      });
    n.wait();
    pthread_mutexattr_destroy(&kind);
  });
}

// The thread to which somebody is pinned is not the one that blocks: else this waits for ever.
TEST(SchedPin, AnotherFibersBlockingCallGoesToAnotherThread) {
  for (int round = 0; round < 20; ++round) {
    tern::runtime rt{{.processors = 1}};
    rt.run([] {
      int ends[2];
      ASSERT_EQ(::pipe(ends), 0);
      tern::channel<int> go{0};
      tern::thread pinned{[&] {
        const tern::pin_scope here;
        const pid_t thread = thread_id();
        EXPECT_EQ(go.receive(), 1);
        EXPECT_EQ(thread_id(), thread);
        const char c = 'x';
        EXPECT_EQ(::write(ends[1], &c, 1), 1);
      }};
      tern::this_thread::yield();
      tern::thread reader{[&] {
        char c = 0;
        const ssize_t n = tern::blocking([&] { return ::read(ends[0], &c, 1); });
        EXPECT_EQ(n, 1);
      }};
      tern::this_thread::yield();
      tern::this_thread::sleep_for(100us);
      go.send(1);
      reader.join();
      pinned.join();
      ::close(ends[0]);
      ::close(ends[1]);
    });
  }
}

// Its processor is taken away while it waits, and while it runs: it gets another one.
TEST(SchedPin, ASurplusProcessorsPinnedFibers) {
  tern::runtime rt{{.processors = 4}};
  std::atomic<int> begun{0};
  std::atomic<bool> stop{false};
  std::vector<tern::thread> fibers;
  for (int i = 0; i < 8; ++i)
    fibers.push_back(rt.spawn([&, i] {
      while (++begun < 4) ::sched_yield();
      const tern::pin_scope here;
      const pid_t thread = thread_id();
      while (!stop) {
        if (i % 2 == 0)
          tern::this_thread::yield();
        else
          tern::this_thread::sleep_for(50us);
        EXPECT_EQ(thread_id(), thread);
      }
    }));
  for (int i = 0; i < 100; ++i) {
    rt.set_processors(1 + static_cast<unsigned>(i * 7 % 4));
    ::usleep(300);
    EXPECT_EQ(rt.run([] { return 4; }), 4) << "the others have their turn";
  }
  stop = true;
  for (tern::thread& t : fibers) t.join();
}

// Two threads take turns at one processor, and an unpinned fiber has its turns too.
TEST(SchedPin, NobodyStarves) {
  tern::runtime rt{{.processors = 3}};
  std::atomic<int> begun{0};
  std::atomic<bool> stop{false};
  std::atomic<long> turns[3] = {};
  std::vector<tern::thread> fibers;
  for (int i = 0; i < 3; ++i)
    fibers.push_back(rt.spawn([&, i] {
      ++begun;
      while (begun < 3) ::sched_yield();  // each on a thread of its own
      const tern::pin_scope here;
      while (!stop) {
        ++turns[i];
        tern::this_thread::yield();
      }
    }));
  ASSERT_TRUE(comes_true([&] { return begun == 3; }));
  rt.set_processors(1);
  std::atomic<long> others{0};
  fibers.push_back(rt.spawn([&] {
    while (!stop) {
      ++others;
      tern::this_thread::yield();
    }
  }));
  ASSERT_TRUE(comes_true([&] { return others > 100; }));
  for (auto& t : turns) {
    const long before = t;
    EXPECT_TRUE(comes_true([&] { return t > before + 100; }));
  }
  stop = true;
  for (tern::thread& t : fibers) t.join();
}

// Tasks and public forks have no place in a ring: they, too, have their turn beside a pinned fiber that only yields.
TEST(SchedPin, TasksHaveTheirTurn) {
  struct body {
    static tern::task<> count(std::atomic<int>& turns) {
      for (int i = 0; i < 100; ++i) {
        ++turns;
        co_await tern::this_task::yield();
      }
    }
  };
  tern::runtime rt{{.processors = 1, .max_extra_processors = 1}};
  std::atomic<int> turns{0};
  rt.run([&] {
    const tern::pin_scope here;
    auto task = tern::spawn_task(body::count(turns));
    while (turns != 100) tern::this_thread::yield();
    task.join();
  });
}

// An extra processor, added for a hog, retires under a pinned fiber.
TEST(SchedPin, OnAnExtraProcessor) {
  tern::runtime rt{{.processors = 1, .max_extra_processors = 1}};
  std::atomic<bool> hog_ends{false};
  std::atomic<bool> stop{false};
  tern::thread hog = rt.spawn([&] {
    while (!hog_ends) ::sched_yield();
  });
  tern::thread pinned = rt.spawn([&] {
    const tern::pin_scope here;
    const pid_t thread = thread_id();
    while (!stop) {
      tern::this_thread::sleep_for(100us);
      EXPECT_EQ(thread_id(), thread);
    }
  });
  ASSERT_TRUE(comes_true([&] { return rt.statistics().extra_processors_added != 0; }));
  ::usleep(2'000);
  hog_ends = true;
  hog.join();
  scheduler& s = runtime_access::scheduler_of(rt);
  ASSERT_TRUE(comes_true([&] { return s.extras_.load() == 0; }));
  ::usleep(2'000);
  stop = true;
  pinned.join();
}

TEST(SchedPin, TheRuntimeEndsOnlyAfterItsPinnedFibers) {
  std::atomic<int> ended{0};
  {
    tern::runtime rt{{.processors = 2}};
    for (int i = 0; i < 20; ++i)
      rt.spawn([&] {
          const tern::pin_scope here;
          tern::this_thread::sleep_for(2ms);
          ++ended;
        }).detach();
  }
  EXPECT_EQ(ended, 20);
}

}  // namespace

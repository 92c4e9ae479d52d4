// The collector's hooks: paired as promised, called where promised, and a fiber that is held back is run later.
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <map>
#include <vector>

#include <tern/sched.hpp>

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;

struct record {
  spin_lock<> lock;
  std::map<processor*, int> attached;  // lock
  std::map<processor*, int> released;  // lock
  std::atomic<int> attaches{0}, detaches{0}, safepoints{0}, suspends{0}, starts{0}, refusals{0}, resumes{0};
  std::atomic<long> crossed{0};
  std::atomic<bool> wrong{false};
};
record calls_seen;
thread_local fast_random refuse{99};

const collector_hooks table = {
    .processor_attach =
        [](processor& p) noexcept {
          lock_scope hold{calls_seen.lock};
          ++calls_seen.attaches;
          if (calls_seen.attached[&p]++ != 0) calls_seen.wrong = true;
        },
    .processor_detach =
        [](processor& p) noexcept {
          lock_scope hold{calls_seen.lock};
          ++calls_seen.detaches;
          if (--calls_seen.attached[&p] != 0) calls_seen.wrong = true;
          calls_seen.released.erase(&p);
        },
    .processor_release =
        [](processor& p) noexcept {
          lock_scope hold{calls_seen.lock};
          if (calls_seen.released[&p]++ != 0) calls_seen.wrong = true;
        },
    .processor_acquire =
        [](processor& p) noexcept {
          lock_scope hold{calls_seen.lock};
          // An attached processor begins as running: its first acquire may come without a release.
          if (calls_seen.released[&p] > 0) --calls_seen.released[&p];
        },
    .safepoint =
        [](processor& p) noexcept {
          ++calls_seen.safepoints;
          if (&p != current_processor()) calls_seen.wrong = true;
        },
    .try_resume = [](processor&, fiber& f) noexcept -> bool {
      if (refuse.below(4) == 0) {
        ++calls_seen.refusals;
        return false;
      }
      std::uint32_t saved = fiber::saved;
      if (!f.stack_state.compare_exchange_strong(saved, fiber::on_cpu)) calls_seen.wrong = true;
      ++calls_seen.resumes;
      return true;
    },
    .suspended =
        [](processor&, fiber& f) noexcept {
          ++calls_seen.suspends;
          if (f.saved_sp() >= f.stack_top() || stack_pool::control_of(f.saved_sp()) != &f)
            calls_seen.wrong = true;
        },
    .fiber_start = [](processor&, fiber&) noexcept { ++calls_seen.starts; },
    .crossing = [](const void*,
                   std::size_t bytes) noexcept { calls_seen.crossed += static_cast<long>(bytes); },
    .thread_wait = [](tern::detail::function_ref<void()> wait) noexcept { wait(); },
    .before_fork = []() noexcept {},
    .after_fork = [](bool) noexcept {},
};

// One test: a table is installed once per process, and its order against the runtimes matters.
TEST(SchedHooks, ThroughALifeOfTwoRuntimes) {
  const auto work = [](tern::runtime& rt) {
    rt.run([] {
      tern::nursery n;
      for (int i = 0; i < 200; ++i)
        n.spawn([i] {
          for (int k = 0; k < 20; ++k) {
            if (k % 4 == 0) tern::this_thread::yield();
            if ((i + k) % 31 == 0) tern::this_thread::sleep_for(10us);
            if ((i + k) % 67 == 0) tern::blocking([] {});
            tern::checkpoint();
          }
        });
      n.wait();
    });
  };
  {
    tern::runtime early{{.processors = 2}};
    work(early);
    // One processor sleeps, the other is lent: neither has told the table that was not there yet.
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
    tern::thread blocked = early.spawn([&] {
      tern::blocking([&] {
        inside = true;
        while (!leave) ::sched_yield();
      });
    });
    while (!inside) ::sched_yield();
    install_collector_hooks(table);
    const auto both_released = [] {
      lock_scope hold{calls_seen.lock};
      int n = 0;
      for (const auto& [p, count] : calls_seen.released) n += count;
      return n == 2;
    };
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!both_released() && std::chrono::steady_clock::now() < end) ::sched_yield();
    EXPECT_TRUE(both_released()) << "the collector must be able to act for processors that do not run";
    leave = true;
    blocked.join();
    EXPECT_GE(calls_seen.attaches.load(), 2);
  }
  EXPECT_EQ(calls_seen.detaches.load(), calls_seen.attaches.load());
  {
    lock_scope hold{calls_seen.lock};
    calls_seen.attached.clear();
    calls_seen.released.clear();
  }
  {
    tern::runtime late{{.processors = 2}};
    EXPECT_GE(calls_seen.attaches.load(), 4);
    work(late);
    EXPECT_EQ(calls_seen.suspends.load(), 0) << "not armed";

    // Safepoints are answered by running fibers, at a checkpoint and at dispatch.
    late.run([] {
      for (int i = 0; i < 50; ++i) {
        const int before = calls_seen.safepoints.load();
        request_safepoint_all();
        tern::checkpoint();
        EXPECT_GT(calls_seen.safepoints.load(), before);
        request_safepoint_all();
        tern::this_thread::yield();
        tern::thread{[] {}}.join();
        EXPECT_GT(calls_seen.safepoints.load(), before + 1);
      }
    });

    hooks_armed.store(1);
    request_safepoint_all();
    work(late);
    hooks_armed.store(0);
    EXPECT_GT(calls_seen.suspends.load(), 200);
    EXPECT_GE(calls_seen.resumes.load(), calls_seen.suspends.load() / 2);
    EXPECT_GT(calls_seen.refusals.load(), 0) << "some were held back, and all have run to their end";
    EXPECT_GE(calls_seen.starts.load(), 200);
    EXPECT_GT(calls_seen.crossed.load(), 0);
    work(late);

    // Once those of the nursery have left, which may be after its wait, the one that looks is the only one.
    late.run([] {
      for (int states = 0; states != 1;) {
        states = 0;
        for_each_fiber([&](fiber& f) { states += f.stack_state.load() == fiber::on_cpu ? 1 : 0; });
      }
    });
  }
  EXPECT_EQ(calls_seen.detaches.load(), calls_seen.attaches.load());
  {
    // Those that have retired before the end, an extra one and a surplus one, are detached once.
    tern::runtime last{{.processors = 2}};
    scheduler& s = runtime_access::scheduler_of(last);
    const int before = calls_seen.attaches;
    EXPECT_TRUE(s.add_extra());
    EXPECT_EQ(calls_seen.attaches.load(), before + 1);
    last.set_processors(1);
    const auto end = std::chrono::steady_clock::now() + 60s;
    const auto in_use = [&] {
      int n = 0;
      for (std::uint32_t i = 0; i < s.slots(); ++i)
        n += s.at(i).state.load() != processor_state::unused ? 1 : 0;
      return n;
    };
    while (in_use() != 1 && std::chrono::steady_clock::now() < end) ::sched_yield();
    EXPECT_EQ(in_use(), 1);
    EXPECT_EQ(calls_seen.attaches.load() - calls_seen.detaches.load(), 1);
    work(last);
    last.set_processors(2);
    // An extra one that the monitor has added meanwhile, for a worker that had lost its CPU, retires.
    const auto attached = [] { return calls_seen.attaches.load() - calls_seen.detaches.load(); };
    while (attached() != 2 && std::chrono::steady_clock::now() < end) ::sched_yield();
    EXPECT_EQ(attached(), 2);
    last.set_processors(1);
    while (in_use() != 1 && std::chrono::steady_clock::now() < end) ::sched_yield();
  }
  EXPECT_EQ(calls_seen.detaches.load(), calls_seen.attaches.load());
  EXPECT_FALSE(calls_seen.wrong);
}

}  // namespace

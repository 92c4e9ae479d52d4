// fiber_local and job_pool as their users see them.
#include <array>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/unit/sync_support.hpp"

using namespace std::chrono_literals;

SYNC_TEST_AT_ALL_SIZES(sched_fiber_local);
SYNC_TEST_AT_ALL_SIZES(sched_job_pool);

namespace {

// Counts what lives, and notes the order of ends.
struct counted {
  static inline std::atomic<int> living{0};
  int value = 0;
  counted() { ++living; }
  ~counted() { --living; }
};

}  // namespace

TEST_P(sched_fiber_local, each_fiber_and_thread_has_its_own) {
  tern::fiber_local<counted> mine;
  run_detached([&] {
    EXPECT_FALSE(mine.has_value());
    mine->value = -1;
    sync_test::in_parallel(20, 2, [&](unsigned i) {
      EXPECT_FALSE(mine.has_value());
      EXPECT_EQ(mine->value, 0);
      mine->value = static_cast<int>(i);
      for (int k = 0; k < 10; ++k) {
        if (i < 20) tern::this_thread::sleep_for(1us);  // goes on on any worker
        EXPECT_EQ(mine.get().value, static_cast<int>(i));
      }
    });
    EXPECT_EQ(counted::living, 1) << "the others ended with their fibers and threads";
    EXPECT_EQ((*mine).value, -1);
    mine.reset();
    mine.reset();
    EXPECT_EQ(counted::living, 0);
    EXPECT_EQ(mine->value, 0) << "made anew";
  });
  EXPECT_EQ(counted::living, 0);
}

TEST_P(sched_fiber_local, values_end_before_the_join_newest_first_and_may_wait) {
  run_detached([] {
    struct note {
      std::string* log = nullptr;
      char name = 0;
      ~note() {
        if (log == nullptr) return;
        tern::this_thread::sleep_for(1us);
        *log += name;
      }
    };
    tern::fiber_local<note> a, b, c;
    std::string log;
    tern::thread t{[&] {
      c->log = &log, c->name = 'c';
      a->log = &log, a->name = 'a';
      b->log = &log, b->name = 'b';
      throw std::runtime_error("ends them as well");
    }};
    EXPECT_THROW(t.join(), std::runtime_error);
    EXPECT_EQ(log, "bac");
    // A destructor that uses another one, which then ends in its turn; a closure too large for the slot beside it.
    static tern::fiber_local<counted> late;
    struct user {
      ~user() { late->value = 1; }
    };
    tern::fiber_local<user> last;
    std::array<char, 4096> large{};
    tern::thread u{[&last, large] {
      static_cast<void>(*last);
      static_cast<void>(large);
    }};
    u.join();
    EXPECT_EQ(counted::living, 0);
  });
}

TEST_P(sched_fiber_local, many_of_them_and_indices_that_are_used_again) {
  run_detached([] {
    std::vector<std::unique_ptr<tern::fiber_local<int>>> all;
    for (int i = 0; i < 100; ++i) {
      all.push_back(std::make_unique<tern::fiber_local<int>>());
      all.back()->get() = i;
    }
    for (int i = 0; i < 100; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)]->get(), i);
    all.clear();
    tern::fiber_local<int> again;
    EXPECT_FALSE(again.has_value()) << "the value of the one that had the index is not taken for this one's";
    EXPECT_EQ(again.get(), 0);
    int made = 0;
    const auto make = [&made] { return ++made * 10; };
    tern::fiber_local<int, decltype(make)> computed{make};
    EXPECT_EQ(*computed, 10);
    EXPECT_EQ(*computed, 10);
    tern::thread t{[&] { EXPECT_EQ(*computed, 20); }};
    t.join();
    struct refuses {
      refuses() { throw std::runtime_error("no"); }
    };
    tern::fiber_local<refuses> never;
    EXPECT_THROW(never.get(), std::runtime_error);
    EXPECT_FALSE(never.has_value());
  });
}

TEST_P(sched_job_pool, results_exceptions_and_bounds) {
  run_detached([] {
    tern::job_pool pool{{.most = 3}};
    std::atomic<int> inside{0}, highest{0};
    std::vector<tern::job<int>> all;
    for (int i = 0; i < 60; ++i)
      all.push_back(pool.submit([&, i] {
        const int now = ++inside;
        for (int seen = highest; now > seen && !highest.compare_exchange_weak(seen, now);) {
        }
        tern::this_thread::yield();
        --inside;
        if (i % 7 == 3) throw std::out_of_range("job");
        return i * i;
      }));
    for (int i = 0; i < 60; ++i) {
      auto& j = all[static_cast<std::size_t>(i)];
      if (i % 7 == 3)
        EXPECT_THROW(j.get(), std::out_of_range);
      else
        EXPECT_EQ(j.get(), i * i);
      EXPECT_FALSE(j.valid());
      EXPECT_THROW(j.get(), std::system_error);
    }
    EXPECT_LE(highest, 3);
    auto owner = pool.submit([p = std::make_unique<int>(5)]() mutable { return std::move(p); });
    owner.wait();
    EXPECT_TRUE(owner.is_done());
    EXPECT_EQ(*owner.get(), 5);
    static_cast<void>(pool.submit([] { throw std::runtime_error("nobody asks"); }));
    pool.wait_idle();
    const auto s = pool.statistics();
    EXPECT_EQ(s.running + s.queued, 0u);
    EXPECT_EQ(s.done, 62u);
    EXPECT_LE(s.fibers, 3u);
  });
}

TEST_P(sched_job_pool, the_longest_wait_is_for_ever) {
  run_detached([] {
    tern::job_pool pool{{.most = 1}};
    tern::channel<int> c;
    auto j = pool.submit([&] { return c.receive().value_or(0); });
    EXPECT_FALSE(j.wait_for(std::chrono::hours::min()));
    tern::thread late{[&] {
      for (int i = 0; i < 100; ++i) tern::this_thread::yield();
      c.send(3);
    }};
    EXPECT_TRUE(j.wait_for(std::chrono::hours::max()));
    EXPECT_EQ(j.get(), 3);
  });
}

TEST_P(sched_job_pool, a_full_queue_blocks_or_refuses) {
  run_detached([] {
    for (const auto full : {tern::when_full::block, tern::when_full::refuse}) {
      tern::job_pool pool{{.least = 1, .most = 1, .queue_bound = 2, .full = full}};
      tern::channel<int> gate;
      tern::wait_group begun{1};
      auto first = pool.submit([&] {
        begun.done();
        static_cast<void>(gate.receive());
      });
      begun.wait();
      auto a = pool.submit([] { return 1; });
      auto b = pool.try_submit([] { return 2; });
      ASSERT_TRUE(b.valid());
      EXPECT_FALSE(pool.try_submit([] { return 3; }).valid());
      EXPECT_EQ(pool.statistics().queued, 2u);
      EXPECT_FALSE(a.wait_for(1ms));
      if (full == tern::when_full::refuse) {
        EXPECT_THROW(static_cast<void>(pool.submit([] {})), tern::job_refused);
        gate.send(1);
      } else {
        tern::thread opens{[&] { gate.send(1); }};
        EXPECT_EQ(pool.submit([] { return 4; }).get(), 4) << "waits for room";
        opens.join();
      }
      EXPECT_EQ(a.get() + b.get(), 3);
      first.get();
    }
  });
}

TEST_P(sched_job_pool, idle_fibers_end_and_least_stay) {
  run_detached([] {
    tern::job_pool pool{{.least = 1, .most = 4, .idle_time = 100us}};
    tern::wait_group together{4},
        counted{1};  // those that are not held have ended by the time they are counted
    for (int i = 0; i < 4; ++i)
      static_cast<void>(pool.submit([&] {
        together.done();
        counted.wait();
      }));
    together.wait();
    EXPECT_EQ(pool.statistics().fibers, 4u);
    counted.done();
    while (pool.statistics().fibers != 1) tern::this_thread::sleep_for(100us);
    EXPECT_EQ(pool.submit([] { return 8; }).get(), 8);
  });
}

TEST_P(sched_job_pool, shutdown_runs_or_drops_what_is_queued) {
  run_detached([] {
    for (const bool drop : {false, true}) {
      tern::job_pool pool{{.most = 1, .queue_bound = 1}};
      tern::channel<int> gate;
      tern::wait_group begun{1};
      auto running = pool.submit([&] {
        begun.done();
        static_cast<void>(gate.receive());
        return 1;
      });
      begun.wait();
      auto queued = pool.submit([] { return 2; });
      tern::thread refused{[&] { EXPECT_THROW(static_cast<void>(pool.submit([] {})), tern::job_refused); }};
      while (pool.statistics().queued != 1) tern::this_thread::yield();
      // After the pool has been closed: what is queued then is dropped or run, and who waits for room is refused.
      tern::thread opens{[&] {
        try {
          for (;;) {
            static_cast<void>(pool.try_submit([] {}));  // no room
            tern::this_thread::yield();
          }
        } catch (const tern::job_refused&) {
        }
        gate.send(1);
      }};
      pool.shutdown(drop);
      EXPECT_EQ(pool.statistics().fibers, 0u);
      EXPECT_EQ(running.get(), 1);
      if (drop)
        EXPECT_THROW(queued.get(), tern::cancelled);
      else
        EXPECT_EQ(queued.get(), 2);
      EXPECT_THROW(static_cast<void>(pool.try_submit([] {})), tern::job_refused);
      pool.shutdown();
      pool.wait_idle();
    }
    EXPECT_THROW((tern::job_pool{{.least = 3, .most = 2}}), std::system_error);
  });
}

TEST_P(sched_job_pool, from_plain_threads_and_from_jobs) {
  EXPECT_THROW(tern::job_pool{}, std::system_error) << "no runtime";
  tern::runtime rt{{.processors = GetParam()}};
  {
    tern::job_pool pool{rt, {.most = 4}};
    std::atomic<int> done{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < 30; ++i)
          EXPECT_EQ(pool.submit([&, i] {
                          static_cast<void>(pool.submit([&] { ++done; }));
                          return i;
                        })
                        .get(),
                    i);
      });
    for (std::thread& t : threads) t.join();
    pool.wait_idle();
    EXPECT_EQ(done, 90);
  }
}

// mutex, condition_variable, semaphore, once, wait_group at 1, 2 and 4 processors, from fibers and plain threads together.

#include "sync_support.hpp"

#include <chrono>
#include <mutex>
#include <stdexcept>

using namespace std::chrono_literals;

SYNC_TEST_AT_ALL_SIZES(sync_mutex);
SYNC_TEST_AT_ALL_SIZES(sync_condition_variable);
SYNC_TEST_AT_ALL_SIZES(sync_semaphore);
SYNC_TEST_AT_ALL_SIZES(sync_once);
SYNC_TEST_AT_ALL_SIZES(sync_wait_group);

static_assert(sizeof(tern::mutex) == 24);
static_assert(sizeof(tern::condition_variable) == 24);
static_assert(sizeof(tern::semaphore) == 32);
constinit tern::mutex constant_mutex;

TEST_P(sync_mutex, excludes_fibers_and_threads) {
  run([] {
    tern::mutex m;
    long n = 0;  // not atomic: the mutex protects it
    bool inside = false;
    sync_test::in_parallel(12, 3, [&](unsigned i) {
      for (int k = 0; k < 300; ++k) {
        std::lock_guard hold{m};
        EXPECT_FALSE(inside);
        inside = true;
        ++n;
        if ((k + static_cast<int>(i)) % 16 == 0) tern::this_thread::yield();  // others meet a held mutex
        inside = false;
      }
    });
    EXPECT_EQ(n, 15 * 300);
  });
}

TEST_P(sync_mutex, try_lock_fails_only_while_it_is_held) {
  run([] {
    tern::mutex m;
    ASSERT_TRUE(m.try_lock());
    tern::thread{[&] { EXPECT_FALSE(m.try_lock()); }}.join();
    m.unlock();
    tern::thread{[&] {
      ASSERT_TRUE(m.try_lock());
      m.unlock();
    }}.join();
  });
}

// The ends of a clock's range are further away than its duration can tell.
TEST_P(sync_mutex, the_beginning_of_time_is_past) {
  run([] {
    using clock = std::chrono::steady_clock;
    using hours = std::chrono::time_point<clock, std::chrono::hours>;
    tern::mutex m;
    const std::lock_guard hold{m};
    tern::semaphore none;
    tern::channel<int> c;
    EXPECT_FALSE(m.try_lock_until(clock::time_point::min()));
    EXPECT_FALSE(m.try_lock_until(hours::min()));
    EXPECT_FALSE(none.try_acquire_until(clock::time_point::min()));
    EXPECT_FALSE(c.receive_until(std::chrono::system_clock::time_point::min()));
    none.release(2);
    EXPECT_TRUE(none.try_acquire_until(clock::time_point::max()));
    EXPECT_TRUE(none.try_acquire_until(hours::max()));
    tern::thread late{[&] { c.send(1); }};
    EXPECT_EQ(c.receive_until(hours::max()), 1);
  });
}

TEST_P(sync_mutex, another_fiber_may_unlock) {
  run([] {
    tern::mutex m;
    m.lock();
    tern::thread t{[&] { m.unlock(); }};
    m.lock();
    t.join();
    m.unlock();
  });
}

// One fiber takes the mutex over and over without ever waiting; the 1 ms rule lets the other one in. A fiber that is refused that
// would wait until the loop ends, so the loop ends only after it was let in.
TEST_P(sync_mutex, a_barging_owner_does_not_starve_a_waiter) {
  run([] {
    tern::mutex m;
    std::atomic<bool> served{false};
    m.lock();
    tern::thread waiter{[&] {
      m.lock();
      served = true;
      m.unlock();
    }};
    tern::this_thread::yield();
    while (!served) {
      tern::this_thread::yield();  // still held: the woken waiter finds it so
      m.unlock();
      m.lock();
    }
    m.unlock();
    waiter.join();
  });
}

TEST_P(sync_mutex, scoped_lock_of_two_does_not_deadlock) {
  run([] {
    tern::mutex a, b;
    long n = 0;
    sync_test::in_parallel(6, 2, [&](unsigned i) {
      for (int k = 0; k < 100; ++k) {
        if (i % 2 == 0) {
          std::scoped_lock hold{a, b};
          ++n;
        } else {
          std::scoped_lock hold{b, a};
          ++n;
        }
        if (k % 8 == 0) tern::this_thread::yield();
      }
    });
    EXPECT_EQ(n, 800);
  });
}

TEST_P(sync_condition_variable, hands_a_token_round) {
  run([] {
    tern::mutex m;
    tern::condition_variable changed;
    unsigned turn = 0;
    sync_test::in_parallel(5, 2, [&](unsigned i) {
      for (unsigned round = 0; round < 50; ++round) {
        std::unique_lock hold{m};
        changed.wait(hold, [&] { return turn == round * 7 + i; });
        ++turn;
        changed.notify_all();
      }
    });
    EXPECT_EQ(turn, 350u);
  });
}

TEST_P(sync_condition_variable, notify_one_wakes_exactly_one) {
  run([] {
    tern::mutex m;
    tern::condition_variable c;
    int waiting = 0, woken = 0, tokens = 0;
    std::vector<tern::thread> all;
    for (int i = 0; i < 8; ++i)
      all.emplace_back([&] {
        std::unique_lock hold{m};
        ++waiting;
        c.wait(hold, [&] { return tokens > 0; });
        --tokens;
        ++woken;
      });
    const auto settled = [&](int& n, int value) {
      for (;;) {
        {
          std::lock_guard hold{m};
          if (n == value) return;
        }
        tern::this_thread::yield();
      }
    };
    settled(waiting, 8);
    for (int i = 1; i <= 8; ++i) {
      {
        std::lock_guard hold{m};
        ++tokens;
      }
      c.notify_one();
      settled(woken, i);
    }
    for (tern::thread& t : all) t.join();
  });
}

TEST_P(sync_condition_variable, timed_waits_end_by_time_or_notification) {
  run([] {
    tern::mutex m;
    tern::condition_variable c;
    std::unique_lock hold{m};
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(c.wait_for(hold, 5ms), std::cv_status::timeout);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 5ms);
    EXPECT_TRUE(hold.owns_lock());
    EXPECT_EQ(c.wait_until(hold, std::chrono::system_clock::now() - 1s), std::cv_status::timeout);
    EXPECT_FALSE(c.wait_for(hold, 2ms, [] { return false; }));
    bool ready = false;
    tern::thread t{[&] {
      std::lock_guard inner{m};
      ready = true;
      c.notify_all();
    }};
    EXPECT_TRUE(c.wait_for(hold, 1h, [&] { return ready; }));
    hold.unlock();
    t.join();
  });
}

TEST_P(sync_semaphore, never_lets_more_in_than_it_holds) {
  run([] {
    tern::semaphore s{3};
    std::atomic<int> inside{0}, most{0};
    sync_test::in_parallel(10, 3, [&](unsigned) {
      for (int k = 0; k < 100; ++k) {
        s.acquire();
        const int now = ++inside;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        tern::this_thread::yield();
        --inside;
        s.release();
      }
    });
    EXPECT_LE(most, 3);
    EXPECT_GE(most, 1);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(s.try_acquire());
    EXPECT_FALSE(s.try_acquire());
  });
}

TEST_P(sync_semaphore, is_first_come_first_served_and_releases_many) {
  run([] {
    tern::semaphore s;
    std::vector<int> order;
    std::vector<tern::thread> all;
    tern::mutex m;
    for (int i = 0; i < 5; ++i) {
      tern::semaphore started;
      all.emplace_back([&, i] {
        started.release();
        s.acquire();
        std::lock_guard hold{m};
        order.push_back(i);
      });
      started.acquire();
    }
    s.release(2);
    s.release(3);
    for (tern::thread& t : all) t.join();
    EXPECT_EQ(order.size(), 5u);
    EXPECT_FALSE(s.try_acquire());
  });
}

TEST_P(sync_semaphore, timed_acquire_gives_up_or_gets_its_permit) {
  run([] {
    tern::semaphore s;
    EXPECT_FALSE(s.try_acquire_for(3ms));
    EXPECT_FALSE(s.try_acquire_until(std::chrono::steady_clock::now() - 1s));
    tern::thread t{[&] {
      tern::this_thread::sleep_for(2ms);
      s.release();
    }};
    EXPECT_TRUE(s.try_acquire_for(1h));
    t.join();
    // Permits that meet the end of the time are neither lost nor doubled.
    int got = 0;
    for (int i = 0; i < 200; ++i) {
      tern::thread giver{[&] {
        tern::this_thread::sleep_for(50us);
        s.release();
      }};
      if (s.try_acquire_for(50us)) ++got;
      giver.join();
    }
    while (s.try_acquire()) ++got;
    EXPECT_EQ(got, 200);
  });
}

TEST_P(sync_semaphore, may_be_destroyed_by_the_one_that_was_let_in) {
  run([] {
    for (int i = 0; i < 300; ++i) {
      auto s = std::make_unique<tern::semaphore>();
      tern::thread t{[p = s.get()] { p->release(); }};
      if (i % 2 == 0)
        s->acquire();
      else
        EXPECT_TRUE(s->try_acquire_for(1h));
      s.reset();
      t.join();
    }
  });
}

TEST_P(sync_once, runs_once_and_everybody_sees_it) {
  run([] {
    for (int round = 0; round < 20; ++round) {
      tern::once flag;
      int calls = 0, value = 0;
      sync_test::in_parallel(8, 2, [&](unsigned) {
        tern::call_once(flag, [&] {
          ++calls;
          tern::this_thread::sleep_for(100us);  // the others arrive while it runs, and park
          value = 7;
        });
        EXPECT_EQ(value, 7);
      });
      EXPECT_EQ(calls, 1);
      EXPECT_TRUE(flag.is_done());
    }
  });
}

TEST_P(sync_once, an_exception_passes_the_turn_on) {
  run([] {
    tern::once flag;
    std::atomic<int> attempts{0}, failures{0};
    sync_test::in_parallel(6, 2, [&](unsigned) {
      try {
        flag.call([&] {
          const int n = ++attempts;
          tern::this_thread::sleep_for(100us);
          if (n < 4) throw std::runtime_error{"not yet"};
        });
      } catch (const std::runtime_error&) {
        ++failures;
      }
    });
    EXPECT_EQ(attempts, 4);
    EXPECT_EQ(failures, 3);
  });
}

TEST_P(sync_wait_group, waits_for_all_and_is_used_again) {
  run([] {
    tern::wait_group g;
    g.wait();  // nothing to wait for
    for (int round = 0; round < 30; ++round) {
      std::atomic<int> finished{0};
      g.add(9);
      std::vector<tern::thread> workers;
      for (int i = 0; i < 8; ++i)
        workers.emplace_back([&] {
          tern::this_thread::yield();
          ++finished;
          g.done();
        });
      std::thread plain{[&] {
        ++finished;
        g.done();
      }};
      sync_test::in_parallel(3, 1, [&](unsigned) {
        g.wait();
        EXPECT_EQ(finished, 9);
      });
      for (tern::thread& t : workers) t.join();
      tern::blocking([&] { plain.join(); });
    }
  });
}

TEST_P(sync_wait_group, may_be_destroyed_after_wait) {
  run([] {
    for (int i = 0; i < 300; ++i) {
      auto g = std::make_unique<tern::wait_group>(1);
      tern::thread t{[p = g.get()] { p->done(); }};
      g->wait();
      g.reset();
      t.join();
    }
  });
}

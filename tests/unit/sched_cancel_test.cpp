// Nurseries that are cancelled: every wait ends, what was given first is kept, deadlines, shields, nested nurseries, many at random.
#include <array>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>

#include <tern/base/random.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/seed.hpp"
#include "tests/unit/sync_support.hpp"

using namespace std::chrono_literals;

SYNC_TEST_AT_ALL_SIZES(sched_cancel);

namespace {

// Everything that a child can wait on, none of which will ever come.
struct waits {
  tern::channel<int> empty, full{1};
  tern::semaphore none;
  tern::wait_group pending{1};
  tern::mutex m;
  tern::condition_variable never;
  tern::rw_mutex rw;

  waits() { full.send(1); }
  ~waits() { pending.done(); }

  std::vector<std::function<void()>> all() {
    return {
        [this] { empty.send(1); },
        [this] { static_cast<void>(empty.receive()); },
        [this] { full.send(2); },
        [this] { static_cast<void>(empty.receive_for(1h)); },
        [this] { static_cast<void>(full.send_for(2, 1h)); },
        [this] { tern::select(tern::on_receive(empty, [](auto) {}), tern::on_send(full, 1, [] {})); },
        [this] { tern::select(tern::on_receive(empty, [](auto) {}), tern::after(1h, [] {})); },
        [this] { none.acquire(); },
        [this] { static_cast<void>(none.try_acquire_for(1h)); },
        [this] { pending.wait(); },
        [this] { static_cast<void>(pending.wait_for(1h)); },
        [this] {
          std::unique_lock hold{m};
          try {
            never.wait(hold);
          } catch (const tern::cancelled&) {
            EXPECT_TRUE(hold.owns_lock());
            EXPECT_FALSE(m.try_lock());
            throw;
          }
        },
        [this] {
          std::unique_lock hold{m};
          never.wait_for(hold, 1h, [] { return false; });
        },
        [] { tern::this_thread::sleep_for(1h); },
        [] {
          tern::channel<int> own;
          tern::thread t{[&] { EXPECT_EQ(own.receive(), 1); }};
          const tern::thread::id id = t.get_id();
          try {
            t.join();
          } catch (const tern::cancelled&) {
            EXPECT_EQ(t.get_id(), id) << "still to be joined";
            const tern::cancellation_shield carry_through;
            own.send(1);
            throw;
          }
        },
        [this] {
          tern::nursery inner;
          inner.spawn([this] { static_cast<void>(empty.receive()); });
          inner.spawn([] { tern::this_thread::sleep_for(1h); });
          inner.wait();
        },
        [] {
          tern::channel<int> own;
          tern::job_pool pool{{.most = 1}};
          auto j = pool.submit([&] { static_cast<void>(own.receive()); });
          try {
            j.get();
          } catch (const tern::cancelled&) {
            EXPECT_TRUE(j.valid());
            own.close();
            throw;
          }
        },
    };
  }
};

}  // namespace

TEST_P(sched_cancel, every_wait_ends) {
  run_detached([] {
    waits w;
    for (auto& one : w.all()) {
      tern::nursery n;
      std::atomic<int> thrown{0};
      for (int i = 0; i < 2; ++i)
        n.spawn([&] {
          try {
            one();
            ADD_FAILURE() << "must not return";
          } catch (const tern::cancelled&) {
            ++thrown;
            throw;
          }
        });
      tern::this_thread::yield();
      n.cancel();
      EXPECT_NO_THROW(n.wait()) << "the ends of cancelled children are no errors";
      EXPECT_EQ(thrown, 2);
      EXPECT_TRUE(n.is_cancelled());
      // A child that begins later is cancelled from its beginning, and what need not wait is done as ever.
      n.spawn([&] {
        EXPECT_TRUE(tern::this_thread::is_cancelled());
        EXPECT_THROW(tern::this_thread::check_cancelled(), tern::cancelled);
        tern::channel<int> room{1};
        room.send(3);
        EXPECT_EQ(room.receive(), 3);
        EXPECT_THROW(one(), tern::cancelled);
      });
      n.wait();
    }
    EXPECT_FALSE(tern::this_thread::is_cancelled());
  });
}

TEST_P(sched_cancel, an_exception_cancels_the_others_and_is_the_one_that_is_rethrown) {
  run_detached([] {
    tern::channel<int> c;
    tern::nursery n;
    for (int i = 0; i < 4; ++i) n.spawn([&] { static_cast<void>(c.receive()); });
    n.spawn([] { throw std::out_of_range("first"); });
    EXPECT_THROW(n.wait(), std::out_of_range);
    EXPECT_FALSE(n.is_cancelled()) << "fit for use again";
    bool ran = false;
    n.spawn([&] {
      tern::this_thread::sleep_for(1us);
      ran = true;
    });
    n.wait();
    EXPECT_TRUE(ran);
    // `cancelled` that nobody asked for is an exception like any other.
    n.spawn([] { throw tern::cancelled{}; });
    EXPECT_THROW(n.wait(), tern::cancelled);
  });
}

TEST_P(sched_cancel, deadlines) {
  run_detached([] {
    tern::channel<int> c;
    {
      tern::nursery n{tern::nursery::clock::now() + 2ms};
      n.spawn([&] { EXPECT_THROW(static_cast<void>(c.receive()), tern::cancelled); });
      n.wait();
      EXPECT_TRUE(n.is_cancelled());
    }
    {
      tern::nursery n{tern::nursery::clock::now() - 1s};
      n.spawn([&] { EXPECT_THROW(tern::this_thread::sleep_for(1h), tern::cancelled); });
      n.wait();
    }
    {
      // In time: the watcher ends with the children.
      tern::nursery n{tern::nursery::clock::now() + 1h};
      for (int i = 0; i < 3; ++i) n.spawn([] { tern::this_thread::yield(); });
      n.wait();
      EXPECT_FALSE(n.is_cancelled());
      // Set, brought forward, while a child waits; the parent is elsewhere.
      n.cancel_after(2h);
      tern::wait_group ended{1};
      n.spawn([&] {
        EXPECT_THROW(static_cast<void>(c.receive()), tern::cancelled);
        ended.done();
      });
      n.cancel_after(1ms);
      ended.wait();
      n.wait();
    }
    {
      // The ends of the clock's range are further away than a duration can tell.
      tern::nursery n{tern::nursery::clock::time_point::min()};
      n.spawn([&] { EXPECT_THROW(static_cast<void>(c.receive()), tern::cancelled); });
      n.wait();
      tern::nursery later{tern::nursery::clock::time_point::max()};
      later.spawn([] { tern::this_thread::yield(); });
      later.cancel_at(tern::nursery::clock::time_point::min());
      later.spawn([&] { EXPECT_THROW(static_cast<void>(c.receive()), tern::cancelled); });
      later.wait();
    }
    tern::nursery unused{tern::nursery::clock::now()};
    unused.cancel_after(1h);
  });
}

// After an exception a nursery begins anew, with a stop source of its own, while somebody outside may be about to cancel it.
TEST_P(sched_cancel, anybody_may_cancel_while_a_wait_ends) {
  run_detached([] {
    tern::nursery n;
    std::atomic<bool> stop{false};
    std::thread outside{[&] {
      while (!stop) {
        n.cancel();
        n.request_stop();
        static_cast<void>(n.get_stop_token().stop_requested());
        static_cast<void>(n.is_cancelled());
      }
    }};
    for (int i = 0; i < tern_test::scale(tern_test::is_emulated() ? 50 : 2000); ++i) {
      n.spawn([] { throw std::runtime_error{"a child's"}; });
      EXPECT_THROW(n.wait(), std::runtime_error);
    }
    stop = true;
    tern::blocking([&] { outside.join(); });
  });
}

// The caller's frame holds the function and its result, so it stays; then what came of it is told as ever.
TEST_P(sched_cancel, a_run_in_another_runtime_ends_first) {
  tern::runtime other{{.processors = 1}};
  run_detached([&] {
    tern::nursery n;
    tern::channel<int> begun, go;
    const auto waits_there = [&] {
      begun.send(1);
      return go.receive().value_or(0);
    };
    bool thrown = false;
    int result = 0;
    n.spawn([&] {
      try {
        other.run([&]() -> void {
          waits_there();
          throw std::out_of_range{"from there"};
        });
      } catch (const std::out_of_range&) {
        thrown = true;
      }
    });
    n.spawn([&] { result = other.run(waits_there); });
    for (int i = 0; i < 2; ++i) begun.receive();
    n.cancel();
    for (int i = 0; i < 2; ++i) go.send(5);
    n.wait();
    EXPECT_TRUE(thrown);
    EXPECT_EQ(result, 5);
  });
}

TEST_P(sched_cancel, opting_out) {
  run_detached([] {
    tern::nursery n{tern::cancel_mode::token_only};
    tern::channel<int> c;
    std::optional<int> got;
    n.spawn([&](std::stop_token stop) {
      got = c.receive();
      EXPECT_TRUE(stop.stop_requested());
      EXPECT_FALSE(tern::this_thread::is_cancelled());
    });
    n.cancel();
    c.send(4);
    n.wait();
    EXPECT_EQ(got, 4);

    tern::nursery m;
    tern::channel<int> nothing;
    bool carried = false;
    m.spawn([&] {
      struct cleanup {
        tern::channel<int>& c;
        bool& carried;
        ~cleanup() {
          tern::this_thread::sleep_for(1us);  // unwinding: not cancelled
          const tern::cancellation_shield outer;
          {
            const tern::cancellation_shield inner;
            carried = c.receive() == 5;
          }
          tern::this_thread::sleep_for(1us);
        }
      } const at_end{c, carried};
      static_cast<void>(nothing.receive());
    });
    tern::this_thread::yield();
    m.cancel();
    c.send(5);
    m.wait();
    EXPECT_TRUE(carried);
    const tern::cancellation_shield nothing_to_shield;
  });
  const tern::cancellation_shield on_a_plain_thread;
  EXPECT_FALSE(tern::this_thread::is_cancelled());
}

TEST_P(sched_cancel, a_condition_variable_heeds_a_stop_token) {
  run_detached([] {
    tern::mutex m;
    tern::condition_variable v;
    tern::nursery n{tern::cancel_mode::token_only};
    std::atomic<int> ended{0};
    for (int i = 0; i < 3; ++i)
      n.spawn([&](std::stop_token stop) {
        std::unique_lock hold{m};
        EXPECT_FALSE(v.wait(hold, stop, [] { return false; }));
        ++ended;
      });
    tern::this_thread::yield();
    n.request_stop();
    n.wait();
    EXPECT_EQ(ended, 3);
    std::unique_lock hold{m};
    EXPECT_TRUE(v.wait(hold, n.get_stop_token(), [] { return true; }));
  });
}

// Values are neither lost nor doubled, whenever the cancellation comes; by fibers, by threads, and by deadlines.
TEST_P(sched_cancel, at_random_moments) {
  const unsigned p = GetParam();
  run_detached([p] {
    tern::detail::fast_random r{tern_test::seed() * 8 + p};
    const int rounds = tern_test::scale(tern_test::is_emulated() ? 10 : 80);
    for (int round = 0; round < rounds; ++round) {
      tern::channel<int> c{r.below(3)};
      tern::semaphore permits{2};
      tern::mutex m;
      std::atomic<long> sent{0}, received{0};
      long buffered = 0;
      {
        tern::nursery n;
        for (unsigned i = 0; i < 8; ++i)
          n.spawn([&, i, seed = r.next()] {
            tern::detail::fast_random mine{seed};
            for (;;) {
              switch (mine.below(5)) {
                case 0: {
                  const std::scoped_lock hold{m};
                  tern::this_thread::yield();
                  break;
                }
                case 1:
                  permits.acquire();
                  permits.release();
                  break;
                case 2: tern::this_thread::sleep_for(std::chrono::microseconds{mine.below(40)}); break;
                default: break;
              }
              if (i % 2 == 0) {
                if (mine.below(2) == 0)
                  c.send(1);
                else
                  tern::select(tern::on_send(c, 1, [] {}));
                ++sent;
              } else if (mine.below(2) == 0) {
                if (c.receive().has_value()) ++received;
              } else {
                tern::select(tern::on_receive(c, [&](std::optional<int> v) { received += v.has_value(); }));
              }
            }
          });
        const auto moment = std::chrono::microseconds{r.below(400)};
        switch (r.below(3)) {
          case 0: n.cancel_after(moment); break;
          case 1:
            tern::this_thread::sleep_for(moment);
            n.cancel();
            break;
          default:
            tern::blocking([&] {
              std::thread{[&] {
                std::this_thread::sleep_for(moment);
                n.cancel();
              }}.join();
            });
        }
        n.wait();
      }
      while (c.try_receive()) ++buffered;
      ASSERT_EQ(sent, received + buffered);
      ASSERT_TRUE(permits.try_acquire() && permits.try_acquire());
      permits.release(2);
      ASSERT_TRUE(m.try_lock());
      m.unlock();
    }
  });
}

// Joins that end and are cancelled at the same time.
TEST_P(sched_cancel, joins_at_random_moments) {
  run_detached([] {
    const int rounds = tern_test::scale(tern_test::is_emulated() ? 20 : 300);
    for (int round = 0; round < rounds; ++round) {
      tern::nursery n;
      for (int i = 0; i < 3; ++i)
        n.spawn([round, i] {
          tern::thread t{[=] {
            for (int k = 0; k < (round + i) % 4; ++k) tern::this_thread::yield();
          }};
          tern::thread u{[] {}};
          t.join();
          u.join();
        });
      for (int k = 0; k < round % 5; ++k) tern::this_thread::yield();
      n.cancel();
      n.wait();
    }
  });
}

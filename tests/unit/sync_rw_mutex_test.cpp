// rw_mutex, and the timed forms of the other primitives, as their users see them: with the standard's guards, fibers and threads.
#include <array>
#include <chrono>
#include <limits>
#include <memory>
#include <mutex>
#include <shared_mutex>

#include <tern/base/random.hpp>

#include "tests/support/parked.hpp"
#include "tests/support/seed.hpp"
#include "tests/unit/sync_support.hpp"

using namespace std::chrono_literals;

SYNC_TEST_AT_ALL_SIZES(sync_rw_mutex);
SYNC_TEST_AT_ALL_SIZES(sync_timed);

TEST_P(sync_rw_mutex, readers_share_and_writers_are_alone) {
  run([] {
    tern::rw_mutex m;
    tern::wait_group inside{3};
    sync_test::in_parallel(2, 1, [&](unsigned) {
      const std::shared_lock hold{m};
      inside.done();
      inside.wait();  // all three are inside at the same time, else this waits for ever
      EXPECT_FALSE(m.try_lock());
    });
    const std::unique_lock hold{m};
    EXPECT_FALSE(m.try_lock_shared());
    EXPECT_FALSE(std::unique_lock(m, 1ms).owns_lock());
    EXPECT_FALSE(std::shared_lock(m, 1ms).owns_lock());
  });
}

TEST_P(sync_rw_mutex, every_reader_sees_whole_writes) {
  run([] {
    tern::rw_mutex m;
    std::array<long, 8> values{};
    tern_test::seed();
    sync_test::in_parallel(8, 2, [&](unsigned i) {
      tern::detail::fast_random r{tern_test::seed() + i};
      for (int k = 0; k < tern_test::scale(400); ++k) {
        if (r.below(4) == 0) {
          const std::unique_lock hold{m};
          for (long& v : values) {
            ++v;
            if (r.below(64) == 0) tern::this_thread::yield();
          }
        } else if (r.below(4) == 0) {
          const std::unique_lock hold{m, std::chrono::microseconds{r.below(50)}};
          if (hold.owns_lock())
            for (long& v : values) ++v;
        } else {
          const std::shared_lock hold = r.below(2) == 0 ? std::shared_lock{m} : std::shared_lock{m, 20us};
          if (!hold.owns_lock()) continue;
          if (r.below(64) == 0) tern::this_thread::yield();
          for (const long v : values) EXPECT_EQ(v, values[0]);
        }
      }
    });
    EXPECT_TRUE(m.try_lock());
    m.unlock();
  });
}

TEST_P(sync_rw_mutex, neither_side_starves) {
  run([] {
    tern::rw_mutex m;
    std::atomic<bool> written{false}, read{false};
    // Two readers that overlap for ever would keep a writer out of a mutex that prefers readers.
    sync_test::in_parallel(3, 0, [&](unsigned i) {
      if (i == 2) {
        const std::unique_lock hold{m};
        written = true;
      } else {
        while (!written) {
          const std::shared_lock hold{m};
          tern::this_thread::yield();
        }
      }
    });
    // And two writers in turn a reader.
    sync_test::in_parallel(3, 0, [&](unsigned i) {
      if (i == 2) {
        const std::shared_lock hold{m};
        read = true;
      } else {
        while (!read) {
          const std::unique_lock hold{m};
          tern::this_thread::yield();
        }
      }
    });
  });
}

TEST_P(sync_rw_mutex, a_writer_that_gives_up_lets_the_readers_in) {
  run([] {
    tern::rw_mutex m;
    m.lock_shared();
    std::atomic<bool> met{false};
    tern::thread writer{[&] {
      do EXPECT_FALSE(m.try_lock_for(20ms));
      while (!met);
    }};
    while (m.try_lock_shared()) {
      m.unlock_shared();
      tern::this_thread::yield();
    }
    met = true;
    // The writer waits, so this reader waits behind it until it gives up.
    tern::thread reader{[&] { const std::shared_lock hold{m}; }};
    reader.join();
    writer.join();
    m.unlock_shared();
  });
}

// One that gives way inside its section lets all others queue: from then on each hand-over would make all of them queue again.
TEST_P(sync_rw_mutex, a_convoy_dissolves) {
  constexpr unsigned fibers = 8;
  constexpr std::uint64_t each = 8192;
  for (const unsigned one_writes_of : {1U, 4U}) {
    tern::runtime rt{{.processors = GetParam()}};
    rt.run([&] {
      tern::rw_mutex m;
      long value = 0;
      sync_test::in_parallel(fibers, 0, [&](unsigned i) {
        for (std::uint64_t k = 0; k < each; ++k) {
          if ((k + i) % one_writes_of == 0) {
            const std::unique_lock hold{m};
            ++value;
            if (k == 0) tern::this_thread::yield();
          } else {
            const std::shared_lock hold{m};
            EXPECT_GE(value, 0);
          }
        }
      });
      EXPECT_EQ(value, static_cast<long>(fibers * each / one_writes_of));
    });
    EXPECT_LT(rt.statistics().total.wakes, fibers * each / 4)
        << "one section of " << one_writes_of << " writes";
  }
}

// Whoever has waited for long is handed the mutex: the one that leaves does not get it again, nor does another one that comes.
TEST_P(sync_rw_mutex, who_has_waited_is_next) {
  run([] {
    tern::rw_mutex m;
    std::atomic<bool> leave{false};
    const auto linger = [&] {
      while (!leave) tern::this_thread::yield();
      leave = false;
    };
    const auto is_taken = [&] { return !m.try_lock() && !m.try_lock_shared(); };
    m.lock();
    tern::thread writer{tern::thread_attributes{.name = "writer"}, [&] {
                          const std::unique_lock hold{m};
                          linger();
                        }};
    tern_test::wait_until_parked("writer");
    tern::thread reader{tern::thread_attributes{.name = "reader"}, [&] {
                          const std::shared_lock hold{m};
                          linger();
                        }};
    tern_test::wait_until_parked("reader");
    tern::this_thread::sleep_for(2ms);
    // After a writer the reader comes first, though the writer has waited for longer, and no other one joins it.
    m.unlock();
    EXPECT_TRUE(is_taken());
    leave = true;
    reader.join();
    EXPECT_TRUE(is_taken());
    leave = true;
    writer.join();
    EXPECT_FALSE(is_taken());
    m.unlock();
  });
}

TEST_P(sync_timed, mutex_in_time_or_not) {
  run([] {
    tern::mutex m;
    m.lock();
    EXPECT_FALSE(m.try_lock_for(1ms));
    EXPECT_FALSE(m.try_lock_until(std::chrono::system_clock::now() + 1ms));
    EXPECT_FALSE(m.try_lock_for(-1s));
    EXPECT_FALSE(m.try_lock_for(std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}));
    tern::thread t{[&] {
      const std::unique_lock hold{m, 1h};
      EXPECT_TRUE(hold.owns_lock());
    }};
    tern::this_thread::sleep_for(1ms);
    m.unlock();
    t.join();
    long count = 0;
    std::atomic<long> entered{0};
    sync_test::in_parallel(6, 2, [&](unsigned i) {
      for (int k = 0; k < 300; ++k) {
        if ((static_cast<unsigned>(k) + i) % 3 == 0) {
          const std::unique_lock hold{m};
          ++count, ++entered;
        } else if (m.try_lock_for(std::chrono::microseconds{k % 40})) {
          ++count, ++entered;
          if (k % 16 == 0) tern::this_thread::yield();
          m.unlock();
        }
      }
    });
    EXPECT_EQ(count, entered);
  });
}

TEST_P(sync_timed, wait_group_in_time_or_not) {
  run([] {
    tern::wait_group g{1};
    EXPECT_FALSE(g.wait_for(1ms));
    tern::thread t{[&] { EXPECT_TRUE(g.wait_for(1h)); }};
    tern::this_thread::yield();
    g.done();
    t.join();
    EXPECT_TRUE(g.wait_for(0s));
    for (int round = 0; round < 100; ++round) {
      g.add(2);
      sync_test::in_parallel(3, 1, [&](unsigned i) {
        if (i < 2)
          g.done();
        else
          while (!g.wait_for(std::chrono::microseconds{round})) {
          }
      });
    }
  });
}

// A value that cannot be copied goes every way through a channel, and comes back from the ways that fail.
TEST_P(sync_timed, channel_of_values_that_only_move) {
  using box = std::unique_ptr<int>;
  run([] {
    tern::channel<box> c{1}, direct;
    box mine = std::make_unique<int>(1);
    EXPECT_FALSE(direct.send_for(std::move(mine), 1ms));
    ASSERT_NE(mine, nullptr) << "a value that was not sent stays";
    EXPECT_FALSE(direct.try_send(std::move(mine)));
    ASSERT_NE(mine, nullptr);
    EXPECT_TRUE(c.send_for(std::move(mine), 1ms));
    EXPECT_EQ(mine, nullptr);
    EXPECT_EQ(**c.receive_for(1ms), 1);
    EXPECT_FALSE(c.receive_for(1ms).has_value());
    EXPECT_FALSE(c.receive_until(std::chrono::steady_clock::now()).has_value());

    sync_test::in_parallel(1, 1, [&](unsigned i) {
      for (int k = 0; k < 200; ++k) {
        if (i == 0) {
          box b = std::make_unique<int>(k);
          switch (k % 3) {
            case 0: direct.send(std::move(b)); break;
            case 1:
              while (!direct.send_for(std::move(b), std::chrono::microseconds{k})) ASSERT_NE(b, nullptr);
              break;
            default:
              while (tern::select(tern::on_send(direct, std::move(b), [] {}), tern::after(10us, [] {})) != 0)
                ASSERT_NE(b, nullptr);
          }
        } else {
          box b;
          switch (k % 4) {
            case 0: b = *direct.receive(); break;
            case 1:
              while (b == nullptr)
                if (auto v = direct.receive_for(std::chrono::microseconds{k})) b = std::move(*v);
              break;
            case 2:
              while (b == nullptr) {
                if (auto v = direct.try_receive()) b = std::move(*v);
                tern::this_thread::yield();
              }
              break;
            default: tern::select(tern::on_receive(direct, [&](std::optional<box> v) { b = std::move(*v); }));
          }
          ASSERT_EQ(*b, k);
        }
      }
    });
    c.close();
    EXPECT_FALSE(c.receive_for(1h).has_value()) << "closed: at once";
    EXPECT_THROW(static_cast<void>(c.send_for(std::make_unique<int>(1), 1h)), tern::channel_closed);
    tern::thread closer{[&] { direct.close(); }};
    EXPECT_THROW(static_cast<void>(direct.send_for(std::make_unique<int>(1), 1h)), tern::channel_closed);
  });
}

TEST_P(sync_timed, select_over_a_number_known_at_run_time) {
  run([] {
    for (const std::size_t n : {std::size_t{1}, std::size_t{3}, std::size_t{40}}) {
      std::vector<std::unique_ptr<tern::channel<std::size_t>>> all;
      for (std::size_t i = 0; i < n; ++i) all.push_back(std::make_unique<tern::channel<std::size_t>>());
      tern::selector s;
      EXPECT_EQ(s.size(), 0u);
      EXPECT_EQ(s.try_wait(), tern::selector::none);
      EXPECT_EQ(s.wait_for(1ms), tern::selector::none);
      std::size_t got = 0;
      for (auto& c : all) s.on_receive(*c, [&got](std::optional<std::size_t> v) { got += *v; });
      EXPECT_EQ(s.size(), n);
      EXPECT_EQ(s.try_wait(), tern::selector::none);
      EXPECT_EQ(s.wait_for(1ms), tern::selector::none);
      std::size_t expected = 0;
      tern::thread sender{[&] {
        for (std::size_t k = 0; k < 3 * n; ++k) all[k * 7 % n]->send(k);
      }};
      std::vector<unsigned> hits(n);
      for (std::size_t k = 0; k < 3 * n; ++k) {
        ++hits[s.wait()];
        expected += k;
      }
      sender.join();
      EXPECT_EQ(got, expected);
      EXPECT_EQ(hits[0], 3u);
    }
    // Sends and receives in one, with values of different types.
    tern::channel<int> a{1};
    tern::channel<std::unique_ptr<int>> b{1};
    tern::selector s;
    s.on_send(b, std::make_unique<int>(9), [] {});
    s.on_receive(a, [](std::optional<int>) {});
    EXPECT_EQ(s.wait(), 0u);
    EXPECT_EQ(**b.receive(), 9);
    s.clear();
    EXPECT_EQ(s.size(), 0u);
  });
}

// Channels and select at 1, 2 and 4 processors, from fibers and plain threads together.

#include "sync_support.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <numeric>
#include <string>

#include <tern/alloc/root_ranges.hpp>

using namespace std::chrono_literals;

SYNC_TEST_AT_ALL_SIZES(sync_channel);
SYNC_TEST_AT_ALL_SIZES(sync_select);

namespace {

// Counts its living instances.
struct counted {
  static inline std::atomic<int> alive{0};
  std::unique_ptr<int> value;
  explicit counted(int v) : value{std::make_unique<int>(v)} { ++alive; }
  counted(counted&& o) noexcept : value{std::move(o.value)} { ++alive; }
  counted& operator=(counted&&) = delete;
  ~counted() { --alive; }
};

}  // namespace

TEST_P(sync_channel, keeps_order_and_loses_nothing) {
  run([] {
    for (std::size_t capacity : {0u, 1u, 3u, 128u}) {
      tern::channel<int> c{capacity};
      tern::thread sender{[&] {
        for (int i = 0; i < 1000; ++i) c.send(i);
        EXPECT_TRUE(c.close());
        EXPECT_FALSE(c.close());
      }};
      int expected = 0;
      while (auto v = c.receive()) EXPECT_EQ(*v, expected++);
      EXPECT_EQ(expected, 1000);
      EXPECT_FALSE(c.receive().has_value());
      sender.join();
    }
  });
}

TEST_P(sync_channel, many_senders_and_receivers_of_both_kinds) {
  run([] {
    for (std::size_t capacity : {0u, 2u, 64u}) {
      tern::channel<std::uint64_t> c{capacity};
      std::array<std::atomic<int>, 6 * 200> seen{};
      tern::wait_group senders{6};
      sync_test::in_parallel(8, 4, [&](unsigned i) {
        if (i % 2 == 0) {
          for (std::uint64_t k = 0; k < 200; ++k) c.send(i / 2 * 200 + k);
          senders.done();
          if (i == 0) {
            senders.wait();
            c.close();
          }
        } else {
          while (auto v = c.receive()) ++seen[*v];
        }
      });
      EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& n) { return n == 1; }));
    }
  });
}

TEST_P(sync_channel, moves_values_and_destroys_each_once) {
  run([] {
    {
      tern::channel<counted> unbuffered;
      tern::channel<counted> buffered{4};
      tern::thread t{[&] {
        for (int i = 0; i < 100; ++i) {
          unbuffered.send(counted{i});
          buffered.send(counted{-i});
        }
      }};
      for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(*unbuffered.receive()->value, i);
        EXPECT_EQ(*buffered.receive()->value, -i);
      }
      t.join();
      buffered.send(counted{1});
      buffered.send(counted{2});
      EXPECT_EQ(buffered.size(), 2u);
    }
    EXPECT_EQ(counted::alive, 0);  // the two that were left went with the channel
  });
}

TEST_P(sync_channel, try_forms_never_wait) {
  run([] {
    tern::channel<std::unique_ptr<int>> none;
    tern::channel<std::unique_ptr<int>> one{1};
    auto v = std::make_unique<int>(5);
    EXPECT_FALSE(none.try_send(std::move(v)));
    ASSERT_NE(v, nullptr);  // NOLINT(bugprone-use-after-move): a refused value stays
    EXPECT_FALSE(none.try_receive().has_value());
    EXPECT_TRUE(one.try_send(std::move(v)));
    EXPECT_EQ(v, nullptr);
    auto w = std::make_unique<int>(6);
    EXPECT_FALSE(one.try_send(std::move(w)));
    EXPECT_EQ(**one.try_receive(), 5);
    tern::channel<int> copies{1};
    const int three = 3;
    EXPECT_TRUE(copies.try_send(three));
    EXPECT_FALSE(copies.try_send(three));
  });
}

TEST_P(sync_channel, closing_wakes_all_and_keeps_what_is_buffered) {
  run([] {
    tern::channel<int> c{2};
    c.send(1);
    c.send(2);
    std::atomic<int> refused{0};
    std::vector<tern::thread> senders;
    for (int i = 0; i < 4; ++i)
      senders.emplace_back([&] {
        try {
          c.send(9);
        } catch (const tern::channel_closed&) {
          ++refused;
        }
      });
    for (int i = 0; i < 20; ++i) tern::this_thread::yield();
    c.close();
    for (tern::thread& t : senders) t.join();
    EXPECT_EQ(refused, 4);
    EXPECT_THROW(c.send(3), tern::channel_closed);
    EXPECT_THROW(static_cast<void>(c.try_send(3)), tern::channel_closed);
    EXPECT_EQ(c.receive(), 1);
    EXPECT_EQ(c.receive(), 2);
    EXPECT_EQ(c.receive(), std::nullopt);

    tern::channel<int> d;
    std::vector<tern::thread> receivers;
    for (int i = 0; i < 4; ++i) receivers.emplace_back([&] { EXPECT_EQ(d.receive(), std::nullopt); });
    for (int i = 0; i < 20; ++i) tern::this_thread::yield();
    d.close();
    for (tern::thread& t : receivers) t.join();
    EXPECT_TRUE(d.is_closed());
  });
}

TEST_P(sync_channel, may_be_destroyed_by_the_receiver) {
  run([] {
    for (int i = 0; i < 300; ++i) {
      auto c = std::make_unique<tern::channel<int>>(static_cast<std::size_t>(i % 2));
      tern::thread t{[p = c.get()] { p->send(4); }};
      EXPECT_EQ(c->receive(), 4);
      if (i % 2 == 0) {
        c.reset();
        t.join();
      } else {
        t.join();
      }
    }
  });
}

TEST(channel_roots, buffers_of_pointers_are_registered_and_cleared) {
  const auto is_root = [](const void* word) {
    bool found = false;
    tern::detail::for_each_root_range([&](void* p, std::size_t bytes) {
      for (std::size_t i = 0; i + sizeof(void*) <= bytes; i += sizeof(void*))
        if (*reinterpret_cast<void**>(static_cast<char*>(p) + i) == word) found = true;
    });
    return found;
  };
  int target = 0;
  {
    tern::channel<int*> c{4};
    c.send(&target);
    EXPECT_TRUE(is_root(&target));
    EXPECT_EQ(c.receive(), &target);
    EXPECT_FALSE(is_root(&target));
    c.send(&target);
  }
  EXPECT_FALSE(is_root(&target));
}

TEST_P(sync_select, takes_exactly_one_ready_case) {
  run([] {
    tern::channel<int> a{1}, b{1};
    a.send(1);
    b.send(2);
    int calls = 0;
    const std::size_t first = tern::select(tern::on_receive(a, [&](auto v) { calls += *v; }),  //
                                           tern::on_receive(b, [&](auto v) { calls += *v; }));
    EXPECT_EQ(calls, first == 0 ? 1 : 2);
    EXPECT_EQ(a.size() + b.size(), 1u);
    const std::size_t second = tern::select(tern::on_receive(a, [&](auto v) { calls += *v; }),  //
                                            tern::on_receive(b, [&](auto v) { calls += *v; }));
    EXPECT_EQ(second, 1 - first);
    EXPECT_EQ(calls, 3);
  });
}

TEST_P(sync_select, is_fair_among_ready_cases) {
  run([] {
    tern::channel<int> a{1}, b{1}, c{1};
    std::array<int, 3> won{};
    a.send(0), b.send(0), c.send(0);
    for (int i = 0; i < 3000; ++i) {
      const std::size_t w = tern::select(tern::on_receive(a, [&](auto) { a.send(0); }),
                                         tern::on_receive(b, [&](auto) { b.send(0); }),
                                         tern::on_receive(c, [&](auto) { c.send(0); }));
      ++won[w];
    }
    // 1000 each is expected, sigma is 26: beyond 250 off is not chance.
    for (int n : won) EXPECT_NEAR(n, 1000, 250);
  });
}

TEST_P(sync_select, time_and_otherwise) {
  run([] {
    tern::channel<int> a;
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(tern::select(tern::on_receive(a, [](auto) { FAIL(); }), tern::after(3ms, [] {})), 1u);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 3ms);
    EXPECT_EQ(tern::select(tern::otherwise([] {}), tern::on_receive(a, [](auto) { FAIL(); })), 0u);
    EXPECT_EQ(tern::select(tern::after(1ms, [] {})), 0u);
    tern::channel<int> b{1};
    EXPECT_EQ(tern::select(tern::on_send(b, 4, [] {}), tern::after(1h, [] { FAIL(); })), 0u);
    EXPECT_EQ(tern::select(tern::on_send(b, 4, [] { FAIL(); }), tern::on_send(b, 5, [] { FAIL(); }),
                           tern::after(1ms, [] {})),
              2u);
    EXPECT_EQ(b.receive(), 4);
  });
}

TEST_P(sync_select, closed_channels) {
  run([] {
    tern::channel<int> a, b;
    tern::thread t{[&] {
      tern::this_thread::sleep_for(1ms);
      a.close();
    }};
    bool empty = false;
    EXPECT_EQ(tern::select(tern::on_receive(b, [](auto) { FAIL(); }),
                           tern::on_receive(a, [&](auto v) { empty = !v; })),
              1u);
    EXPECT_TRUE(empty);
    t.join();
    EXPECT_THROW(tern::select(tern::on_send(a, 1, [] { FAIL(); })), tern::channel_closed);
    tern::thread u{[&] {
      tern::this_thread::sleep_for(1ms);
      b.close();
    }};
    EXPECT_THROW(tern::select(tern::on_send(b, 1, [] { FAIL(); }), tern::after(1h, [] {})),
                 tern::channel_closed);
    u.join();
  });
}

TEST_P(sync_select, a_value_that_is_not_sent_stays) {
  run([] {
    tern::channel<std::unique_ptr<int>> full{1}, other{1};
    full.send(std::make_unique<int>(0));
    auto v = std::make_unique<int>(8);
    tern::select(tern::on_send(full, std::move(v), [] { FAIL(); }), tern::after(1ms, [] {}));
    ASSERT_NE(v, nullptr);  // NOLINT(bugprone-use-after-move)
    tern::select(tern::on_send(other, std::move(v), [] {}), tern::on_send(full, nullptr, [] { FAIL(); }));
    EXPECT_EQ(v, nullptr);
    EXPECT_EQ(**other.receive(), 8);
  });
}

TEST_P(sync_select, both_ends_select_and_the_same_channel_twice) {
  run([] {
    tern::channel<int> a, b;
    const int rounds = 400;
    std::atomic<int> sum{0};
    tern::thread t{[&] {
      for (int i = 0; i < rounds; ++i)
        tern::select(tern::on_send(a, 1, [] {}), tern::on_send(b, 100, [] {}), tern::on_send(a, 1, [] {}));
    }};
    std::array<int, 2> got{};
    for (int i = 0; i < rounds; ++i) {
      tern::select(tern::on_receive(b, [&](auto v) { sum += *v, ++got[1]; }),
                   tern::on_receive(a, [&](auto v) { sum += *v, ++got[0]; }),
                   tern::on_receive(b, [&](auto v) { sum += *v, ++got[1]; }));
    }
    t.join();
    EXPECT_EQ(got[0] + got[1], rounds);
    EXPECT_EQ(sum, got[0] + 100 * got[1]);
    // A select does not meet itself.
    EXPECT_EQ(tern::select(tern::on_send(a, 1, [] { FAIL(); }), tern::on_receive(a, [](auto) { FAIL(); }),
                           tern::after(1ms, [] {})),
              2u);
  });
}

TEST_P(sync_select, nothing_is_lost_when_the_time_ends_meanwhile) {
  run([] {
    tern::channel<int> c;
    std::atomic<int> received{0}, sent{0};
    sync_test::in_parallel(4, 2, [&](unsigned i) {
      for (int k = 0; k < 150; ++k) {
        if (i % 2 == 0)
          tern::select(tern::on_send(c, 1, [&] { ++sent; }), tern::after(40us, [] {}));
        else
          tern::select(tern::on_receive(c, [&](auto) { ++received; }), tern::after(40us, [] {}));
      }
    });
    EXPECT_EQ(sent, received);
  });
}

// tern::thread and nursery as their users see them: results, exceptions, misuse, names, sizes of closures.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <tern/sched.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/error_of.hpp"

namespace {

using tern_test::error_of;

class SchedThread : public testing::TestWithParam<unsigned> {
 protected:
  tern::runtime rt{{.processors = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(Processors, SchedThread, testing::Values(1u, 2u, 4u));

TEST_P(SchedThread, RunReturnsWhatTheFunctionReturns) {
  EXPECT_EQ(rt.run([] { return 42; }), 42);
  auto owned = rt.run([] { return std::make_unique<std::string>("moved"); });
  EXPECT_EQ(*owned, "moved");
  int place = 0;
  int& same = rt.run([&]() -> int& { return place; });
  EXPECT_EQ(&same, &place);
  rt.run([&] { place = 7; });
  EXPECT_EQ(place, 7);
}

TEST_P(SchedThread, RunRethrows) {
  EXPECT_THROW(rt.run([] { throw std::out_of_range("x"); }), std::out_of_range);
  EXPECT_EQ(rt.run([] { return 1; }), 1) << "the runtime lives on";
}

TEST_P(SchedThread, JoinRethrowsOnceAndReleases) {
  rt.run([] {
    tern::thread t{[] { throw std::runtime_error("from the fiber"); }};
    EXPECT_TRUE(t.joinable());
    try {
      t.join();
      ADD_FAILURE() << "join must rethrow";
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "from the fiber");
    }
    EXPECT_FALSE(t.joinable());
    EXPECT_EQ(error_of([&] { t.join(); }), std::errc::invalid_argument);
  });
}

TEST_P(SchedThread, MisuseHasADefinedOutcome) {
  EXPECT_EQ(error_of([] { tern::thread t{[] {}}; }), std::errc::operation_not_permitted)
      << "outside a runtime";
  tern::thread none;
  EXPECT_FALSE(none.joinable());
  EXPECT_EQ(error_of([&] { none.join(); }), std::errc::invalid_argument);
  EXPECT_EQ(error_of([&] { none.detach(); }), std::errc::invalid_argument);
  EXPECT_EQ(none.get_id(), tern::fiber_id{});
  rt.run([] {
    tern::thread self;
    std::atomic<bool> ready{false};
    self = tern::thread{[&] {
      while (!ready) tern::this_thread::yield();
      EXPECT_EQ(error_of([&] { self.join(); }), std::errc::resource_deadlock_would_occur);
    }};
    ready = true;
    self.join();
  });
}

TEST_P(SchedThread, ArgumentsAreDecayedAndMoved) {
  rt.run([] {
    std::string text = "kept";
    auto box = std::make_unique<int>(3);
    int sum = 0;
    tern::thread t{
        [](std::string s, std::unique_ptr<int> p, int& out) { out = static_cast<int>(s.size()) + *p; }, text,
        std::move(box), std::ref(sum)};
    t.join();
    EXPECT_EQ(sum, 7);
    EXPECT_EQ(text, "kept");
    EXPECT_EQ(box, nullptr);
  });
}

TEST_P(SchedThread, MovedHandles) {
  rt.run([] {
    std::atomic<int> n{0};
    tern::thread a{[&] { ++n; }};
    tern::thread b{std::move(a)};
    EXPECT_FALSE(a.joinable());
    EXPECT_TRUE(b.joinable());
    a = tern::thread{[&] { n += 10; }};
    swap(a, b);
    a = std::move(b);  // joins what a held
    EXPECT_GE(n.load(), 1);
    a.join();
    EXPECT_EQ(n.load(), 11);
  });
}

TEST_P(SchedThread, DestructorJoins) {
  rt.run([] {
    std::atomic<bool> done{false};
    {
      tern::thread t{[&] {
        for (int i = 0; i < 100; ++i) tern::this_thread::yield();
        done = true;
      }};
    }
    EXPECT_TRUE(done);
  });
}

TEST_P(SchedThread, DetachedFibersEndBeforeTheRuntime) {
  std::atomic<int> n{0};
  {
    tern::runtime own{{.processors = GetParam()}};
    own.run([&] {
      for (int i = 0; i < 50; ++i)
        tern::thread{[&] {
          tern::this_thread::sleep_for(std::chrono::milliseconds(5));
          ++n;
        }}.detach();
    });
  }
  EXPECT_EQ(n.load(), 50);
}

TEST_P(SchedThread, DetachAfterTheEndFreesTheSlot) {
  rt.run([&] {
    for (int i = 0; i < 100; ++i) {
      std::atomic<bool> over{false};
      tern::thread t{[&] { over = true; }};
      while (!over) tern::this_thread::yield();
      for (int k = 0; k < 10; ++k) tern::this_thread::yield();
      t.detach();
    }
  });
}

TEST_P(SchedThread, ClosuresOfEverySize) {
  rt.run([] {
    const auto check = []<std::size_t N>(std::integral_constant<std::size_t, N>) {
      std::array<unsigned char, N> bytes;
      for (std::size_t i = 0; i < N; ++i) bytes[i] = static_cast<unsigned char>(i * 7);
      bool same = true;
      tern::thread t{[bytes, &same] {
        for (std::size_t i = 0; i < N; ++i) same = same && bytes[i] == static_cast<unsigned char>(i * 7);
      }};
      t.join();
      EXPECT_TRUE(same) << N;
    };
    check(std::integral_constant<std::size_t, 1>{});
    check(std::integral_constant<std::size_t, 64>{});
    check(std::integral_constant<std::size_t, 1000>{});
    check(std::integral_constant<std::size_t, 2040>{});
    check(std::integral_constant<std::size_t, 2049>{});
    check(std::integral_constant<std::size_t, 20000>{});
  });
}

TEST_P(SchedThread, OverAlignedClosuresAndStacks) {
  struct alignas(256) wide {
    char text[256];
  };
  rt.run([] {
    wide w{};
    tern::thread t{[w] {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&w) % 256, 0u);
      alignas(16) volatile char local[16] = {};
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&local[0]) % 16, 0u);
    }};
    t.join();
  });
}

TEST_P(SchedThread, ClosureIsDestroyedOnceAlsoWhenItThrows) {
  auto token = std::make_shared<int>(1);
  rt.run([&] {
    for (int i = 0; i < 20; ++i) {
      tern::thread t{[token, i] {
        if (i % 2 == 0) throw 1;
      }};
      try {
        t.join();
      } catch (int) {
      }
    }
  });
  EXPECT_EQ(token.use_count(), 1);
}

TEST_P(SchedThread, ACopyThatThrowsLeavesNothingBehind) {
  struct bomb {
    bomb() = default;
    bomb(const bomb&) { throw std::runtime_error("copy"); }
    void operator()() const {}
  };
  rt.run([] {
    const bomb b;
    for (int i = 0; i < 10; ++i) EXPECT_THROW(static_cast<void>(tern::thread{b}), std::runtime_error);
  });
}

TEST_P(SchedThread, NamesAndIds) {
  rt.run([] {
    EXPECT_EQ(tern::this_thread::get_name(), "main");
    const tern::fiber_id mine = tern::this_thread::get_id();
    EXPECT_NE(mine, tern::fiber_id{});
    tern::fiber_id inside;
    tern::thread t{{.name = "a rather long name that is cut"}, [&] {
                     inside = tern::this_thread::get_id();
                     EXPECT_EQ(tern::this_thread::get_name(), "a rather long name that");
                     tern::this_thread::set_name("short");
                     EXPECT_EQ(tern::this_thread::get_name(), "short");
                   }};
    const tern::fiber_id outside = t.get_id();
    t.join();
    EXPECT_EQ(inside, outside);
    EXPECT_NE(inside, mine);
    tern::thread plain{[] { EXPECT_EQ(tern::this_thread::get_name(), ""); }};
    plain.join();
  });
  EXPECT_EQ(tern::this_thread::get_id(), tern::fiber_id{});
}

TEST_P(SchedThread, StacksOfOtherSizes) {
  rt.run([] {
    const auto deep = [](std::size_t bytes) {
      std::vector<tern::thread> all;
      for (int i = 0; i < 4; ++i)
        all.emplace_back(tern::thread_attributes{.stack_size = bytes * 2}, [bytes] {
          // Touches most of half the slot, step by step.
          volatile char* p = static_cast<volatile char*>(__builtin_alloca(bytes / 2));
          for (std::size_t k = 0; k < bytes / 2; k += 512) p[bytes / 2 - 1 - k] = 1;
        });
      for (auto& t : all) t.join();
    };
    deep(64 * 1024);
    deep(1024 * 1024);
    EXPECT_EQ(error_of([] { tern::thread t(tern::thread_attributes{.stack_size = 64 << 20}, [] {}); }),
              std::errc::invalid_argument);
    EXPECT_EQ(error_of([] { tern::thread t(tern::thread_attributes{.stack_size = SIZE_MAX}, [] {}); }),
              std::errc::invalid_argument);
  });
}

TEST_P(SchedThread, JoinedFromAPlainThread) {
  std::atomic<int> n{0};
  std::vector<tern::thread> all;
  for (int i = 0; i < 20; ++i)
    all.push_back(rt.spawn([&] {
      tern::this_thread::yield();
      ++n;
    }));
  for (auto& t : all) t.join();
  EXPECT_EQ(n.load(), 20);
  tern::thread failing = rt.spawn([] { throw 5; });
  EXPECT_THROW(failing.join(), int);
}

TEST_P(SchedThread, NurseryWaitsForAllAndForTheirChildren) {
  rt.run([] {
    std::atomic<int> n{0};
    tern::nursery outer;
    for (int i = 0; i < 10; ++i)
      outer.spawn([&] {
        for (int k = 0; k < 10; ++k) outer.spawn([&] { ++n; });
      });
    outer.wait();
    EXPECT_EQ(n.load(), 100);
    outer.spawn([&] { ++n; });
    outer.wait();
    EXPECT_EQ(n.load(), 101);
  });
}

TEST_P(SchedThread, NurseryRethrowsTheFirstAndStopsTheRest) {
  rt.run([] {
    std::atomic<int> stopped{0};
    tern::nursery n;
    for (int i = 0; i < 5; ++i)
      n.spawn([&](std::stop_token stop) {
        while (!stop.stop_requested()) tern::this_thread::yield();
        ++stopped;
      });
    n.spawn([] { throw std::runtime_error("first"); });
    EXPECT_THROW(n.wait(), std::runtime_error);
    EXPECT_EQ(stopped.load(), 5);
    n.wait();  // taken: the nursery is clean again
    EXPECT_FALSE(n.get_stop_token().stop_requested());
  });
}

TEST_P(SchedThread, AFunctionThatTakesATokenIsAskedToStopByItsHandle) {
  rt.run([] {
    const auto until_asked = [](std::stop_token stop, int* rounds) {
      while (!stop.stop_requested()) {
        ++*rounds;
        tern::this_thread::yield();
      }
    };
    int rounds = 0;
    tern::thread t{until_asked, &rounds};
    EXPECT_TRUE(t.get_stop_token().stop_possible());
    EXPECT_FALSE(t.get_stop_source().stop_requested());
    EXPECT_TRUE(t.request_stop());
    EXPECT_FALSE(t.request_stop()) << "only the first one asks";
    t.join();
    EXPECT_TRUE(t.get_stop_token().stop_requested());
    {
      tern::thread destroyed{{.name = "asked"}, until_asked, &rounds};
      const tern::thread moved{std::move(destroyed)};
      EXPECT_FALSE(destroyed.get_stop_token().stop_possible());
    }
    tern::thread replaced{until_asked, &rounds};
    replaced = tern::thread{[] {}};
    EXPECT_FALSE(replaced.get_stop_token().stop_possible()) << "what takes no token has no state";
    EXPECT_FALSE(replaced.request_stop());
    replaced.join();
  });
}

// As std::jthread: the token comes first where both would do.
TEST_P(SchedThread, TheTokenIsPassedWhereItCanBe) {
  rt.run([] {
    struct either {
      bool* with_token;
      void operator()(std::stop_token) const { *with_token = true; }
      void operator()() const { *with_token = false; }
    };
    bool with_token = false;
    tern::thread{either{&with_token}}.join();
    EXPECT_TRUE(with_token);
  });
}

TEST(SchedThreadDeath, DetachedThrowNamesTheFiber) {
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(tern::run([] {
                 tern::thread t{{.name = "careless"}, [] { throw std::runtime_error("x"); }};
                 t.detach();
                 tern::this_thread::sleep_for(std::chrono::seconds(5));
               }),
               "careless");
}

TEST(SchedThreadDeath, UntakenExceptionInDestructorNamesTheFiber) {
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(tern::run([] { tern::thread t{{.name = "unheard"}, [] { throw 1; }}; }), "unheard");
}

// Skipped under emulation, as all of these: a death test starts its own program anew (tests/support/emulation.hpp).
TEST(SchedThreadDeath, UntakenExceptionOfANurseryNamesTheFiberItLeft) {
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(tern::run([] {
                 tern::nursery n;
                 n.spawn({.name = "well"}, [] {});
                 n.spawn({.name = "ill"}, [] { throw 1; });
               }),
               "an exception left fiber #[0-9]+ 'ill', which nobody joins");
}

TEST(SchedThreadDeath, ParkInsideBlockingIsFatal) {
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      tern::run([] { tern::blocking([] { tern::this_thread::sleep_for(std::chrono::milliseconds(1)); }); }),
      "inside tern::blocking");
}

}  // namespace

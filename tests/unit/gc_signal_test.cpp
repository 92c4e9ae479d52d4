// Fibers that compute without a safepoint: signals acknowledge for their processors, wherever they are interrupted.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/stderr_tap.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::is_list;
using gc_test::make_list;
using gc_test::node;
using gc_test::on_thread;

// A step of computing: no safepoint. Under TSan a signal waits for the next call that it intercepts.
void compute() {
  if (tern::detail::tsan_build)
    ::usleep(20);
  else
    tern::detail::spin_pause();
}

std::uint64_t interruptions() { return gc::read_statistics().interruptions; }

// Whole cycles, and garbage over whatever they gave back.
void collect_and_reuse(int cycles) {
  on_thread([&] {
    for (int i = 0; i < cycles; ++i) {
      gc::collect();
      make_list(1000, -1);
    }
  });
}

class gc_signal : public testing::TestWithParam<unsigned> {};

TEST_P(gc_signal, a_fiber_that_computes_keeps_its_objects_and_no_cycle_waits_for_its_end) {
  gc::testing::poison_freed(true);
  const std::uint64_t before = interruptions();
  std::atomic<int> stage{0};
  std::atomic<int> good{0};
  std::thread program{[&] {
    tern::runtime rt{{.processors = GetParam()}};
    rt.run([&] {
      node* mine = make_list(500, 4711);
      stage = 1;
      while (stage == 1) compute();
      good += is_list(mine, 500, 4711);
    });
  }};
  while (stage != 1) std::this_thread::yield();
  collect_and_reuse(10);
  stage = 2;
  program.join();
  EXPECT_EQ(good, 1);
  EXPECT_GE(interruptions() - before, 10u);
  // Each of its handshakes has waited for a signal.
  const gc::statistics s = gc::read_statistics();
  const auto late = static_cast<std::uint64_t>(tern::detail::gc::collector::late_after);
  EXPECT_GE(s.handshake_max_ns, late);
  EXPECT_LE(s.handshake_p99_ns, s.handshake_max_ns + s.handshake_max_ns / 64);
  EXPECT_LE(s.handshake_p50_ns, s.handshake_p99_ns);
  EXPECT_GT(s.handshake_p50_ns, 0u);
}

// Made deep down, its address turned over: what is left of it on the stack and in registers points nowhere.
[[gnu::noinline]] std::uintptr_t make_hidden(long value) {
  node* n = gc::make<node>();
  n->value = value;
  return ~tern::detail::to_word(n);
}
[[gnu::noinline]] void wipe_the_stack_below() {
  std::array<char, 4096> a;
  std::memset(a.data(), 0, a.size());
  asm volatile("" ::"r"(a.data()) : "memory");
}

// The object's only reference is in a vector register for as long as stage is 1.
[[gnu::noinline]] double hold_in_vector_register(std::uintptr_t hidden, std::atomic<int>& stage) {
  double only;
  const std::uintptr_t word = ~hidden;
  std::memcpy(&only, &word, sizeof only);
#if defined(__x86_64__)
#define TERN_TEST_VECTOR_REGISTER "+x"
#else
#define TERN_TEST_VECTOR_REGISTER "+w"
#endif
  do asm volatile("" : TERN_TEST_VECTOR_REGISTER(only));
  while (stage == 1);
  return only;
}

TEST_P(gc_signal, a_register_may_hold_the_only_reference) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan delivers signals late";
  gc::testing::poison_freed(true);
  std::atomic<int> stage{0};
  std::atomic<long> value{0};
  std::thread program{[&] {
    tern::runtime rt{{.processors = GetParam()}};
    rt.run([&] {
      const std::uintptr_t hidden = make_hidden(815);
      wipe_the_stack_below();
      stage = 1;
      const double only = hold_in_vector_register(hidden, stage);
      node* n;
      std::memcpy(&n, &only, sizeof n);
      value = n->value;
    });
  }};
  while (stage != 1) std::this_thread::yield();
  collect_and_reuse(3);
  stage = 2;
  program.join();
  EXPECT_EQ(value, 815);
}

TEST_P(gc_signal, others_run_and_collect_beside_it) {
  gc::testing::poison_freed(true);
  std::atomic<int> stage{0};
  std::atomic<long> bad{0};
  tern::runtime rt{{.processors = 2}};
  std::thread hog{[&] {
    rt.run([&] {
      stage = 1;
      while (stage == 1) compute();
    });
  }};
  while (stage != 1) std::this_thread::yield();
  rt.run([&] {
    tern::nursery n;
    for (unsigned f = 0; f < 2 * GetParam(); ++f)
      n.spawn([&, f] {
        for (int i = 0; i < 10; ++i) {
          node* mine = make_list(200, f);
          if (i % 5 == 0) gc::collect();
          tern::this_thread::yield();
          if (!is_list(mine, 200, f)) ++bad;
        }
      });
    n.wait();
  });
  stage = 2;
  hog.join();
  EXPECT_EQ(bad, 0);
}

// It stores and never allocates: the barrier's slow path is a safepoint, its fast path is not.
TEST_P(gc_signal, a_fiber_that_moves_references_about_loses_none) {
  gc::testing::poison_freed(true);
  constexpr int count = 64;
  std::atomic<bool> stop{false};
  std::atomic<int> stage{0};
  std::atomic<long> bad{0};
  std::thread program{[&] {
    tern::runtime rt{{.processors = GetParam()}};
    rt.run([&] {
      auto* slots = gc::make_array<gc::member<node>>(count);
      for (int i = 0; i < count; ++i) {
        node* n = gc::make<node>();
        n->value = i;
        (*slots)[static_cast<std::size_t>(i)] = n;
      }
      stage = 1;
      tern::detail::fast_random random{tern_test::seed()};
      while (!stop) {
        // The only reference travels through a register.
        auto& a = (*slots)[random.below(count)];
        auto& b = (*slots)[random.below(count)];
        node* x = a;
        node* y = b;
        a = nullptr;
        b = nullptr;
        for (std::uint32_t i = random.below(20); i > 0; --i) compute();
        a = y;
        b = x;
      }
      std::uint64_t seen = 0;
      for (gc::member<node>& m : *slots)
        if (m->value >= 0 && m->value < count) seen |= std::uint64_t{1} << m->value;
      if (seen != ~std::uint64_t{0}) ++bad;
    });
  }};
  while (stage != 1) std::this_thread::yield();
  collect_and_reuse(tern_test::scale(40));
  stop = true;
  program.join();
  EXPECT_EQ(bad, 0);
}

INSTANTIATE_TEST_SUITE_P(processors, gc_signal, testing::Values(1u, 2u));

// A program's alternate stack, on a plain thread.
TEST(gc_signal_thread, an_alternate_stack_hides_nothing) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan delivers signals late";
  gc::testing::poison_freed(true);
  std::atomic<int> stage{0};
  std::thread busy{[&] {
    std::vector<char> memory(256 << 10);
    stack_t s{};
    s.ss_sp = memory.data();
    s.ss_size = memory.size();
    stack_t before{};
    ASSERT_EQ(::sigaltstack(&s, &before), 0);
    const std::uintptr_t hidden = make_hidden(99);
    wipe_the_stack_below();
    stage = 1;
    const double only = hold_in_vector_register(hidden, stage);
    node* n;
    std::memcpy(&n, &only, sizeof n);
    EXPECT_EQ(n->value, 99);
    ASSERT_EQ(::sigaltstack(&before, nullptr), 0);
  }};
  while (stage != 1) std::this_thread::yield();
  collect_and_reuse(3);
  stage = 2;
  busy.join();
}

// Its slot could not hold a signal frame.
TEST(gc_signal_thread, a_tiny_fiber_may_compute) {
  if (!tern::detail::tiny_slots_fit) GTEST_SKIP() << "tiny fibers have larger slots in this build";
  gc::testing::poison_freed(true);
  std::atomic<int> stage{0};
  std::atomic<int> good{0};
  const std::uint64_t before = interruptions();
  std::thread program{[&] {
    tern::runtime rt{{.processors = 1, .signals_on_alternate_stack = true}};
    rt.run([&] {
      node* list = make_list(50, 3);
      tern::thread t{tern::thread_attributes{.tiny = true}, [&, list] {
                       stage = 1;
                       while (stage == 1) compute();
                       good += is_list(list, 50, 3);
                     }};
      t.join();
    });
  }};
  while (stage != 1) std::this_thread::yield();
  collect_and_reuse(3);
  stage = 2;
  program.join();
  EXPECT_EQ(good, 1);
  EXPECT_GT(interruptions(), before);
}

using gc_signal_process = ::testing::Test;

TEST_F(gc_signal_process, a_fiber_may_have_computed_since_before_the_first_object) {
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto program = [] {
    ::alarm(60);
    static std::atomic<int> stage{0};
    std::thread other{[] {
      tern::run([] {
        stage = 1;
        while (stage == 1) compute();
        // Its processor's mutator acted all the while.
        node* mine = make_list(500, 1);
        gc::collect();
        stage = is_list(mine, 500, 1) ? 3 : 4;
      });
    }};
    while (stage != 1) std::this_thread::yield();
    for (int i = 0; i < 3; ++i) {
      make_list(1000, 0);
      gc::collect();
    }
    stage = 2;
    other.join();
    std::_Exit(stage == 3 ? 0 : 1);
  };
  EXPECT_EXIT(program(), ::testing::ExitedWithCode(0), "");
}

TEST_F(gc_signal_process, gctrace_names_a_fiber_that_computes_once) {
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto program = [] {
    ::setenv("TERN_DEBUG", "gctrace=1", 1);
    tern_test::stderr_tap tap;
    static std::atomic<int> stage{0};
    std::thread other{[] {
      tern::run([] {
        tern::thread t{tern::thread_attributes{.name = "computes"}, [] {
                         gc::make<node>();
                         stage = 1;
                         while (stage == 1) compute();
                       }};
        t.join();
      });
    }};
    while (stage != 1) std::this_thread::yield();
    for (int i = 0; i < 4; ++i) gc::collect();
    const std::string& said = tap.wait_for("gc 4: mark");
    const std::size_t at = said.find("'computes'");
    const bool once = at != std::string::npos && said.find("'computes'", at + 1) == std::string::npos;
    stage = 2;
    other.join();
    std::_Exit(once ? 0 : 1);
  };
  EXPECT_EXIT(program(), ::testing::ExitedWithCode(0), "");
}

}  // namespace

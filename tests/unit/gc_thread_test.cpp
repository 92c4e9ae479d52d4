// Plain threads: attachment, exit in mid-cycle, threads that never poll.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "tests/support/seed.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::hold_marker;
using gc_test::hold_next;
using gc_test::holding;
using gc_test::live_objects;
using gc_test::node;
using gc_test::on_thread;
using gc_test::verified;

TEST(gc_thread, threads_come_and_go_while_cycles_run) {
  verified v;
  std::atomic<bool> stop{false};
  std::thread cycles{[&] {
    while (!stop) gc::collect();
  }};
  std::atomic<long> bad{0};
  for (int round = 0; round < tern_test::scale(40); ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        node* head = nullptr;
        for (long i = 0; i < 2000; ++i) {
          node* n = gc::make<node>();
          n->value = t;
          n->next = i % 50 == 0 ? nullptr : head;
          head = n;
        }
        for (node* n = head; n != nullptr; n = n->next)
          if (n->value != t) ++bad;
      });
    for (std::thread& t : threads) t.join();
  }
  stop = true;
  cycles.join();
  EXPECT_EQ(bad, 0);
  EXPECT_EQ(v.lost(), 0u);
  EXPECT_EQ(live_objects(), 0u);
}

TEST(gc_thread, an_attachment_ends_with_its_scope) {
  on_thread([] {
    EXPECT_EQ(tern::detail::gc::current_mutator_if_any(), nullptr);
    {
      gc::attach_thread a;
      EXPECT_NE(tern::detail::gc::current_mutator_if_any(), nullptr);
      gc::attach_thread nested;
      gc::make<node>();
    }
    EXPECT_EQ(tern::detail::gc::current_mutator_if_any(), nullptr);
  });
}

// Under TSan a signal waits for the next intercepted call.
TEST(gc_thread, a_thread_that_computes_without_polling_does_not_stop_a_cycle) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan delivers signals late";
  std::atomic<int> stage{0};
  std::thread busy{[&] {
    node* n = gc::make<node>();
    n->value = 4711;
    stage = 1;
    while (stage != 2) tern::detail::spin_pause();  // no safepoint
    EXPECT_EQ(n->value, 4711);
    gc::keep_alive(n);
  }};
  while (stage != 1) std::this_thread::yield();
  on_thread([] {
    for (int i = 0; i < 5; ++i) {
      gc::collect();
      for (int k = 0; k < 1000; ++k) gc::make<node>();
    }
  });
  stage = 2;
  busy.join();
}

// Cycles go on by the signal, and with them who allocates; how fast is printed, beside the same with a computing thread that polls.
TEST(gc_thread, others_allocate_beside_one_that_computes_for_five_seconds) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan delivers signals late";
  using clock = std::chrono::steady_clock;
  gc::testing::poison_freed(true);
  std::atomic<int> stage{0};
  std::thread busy{[&] {
    node* n = gc::make<node>();
    n->value = 4711;
    stage = 1;
    while (stage == 1) gc::safepoint();
    while (stage == 2) tern::detail::spin_pause();  // no safepoint
    EXPECT_EQ(n->value, 4711);
    gc::keep_alive(n);
  }};
  while (stage != 1) std::this_thread::yield();
  // Objects that were made per millisecond, in so much time and so many cycles at least.
  const auto allocate = [](std::chrono::milliseconds time, std::uint64_t cycles) {
    const auto cycles_run = [] { return gc::read_statistics().cycles; };
    const clock::time_point begin = clock::now();
    const std::uint64_t before = cycles_run();
    std::uint64_t made = 0;
    while (clock::now() - begin < time || cycles_run() - before < cycles) {
      for (int i = 0; i < 1000; ++i) gc::make<node>();
      made += 1000;
    }
    const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - begin).count();
    std::printf("%llu objects/ms, %llu cycles in %lld ms\n",
                static_cast<unsigned long long>(made) / static_cast<unsigned long long>(passed + 1),
                static_cast<unsigned long long>(cycles_run() - before), static_cast<long long>(passed));
  };
  on_thread([&] {
    allocate(std::chrono::milliseconds{1000}, 1);
    stage = 2;
    allocate(std::chrono::milliseconds{5000}, 20);
  });
  stage = 3;
  busy.join();
}

TEST(gc_thread, a_thread_that_sleeps_in_the_kernel_does_not_stop_a_cycle) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan delivers signals late";
  tern::detail::atomic<std::uint32_t> futex{0};
  std::atomic<int> stage{0};
  std::thread sleeper{[&] {
    node* n = gc::make<node>();
    n->value = 42;
    stage = 1;
    while (futex.load() == 0) tern::detail::os::futex_wait(futex, 0);
    EXPECT_EQ(n->value, 42);
    // It goes on allocating with the bins that a handler swept in place.
    node* head = nullptr;
    for (long i = 0; i < 20'000; ++i) {
      node* m = gc::make<node>();
      EXPECT_EQ(m->value, 0);
      m->value = i;
      m->next = head;
      head = m;
    }
    gc::collect();
    long i = 20'000;
    for (node* m = head; m != nullptr; m = m->next) EXPECT_EQ(m->value, --i);
    EXPECT_EQ(i, 0);
    gc::keep_alive(n);
  }};
  while (stage != 1) std::this_thread::yield();
  for (int i = 0; i < 5; ++i) gc::collect();
  futex = 1;
  tern::detail::os::futex_wake(futex, 1);
  sleeper.join();
}

TEST(gc_thread, without_managed_access_lets_a_cycle_pass) {
  on_thread([] {
    node* n = gc::make<node>();
    n->value = 5;
    const int r = gc::without_managed_access([] {
      on_thread([] { gc::collect(); });
      return 3;
    });
    EXPECT_EQ(r, 3);
    EXPECT_EQ(n->value, 5);
    gc::keep_alive(n);
  });
}

// The collector is concurrent in truth: its marker is held in the middle of marking for a second, and until every mutator has gone on.
TEST(gc_thread, every_mutator_goes_on_while_the_marker_is_held) {
  gc::handle<node> list;
  on_thread([&] {
    for (int i = 0; i < 50'000; ++i) {
      node* n = gc::make<node>();
      n->next = list;
      list = n;
    }
  });
  constexpr int count = 3;
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t)
    threads.emplace_back([&] {
      node* mine = gc::make<node>();
      while (!holding) {
        gc::safepoint();
        std::this_thread::yield();
      }
      // 5,000 are far more than the rest of a bin: they refill and store while it is held.
      for (int i = 0; i < 5000 || holding; ++i) {
        mine->next = gc::make<node>();
        if (i == 4999) ++done;
      }
    });
  tern::detail::gc::testing.mark_quantum = 100;
  tern::detail::gc::testing.at = &hold_marker;
  hold_next = true;
  std::thread collecting{[] { gc::collect(); }};
  while (!holding) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  while (done != count) std::this_thread::yield();  // for ever, if the marker keeps one of them from its work
  holding = false;
  collecting.join();
  tern::detail::gc::testing.at = nullptr;
  tern::detail::gc::testing.mark_quantum = 0;
  for (std::thread& t : threads) t.join();
  long n = 0;
  for (node* x = list; x != nullptr; x = x->next) ++n;
  EXPECT_EQ(n, 50'000);
}

}  // namespace

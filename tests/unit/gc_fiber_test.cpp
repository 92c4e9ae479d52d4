// Fibers as roots: running, parked, in channels, inside tern::blocking.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/seed.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

using namespace std::chrono_literals;
namespace gc = tern::gc;
using gc_test::hold_marker;
using gc_test::hold_next;
using gc_test::holding;
using gc_test::is_list;
using gc_test::live_objects;
using gc_test::make_list;
using gc_test::node;
using gc_test::verified;

class gc_fiber : public testing::TestWithParam<unsigned> {};

TEST_P(gc_fiber, parked_fibers_keep_what_their_stacks_hold) {
  verified v;
  std::atomic<int> good{0};
  const int count = tern_test::scale(500);
  tern::runtime rt{{.processors = GetParam()}};
  rt.run([&] {
    tern::mutex m;
    m.lock();
    tern::nursery n;
    for (int f = 0; f < count; ++f)
      n.spawn([&, f] {
        node* mine = make_list(20, f);
        m.lock();
        m.unlock();
        if (is_list(mine, 20, f)) ++good;
      });
    for (int i = 0; i < 4; ++i) {
      tern::this_thread::yield();
      gc::collect();
      make_list(5000, -1);
    }
    m.unlock();
    n.wait();
  });
  EXPECT_EQ(good, count);
  EXPECT_EQ(v.lost(), 0u);
  EXPECT_EQ(live_objects(), 0u);
}

TEST_P(gc_fiber, a_closure_holds_what_it_captured) {
  verified v;
  std::atomic<int> good{0};
  const int count = tern_test::scale(300);
  tern::runtime rt{{.processors = GetParam()}};
  rt.run([&] {
    tern::nursery n;
    for (int f = 0; f < count; ++f) {
      node* captured = make_list(10, f);
      n.spawn([&good, captured, f] {
        if (is_list(captured, 10, f)) ++good;
      });
      if (f % 50 == 0) gc::collect();
    }
    n.wait();
  });
  EXPECT_EQ(good, count);
  EXPECT_EQ(v.lost(), 0u);
}

TEST_P(gc_fiber, channels_carry_managed_pointers) {
  verified v;
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{16}}) {
    std::atomic<int> good{0};
    const int count = tern_test::scale(2000);
    tern::runtime rt{{.processors = GetParam()}};
    rt.run([&] {
      tern::channel<node*> c{capacity};
      std::atomic<bool> done{false};
      tern::nursery n;
      n.spawn([&] {
        for (int i = 0; i < count; ++i) c.send(make_list(5, i));
        c.close();
      });
      n.spawn([&] {
        for (int i = 0;; ++i) {
          std::optional<node*> x = c.receive();
          if (!x) break;
          if (is_list(*x, 5, i)) ++good;
        }
        done = true;
      });
      n.spawn([&] {
        while (!done) {
          gc::collect();
          tern::this_thread::yield();
        }
      });
      n.wait();
    });
    EXPECT_EQ(good, count);
  }
  EXPECT_EQ(v.lost(), 0u);
  EXPECT_EQ(live_objects(), 0u);
}

TEST_P(gc_fiber, a_fiber_inside_blocking_is_scanned_for) {
  verified v;
  tern::runtime rt{{.processors = GetParam()}};
  rt.run([&] {
    tern::nursery n;
    std::atomic<int> inside{0};
    std::atomic<bool> leave{false};
    std::atomic<int> good{0};
    for (int f = 0; f < 4; ++f)
      n.spawn([&, f] {
        for (int i = 0; i < 5; ++i) {
          node* mine = make_list(50, f);
          tern::blocking([&] {
            ++inside;
            std::this_thread::sleep_for(3ms);
          });
          if (is_list(mine, 50, f)) ++good;
        }
      });
    n.spawn([&] {
      while (!leave) {
        gc::collect();
        make_list(2000, -1);
        tern::this_thread::yield();
        if (inside >= 20) leave = true;
      }
    });
    n.wait();
    EXPECT_EQ(good, 20);
  });
  EXPECT_EQ(v.lost(), 0u);
}

TEST_P(gc_fiber, a_fiber_resumed_elsewhere_takes_its_roots_along) {
  verified v;
  std::atomic<long> bad{0};
  tern::runtime rt{{.processors = GetParam()}};
  rt.run([&] {
    tern::nursery n;
    for (int f = 0; f < 16; ++f)
      n.spawn([&, f] {
        node* mine = make_list(30, f);
        for (int i = 0; i < tern_test::scale(300); ++i) {
          tern::this_thread::yield();
          mine->next->value = f;
          node* second = mine->next;
          mine->next = nullptr;  // only this stack leads to the rest now
          tern::this_thread::yield();
          node* fresh = gc::make<node>();
          fresh->value = f;
          fresh->next = second;
          mine = fresh;
          if (!is_list(mine, 30, f)) ++bad;
          if (i % 64 == 0) gc::collect();
        }
      });
    n.wait();
  });
  EXPECT_EQ(bad, 0);
  EXPECT_EQ(v.lost(), 0u);
}

// The same as for plain threads: the marker is held for a second, and until fibers on every processor have allocated and stored.
TEST_P(gc_fiber, every_fiber_goes_on_while_the_marker_is_held) {
  tern::runtime rt{{.processors = GetParam()}};
  rt.run([&] {
    gc::handle<node> list{make_list(20'000, 1)};
    constexpr int count = 6;
    std::atomic<int> done{0};
    tern::nursery n;
    for (int f = 0; f < count; ++f)
      n.spawn([&] {
        node* mine = gc::make<node>();
        while (!holding) tern::this_thread::yield();
        for (int i = 0; i < 2000 || holding; ++i) {
          mine->next = gc::make<node>();
          if (i % 100 == 99) tern::this_thread::yield();
          if (i == 1999) ++done;
        }
      });
    tern::detail::gc::testing.mark_quantum = 100;
    tern::detail::gc::testing.at = &hold_marker;
    hold_next = true;
    // Plain: this fiber's processor must not sit in collect().
    std::thread collecting{[] { gc::collect(); }};
    while (!holding) tern::this_thread::sleep_for(1ms);
    tern::this_thread::sleep_for(1s);
    while (done != count)
      tern::this_thread::sleep_for(1ms);  // for ever, if the marker keeps one of them from its work
    holding = false;
    n.wait();
    tern::blocking([&] { collecting.join(); });
    tern::detail::gc::testing.at = nullptr;
    tern::detail::gc::testing.mark_quantum = 0;
  });
}

INSTANTIATE_TEST_SUITE_P(processors, gc_fiber, testing::Values(1u, 2u, 4u));

TEST(gc_fiber_death, managed_memory_inside_blocking_is_fatal) {
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(tern::run([] {
                 gc::make<node>();
                 tern::blocking([] { gc::make<node>(); });
               }),
               "inside tern::blocking");
}

}  // namespace

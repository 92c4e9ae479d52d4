// Cycles back to back, whose every handshake is answered by a signal where no safepoint comes first: in the middle of spawns, yields, waits and
// hand-overs. Fibers hold lists by their stacks alone, and look whether they are whole.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include <tern/gc.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/managed_list.hpp"
#include "tests/support/seed.hpp"

namespace {

namespace gc = tern::gc;

using gc_test::is_list;
using gc_test::make_list;
using gc_test::node;

struct board {
  std::atomic<long> bad{0};
  tern::channel<node*> bounded{4};
  tern::channel<node*> hand_to_hand{0};
  tern::mutex guard;
  gc::handle<node> shared;

  void expect_list(const node* x, long n, long value) {
    if (!is_list(x, n, value)) ++bad;
  }

  // As a program does between its calls: no safepoint.
  static void compute(std::uint32_t steps) {
    while (steps-- > 0) tern::detail::spin_pause();
  }

  // What a fiber holds over yields that turn the ring, so that somebody is always on the way out.
  void turn(tern::detail::fast_random random, int steps) {
    for (long i = 0; i < steps && bad == 0; ++i) {
      node* mine = make_list(4, i);
      for (std::uint32_t k = 1 + random.below(6); k > 0; --k) tern::this_thread::yield();
      compute(random.below(40));
      expect_list(mine, 4, i);
    }
  }
  // Closures that are copied as bytes, that are constructed, and on the heap.
  void spawn(tern::detail::fast_random random, int steps) {
    for (long i = 0; i < steps && bad == 0; ++i) {
      tern::nursery n;
      compute(random.below(40));
      for (std::uint32_t k = 1 + random.below(4); k > 0; --k) {
        node* captured = make_list(3, i);
        switch (random.below(3)) {
          case 0: n.spawn([this, captured, i] { expect_list(captured, 3, i); }); break;
          case 1:
            n.spawn([this, captured = std::exchange(captured, nullptr), p = std::make_unique<long>(i)] {
              expect_list(captured, 3, *p);
            });
            break;
          default: {
            struct large {
              node* first;
              char bytes[4000];
            };
            n.spawn(
                [this, l = large{std::exchange(captured, nullptr), {}}, i] { expect_list(l.first, 3, i); });
          }
        }
      }
      n.wait();
    }
  }
  void lock(tern::detail::fast_random random, int steps) {
    for (long i = 0; i < steps && bad == 0; ++i) {
      const std::lock_guard hold{guard};
      if (node* x = shared) expect_list(x, 2, x->value);
      if (random.below(2) == 0) tern::this_thread::yield();
      shared = make_list(2, i);
    }
  }
  void send(tern::channel<node*>& c, int steps) {
    for (long i = 0; i < steps && bad == 0; ++i) c.send(make_list(5, i));
    c.close();
  }
  void receive(tern::channel<node*>& c) {
    long i = 0;
    while (std::optional<node*> x = c.receive()) expect_list(*x, 5, i++);
  }
};

// Rounds of a runtime of its own each: so many, and until signals have acknowledged as well.
void run_under_signals(unsigned processors, int least) {
  constexpr int steps = 200;
  gc::testing::verify_each_cycle(true);
  gc::testing::poison_freed(true);
  tern::detail::gc::testing.signal_at_once.store(true);
  const gc::statistics before = gc::read_statistics();
  const auto interrupted = [&] { return gc::read_statistics().interruptions - before.interruptions; };
  std::atomic<bool> done{false};
  std::thread cycles{[&] {
    while (!done) gc::collect();
  }};
  std::uint64_t seed = tern_test::seed();
  long bad = 0;
  for (int round = 0; bad == 0 && (round < least || interrupted() == 0); ++round) {
    tern::runtime rt{{.processors = processors}};
    rt.run([&] {
      board b;
      tern::nursery n;
      const auto random = [&] { return tern::detail::fast_random{++seed}; };
      for (int f = 0; f < 3; ++f) n.spawn([&, r = random()] { b.turn(r, steps); });
      for (int f = 0; f < 2; ++f) n.spawn([&, r = random()] { b.spawn(r, steps / 2); });
      for (int f = 0; f < 2; ++f) n.spawn([&, r = random()] { b.lock(r, steps); });
      n.spawn([&] { b.send(b.bounded, steps); });
      n.spawn([&] { b.receive(b.bounded); });
      n.spawn([&] { b.send(b.hand_to_hand, steps); });
      n.spawn([&] { b.receive(b.hand_to_hand); });
      n.wait();
      bad = b.bad;
    });
  }
  done = true;
  cycles.join();
  tern::detail::gc::testing.signal_at_once.store(false);
  gc::testing::verify_each_cycle(false);
  const gc::statistics after = gc::read_statistics();
  std::printf("%llu cycles, %llu acknowledgements by signal\n",
              static_cast<unsigned long long>(after.cycles - before.cycles),
              static_cast<unsigned long long>(interrupted()));
  EXPECT_EQ(bad, 0);
  EXPECT_EQ(after.lost, before.lost);
}

TEST(gc_signals, come_at_any_moment_on_two_processors) { run_under_signals(2, tern_test::scale(60)); }
TEST(gc_signals, come_at_any_moment_on_one_processor) { run_under_signals(1, tern_test::scale(60)); }

}  // namespace

// Everything of the scheduler at once, at random, on 1, 2 and 4 processors: spawns, joins, detaches, nurseries, yields, timed and
// untimed waits, blocking calls, hogs, exceptions, plain threads that inject and wake. Nothing may be lost, doubled or left alive.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/sched.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;

// Fibers and threads meet here: a place that holds at most one waiter.
struct meeting_place {
  spin_lock<> lock;
  waiter* waiting = nullptr;
};

struct world {
  std::array<meeting_place, 16> places;
  std::atomic<long> begun{0};
  std::atomic<long> ended{0};
  std::atomic<long> wakes{0};
  std::atomic<long> woken{0};
};

// Waits at a place for at most a while; true if somebody woke it.
bool wait_at(meeting_place& m, os::nanoseconds at_most) {
  m.lock.lock();
  if (m.waiting != nullptr) {
    m.lock.unlock();
    return false;
  }
  waiter w{"meeting", &m, waiter_kind::multi};
  m.waiting = &w;
  const auto unlock = [](waiter&, void* place) noexcept -> bool {
    static_cast<meeting_place*>(place)->lock.unlock();
    return true;
  };
  const wake_reason r = park_until(w, os::now() + at_most, unlock, &m);
  if (r == wake_reason::timed_out) {
    // Whoever took the waiter away holds the lock until it is done with it.
    m.lock.lock();
    if (m.waiting == &w) m.waiting = nullptr;
    m.lock.unlock();
  }
  return r == wake_reason::notified;
}

bool wake_at(meeting_place& m, bool tail) {
  m.lock.lock();
  waiter* w = std::exchange(m.waiting, nullptr);
  const bool won = w != nullptr && unpark(*w, tail ? wake_place::tail : wake_place::next);
  m.lock.unlock();
  return won;
}

void life(world& w, std::uint64_t seed, int depth) {
  // A sleep or join ends by an exception where the nursery is cancelled: by a sibling that throws.
  struct count_end {
    world& w;
    ~count_end() { ++w.ended; }
  };
  ++w.begun;
  const count_end counted{w};
  fast_random random{seed};
  const std::uint32_t steps = 2 + random.below(12);
  std::vector<tern::thread> children;
  for (std::uint32_t i = 0; i < steps; ++i) {
    const std::uint64_t child_seed = random.next();
    meeting_place& place = w.places[random.below(16)];
    switch (random.below(14)) {
      case 0:
      case 1: tern::this_thread::yield(); break;
      case 2: tern::this_thread::sleep_for(std::chrono::microseconds(random.below(200))); break;
      case 3:
        if (random.below(4) == 0) tern::blocking([&] { ::usleep(random.below(100)); });
        break;
      case 4:
      case 5:
        if (wait_at(place, static_cast<os::nanoseconds>(random.below(300'000)))) ++w.woken;
        break;
      case 6:
      case 7:
      case 8:
        if (wake_at(place, random.below(2) == 0)) ++w.wakes;
        break;
      case 9:
        if (depth > 0) children.emplace_back([&w, child_seed, depth] { life(w, child_seed, depth - 1); });
        break;
      case 10:
        if (depth > 0) tern::thread{[&w, child_seed, depth] { life(w, child_seed, depth - 1); }}.detach();
        break;
      case 11:
        if (depth > 0) {
          tern::nursery n;
          const std::uint32_t count = random.below(4);
          for (std::uint32_t k = 0; k < count; ++k)
            n.spawn([&w, child_seed, depth, k] { life(w, child_seed + k, depth - 1); });
          if (random.below(3) == 0) n.spawn([] { throw std::runtime_error("expected"); });
          try {
            n.wait();
          } catch (const std::runtime_error&) {
            tern::this_thread::yield();  // parks inside a handler
          }
        }
        break;
      case 12:
        if (random.below(50) == 0) {
          const auto end = std::chrono::steady_clock::now() + 15ms;  // long enough for the monitor
          while (std::chrono::steady_clock::now() < end) {
          }
        }
        tern::checkpoint();
        break;
      default:
        if (!children.empty()) {
          children.back().join();
          children.pop_back();
        }
    }
  }
}  // joins the children

void run_round(std::uint64_t seed, unsigned processors) {
  world w;
  {
    tern::runtime rt{{.processors = processors}};
    std::atomic<bool> stop{false};
    // A plain thread wakes, waits and spawns too.
    std::thread outsider{[&] {
      fast_random random{seed ^ 0x5bd1};
      while (!stop) {
        meeting_place& place = w.places[random.below(16)];
        const std::uint64_t child_seed = random.next();
        switch (random.below(4)) {
          case 0:
            if (wait_at(place, 100'000)) ++w.woken;
            break;
          case 1: rt.spawn([&w, child_seed] { life(w, child_seed, 1); }).join(); break;
          default:
            if (wake_at(place, false)) ++w.wakes;
            ::usleep(20);
        }
      }
    }};
    rt.run([&] {
      tern::nursery n;
      for (int i = 0; i < 150; ++i)
        n.spawn([&w, seed, i] { life(w, seed + static_cast<std::uint64_t>(i) * 977, 3); });
      n.wait();
    });
    stop = true;
    outsider.join();
  }
  EXPECT_EQ(w.begun.load(), w.ended.load());
  EXPECT_EQ(w.wakes.load(), w.woken.load()) << "each wake ends exactly one wait";
  for (const meeting_place& m : w.places) EXPECT_EQ(m.waiting, nullptr);
}

TEST(SchedMixStress, EverythingAtOnce) {
  const std::uint64_t seed = tern_test::seed();
  const int rounds = tern_test::scale(5);
  fast_random random{seed};
  for (int i = 0; i < rounds; ++i)
    for (const unsigned processors : {1u, 2u, 4u}) {
      run_round(random.next(), processors);
      ASSERT_FALSE(HasFailure());
    }
  int left = 0;
  for_each_fiber([&](fiber&) { ++left; });
  EXPECT_EQ(left, 0);
}

// Wakes that race with the last processor's way to sleep: one lost wake-up hangs here.
TEST(SchedMixStress, InjectAgainstGoingToSleep) {
  const int rounds = tern_test::scale(8'000);
  for (const unsigned processors : {1u, 2u}) {
    tern::runtime rt{{.processors = processors}};
    long sum = 0;
    for (int i = 0; i < rounds; ++i) {
      sum += rt.run([i] { return i % 3; });
      if (i % 7 == 0) ::usleep(static_cast<unsigned>(i % 30));
    }
    EXPECT_GT(sum, 0);
  }
}

}  // namespace

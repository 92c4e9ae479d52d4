// The number of processors changes at random, and fibers are pinned at random, while others, and tasks, start, park, sleep, block, compute
// and end.
// Nothing may be lost, doubled or left alive, and a pinned fiber never changes its thread.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;

struct changing_world {
  tern::runtime* runtime = nullptr;
  unsigned most = 1;
  std::atomic<long> begun{0};
  std::atomic<long> ended{0};
  std::atomic<long> moved{0};  // pinned fibers that were found on another thread
  std::atomic<long> sent{0};
  std::atomic<long> received{0};
  tern::channel<int> between{4};
  tern::mutex lock;
  long guarded = 0;  // lock
};

[[gnu::noinline]] pid_t thread_id() { return ::gettid(); }

tern::task<> nap(changing_world& w, std::uint64_t seed) {
  ++w.begun;
  fast_random random{seed};
  for (std::uint32_t i = random.below(6); i > 0; --i) {
    co_await tern::this_task::yield();
    co_await tern::this_task::sleep_for(std::chrono::microseconds(random.below(300)));
  }
  ++w.ended;
}

void changing_life(changing_world& w, std::uint64_t seed, int depth) {
  ++w.begun;
  fast_random random{seed};
  std::vector<tern::thread> children;
  std::vector<tern::task_handle<>> tasks;
  std::vector<std::optional<tern::pin_scope>> pins(3);
  std::size_t pinned = 0;
  pid_t home = 0;
  const std::uint32_t steps = 4 + random.below(20);
  for (std::uint32_t i = 0; i < steps; ++i) {
    const std::uint64_t child_seed = random.next();
    switch (random.below(16)) {
      case 0:
      case 1: tern::this_thread::yield(); break;
      case 2: tern::this_thread::sleep_for(std::chrono::microseconds(random.below(300))); break;
      case 3:
        if (random.below(3) == 0) tern::blocking([&] { ::usleep(random.below(200)); });
        break;
      case 4:
      case 5:
        if (depth > 0)
          children.emplace_back([&w, child_seed, depth] { changing_life(w, child_seed, depth - 1); });
        break;
      case 6:
        if (!children.empty()) {
          children.back().join();
          children.pop_back();
        }
        break;
      case 7:
        if (w.between.try_send(1)) ++w.sent;
        break;
      case 8:
        if (w.between.try_receive()) ++w.received;
        tasks.push_back(tern::spawn_task(nap(w, child_seed)));
        break;
      case 9:
      case 10: {
        const std::lock_guard guard{w.lock};
        ++w.guarded;
        if (random.below(8) == 0) tern::this_thread::yield();
        break;
      }
      case 11:
      case 12:
        if (pinned < pins.size()) {
          pins[pinned++].emplace();
          if (pinned == 1) home = thread_id();
        }
        break;
      case 13:
        if (pinned != 0) pins[--pinned].reset();
        break;
      case 14:
        if (random.below(8) == 0) w.runtime->set_processors(1 + random.below(w.most));
        break;
      default:
        if (random.below(100) == 0) {
          const auto end = std::chrono::steady_clock::now() + 15ms;  // long enough for the monitor
          while (std::chrono::steady_clock::now() < end) {
          }
        }
        tern::checkpoint();
    }
    if (pinned != 0 && thread_id() != home) ++w.moved;
  }
  children.clear();  // joins
  tasks.clear();     // as well
  if (pinned != 0 && thread_id() != home) ++w.moved;
  ++w.ended;
}

void run_round(std::uint64_t seed, unsigned most, bool automatic) {
  changing_world w;
  {
    tern::runtime rt{{.processors = 1 + static_cast<unsigned>(seed % most),
                      .max_processors = most,
                      .automatic_processors = automatic}};
    w.runtime = &rt;
    w.most = most;
    std::atomic<bool> stop{false};
    std::thread changer{[&] {
      fast_random random{seed ^ 0x77};
      while (!stop) {
        rt.set_processors(1 + random.below(most));
        ::usleep(random.below(600));
      }
    }};
    std::thread outsider{[&] {
      fast_random random{seed ^ 0x5bd1};
      while (!stop) {
        const std::uint64_t child_seed = random.next();
        rt.spawn([&w, child_seed] { changing_life(w, child_seed, 1); }).join();
        w.between.send(1);
        ++w.sent;
        if (w.between.try_receive()) ++w.received;
        if (random.below(4) == 0) ::usleep(random.below(400));  // let it fall asleep
      }
    }};
    // Somebody always takes from the channel, so that the outsider comes through.
    tern::thread drain = rt.spawn([&] {
      const tern::pin_scope here;
      const pid_t home = thread_id();
      while (w.between.receive()) {
        ++w.received;
        if (thread_id() != home) ++w.moved;
      }
    });
    rt.run([&] {
      tern::nursery n;
      for (int i = 0; i < 120; ++i)
        n.spawn([&w, seed, i] { changing_life(w, seed + static_cast<std::uint64_t>(i) * 977, 2); });
      n.wait();
    });
    stop = true;
    outsider.join();
    changer.join();
    w.between.close();
    drain.join();
  }
  EXPECT_EQ(w.begun.load(), w.ended.load());
  EXPECT_EQ(w.sent.load(), w.received.load());
  EXPECT_EQ(w.moved.load(), 0) << "a pinned fiber ran on another thread";
}

TEST(SchedDynamicStress, CountsChangeUnderPinnedAndOtherFibers) {
  const std::uint64_t seed = tern_test::seed();
  const int rounds = tern_test::scale(8);
  fast_random random{seed};
  for (int i = 0; i < rounds; ++i)
    for (const unsigned most : {1u, 2u, 5u}) {
      run_round(random.next(), most, i % 2 == 1);
      ASSERT_FALSE(HasFailure());
    }
  int left = 0;
  for_each_fiber([&](fiber&) { ++left; });
  EXPECT_EQ(left, 0);
}

}  // namespace

// libtern-malloc.so, to which this program is linked, at what goes on for long: a thread that only frees, threads that come and go, forks
// from every thread. TERN_STRESS_SCALE=6 is a minute of the first.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/emulation.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/seed.hpp"

namespace {

// What one thread frees another has allocated, all of it, while some 130 MiB live: resident memory stays near what lives.
TEST(MallocSoak, AThreadThatOnlyFrees) {
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's memory would be counted";
  constexpr std::size_t capacity = std::size_t{1} << 18;
  constexpr std::size_t slack = 4096;
  std::vector<std::size_t*> ring(capacity);
  std::atomic<std::size_t> made{0};
  std::atomic<std::size_t> freed{0};
  std::atomic<std::size_t> live{0};  // bytes that were asked for
  std::atomic<bool> stop{false};
  std::atomic<bool> drain{false};
  std::thread maker{[&] {
    std::minstd_rand random(static_cast<unsigned>(tern_test::seed()) | 1);
    for (std::size_t i = 0; !stop;) {
      if (i - freed == capacity) {
        std::this_thread::yield();
        continue;
      }
      const std::size_t size = 16 + random() % 1024;
      auto* block = static_cast<std::size_t*>(std::malloc(size));
      std::memset(block, 1, size);
      *block = size;
      live += size;
      ring[i % capacity] = block;
      made = ++i;
    }
  }};
  std::thread freer{[&] {
    for (std::size_t i = 0;;) {
      const bool all = drain;
      if (made - i <= (all ? 0 : capacity - slack)) {
        if (all) return;
        std::this_thread::yield();
        continue;
      }
      std::size_t* block = ring[i % capacity];
      live -= *block;
      std::free(block);
      freed = ++i;
    }
  }};
  while (made < capacity - slack) std::this_thread::yield();
  const auto end = std::chrono::steady_clock::now() +
                   tern_test::scale(std::chrono::seconds{10}.count()) * std::chrono::seconds{1};
  double worst = 0;
  while (std::chrono::steady_clock::now() < end) {
    worst = std::max(worst, tern_test::memory_now() / static_cast<double>(live.load()));
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
  stop = true;
  maker.join();
  drain = true;
  freer.join();
  std::printf("%zu blocks freed by another thread; resident at most %.3f of what lived\n", freed.load(),
              worst);
  EXPECT_EQ(live, 0u);
  EXPECT_LE(worst, 1.5);
}

// What a minute has at a thousand a second. Each leaves a block behind that another thread frees.
TEST(MallocSoak, ThreadsThatComeAndGo) {
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's memory would be counted";
  void* left[4] = {};
  const auto some = [&](int count) {
    for (int i = 0; i < count; i += 4) {
      std::thread threads[4];
      for (int t = 0; t < 4; ++t)
        threads[t] = std::thread{[&left, i, t] {
          std::minstd_rand random(static_cast<unsigned>(i + t + 1));
          void* blocks[100];
          for (void*& p : blocks) std::memset(p = std::malloc(16 + random() % 1024), 1, 16);
          std::swap(left[t], blocks[random() % 100]);
          for (void* p : blocks) std::free(p);
        }};
      for (std::thread& t : threads) t.join();
    }
  };
  some(1000);
  const double before = tern_test::memory_now();
  const auto begin = std::chrono::steady_clock::now();
  const int count = tern_test::scale(60'000);
  some(count);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double grown = tern_test::memory_now() - before;
  for (void* p : left) std::free(p);
  std::printf("%d threads, %.0f a second; resident memory grew by %.0f KiB\n", count, count / seconds,
              grown / 1024);
  EXPECT_LE(grown, 1 << 20);
}

// Eight threads that allocate all the time, each of which forks in its turn, so that others are in the midst of whatever they do.
TEST(MallocSoak, ForksFromEightThreads) {
  if (tern_test::is_emulated()) GTEST_SKIP() << "qemu-user does not survive a fork of a program with threads";
  std::atomic<int> left{tern_test::scale(10'000)};
  std::atomic<int> bad{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(tern_test::seed()) + t + 1);
      std::vector<void*> held(256);
      while (left-- > 0) {
        for (int i = 0; i < 2000; ++i) {
          void*& slot = held[random() % 256];
          std::free(slot);
          slot = std::malloc(random() % (random() % 16 == 0 ? 60'000 : 1000));
        }
        const pid_t child = fork();
        if (child == 0) {
          alarm(60);  // a lock that nobody will release must not hang the test
          for (std::size_t n = 1; n < 3'000'000; n *= 4) std::free(std::malloc(n));
          for (void*& p : held) std::free(std::exchange(p, std::malloc(700)));
          _exit(0);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) ++bad;
      }
      for (void* p : held) std::free(p);
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(bad, 0);
}

}  // namespace

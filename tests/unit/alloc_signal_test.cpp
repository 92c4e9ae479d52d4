// Signals that come in the midst of allocations. Their handlers allocate nothing: what does is undefined, as with every malloc.
#include <gtest/gtest.h>

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/base/random.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/support/seed.hpp"

namespace {

std::atomic<std::uint64_t> arrived{0};

// As handlers do: some work on the stack, and errno is another one for a while.
extern "C" void on_signal(int) {
  const int saved = errno;
  volatile unsigned char frame[256];
  for (std::size_t i = 0; i < sizeof frame; ++i) frame[i] = static_cast<unsigned char>(i);
  errno = EIO;
  arrived.fetch_add(1, std::memory_order_relaxed);
  errno = saved;
}

class storm {
 public:
  storm() {
    struct sigaction action = {};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGALRM, &action, &before_[0]);
    ::sigaction(SIGUSR1, &action, &before_[1]);
    const itimerval each{{0, 200}, {0, 200}};
    ::setitimer(ITIMER_REAL, &each, nullptr);
  }
  storm(const storm&) = delete;
  storm& operator=(const storm&) = delete;
  ~storm() {
    const itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    // What is under way has its handler until now, and is nobody's from then on.
    ::signal(SIGALRM, SIG_IGN);
    ::sigaction(SIGALRM, &before_[0], nullptr);
    ::sigaction(SIGUSR1, &before_[1], nullptr);
  }

 private:
  struct sigaction before_[2] = {};
};

// Every tier: cache, central lists, page heap with its system calls, blocks of their own mapping, growth in place and by mremap.
void churn(std::uint64_t seed, const std::atomic<bool>& stop, std::atomic<int>& bad) {
  struct block {
    unsigned char* p;
    std::size_t size;
    unsigned char mark;
  };
  tern::detail::fast_random random{seed};
  std::vector<block> held(64, block{nullptr, 0, 0});
  const auto good = [&](const block& b) {
    return b.p == nullptr || (b.p[0] == b.mark && b.p[b.size / 2] == b.mark && b.p[b.size - 1] == b.mark);
  };
  const auto write = [&](block& b) {
    b.mark = static_cast<unsigned char>(random.next());
    b.p[0] = b.p[b.size / 2] = b.p[b.size - 1] = b.mark;
  };
  for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
    block& b = held[random.below(64)];
    if (!good(b)) bad.fetch_add(1, std::memory_order_relaxed);
    const std::size_t most = i % 512 == 0 ? 5 << 20 : i % 16 == 0 ? 200'000 : 2000;
    const std::size_t size = 1 + random.below(static_cast<std::uint32_t>(most));
    if (i % 5 == 0 && b.p != nullptr) {
      const unsigned char first = b.p[0];
      b.p = static_cast<unsigned char*>(tern::reallocate(b.p, size));
      if (b.p[0] != first) bad.fetch_add(1, std::memory_order_relaxed);
    } else {
      errno = EDOM;
      tern::deallocate(b.p);
      if (errno != EDOM) bad.fetch_add(1, std::memory_order_relaxed);
      b.p = static_cast<unsigned char*>(i % 3 == 0 ? tern::allocate_zeroed(size) : tern::allocate(size));
    }
    b.size = size;
    write(b);
    if (i % 4096 == 0) tern::release_memory();
  }
  for (const block& b : held) {
    if (!good(b)) bad.fetch_add(1, std::memory_order_relaxed);
    tern::deallocate(b.p);
  }
}

TEST(AllocatorSignals, AStormWhileThreadsAllocate) {
  const std::uint64_t wanted = tern_test::scale(std::uint64_t{2000});
  const std::size_t live = tern::allocation_statistics().live;
  std::atomic<bool> stop{false};
  std::atomic<int> bad{0};
  arrived = 0;
  {
    storm of_signals;
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < 3; ++i)
      threads.emplace_back([&, i] { churn(tern_test::seed() + i, stop, bad); });
    std::size_t next = 0;
    EXPECT_TRUE(tern_test::comes_true([&] {
      for (int i = 0; i < 4; ++i) ::pthread_kill(threads[next++ % threads.size()].native_handle(), SIGUSR1);
      return arrived >= wanted;
    }));
    stop = true;
    for (std::thread& t : threads) t.join();
  }
  EXPECT_EQ(bad, 0);
  EXPECT_EQ(tern::allocation_statistics().live, live);
}

}  // namespace

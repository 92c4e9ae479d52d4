// libtern-malloc.so, to which this program is linked: every malloc, new, fork and thread of it, googletest's included, is served by
// tern's heap.
#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <thread>
#include <vector>

#include "tests/support/emulation.hpp"

namespace {

// The compiler knows what malloc promises; these tests ask whether it is so.
template <class T>
T opaque(T value) {
  asm volatile("" : "+r"(value));
  return value;
}
std::size_t opaque(int size) { return opaque(static_cast<std::size_t>(size)); }

bool is_aligned(const void* p, std::size_t a) { return reinterpret_cast<std::uintptr_t>(p) % a == 0; }

// Runs f in a child; its exit status, or -signal.
template <class F>
int in_child(F&& f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(f());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(Malloc, IsTerns) {
  // 40 bytes are of the class of 48 here, and of 40 in glibc.
  void* p = malloc(opaque(40));
  EXPECT_EQ(malloc_usable_size(p), 48u);
  free(p);
  auto* q = new char[opaque(40)];
  EXPECT_EQ(malloc_usable_size(q), 48u);
  delete[] q;
  EXPECT_EQ(malloc_usable_size(nullptr), 0u);
  free(nullptr);
}

TEST(Malloc, SizesThatDoNotExist) {
  const std::size_t huge = opaque(SIZE_MAX);
  for (const std::size_t n : {huge, huge - 4095, huge / 2, huge / 2 + 1, std::size_t{1} << 47}) {
    errno = 0;
    EXPECT_EQ(malloc(n), nullptr) << n;
    EXPECT_EQ(errno, ENOMEM) << n;
    EXPECT_EQ(memalign(4096, n), nullptr) << n;
    EXPECT_EQ(calloc(1, n), nullptr) << n;
    EXPECT_THROW(static_cast<void>(::operator new(n)), std::bad_alloc) << n;
    EXPECT_EQ(::operator new(n, std::nothrow), nullptr) << n;
    EXPECT_EQ(::operator new(n, std::align_val_t{64}, std::nothrow), nullptr) << n;
  }
  for (const auto& [count, size] :
       {std::pair{huge / 2, std::size_t{3}}, {std::size_t{1} << 33, std::size_t{1} << 33}}) {
    errno = 0;
    EXPECT_EQ(calloc(count, size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    void* p = malloc(64);
    void* const same = opaque(p);
    errno = 0;
    EXPECT_EQ(reallocarray(p, count, size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_EQ(realloc(opaque(same), huge), nullptr);
    free(same);  // still there
  }
  EXPECT_EQ(pvalloc(huge - 1), nullptr);
}

TEST(Malloc, Alignments) {
  for (std::size_t a = 8; a <= std::size_t{8} << 20; a *= 2) {
    for (const std::size_t n :
         {std::size_t{0}, std::size_t{1}, std::size_t{40}, a - 1, a + 1, std::size_t{100'000}}) {
      void* p = nullptr;
      ASSERT_EQ(posix_memalign(&p, a, n), 0);
      EXPECT_TRUE(is_aligned(p, a));
      void* q = aligned_alloc(a, n);
      EXPECT_TRUE(is_aligned(q, a));
      void* r = ::operator new(n, std::align_val_t{a});
      EXPECT_TRUE(is_aligned(r, a));
      std::memset(p, 1, n);
      std::memset(q, 2, n);
      std::memset(r, 3, n);
      EXPECT_GE(malloc_usable_size(q), n);
      free(p);
      q = realloc(q, n + 1);
      EXPECT_TRUE(n == 0 || *static_cast<char*>(q) == 2);
      free(q);
      ::operator delete(r, std::align_val_t{a});
    }
  }
  void* kept = &kept;
  EXPECT_EQ(posix_memalign(&kept, 4, 8), EINVAL);
  EXPECT_EQ(posix_memalign(&kept, 48, 8), EINVAL);
  EXPECT_EQ(posix_memalign(&kept, 0, 8), EINVAL);
  EXPECT_EQ(posix_memalign(&kept, 64, SIZE_MAX / 2), ENOMEM);
  EXPECT_EQ(kept, &kept);
  errno = 0;
  EXPECT_EQ(aligned_alloc(opaque(48), 96), nullptr);
  EXPECT_EQ(errno, EINVAL);
  void* p = memalign(opaque(48), 10);
  EXPECT_TRUE(is_aligned(p, 64));
  free(p);
  const auto page = static_cast<std::size_t>(getpagesize());
  p = valloc(10);
  EXPECT_TRUE(is_aligned(p, page));
  free(p);
  p = pvalloc(page + 1);
  EXPECT_TRUE(is_aligned(p, page));
  EXPECT_GE(malloc_usable_size(p), 2 * page);
  free(p);
}

TEST(Malloc, ReallocKeepsWhatWasThere) {
  std::size_t size = 1;
  auto* p = static_cast<unsigned char*>(malloc(size));
  p[0] = 7;
  while (size < (std::size_t{20} << 20)) {
    const std::size_t bigger = size + size / 2 + 1;
    p = static_cast<unsigned char*>(realloc(p, bigger));
    ASSERT_NE(p, nullptr);
    for (std::size_t i = size; i < bigger; i += 997) p[i] = static_cast<unsigned char>(i * 31);
    p[size] = static_cast<unsigned char>(size * 31);
    ASSERT_EQ(p[0], 7);
    ASSERT_EQ(p[size], static_cast<unsigned char>(size * 31));
    size = bigger;
  }
  while (size > 100) {
    size /= 3;
    p = static_cast<unsigned char*>(realloc(p, size));
    ASSERT_EQ(p[0], 7);
  }
  EXPECT_EQ(realloc(p, opaque(0)), nullptr);  // glibc's answer
  p = static_cast<unsigned char*>(realloc(nullptr, 10));
  EXPECT_NE(p, nullptr);
  free(p);
}

TEST(Malloc, CallocIsZero) {
  for (int round = 0; round < 3; ++round)
    for (const std::size_t n : {1u, 100u, 5000u, 40'000u, 300'000u, 3'000'000u}) {
      auto* p = static_cast<unsigned char*>(calloc(n, 1));
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(p[i], 0) << n;
      std::memset(p, 0xff, n);
      free(p);
    }
}

TEST(Malloc, FreeLeavesErrnoAlone) {
  std::vector<void*> blocks;
  for (int i = 0; i < 5000; ++i) blocks.push_back(malloc(static_cast<std::size_t>(i) * 7));
  blocks.push_back(malloc(10 << 20));
  errno = 1234;
  for (void* p : blocks) free(p);
  EXPECT_EQ(errno, 1234);
}

TEST(Malloc, Figures) {
  void* p = opaque(malloc(10 << 20));
  const struct mallinfo2 before = mallinfo2();
  EXPECT_GE(before.hblkhd, std::size_t{10} << 20);
  EXPECT_EQ(before.hblks, 1u);
  free(p);
  std::vector<void*> blocks;
  for (int i = 0; i < 100; ++i) std::memset(blocks.emplace_back(malloc(500'000)), 1, 500'000);
  EXPECT_GE(mallinfo2().uordblks, std::size_t{50'000'000});
  for (void* b : blocks) free(b);
  EXPECT_EQ(malloc_trim(0), 1);
  EXPECT_LT(mallinfo2().uordblks, std::size_t{20'000'000});
}

TEST(Malloc, EveryNewAndDelete) {
  const std::nothrow_t& quiet = std::nothrow;
  const std::align_val_t a{128};
  void* p = ::operator new(opaque(30));
  ::operator delete(p, std::size_t{30});
  ::operator delete(::operator new(opaque(30), quiet), quiet);
  ::operator delete(::operator new(opaque(30), a), std::size_t{30}, a);
  ::operator delete(::operator new(opaque(30), a, quiet), a, quiet);
  ::operator delete[](::operator new[](opaque(30)), std::size_t{30});
  ::operator delete[](::operator new[](opaque(30), quiet), quiet);
  ::operator delete[](::operator new[](opaque(30), a), std::size_t{30}, a);
  ::operator delete[](::operator new[](opaque(30), a, quiet), a, quiet);
  ::operator delete(nullptr);
  // A delete through a base class without a virtual destructor gives the wrong size.
  for (int i = 0; i < 1000; ++i) ::operator delete(::operator new(opaque(100)), std::size_t{8});
}

int handler_calls = 0;

TEST(Malloc, NewHandler) {
  handler_calls = 0;
  std::set_new_handler([] {
    if (++handler_calls == 3) std::set_new_handler(nullptr);
  });
  EXPECT_THROW(static_cast<void>(::operator new(opaque(SIZE_MAX / 4))), std::bad_alloc);
  EXPECT_EQ(handler_calls, 3);
  std::set_new_handler([] { throw std::bad_alloc{}; });
  EXPECT_EQ(::operator new(opaque(SIZE_MAX / 4), std::nothrow), nullptr);
  std::set_new_handler(nullptr);
}

// What runs when a thread ends: a C++ destructor, then one of a key that is younger than the cache's own.
struct at_thread_end {
  void* block = nullptr;
  ~at_thread_end() {
    free(block);
    free(malloc(100));
  }
};

TEST(Malloc, ThreadsThatEnd) {
  pthread_key_t key;
  ASSERT_EQ(pthread_key_create(&key,
                               [](void* p) {
                                 free(p);
                                 for (std::size_t n = 1; n < 100'000; n *= 3) free(malloc(n));
                               }),
            0);
  for (int round = 0; round < 200; ++round) {
    std::thread t{[&] {
      thread_local at_thread_end last;
      last.block = malloc(1000);
      pthread_setspecific(key, malloc(50));
      free(malloc(70));
    }};
    t.join();
  }
  pthread_key_delete(key);
  EXPECT_LT(mallinfo2().uordblks, std::size_t{20'000'000});
}

TEST(Malloc, ForkWhileThreadsAllocate) {
  if (tern_test::is_emulated()) GTEST_SKIP() << "qemu-user does not survive a fork of a program with threads";
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      std::vector<void*> held(256);
      std::uint32_t x = t + 1;
      while (!done.load(std::memory_order_relaxed)) {
        x = x * 1664525 + 1013904223;
        void*& slot = held[x >> 24];
        free(slot);
        slot = malloc((x >> 8) % 60'000);
      }
      for (void* p : held) free(p);
    });
  constexpr int forks = 300;
  int bad = 0;
  for (int i = 0; i < forks; ++i)
    bad += in_child([] {
             for (std::size_t n = 1; n < 3'000'000; n *= 4) free(malloc(n));
             std::vector<void*> blocks;
             for (int k = 0; k < 100; ++k) blocks.push_back(malloc(1000));
             for (void* p : blocks) free(p);
             return 0;
           }) != 0;
  done = true;
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(bad, 0);
}

TEST(Malloc, ExhaustionAndAfter) {
  if (tern_test::is_emulated()) GTEST_SKIP() << "a limit would bind the emulator";
  EXPECT_EQ(in_child([] {
              const rlimit limit{std::size_t{256} << 20, std::size_t{256} << 20};
              if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
              for (int round = 0; round < 3; ++round)
                for (const std::size_t n :
                     {std::size_t{16}, std::size_t{3000}, std::size_t{100'000}, std::size_t{5} << 20}) {
                  void* chain = nullptr;
                  std::size_t bytes = 0;
                  errno = 0;
                  while (void* p = malloc(n)) {
                    std::memcpy(p, &chain, sizeof chain);
                    chain = p;
                    bytes += n;
                  }
                  if (errno != ENOMEM) return 2;
                  // The limit is on addresses, of which the program itself has some 50 MB.
                  if (bytes < (std::size_t{100} << 20)) return 10 + round;
                  try {
                    static_cast<void>(::operator new(std::size_t{100} << 20));
                    return 3;
                  } catch (const std::bad_alloc&) {
                  }
                  while (chain != nullptr) {
                    void* next = nullptr;
                    std::memcpy(&next, chain, sizeof next);
                    free(chain);
                    chain = next;
                  }
                  malloc_trim(0);
                }
              void* p = malloc(1000);
              return p != nullptr ? 0 : 4;
            }),
            0);
}

TEST(MallocDeathTest, Misuse) {
  static char object[64];
  EXPECT_DEATH(free(opaque(&object[0])), "tern: fatal: deallocate: not a live block");
  EXPECT_DEATH(
      {
        void* p = malloc(64);
        void* const same = opaque(p);
        free(p);
        free(same);
        malloc_trim(0);
      },
      "tern: fatal: .*freed twice");
  EXPECT_DEATH(
      {
        auto* p = static_cast<char*>(opaque(malloc(64)));
        free(opaque(p + 16));
        malloc_trim(0);
      },
      "tern: fatal: .*middle of a block");
}

}  // namespace

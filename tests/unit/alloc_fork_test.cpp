// fork() of a process whose threads use the allocator. The first use of the allocator is in this test: its handlers are registered
// while the process forks.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/base/random.hpp>

#include "tests/support/seed.hpp"

namespace {

// A child forked while other threads are inside the allocator finds every structure whole and no lock held.
TEST(AllocatorFork, ChildrenMayAllocate) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      tern::detail::fast_random random{tern_test::seed() + t};
      std::vector<void*> blocks;
      while (!stop) {
        for (int i = 0; i < 500; ++i)
          blocks.push_back(tern::allocate(1 + random.below(random.below(2) == 0 ? 256 : 200'000)));
        for (void* p : blocks) tern::deallocate(p);
        blocks.clear();
        tern::release_memory();
      }
    });
  // The list of caches changes all the while.
  threads.emplace_back([&] {
    while (!stop) std::thread{[] { tern::deallocate(tern::allocate(64)); }}.join();
  });
  const int children = tern_test::scale(60);
  for (int i = 0; i < children; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::alarm(60);  // a lock that nobody will release must not hang the test
      for (std::size_t n = 1; n < std::size_t{4} << 20; n = n * 2 + 1) {
        auto* p = static_cast<char*>(tern::try_allocate(n));
        if (p == nullptr) ::_exit(1);
        p[n - 1] = 1;
        tern::deallocate(p);
      }
      tern::release_memory();
      [[maybe_unused]] void* kept = tern::allocate(64);
      ::_exit(tern::allocation_statistics().live >= 64 ? 0 : 2);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  stop = true;
  for (std::thread& t : threads) t.join();
}

}  // namespace

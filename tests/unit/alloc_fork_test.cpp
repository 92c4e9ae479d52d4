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
#include <tern/alloc/root_ranges.hpp>
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

// The locks that a fork takes come in the order in which others nest: blocks that the shared cache gives back may be samples, and then the
// sampler's locks are taken under the cache's.
TEST(AllocatorFork, TheSamplersListComesAfterTheSharedCache) {
  constexpr std::size_t size = 64 << 10;  // of a class of which the shared cache keeps one block
  tern::heap_profile::start(1);           // each block is a sample
  std::atomic<int> stage{0};
  std::thread giver{[&] {
    void* blocks[4];
    for (void*& p : blocks) p = tern::allocate(size);
    stage = 1;
    while (stage != 2) std::this_thread::yield();
    tern::detail::thread_cache* const own = tern::detail::bind_cache(tern::detail::shared_cache());
    for (void* p : blocks) tern::deallocate(p, size);
    tern::detail::bind_cache(own);
    stage = 3;
  }};
  while (stage != 1) std::this_thread::yield();
  tern::heap_profile::start(0);  // else a sample that is freed does not go by the cache
  tern::detail::spin_lock<>* held[1024];
  int count = 0;
  bool free = true;
  tern::detail::for_each_allocator_lock([&](tern::detail::spin_lock<>& l) {
    if (!free) return;
    if (&l == &tern::detail::caches.shared_lock) {
      stage = 2;
      // Until the other has done it all, or waits in the midst of it for what is held here.
      for (int i = 0; i < 500 && stage != 3; ++i) ::usleep(1000);
    }
    for (int i = 0; i < 20'000 && !(free = l.try_lock()); ++i) ::usleep(1000);
    if (free) held[count++] = &l;
  });
  while (count != 0) held[--count]->unlock();
  giver.join();
  EXPECT_TRUE(free) << "held by one that waits for what is held here";
}

// A collector walks over the ranges under their lock for as long as it takes.
TEST(AllocatorFork, WhileRootRangesAreWalkedOver) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  void* words[2] = {};
  tern::detail::register_root_range(&words[0], sizeof(void*));
  std::atomic<bool> walks{false};
  std::atomic<bool> forked{false};
  std::thread walker{[&] {
    tern::detail::for_each_root_range([&](void*, std::size_t) {
      walks = true;
      // Until there is a child; for a while where the fork waits for the walk to end.
      for (int i = 0; i < 200 && !forked; ++i) ::usleep(1000);
    });
  }};
  while (!walks) std::this_thread::yield();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(20);
    tern::detail::register_root_range(&words[1], sizeof(void*));
    ::_exit(0);
  }
  forked = true;
  walker.join();
  tern::detail::unregister_root_range(&words[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace

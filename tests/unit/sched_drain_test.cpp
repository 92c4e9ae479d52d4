// What a runtime that has nothing to do gives back: the blocks in its processors' caches, and free pages.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/os/clock.hpp>
#include <tern/sched.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/support/memory.hpp"

namespace {

using namespace tern::detail;

constexpr double mib = 1 << 20;

std::size_t in_caches() { return tern::allocation_statistics().cached; }

// Fills the caches of all processors: blocks of several classes are made and freed by as many fibers, which meanwhile have one each.
void fill_caches(unsigned processors) {
  std::atomic<unsigned> there{0};
  std::vector<tern::thread> fibers;
  for (unsigned i = 0; i < processors; ++i)
    fibers.emplace_back([&] {
      ++there;
      while (there < processors) {
      }  // each on a processor of its own
      for (const std::size_t size : {64u, 400u, 3000u, 20000u}) {
        std::vector<void*> blocks;
        for (std::size_t n = 0; n < (2u << 20); n += size) blocks.push_back(tern::allocate(size));
        for (void* p : blocks) tern::deallocate(p);
      }
    });
  for (tern::thread& f : fibers) f.join();
}

TEST(Drain, CachesOfProcessorsThatSleepAreEmptied) {
  tern::runtime rt{{.processors = 3}};
  const std::size_t before = in_caches();
  std::size_t filled = 0;
  rt.run([&] {
    fill_caches(3);
    filled = in_caches();
  });
  EXPECT_GT(filled, before + (1 << 20));
  // Nothing runs. What is too little to wake anybody for stays, with each of three.
  EXPECT_TRUE(tern_test::comes_true([&] { return in_caches() <= before + 3 * least_flush; }));
}

// The others' go while one processor is busy all the time.
TEST(Drain, ABusyProcessorDoesNotKeepTheOthersCaches) {
  tern::runtime rt{{.processors = 3}};
  std::size_t filled = 0;
  std::size_t left = 0;
  rt.run([&] {
    fill_caches(3);
    filled = in_caches();
    const os::nanoseconds end = os::now() + 60'000'000'000;
    while (os::now() < end) {
      tern::this_thread::yield();
      left = in_caches();
      // Its own, which it goes on using, may have a third or a little more.
      if (left < filled / 2) break;
    }
  });
  EXPECT_LT(left, filled / 2);
}

// Blocks that were freed one after the other, none of them to be seen in the scavenger's slack.
TEST(Drain, OneSecondLaterTheMemoryIsTheOss) {
  tern::runtime rt{{.processors = 2}};
  std::vector<char*> kept;
  std::size_t live = 0;
  const double resident_before = tern_test::memory_now();
  tern::release_memory();
  const std::size_t committed_before = tern::allocation_statistics().committed;
  os::nanoseconds drained = 0;
  rt.run([&] {
    std::vector<char*> blocks;
    for (std::size_t n = 0; n < std::size_t{96} << 20; n += 1024) {
      blocks.push_back(static_cast<char*>(tern::allocate(1024)));
      blocks.back()[0] = 1;
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (i < blocks.size() / 3) {
        kept.push_back(blocks[i]);
        live += 1024;
      } else {
        tern::deallocate(blocks[i]);
      }
    }
    drained = os::now();
  });
  const std::size_t full = tern::allocation_statistics().committed - committed_before;
  // 1.1 of what lives by rule; blocks in spans that are not wholly free are the rest.
  EXPECT_TRUE(tern_test::comes_true([&] {
    return static_cast<double>(tern::allocation_statistics().committed - committed_before) <=
           1.2 * static_cast<double>(live);
  }));
  std::printf("%.0f MiB committed at the drain, %.1f of %.0f that live after %.2f s; resident %.1f\n",
              static_cast<double>(full) / mib,
              static_cast<double>(tern::allocation_statistics().committed - committed_before) / mib,
              static_cast<double>(live) / mib, static_cast<double>(os::now() - drained) * 1e-9,
              (tern_test::memory_now() - resident_before) / mib);
  for (char* p : kept) tern::deallocate(p);
}

}  // namespace

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <new>
#include <thread>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/base/random.hpp>

#include "tests/support/seed.hpp"

namespace {

using tern::detail::fast_random;
using tern::detail::to_word;

constexpr std::size_t mib = std::size_t{1} << 20;

// A block that knows what it holds: every byte follows from its tag.
struct block {
  unsigned char* p = nullptr;
  std::size_t size = 0;
  std::size_t alignment = 16;
  unsigned tag = 0;

  unsigned char at(std::size_t i) const { return static_cast<unsigned char>(tag * 31 + i * 7); }
  // The ends and a sample: a whole pass over huge blocks would only be slow.
  template <class F>
  void for_some(std::size_t n, F&& f) const {
    const std::size_t step = n < 4096 ? 1 : 509;
    for (std::size_t i = 0; i < n; i += step) f(i);
    if (n != 0) f(n - 1);
  }
  void fill() const {
    for_some(size, [&](std::size_t i) { p[i] = at(i); });
  }
  bool holds(std::size_t n) const {
    bool same = true;
    // Only bytes that the fill of `size` wrote.
    for_some(size, [&](std::size_t i) { same = same && (i >= n || p[i] == at(i)); });
    return same;
  }
};

std::size_t random_size(fast_random& r) {
  switch (r.below(16)) {
    case 0: return r.below(4) == 0 ? 0 : r.below(32);
    case 1: return r.below(200000);
    case 2: return r.below(64) == 0 ? r.below(6u << 20) : r.below(40000);
    default: return r.below(r.below(2) == 0 ? 256 : 4096);
  }
}

TEST(Allocator, RandomOperationsKeepEveryByte) {
  fast_random random{tern_test::seed()};
  std::vector<block> live;
  unsigned tag = 0;
  const std::size_t live_before = tern::allocation_statistics().live;
  for (int step = 0; step < tern_test::scale(100000); ++step) {
    const std::uint32_t what = random.below(100);
    if (live.size() < 50 || (what < 45 && live.size() < 3000)) {
      block b;
      b.size = random_size(random);
      b.tag = ++tag;
      if (random.below(6) == 0) {
        b.alignment = std::size_t{1} << random.below(random.below(20) == 0 ? 23 : 14);
        b.p = static_cast<unsigned char*>(tern::allocate(b.size, b.alignment));
      } else {
        b.p = static_cast<unsigned char*>(tern::allocate(b.size));
      }
      ASSERT_EQ(to_word(b.p) % b.alignment, 0u);
      ASSERT_EQ(to_word(b.p) % (b.alignment < 16 ? b.alignment : 16), 0u);
      b.fill();
      live.push_back(b);
      continue;
    }
    const std::size_t i = random.below(static_cast<std::uint32_t>(live.size()));
    block& b = live[i];
    ASSERT_TRUE(b.holds(b.size)) << b.size;
    if (what < 55) {
      const std::size_t size = random_size(random);
      auto* p = static_cast<unsigned char*>(tern::reallocate(b.p, size));
      b.p = p;
      ASSERT_TRUE(b.holds(size));
      b.size = size;
      b.alignment = 16;
      ASSERT_GE(tern::usable_size(b.p), size);
      b.fill();
    } else {
      if (random.below(2) == 0)
        tern::deallocate(b.p);
      else if (b.alignment != 16)
        tern::deallocate(b.p, b.size, b.alignment);
      else
        tern::deallocate(b.p, b.size);
      b = live.back();
      live.pop_back();
    }
  }
  for (const block& b : live) {
    ASSERT_TRUE(b.holds(b.size));
    tern::deallocate(b.p);
  }
  EXPECT_EQ(tern::allocation_statistics().live, live_before);
}

TEST(Allocator, LiveBlocksNeverOverlap) {
  struct range {
    std::uintptr_t start, end;
  };
  std::vector<range> ranges;
  fast_random random{tern_test::seed()};
  for (int i = 0; i < tern_test::scale(20000); ++i) {
    const std::size_t n = 1 + random.below(2000);
    const std::uintptr_t a = to_word(tern::allocate(n));
    ranges.push_back({a, a + n});
  }
  std::sort(ranges.begin(), ranges.end(), [](const range& a, const range& b) { return a.start < b.start; });
  for (std::size_t i = 1; i < ranges.size(); ++i) ASSERT_LE(ranges[i - 1].end, ranges[i].start);
  for (const range& r : ranges) tern::deallocate(reinterpret_cast<void*>(r.start));
}

TEST(Allocator, ZeroBytesAreUniquePointers) {
  void* a = tern::allocate(0);
  void* b = tern::allocate(0);
  EXPECT_NE(a, nullptr);
  EXPECT_NE(a, b);
  tern::deallocate(a);
  tern::deallocate(b, 0);
  tern::deallocate(nullptr);
  tern::deallocate(nullptr, 64);
  tern::deallocate(nullptr, 0, 64);
  void* c = tern::allocate(0, 64);
  EXPECT_EQ(to_word(c) % 64, 0u);
  tern::deallocate(c, 0, 64);
}

TEST(Allocator, EveryAlignmentToFourMebibytes) {
  for (std::size_t alignment = 1; alignment <= 4 * mib; alignment *= 2)
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, alignment / 2 + 1, alignment,
                                   alignment + 1, 3 * alignment, std::size_t{3} * mib}) {
      void* p = tern::allocate(size, alignment);
      void* q = tern::allocate(size, alignment);
      ASSERT_EQ(to_word(p) % alignment, 0u) << size << " to " << alignment;
      ASSERT_EQ(to_word(q) % alignment, 0u);
      ASSERT_NE(p, q);
      if (size != 0) {
        std::memset(p, 1, 1);
        static_cast<char*>(q)[size - 1] = 2;
      }
      ASSERT_GE(tern::usable_size(p), size);
      tern::deallocate(p, size, alignment);
      tern::deallocate(q);
    }
}

TEST(Allocator, UsableSizeIsUsableAndAValidSizeToFreeWith) {
  for (std::size_t n = 1; n < 9 * mib; n = n * 3 / 2 + 1) {
    void* p = tern::allocate(n);
    const std::size_t usable = tern::usable_size(p);
    ASSERT_GE(usable, n);
    std::memset(p, 0x5a, usable);
    tern::deallocate(p, usable);
  }
}

TEST(Allocator, ReallocateGrowsThroughAllTiersAndShrinksBack) {
  auto* p = static_cast<unsigned char*>(tern::reallocate(nullptr, 10));
  for (unsigned i = 0; i < 10; ++i) p[i] = static_cast<unsigned char>(i + 1);
  std::size_t size = 10;
  while (size < 64 * mib) {
    size = size * 7 / 4;
    p = static_cast<unsigned char*>(tern::reallocate(p, size));
    p[size - 1] = 9;
    for (unsigned i = 0; i < 10; ++i) ASSERT_EQ(p[i], i + 1) << size;
  }
  while (size > 20) {
    size /= 3;
    if (size < 10) size = 10;
    p = static_cast<unsigned char*>(tern::reallocate(p, size));
    for (unsigned i = 0; i < 10; ++i) ASSERT_EQ(p[i], i + 1) << size;
  }
  void* same = tern::reallocate(p, 12);
  EXPECT_EQ(same, p) << "in place within the class";
  tern::deallocate(same, 12);
}

// mremap moves one mapping of the kernel's, and what a program advises of a part of a block splits it in several.
TEST(Allocator, AMappingThatTheProgramHasSplitIsResizedAllTheSame) {
  constexpr std::size_t size = std::size_t{4} << 20;
  auto* p = static_cast<char*>(tern::reallocate(tern::allocate(size / 4), size));
  p[0] = 1;
  p[size - 1] = 2;
  ASSERT_EQ(::madvise(p + size / 2, size / 4, MADV_DONTDUMP), 0);
  auto* q = static_cast<char*>(tern::try_reallocate(p, 3 * size));
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q[0], 1);
  EXPECT_EQ(q[size - 1], 2);
  q[3 * size - 1] = 3;
  ASSERT_EQ(::madvise(q + size / 2, size / 4, MADV_DONTDUMP), 0);
  q = static_cast<char*>(tern::try_reallocate(q, size));
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q[size - 1], 2);
  tern::deallocate(q);
}

TEST(Allocator, HugeBlocksGoBackWhole) {
  const auto before = tern::allocation_statistics();
  void* p = tern::allocate(5 * mib);
  EXPECT_EQ(tern::allocation_statistics().huge_blocks, before.huge_blocks + 1);
  EXPECT_GE(tern::allocation_statistics().huge, before.huge + 5 * mib);
  tern::deallocate(p, 5 * mib);
  EXPECT_EQ(tern::allocation_statistics().huge, before.huge);
}

TEST(Allocator, ZeroedBlocksAreZeroHoweverOftenTheyAreUsed) {
  for (int round = 0; round < 3; ++round)
    for (const std::size_t n :
         {std::size_t{1}, std::size_t{100}, std::size_t{40'000}, mib, 5 * mib, 70 * mib}) {
      auto* p = static_cast<unsigned char*>(tern::allocate_zeroed(n));
      for (std::size_t i = 0; i<n; i += n> mib ? 97 : 1) ASSERT_EQ(p[i], 0) << n;
      ASSERT_EQ(p[n - 1], 0);
      std::memset(p, 0xff, n);
      tern::deallocate(p, n);
    }
}

// Their mappings may lie next to each other, and OS pages may be shorter than the pages of the map.
TEST(Allocator, SmallBlocksWithHugeAlignmentShareNoPageOfTheMap) {
  // The second sort fills the gaps that the first leaves, from the end of one block to the start of the next.
  const std::size_t gap = 4 * mib - tern::detail::os::page_size();
  std::vector<void*> blocks;
  for (int i = 0; i < 16; ++i) blocks.push_back(tern::allocate(1, 4 * mib));
  for (int i = 0; i < 64; ++i)
    blocks.push_back(tern::detail::huge.allocate(gap, 1, tern::detail::huge_blocks::wish::to_grow));
  for (std::size_t i = 0; i < blocks.size(); ++i) ASSERT_GE(tern::usable_size(blocks[i]), i < 16 ? 1 : gap);
  for (void* p : blocks) tern::deallocate(p);
}

TEST(Allocator, MemoryLimit) {
  tern::release_memory();
  const auto now = tern::allocation_statistics();
  tern::set_memory_limit(now.in_use + now.huge + 40 * mib);
  for (const std::size_t n : {std::size_t{1000}, std::size_t{100'000}, 3 * mib, 70 * mib}) {
    std::vector<void*> blocks;
    errno = 0;
    while (void* p = tern::try_allocate(n)) blocks.push_back(p);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_LE(blocks.size() * n, 40 * mib);
    EXPECT_GE(blocks.size() * n, n > 40 * mib ? 0 : 30 * mib);
    if (!blocks.empty()) {
      EXPECT_EQ(tern::try_reallocate(blocks[0], 80 * mib), nullptr);
    }
    for (void* p : blocks) tern::deallocate(p);
    tern::release_memory();
  }
  tern::set_memory_limit(0);
  tern::deallocate(tern::allocate(70 * mib));
}

// A buffer that comes and goes keeps its pages, some MiB of which nobody asks for, but for the limit; whatever is needed may exceed it.
TEST(Allocator, SoftMemoryLimit) {
  for (const std::size_t buffer : {mib, 12 * mib}) {
    tern::release_memory();
    const std::size_t limit = tern::allocation_statistics().committed + 4 * mib;
    const auto come_and_go = [&] {
      std::vector<char*> blocks;
      for (std::size_t n = 0; n < 12 * mib; n += buffer) {
        blocks.push_back(static_cast<char*>(tern::allocate(buffer)));
        for (std::size_t i = 0; i < buffer; i += 4096) blocks.back()[i] = 1;
      }
      const std::size_t full = tern::allocation_statistics().committed;
      for (char* p : blocks) tern::deallocate(p);
      return full;
    };
    for (int i = 0; i < 20; ++i) come_and_go();
    EXPECT_GT(tern::allocation_statistics().committed, limit);
    tern::set_soft_memory_limit(limit);
    EXPECT_GT(come_and_go(), limit);
    EXPECT_LE(tern::allocation_statistics().committed, limit) << buffer;
    tern::set_soft_memory_limit(0);
  }
}

// Beyond the limit fresh pages are paid for with free ones that lie elsewhere.
TEST(Allocator, TheSoftMemoryLimitHoldsForGrowth) {
  tern::release_memory();
  std::vector<char*> holes;
  std::vector<char*> kept;
  for (int i = 0; i < 24; ++i) {  // free, and too short for what is to come
    holes.push_back(static_cast<char*>(tern::allocate(mib)));
    kept.push_back(static_cast<char*>(tern::allocate(40'000)));
    for (std::size_t at = 0; at < mib; at += 4096) holes.back()[at] = 1;
  }
  for (char* p : holes) tern::deallocate(p);
  tern::detail::current_cache()->flush_all();
  const std::size_t limit = tern::allocation_statistics().committed;
  tern::set_soft_memory_limit(limit);
  for (int i = 0; i < 8; ++i) {
    kept.push_back(static_cast<char*>(tern::allocate(3 * mib / 2)));
    EXPECT_LE(tern::allocation_statistics().committed, limit) << i;
  }
  tern::set_soft_memory_limit(0);
  for (char* p : kept) tern::deallocate(p);
}

TEST(Allocator, ImpossibleSizesFailCleanly) {
  for (const std::size_t n : {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 2, std::size_t{1} << 47}) {
    errno = 0;
    EXPECT_EQ(tern::try_allocate(n), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_EQ(tern::try_allocate(n, 4096), nullptr);
    EXPECT_THROW((void)tern::allocate(n), std::bad_alloc);
    EXPECT_THROW((void)tern::allocate(n, 64), std::bad_alloc);
  }
  void* p = tern::allocate(3 * mib);
  EXPECT_EQ(tern::try_reallocate(p, SIZE_MAX / 2), nullptr);
  EXPECT_THROW((void)tern::reallocate(p, SIZE_MAX / 2), std::bad_alloc);
  static_cast<char*>(p)[3 * mib - 1] = 1;
  tern::deallocate(p);
  p = tern::allocate(100);
  EXPECT_EQ(tern::try_reallocate(p, SIZE_MAX / 2), nullptr);
  tern::deallocate(p, 100);
}

TEST(Allocator, FreedMemoryGoesBackToTheOs) {
  std::vector<void*> blocks;
  for (int i = 0; i < 100000; ++i) {
    blocks.push_back(tern::allocate(500));
    static_cast<char*>(blocks.back())[0] = 1;
  }
  const std::size_t full = tern::allocation_statistics().committed;
  for (void* p : blocks) tern::deallocate(p);
  EXPECT_GE(tern::release_memory(), 40 * mib);
  const std::size_t empty = tern::allocation_statistics().committed;
  EXPECT_LE(empty + 40 * mib, full);
}

// In a child: takes memory in blocks of `size` until there is no more, twice, with the same yield, and the heap works after.
[[noreturn]] void exhaust(std::size_t size) {
  // 300 MiB above what the tests before this one have mapped.
  std::size_t pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages;
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = pages * tern::detail::os::page_size() + 300 * mib;
  if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(77);
  if (void* p = tern::detail::os::reserve(1024 * mib); p != nullptr) ::_exit(77);  // not enforced (qemu-user)
  std::size_t first = 0;
  for (int round = 0; round < 2; ++round) {
    void* chain = nullptr;
    void* chain_of_gaps = nullptr;
    std::size_t count = 0;
    for (;;) {
      void* p = tern::try_allocate(size);
      if (p == nullptr) break;
      *static_cast<void**>(p) = chain;
      chain = p;
      ++count;
    }
    if (errno != ENOMEM) ::_exit(2);
    bool thrown = false;
    try {
      (void)tern::allocate(size);
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    if (!thrown) ::_exit(3);
    std::size_t freed = 0;
    if (size >= 200000 && size <= 2 * mib) {  // half of it has a span of its own as well
      // With the gaps filled too, what one freed block held must serve another class, though a cache has it.
      for (std::size_t n = size / 2; n >= 8192; n /= 2)
        while (void* p = tern::try_allocate(n)) {
          *static_cast<void**>(p) = chain_of_gaps;
          chain_of_gaps = p;
        }
      void* next = *static_cast<void**>(chain);
      tern::deallocate(chain);
      chain = next;
      ++freed;
      void* p = tern::try_allocate(size / 2 + 64);
      if (p == nullptr) ::_exit(7);
      tern::deallocate(p);
      while (chain_of_gaps != nullptr) {
        next = *static_cast<void**>(chain_of_gaps);
        tern::deallocate(chain_of_gaps);
        chain_of_gaps = next;
      }
    }
    // Half is free again: other sizes must be had from it.
    while (freed < count / 2) {
      void* next = *static_cast<void**>(chain);
      tern::deallocate(chain);
      chain = next;
      ++freed;
    }
    if (freed * size > 16 * mib) {
      void* p = tern::try_allocate(size / 2 + 64);
      if (p == nullptr) ::_exit(4);
      tern::deallocate(p);
    }
    while (chain != nullptr) {
      void* next = *static_cast<void**>(chain);
      tern::deallocate(chain);
      chain = next;
    }
    if (round == 0) first = count;
    if (count * size < 60 * mib) ::_exit(5);               // the limit allows far more
    if (round == 1 && count * 10 < first * 9) ::_exit(6);  // what was freed is there again
  }
  ::_exit(0);
}

class Exhaustion : public testing::TestWithParam<std::size_t> {};

TEST_P(Exhaustion, LeavesTheHeapUsable) {
  if (tern::detail::asan_build || tern::detail::tsan_build)
    GTEST_SKIP() << "shadow memory needs address space";
  EXPECT_EXIT(
      exhaust(GetParam()),
      [](int status) { return WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77); },
      "");
}
INSTANTIATE_TEST_SUITE_P(Sizes, Exhaustion,
                         testing::Values(std::size_t{64}, std::size_t{3000}, std::size_t{50000}, 1 * mib,
                                         5 * mib));

}  // namespace

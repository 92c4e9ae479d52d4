#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <list>
#include <map>
#include <memory_resource>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/alloc/root_ranges.hpp>
#include <tern/base/random.hpp>

#include "tests/support/seed.hpp"

namespace {

TEST(StandardAllocator, ServesContainers) {
  const std::size_t live = tern::allocation_statistics().live;
  {
    std::vector<int, tern::allocator<int>> v;
    for (int i = 0; i < 100000; ++i) v.push_back(i);
    EXPECT_EQ(v[99999], 99999);
    std::map<int, std::string, std::less<>, tern::allocator<std::pair<const int, std::string>>> m;
    for (int i = 0; i < 1000; ++i) m[i * 7919 % 1000] = std::to_string(i);
    EXPECT_EQ(m.size(), 1000u);
    std::list<int, tern::allocator<int>> l{1, 2, 3};
    EXPECT_EQ(l.back(), 3);
    EXPECT_GT(tern::allocation_statistics().live, live);
  }
  EXPECT_EQ(tern::allocation_statistics().live, live);
}

TEST(StandardAllocator, HonoursOverAlignedTypes) {
  struct alignas(256) wide {
    char bytes[256];
  };
  std::vector<wide, tern::allocator<wide>> v(5);
  EXPECT_EQ(tern::detail::to_word(v.data()) % 256, 0u);
  EXPECT_TRUE(tern::allocator<int>{} == tern::allocator<wide>{});
  EXPECT_THROW((void)tern::allocator<wide>{}.allocate(SIZE_MAX / 8), std::bad_array_new_length);
}

TEST(MemoryResource, ServesPolymorphicContainersAndEqualsItself) {
  const std::size_t live = tern::allocation_statistics().live;
  {
    std::pmr::vector<std::pmr::string> v{tern::memory_resource()};
    for (int i = 0; i < 1000; ++i) v.emplace_back("a string that is too long for the small buffer");
    EXPECT_GT(tern::allocation_statistics().live, live + 40000);
  }
  EXPECT_EQ(tern::allocation_statistics().live, live);
  EXPECT_TRUE(tern::memory_resource()->is_equal(*tern::memory_resource()));
  EXPECT_FALSE(tern::memory_resource()->is_equal(*std::pmr::new_delete_resource()));
  const tern::detail::heap_resource elsewhere;  // as that of a shared object with a heap of its own
  EXPECT_FALSE(tern::memory_resource()->is_equal(elsewhere));
  void* p = tern::memory_resource()->allocate(100, 1024);
  EXPECT_EQ(tern::detail::to_word(p) % 1024, 0u);
  tern::memory_resource()->deallocate(p, 100, 1024);
}

TEST(Arena, BlocksAreAlignedDisjointAndFreedWhole) {
  const std::size_t live = tern::allocation_statistics().live;
  {
    tern::arena a;
    tern::detail::fast_random random{tern_test::seed()};
    std::vector<std::pair<unsigned char*, std::size_t>> blocks;
    for (int i = 0; i < 20000; ++i) {
      const std::size_t n = random.below(1000) == 0 ? random.below(3u << 20) : random.below(200);
      const std::size_t alignment = std::size_t{1} << random.below(12);
      auto* p = static_cast<unsigned char*>(a.allocate(n, alignment));
      ASSERT_EQ(tern::detail::to_word(p) % alignment, 0u);
      const auto tag = static_cast<unsigned char>(i);
      if (n != 0) p[0] = p[n - 1] = tag;
      blocks.emplace_back(p, n);
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (blocks[i].second == 0) continue;
      ASSERT_EQ(blocks[i].first[0], static_cast<unsigned char>(i));
      ASSERT_EQ(blocks[i].first[blocks[i].second - 1], static_cast<unsigned char>(i));
    }
    tern::arena b{std::move(a)};
    EXPECT_EQ(a.held_bytes(), 0u);
    EXPECT_GT(b.held_bytes(), 0u);
    int* x = b.create<int>(5);
    EXPECT_EQ(*x, 5);
    EXPECT_THROW((void)b.allocate(SIZE_MAX - 8), std::bad_alloc);
    EXPECT_EQ(*x, 5);
  }
  EXPECT_EQ(tern::allocation_statistics().live, live);
}

TEST(Arena, ResetKeepsOneBlockAndReusesIt) {
  tern::arena a;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 10000; ++i) *static_cast<int*>(a.allocate(64)) = i;
    a.reset();
    EXPECT_LE(a.held_bytes(), std::size_t{2} << 20) << "no growth from round to round";
  }
  a.release();
  EXPECT_EQ(a.held_bytes(), 0u);
  tern::arena empty;
  empty.reset();
  *static_cast<char*>(empty.allocate(1)) = 1;
}

TEST(Arena, ZeroBytesAreSomePointer) {
  tern::arena a;
  EXPECT_NE(a.allocate(0), nullptr);
  EXPECT_NE(a.allocate(0, 1), nullptr);
  a.release();
  EXPECT_NE(a.allocate(0, 1), nullptr);
  tern::arena moved{std::move(a)};
  EXPECT_NE(a.allocate(0), nullptr);
}

TEST(Pool, CreatesDestroysAndSurvivesAThrowingConstructor) {
  struct item {
    int value;
    int& alive;
    item(int v, int& count) : value{v}, alive{count} {
      if (v < 0) throw std::runtime_error{"negative"};
      ++alive;
    }
    ~item() { --alive; }
  };
  const std::size_t live = tern::allocation_statistics().live;
  int alive = 0;
  {
    tern::pool<item> p;
    std::vector<item*> items;
    for (int i = 0; i < 1000; ++i) items.push_back(p.create(i, alive));
    EXPECT_THROW((void)p.create(-1, alive), std::runtime_error);
    EXPECT_EQ(alive, 1000);
    std::thread{[&] {
      for (item* x : items) p.destroy(x);
    }}.join();
    p.destroy(nullptr);
  }
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(tern::allocation_statistics().live, live);
}

TEST(Statistics, FollowEachBlockThroughTheTiers) {
  constexpr std::size_t size = 1792;
  const unsigned c = tern::detail::class_of(size);
  ASSERT_EQ(tern::detail::class_size(c), size);
  tern::release_memory();
  const auto before = tern::allocation_statistics();
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(tern::allocate(size));
  auto s = tern::allocation_statistics();
  EXPECT_EQ(s.classes[c].size_bytes, size);
  EXPECT_EQ(s.classes[c].live, before.classes[c].live + 1000);
  EXPECT_EQ(s.live, before.live + 1000 * size);
  EXPECT_GE(s.classes[c].spans * tern::detail::class_table[c].blocks, 1000u);
  EXPECT_EQ(s.classes[c].spans * tern::detail::class_table[c].blocks,
            s.classes[c].live + s.classes[c].cached + s.classes[c].central);
  EXPECT_GE(s.in_use, before.in_use + 1000 * size);
  EXPECT_LE(s.in_use, s.mapped);
  EXPECT_LE(s.mapped, s.reserved);
  for (void* p : blocks) tern::deallocate(p);
  s = tern::allocation_statistics();
  EXPECT_EQ(s.classes[c].live, before.classes[c].live);
  EXPECT_GT(s.classes[c].cached, 0u);
  tern::release_memory();
  s = tern::allocation_statistics();
  EXPECT_EQ(s.classes[c].cached, 0u);
  EXPECT_EQ(s.classes[c].spans, before.classes[c].spans);
}

TEST(Statistics, RefillsAreTheAllocationsThatNoCacheServed) {
  const unsigned c = tern::detail::class_of(640);
  const auto refills = [] { return tern::allocation_statistics().classes[c].refills; };
  tern::release_memory();  // this thread's cache has none
  std::uint64_t before = refills();
  std::vector<void*> blocks{tern::allocate(640)};
  EXPECT_EQ(refills(), before + 1);
  // From here on a batch at a time.
  const std::size_t batch = tern::detail::class_table[c].batch;
  for (std::size_t i = 1; i < 10 * batch; ++i) blocks.push_back(tern::allocate(640));
  EXPECT_GE(refills(), before + 10);
  EXPECT_LE(refills(), before + 12);
  for (void* p : blocks) tern::deallocate(p);
  before = refills();
  for (int i = 0; i < 1000; ++i) tern::deallocate(tern::allocate(640));  // out of the cache and back
  EXPECT_EQ(refills(), before);
  // Of a large class, which has none in its cache, and one that is made apart for its alignment.
  tern::release_memory();
  const auto all = [] {
    std::uint64_t sum = 0;
    for (const auto& k : tern::allocation_statistics().classes) sum += k.refills;
    return sum;
  };
  before = all();
  void* const large = tern::allocate(std::size_t{100} << 10);
  void* const aligned = tern::allocate(100, std::size_t{64} << 10);
  EXPECT_EQ(all(), before + 2);
  tern::deallocate(large);
  tern::deallocate(aligned);
}

TEST(Statistics, TextNamesEachUsedClassAndIsCutLikeSnprintf) {
  void* p = tern::allocate(5000);
  const auto s = tern::allocation_statistics();
  const std::size_t length = s.write_text(nullptr, 0);
  std::vector<char> whole(length + 1);
  EXPECT_EQ(s.write_text(whole.data(), whole.size()), length);
  const std::string text{whole.data()};
  EXPECT_EQ(text.size(), length);
  EXPECT_NE(text.find("class 5120: live "), std::string::npos) << text;
  EXPECT_NE(text.find("total: live "), std::string::npos);
  char cut[20];
  EXPECT_EQ(s.write_text(cut, sizeof cut), length);
  EXPECT_EQ(std::string{cut}, text.substr(0, 19));
  tern::deallocate(p);
}

TEST(Statistics, AllocstatsPrintsALineAtExit) {
  ::setenv("TERN_DEBUG", "gctrace=1,allocstats=1", 1);
  EXPECT_EXIT(
      {
        // As in a fresh process: settings unread, caches empty, so that the first allocation takes the slow path.
        tern::detail::debug_settings_read.store(false);
        tern::release_memory();
        tern::deallocate(tern::allocate(64));
        std::exit(0);
      },
      testing::ExitedWithCode(0), "tern: allocstats: live [0-9]+ cached [0-9]+");
  ::unsetenv("TERN_DEBUG");
  EXPECT_EQ(tern::detail::debug_option("allocstats"), 0);
  ::setenv("TERN_DEBUG", "xallocstats=1,allocstats=0", 1);
  EXPECT_EQ(tern::detail::debug_option("allocstats"), 0);
  ::unsetenv("TERN_DEBUG");
}

TEST(RootRanges, AreExactlyThoseRegistered) {
  using namespace tern::detail;
  fast_random random{tern_test::seed()};
  static char memory[100000];
  std::map<void*, std::size_t> model;
  for (int i = 0; i < tern_test::scale(20000); ++i) {
    char* p = memory + 16 * random.below(2000);
    if (auto known = model.find(p); known != model.end()) {
      unregister_root_range(p);
      model.erase(known);
    } else {
      register_root_range(p, 1 + random.below(16));
      model[p] = 0;
    }
    if (i % 1000 == 0) {
      std::size_t seen = 0;
      for_each_root_range([&](void* start, std::size_t bytes) {
        EXPECT_EQ(model.count(start), 1u);
        EXPECT_LE(bytes, 16u);
        ++seen;
      });
      ASSERT_EQ(seen, model.size());
    }
  }
  for (const auto& [p, n] : model) unregister_root_range(p, n);
  EXPECT_EQ(root_ranges.size(), 0u);
  EXPECT_DEATH(unregister_root_range(memory), "not registered");
  register_root_range(memory, 8);
  EXPECT_DEATH(register_root_range(memory, 8), "registered twice");
  unregister_root_range(memory);
}

// Blocks that are sampled serve as any: by whatever free they go, whatever their class; what lives is in the profile.
TEST(HeapProfile, HoldsWhatLives) {
  tern::heap_profile::start(512);
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (std::size_t i = 0; i < 4000; ++i) {
    const std::size_t size = i % 500 == 0 ? (i + 1) * 10'000 : 1 + i * 7 % 5000;
    blocks.emplace_back(static_cast<unsigned char*>(tern::allocate(size)), size);
    std::memset(blocks.back().first, static_cast<int>(i), size);
    ASSERT_GE(tern::usable_size(blocks.back().first), size);
  }
  const std::size_t live = tern::detail::samples.live_samples();
  EXPECT_GT(live, 100u);
  const std::string path = testing::TempDir() + "tern_heap_profile_" + std::to_string(getpid());
  ASSERT_TRUE(tern::heap_profile::write(path.c_str()));
  std::ifstream in(path);
  std::string line;
  ASSERT_TRUE(std::getline(in, line));
  EXPECT_NE(line.find("@ heap_v2/512"), std::string::npos) << line;
  std::size_t rows = 0;
  while (std::getline(in, line) && line.starts_with("1: ")) ++rows;
  EXPECT_EQ(rows, live);
  std::remove(path.c_str());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    auto& [p, size] = blocks[i];
    if (i % 3 == 0) {
      p = static_cast<unsigned char*>(tern::reallocate(p, size * 2));
      size *= 2;
    }
    ASSERT_EQ(p[0], static_cast<unsigned char>(i));
    if (i % 2 == 0)
      tern::deallocate(p);
    else
      tern::deallocate(p, size);
  }
  tern::heap_profile::start(0);
  tern::release_memory();
  EXPECT_EQ(tern::detail::samples.live_samples(), 0u);
  EXPECT_FALSE(tern::heap_profile::write("/nonexistent/folder/file"));
}

// A block that cannot be resized stays as it is, in the profile too.
TEST(HeapProfile, HoldsWhatCouldNotBeResized) {
  tern::heap_profile::start(1);
  for (const std::size_t size : {std::size_t{1} << 20, std::size_t{100} << 20}) {
    void* p = tern::allocate(size);
    const std::size_t live = tern::detail::samples.live_samples();
    ASSERT_GE(live, 1u);
    EXPECT_EQ(tern::try_reallocate(p, std::size_t{1} << 60), nullptr);
    EXPECT_EQ(tern::detail::samples.live_samples(), live);
    tern::deallocate(p);
    EXPECT_EQ(tern::detail::samples.live_samples(), live - 1);
  }
  tern::heap_profile::start(0);
}

TEST(HeapProfile, AnIntervalBeyondAllMemoryGivesNoSample) {
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < 200; ++i) {
    tern::heap_profile::start(SIZE_MAX);  // draws anew
    blocks.push_back(tern::allocate(100'000));
  }
  EXPECT_EQ(tern::detail::samples.live_samples(), 0u);
  tern::heap_profile::start(0);
  for (void* p : blocks) tern::deallocate(p);
}

}  // namespace

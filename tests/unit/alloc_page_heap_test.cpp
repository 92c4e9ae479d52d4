#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <tern/alloc/huge.hpp>
#include <tern/alloc/page_heap.hpp>
#include <tern/alloc/scavenger.hpp>
#include <tern/base/random.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/seed.hpp"

namespace {

using namespace tern::detail;

struct test_span : span_base {
  std::uint64_t tag = 0;
};
using flat_heap = page_heap<test_span, flat_page_map>;
using radix_heap = page_heap<test_span, radix_page_map>;

constexpr span_kind test_kind = span_kind::client;

// Heaps are made for static storage: their reservations stay. Each test takes a fresh one and leaks it on purpose.
template <class Heap>
Heap& fresh_heap(page_heap_options options) {
  static std::vector<std::unique_ptr<Heap>> all;
  all.push_back(std::make_unique<Heap>(options));
  return *all.back();
}

TEST(PageHeap, EveryPageOfASpanLeadsToIt) {
  flat_heap& h = fresh_heap<flat_heap>({.first_reservation = std::size_t{16} << 20, .single = true});
  test_span* s = h.allocate({.pages = 5, .kind = test_kind, .size_class = 9},
                            [](test_span& fresh) noexcept { fresh.tag = 77; });
  ASSERT_NE(s, nullptr);
  EXPECT_TRUE(h.contains(s->memory()));
  EXPECT_FALSE(h.contains(&h));
  for (std::size_t i = 0; i < 5; ++i) {
    const void* inside = reinterpret_cast<const void*>(s->start + i * page_bytes + 123);
    const page_entry e = h.map().find_acquire(inside);
    EXPECT_EQ(e.kind(), test_kind);
    EXPECT_EQ(e.size_class(), 9u);
    EXPECT_EQ(e.get<test_span>(), s);
    EXPECT_EQ(e.get<test_span>()->tag, 77u);
  }
  EXPECT_EQ(h.map().find_acquire(&h).kind(), span_kind::none);
  h.free(s);
  const page_entry gone = h.map().find_acquire(reinterpret_cast<const void*>(s->start + 2 * page_bytes));
  EXPECT_NE(gone.kind(), test_kind);
}

TEST(PageHeap, FreshMemoryIsZeroAndUsedMemoryIsNotCalledSo) {
  flat_heap& h = fresh_heap<flat_heap>({.first_reservation = std::size_t{8} << 20, .single = true});
  test_span* s = h.allocate({.pages = 3, .kind = test_kind});
  ASSERT_NE(s, nullptr);
  EXPECT_TRUE(s->zeroed);
  std::memset(s->memory(), 0xab, s->bytes());
  h.free(s);
  s = h.allocate({.pages = 3, .kind = test_kind});
  EXPECT_FALSE(s->zeroed);
  h.free(s);
  EXPECT_GE(h.release_memory(), 2 * page_bytes);
  s = h.allocate({.pages = pages_per_chunk, .kind = test_kind});
  ASSERT_NE(s, nullptr);
  if (os::page_size() <= page_bytes) {
    EXPECT_TRUE(s->zeroed);
  }
  const auto* bytes = static_cast<const unsigned char*>(s->memory());
  for (std::size_t i = 0; s->zeroed && i < s->bytes(); ++i) ASSERT_EQ(bytes[i], 0) << i;
  h.free(s);
}

TEST(PageHeap, FreedNeighboursBecomeOne) {
  flat_heap& h = fresh_heap<flat_heap>({.first_reservation = chunk_bytes, .single = true});
  std::vector<test_span*> spans;
  while (test_span* s = h.allocate({.pages = 8, .kind = test_kind})) spans.push_back(s);
  ASSERT_EQ(spans.size(), pages_per_chunk / 8) << "one chunk holds so many, and a single heap gets no more";
  EXPECT_EQ(h.allocate({.pages = 1, .kind = test_kind}), nullptr);
  for (std::size_t i = 0; i < spans.size(); i += 2) h.free(spans[i]);
  EXPECT_EQ(h.allocate({.pages = 9, .kind = test_kind}), nullptr) << "no two free runs touch";
  for (std::size_t i = 1; i < spans.size(); i += 2) h.free(spans[i]);
  test_span* whole = h.allocate({.pages = pages_per_chunk, .kind = test_kind});
  ASSERT_NE(whole, nullptr);
  h.free(whole);
  EXPECT_EQ(h.statistics().in_use, 0u);
}

TEST(PageHeap, HonoursAlignment) {
  radix_heap& h = fresh_heap<radix_heap>({.first_reservation = chunk_bytes});
  for (std::size_t alignment = page_bytes; alignment <= chunk_bytes; alignment *= 2) {
    test_span* a = h.allocate({.pages = 3, .kind = test_kind, .alignment = alignment});
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(a->start % alignment, 0u);
    EXPECT_EQ(a->pages, 3u);
  }
}

TEST(PageHeap, GrowsBeyondItsFirstReservation) {
  radix_heap& h = fresh_heap<radix_heap>({.first_reservation = chunk_bytes});
  std::vector<test_span*> spans;
  for (int i = 0; i < 20; ++i) {
    test_span* s = h.allocate({.pages = 200, .kind = test_kind});
    ASSERT_NE(s, nullptr);
    std::memset(s->memory(), i, page_bytes);
    spans.push_back(s);
  }
  EXPECT_GE(h.statistics().reserved, 20 * 200 * page_bytes);
  for (test_span* s : spans) h.free(s);
  EXPECT_EQ(h.statistics().in_use, 0u);
}

TEST(PageHeap, LongSpansCrossChunks) {
  flat_heap& h = fresh_heap<flat_heap>({.first_reservation = std::size_t{64} << 20, .single = true});
  test_span* s = h.allocate({.pages = 3000, .kind = test_kind});
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(h.map().find(reinterpret_cast<void*>(s->end() - 1)).get<test_span>(), s);
  test_span* t = h.allocate({.pages = 5, .kind = test_kind});
  ASSERT_NE(t, nullptr);
  h.free(s);
  h.free(t);
  EXPECT_EQ(h.statistics().in_use, 0u);
}

// Against a model: spans never overlap, the map knows exactly the pages in use, figures add up.
TEST(PageHeap, RandomOperationsKeepTheMapExact) {
  flat_heap& h = fresh_heap<flat_heap>({.first_reservation = std::size_t{64} << 20, .single = true});
  fast_random random{tern_test::seed()};
  std::vector<test_span*> live;
  std::vector<test_span*> owner(pages_per_chunk * 32, nullptr);
  std::size_t pages_live = 0;
  int resized = 0;
  for (int step = 0; step < tern_test::scale(20000); ++step) {
    const auto first_of = [&](const test_span* s) { return (s->start - h.map().base()) / page_bytes; };
    if (!live.empty() && random.below(4) == 0) {
      test_span* s = live[random.below(static_cast<std::uint32_t>(live.size()))];
      const std::size_t before = s->pages;
      const std::size_t pages = 1 + random.below(static_cast<std::uint32_t>(2 * before));
      if (!h.resize(s, pages, 7)) {
        ASSERT_EQ(s->pages, before);
        ASSERT_GT(pages, before);
        continue;
      }
      resized += pages > before;
      ASSERT_EQ(s->pages, pages);
      for (std::size_t k = first_of(s) + pages; k < first_of(s) + before; ++k) owner[k] = nullptr;
      for (std::size_t k = first_of(s) + before; k < first_of(s) + pages; ++k) {
        ASSERT_EQ(owner[k], nullptr) << "grown into another span";
        owner[k] = s;
      }
      pages_live += pages - before;
    } else if (live.empty() || random.below(100) < 52) {
      const std::size_t pages = random.below(10) == 0 ? 1 + random.below(600) : 1 + random.below(40);
      const std::size_t alignment = random.below(8) == 0 ? page_bytes << random.below(9) : page_bytes;
      test_span* s = h.allocate(
          {.pages = pages, .kind = test_kind, .alignment = alignment, .to_grow = random.below(4) == 0});
      if (s == nullptr) continue;  // 64 MiB are full
      ASSERT_EQ(s->start % alignment, 0u);
      ASSERT_EQ(s->pages, pages);
      const std::size_t first = (s->start - h.map().base()) / page_bytes;
      for (std::size_t i = first; i < first + pages; ++i) {
        ASSERT_EQ(owner[i], nullptr) << "two spans share a page";
        owner[i] = s;
      }
      live.push_back(s);
      pages_live += pages;
    } else {
      const std::size_t i = random.below(static_cast<std::uint32_t>(live.size()));
      test_span* s = live[i];
      live[i] = live.back();
      live.pop_back();
      const std::size_t first = (s->start - h.map().base()) / page_bytes;
      for (std::size_t k = first; k < first + s->pages; ++k) owner[k] = nullptr;
      pages_live -= s->pages;
      h.free(s);
    }
    if (step % 1000 == 0) h.release_memory(random.below(1u << 22));
    if (step % 500 == 0) {
      ASSERT_EQ(h.statistics().in_use, pages_live * page_bytes);
      for (std::size_t i = 0; i < owner.size(); ++i) {
        const page_entry e = h.map().find(reinterpret_cast<void*>(h.map().base() + i * page_bytes));
        if (owner[i] != nullptr) {
          ASSERT_EQ(e.kind(), test_kind);
          ASSERT_EQ(e.get<test_span>(), owner[i]);
        } else {
          ASSERT_NE(e.kind(), test_kind);
        }
      }
    }
  }
  EXPECT_GT(resized, 0);
  for (test_span* s : live) h.free(s);
  EXPECT_EQ(h.statistics().in_use, 0u);
}

// Bytes of the mapping that holds p, as the kernel names them in smaps; 0 where it does not.
std::size_t of_mapping(const void* p, const char* what) {
  std::ifstream in("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(in, line);) {
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    if (std::sscanf(line.c_str(), "%zx-%zx ", &from, &to) == 2)
      here = from <= to_word(p) && to_word(p) < to;
    else if (here && line.starts_with(what))
      return std::strtoul(line.c_str() + std::strlen(what), nullptr, 10) << 10;
  }
  return 0;
}

// Where the kernel has made huge pages of the heap's, free parts of them go back all the same, and what lies beside stays.
TEST(PageHeap, GivesPartsOfHugePagesBack) {
  constexpr std::size_t chunks = 8;
  radix_heap& h = fresh_heap<radix_heap>({.first_reservation = std::size_t{32} << 20});
  test_span* all =
      h.allocate({.pages = chunks * pages_per_chunk, .kind = test_kind, .alignment = chunk_bytes});
  ASSERT_NE(all, nullptr);
  char* const base = static_cast<char*>(all->memory());
  const std::size_t bytes = all->bytes();
  os::advise_huge_pages(base, bytes, true);
  std::memset(base, 0x5a, bytes);
  const std::size_t huge = of_mapping(base, "AnonHugePages:");
  const std::size_t resident = of_mapping(base, "Rss:");
  h.free(all);
  // All but every fourth run of 64 KiB, or an OS page, is free afterwards.
  const std::size_t run = std::max(std::size_t{64} << 10, os::page_size()) / page_bytes;
  std::vector<test_span*> runs;
  for (std::size_t i = 0; i < bytes / page_bytes / run; ++i)
    runs.push_back(h.allocate({.pages = run, .kind = test_kind, .alignment = run * page_bytes}));
  for (std::size_t i = 0; i < runs.size(); ++i) {
    ASSERT_NE(runs[i], nullptr);
    ASSERT_FALSE(runs[i]->zeroed);
    std::memset(runs[i]->memory(), static_cast<int>(i % 251), runs[i]->bytes());
  }
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (i % 4 != 0) h.free(runs[i]);
  EXPECT_EQ(h.release_memory(), bytes / 4 * 3);
  for (std::size_t i = 0; i < runs.size(); i += 4) {
    const auto* p = static_cast<const unsigned char*>(runs[i]->memory());
    EXPECT_EQ(p[0], i % 251);
    EXPECT_EQ(p[runs[i]->bytes() - 1], i % 251);
  }
  test_span* again = h.allocate({.pages = 3 * run, .kind = test_kind});
  ASSERT_NE(again, nullptr);
  EXPECT_TRUE(again->zeroed);
  for (std::size_t i = 0; i < again->bytes(); ++i) ASSERT_EQ(static_cast<const char*>(again->memory())[i], 0);
  if (asan_build || tsan_build || tern_test::is_emulated() || resident < bytes)
    return;  // others' memory is among it
  std::printf("%zu MiB in huge pages before\n", huge >> 20);
  EXPECT_LE(of_mapping(base, "Rss:"), resident - bytes / 2);
}

// What the kernel was asked for the mapping that holds p: "hg" for huge pages, "nh" for none, "" for neither; "?" where it does not tell.
std::string huge_page_advice(const void* p) {
  std::ifstream in("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(in, line);) {
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    if (std::sscanf(line.c_str(), "%zx-%zx ", &from, &to) == 2) {
      here = from <= to_word(p) && to_word(p) < to;
    } else if (here && line.starts_with("VmFlags:")) {
      line += ' ';
      return line.find(" hg ") != std::string::npos   ? "hg"
             : line.find(" nh ") != std::string::npos ? "nh"
                                                      : "";
    }
  }
  return "?";
}

bool kernel_takes_advice() {
  if (tern_test::is_emulated() || os::page_size() != 4096) return false;
  void* p = os::reserve(chunk_bytes, chunk_bytes);
  os::advise_huge_pages(p, chunk_bytes, true);
  const bool takes = huge_page_advice(p) == "hg";
  os::unreserve(p, chunk_bytes);
  return takes;
}

TEST(PageHeap, AsksForHugePagesOnceItIsNotSmall) {
  if (!kernel_takes_advice()) GTEST_SKIP() << "the kernel has no huge pages to give, or does not tell";
  flat_heap& h = fresh_heap<flat_heap>({.first_reservation = std::size_t{64} << 20, .single = true});
  const auto chunk = [&h]() { return h.allocate({.pages = pages_per_chunk, .kind = test_kind}); };
  std::vector<test_span*> chunks;
  for (std::size_t bytes = 0; bytes < huge_pages::small_heap + 4 * chunk_bytes; bytes += chunk_bytes) {
    chunks.push_back(chunk());
    ASSERT_NE(chunks.back(), nullptr);
    EXPECT_EQ(huge_page_advice(chunks.back()->memory()), bytes < huge_pages::small_heap ? "" : "hg") << bytes;
  }

  // A part that goes back makes its chunk one of small pages, and only that.
  test_span* const third = chunks[chunks.size() - 3];
  char* const base = static_cast<char*>(third->memory());
  h.free(third);
  test_span* half = h.allocate({.pages = pages_per_chunk / 2, .kind = test_kind});
  ASSERT_EQ(half->memory(), base);
  EXPECT_GE(h.release_memory(), chunk_bytes / 2);
  EXPECT_EQ(huge_page_advice(base), "nh");
  EXPECT_EQ(huge_page_advice(base - chunk_bytes), "hg");
  EXPECT_EQ(huge_page_advice(base + chunk_bytes), "hg");

  // Whole, it is huge again: the rest of it, which holds nothing, goes back with the half.
  h.free(half);
  EXPECT_EQ(h.release_memory(), chunk_bytes / 2);
  EXPECT_EQ(huge_page_advice(base), "hg");
}

// Skipped where nobody can tell: an emulator, OS pages other than of 4 KiB, a kernel without transparent huge pages.
TEST(HugeBlocks, AskForHugePagesOnceTheyAreNotSmall) {
  if (!kernel_takes_advice()) GTEST_SKIP() << "the kernel has no huge pages to give, or does not tell";
  huge_blocks blocks;
  const auto record = [](void* p) { return heap.map().find(p).get<span>(); };
  const std::size_t half = huge_pages::small_heap / 2;
  auto* p = static_cast<char*>(blocks.allocate(half, 1, huge_blocks::wish::to_grow));
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(huge_page_advice(p), "");
  std::memset(p, 0x5a, half);
  for (std::size_t bytes = 2 * half; bytes <= 16 * half; bytes *= 2) {
    p = static_cast<char*>(blocks.resize(record(p), bytes));
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(huge_page_advice(p), "hg") << bytes;
    EXPECT_EQ(record(p)->mapped_bytes % chunk_bytes, 0u);
    EXPECT_EQ(p[0], 0x5a);
    EXPECT_EQ(p[half - 1], 0x5a);
    EXPECT_EQ(p[half], 0);
    p[bytes - 1] = 1;
  }
  blocks.free(record(p));
}

// A program may touch a word here and there of what has not grown: stress-ng's blocks were resident in whole huge pages. Skipped where
// nobody can tell, as above.
TEST(HugeBlocks, AreOfSmallPagesUntilTheyGrow) {
  if (!kernel_takes_advice()) GTEST_SKIP() << "the kernel has no huge pages to give, or does not tell";
  huge_blocks blocks;
  const auto record = [](void* p) { return heap.map().find(p).get<span>(); };
  constexpr std::size_t borrowed_bytes = std::size_t{48} << 20, mapped_bytes = std::size_t{80} << 20;
  heap.release_memory();  // what earlier tests have left is fresh again
  // The first makes the heap large enough to ask for huge pages for all that it takes.
  void* const first = blocks.allocate(borrowed_bytes, 1);
  ASSERT_NE(first, nullptr);
  auto* const borrowed = static_cast<char*>(blocks.allocate(borrowed_bytes, 1));
  ASSERT_NE(borrowed, nullptr);
  ASSERT_NE(record(borrowed)->pages, 0u);
  ASSERT_TRUE(record(borrowed)->zeroed) << "not fresh";
  EXPECT_EQ(huge_page_advice(borrowed), "nh");
  EXPECT_EQ(huge_page_advice(borrowed + borrowed_bytes - 1), "nh");
  char* mapped = static_cast<char*>(blocks.allocate(mapped_bytes, 1));
  ASSERT_NE(mapped, nullptr);
  EXPECT_EQ(record(mapped)->pages, 0u);
  EXPECT_EQ(huge_page_advice(mapped), "");
  mapped = static_cast<char*>(blocks.resize(record(mapped), 2 * mapped_bytes));
  ASSERT_NE(mapped, nullptr);
  EXPECT_EQ(huge_page_advice(mapped), "hg");
  blocks.free(record(mapped));
  blocks.free(record(borrowed));
  blocks.free(record(first));
}

// A buffer that comes and goes keeps its pages; what is no longer needed goes back while the program frees.
TEST(Scavenger, KeepsWhatIsNeededAndReturnsTheRest) {
  radix_heap& h = fresh_heap<radix_heap>({.first_reservation = std::size_t{256} << 20});
  static scavenger<radix_heap> s{h};
  constexpr std::size_t chunk = pages_per_chunk;
  constexpr std::size_t megabyte = std::size_t{1} << 20;
  const auto free = [&](test_span* span) { s.note(h.free(span)); };
  std::vector<test_span*> spans;
  for (int i = 0; i < 64; ++i) spans.push_back(h.allocate({.pages = chunk, .kind = test_kind}));
  EXPECT_EQ(h.statistics().dirty, 128 * megabyte);
  for (test_span* span : spans) free(span);
  for (int i = 0; i < 100; ++i) {
    test_span* span = h.allocate({.pages = 64 * chunk, .kind = test_kind});
    ASSERT_NE(span, nullptr);
    free(span);
  }
  EXPECT_EQ(h.statistics().dirty, 128 * megabyte);
  while (h.statistics().dirty > 20 * megabyte) {
    free(h.allocate({.pages = 1, .kind = test_kind}));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_GE(h.statistics().dirty, 16 * megabyte);
}

// What release_memory gave back reads as zero, and what is in use is never given back.
TEST(PageHeap, ReleasesBesideAllocatingThreads) {
  radix_heap& h = fresh_heap<radix_heap>({.first_reservation = std::size_t{16} << 20});
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&h, t] {
      fast_random random{tern_test::seed() + t};
      for (int i = 0; i < tern_test::scale(3000); ++i) {
        test_span* s = h.allocate({.pages = 1 + random.below(64), .kind = test_kind});
        ASSERT_NE(s, nullptr);
        auto* words = static_cast<std::uint64_t*>(s->memory());
        const std::size_t last = s->bytes() / 8 - 1;
        if (s->zeroed) {
          ASSERT_EQ(words[0], 0u);
          ASSERT_EQ(words[last], 0u);
        }
        words[0] = words[last] = s->start;
        if (random.below(4) == 0) std::this_thread::yield();
        ASSERT_EQ(words[0], s->start) << "a span in use was given to the OS";
        ASSERT_EQ(words[last], s->start);
        h.free(s);
      }
    });
  for (int i = 0; i < tern_test::scale(200); ++i) h.release_memory();
  for (std::thread& t : threads) t.join();
  h.release_memory();
  EXPECT_EQ(h.statistics().in_use, 0u);
  EXPECT_LE(h.statistics().dirty, 2 * os::page_size());
}

TEST(PageHeapDeathTest, FreeingASpanTwiceIsFatal) {
  flat_heap& h = fresh_heap<flat_heap>({.first_reservation = chunk_bytes, .single = true});
  test_span* a = h.allocate({.pages = 4, .kind = test_kind});
  test_span* b = h.allocate({.pages = 4, .kind = test_kind});
  ASSERT_NE(b, nullptr);
  h.free(a);
  EXPECT_DEATH(h.free(a), "span freed that is not in use");
  h.free(b);
}

}  // namespace

// What the heap profile says of a heap that is known. The seeds are fixed: a run is like every other, but for what the blocks' addresses decide.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <tern/alloc.hpp>

namespace {

constexpr std::size_t interval = 16 << 10;
constexpr double bytes_in_all = 16 << 20;
// Of 1,000 samples or more: four standard deviations and a little. A factor of 1.3 is ten of them.
constexpr double most_off = 0.14;

// Bytes that live, by the size of their blocks, as pprof computes them from the file.
std::map<std::size_t, double> profiled() {
  const std::string path = testing::TempDir() + "tern_sampling_" + std::to_string(getpid());
  EXPECT_TRUE(tern::heap_profile::write(path.c_str()));
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  EXPECT_TRUE(line.ends_with("@ heap_v2/" + std::to_string(interval))) << line;
  std::map<std::size_t, double> bytes;
  for (std::size_t size = 0; std::getline(in, line) && std::sscanf(line.c_str(), "1: %zu ", &size) == 1;)
    bytes[size] += static_cast<double>(size) / (1 - std::exp(-static_cast<double>(size) / interval));
  std::remove(path.c_str());
  return bytes;
}

double profiled_in_all() {
  double sum = 0;
  for (const auto& [size, bytes] : profiled()) sum += bytes;
  return sum;
}

void start(std::uint64_t seed) { tern::detail::start_sampling(interval, false, seed); }

// Blocks that are freed at the end, when no sample is taken any more.
class heap_of_blocks {
 public:
  heap_of_blocks() = default;
  heap_of_blocks(const heap_of_blocks&) = delete;
  heap_of_blocks& operator=(const heap_of_blocks&) = delete;
  ~heap_of_blocks() {
    clear();
    tern::heap_profile::start(0);
    EXPECT_EQ(tern::detail::samples.live_samples(), 0u);
  }
  void keep(void* p) {
    live_ += static_cast<double>(tern::usable_size(p));
    blocks_.push_back(p);
  }
  void clear() {
    for (void* p : blocks_) tern::deallocate(p);
    blocks_.clear();
    live_ = 0;
  }
  double live() const { return live_; }

 private:
  std::vector<void*> blocks_;
  double live_ = 0;
};

// From blocks far shorter than the interval to some that are longer, whose batches are longer still.
TEST(HeapProfileEstimate, IsRightForEverySize) {
  for (const std::size_t size : {48u, 500u, 1024u, 4096u, 16384u, 60000u, 300000u, 3u << 20}) {
    heap_of_blocks heap;
    start(size);
    while (heap.live() < bytes_in_all) heap.keep(tern::allocate(size));
    EXPECT_NEAR(profiled_in_all() / heap.live(), 1, most_off) << size;
  }
}

TEST(HeapProfileEstimate, IsRightForEveryFormOfAllocation) {
  struct form {
    const char* name;
    void* (*make)();
  };
  const form forms[] = {
      {"zeroed", [] { return tern::allocate_zeroed(800); }},
      {"zeroed, large", [] { return tern::allocate_zeroed(50'000); }},
      {"aligned", [] { return tern::allocate(700, 1024); }},
      {"aligned beyond a page", [] { return tern::allocate(20'000, 16 << 10); }},
      {"grown",
       [] {
         void* p = nullptr;
         for (const std::size_t size : {3'000u, 40'000u, 100'000u}) p = tern::reallocate(p, size);
         return p;
       }},
      {"grown, huge", [] { return tern::reallocate(tern::allocate(3 << 20), 5 << 20); }},
  };
  for (const form& f : forms) {
    heap_of_blocks heap;
    start(7);
    while (heap.live() < bytes_in_all) heap.keep(f.make());
    EXPECT_NEAR(profiled_in_all() / heap.live(), 1, most_off) << f.name;
  }
}

// The second time all come out of the cache, and those that were samples before are gone.
TEST(HeapProfileEstimate, SeesWhatIsRecycled) {
  constexpr std::size_t size = 8000;
  constexpr int count = 24;
  heap_of_blocks heap;
  start(3);
  double profiled_bytes = 0;
  double live = 0;
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < count; ++i) heap.keep(tern::allocate(size));
    profiled_bytes += profiled_in_all();
    live += heap.live();
    heap.clear();
  }
  EXPECT_NEAR(profiled_bytes / live, 1, most_off);
}

// Of a block that stays and one that goes, in turns, it is always the same one for which a cache has none left.
TEST(HeapProfileEstimate, SeesWhatStaysBesideWhatGoes) {
  heap_of_blocks heap;
  start(11);
  while (heap.live() < bytes_in_all) {
    heap.keep(tern::allocate(2000));
    tern::deallocate(tern::allocate(2000), 2000);
  }
  EXPECT_NEAR(profiled_in_all() / heap.live(), 1, most_off);
}

TEST(HeapProfileEstimate, AddsUpOverThreads) {
  heap_of_blocks heap;
  start(5);
  std::vector<void*> blocks[3];
  std::vector<std::thread> threads;
  for (std::vector<void*>& own : blocks)
    threads.emplace_back([&own, shared = &own == blocks] {
      // One of them has the cache that locks.
      tern::detail::thread_cache* const before = tern::detail::current_cache();
      if (shared) tern::detail::bind_cache(tern::detail::shared_cache());
      for (int i = 0; i < 8000; ++i) own.push_back(tern::allocate(1000));
      tern::detail::bind_cache(before);
    });
  for (std::thread& t : threads) t.join();
  for (std::vector<void*>& own : blocks)
    for (void* p : own) heap.keep(p);
  EXPECT_NEAR(profiled_in_all() / heap.live(), 1, most_off);
}

// The thread that starts it has had blocks in its cache before.
TEST(HeapProfileEstimate, CountsFromItsStart) {
  constexpr std::size_t size = 3000;
  std::vector<void*> before;
  for (int i = 0; i < 60; ++i) before.push_back(tern::allocate(size));
  for (void* p : before) tern::deallocate(p);
  heap_of_blocks heap;
  double profiled_bytes = 0;
  double live = 0;
  for (std::uint64_t round = 1; round < 100; ++round) {
    start(round);
    for (int i = 0; i < 60; ++i) heap.keep(tern::allocate(size));
    profiled_bytes += profiled_in_all();
    live += heap.live();
    heap.clear();
    tern::heap_profile::start(0);
    for (void*& p : before) p = tern::allocate(size);  // no sample, and they take the veil away
    for (void* p : before) tern::deallocate(p);
  }
  EXPECT_NEAR(profiled_bytes / live, 1, most_off);
}

// Bins under a veil: their blocks are counted, given back, and serve again.
TEST(HeapProfile, StatisticsAndFlushesSeeThroughTheVeil) {
  tern::detail::start_sampling(std::size_t{1} << 40, false, 1);
  const auto before = tern::allocation_statistics();
  const unsigned c = tern::detail::class_of(600);
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(tern::allocate(600));
  EXPECT_EQ(tern::allocation_statistics().classes[c].live, before.classes[c].live + 1000);
  for (void* p : blocks) tern::deallocate(p, 600);
  const auto after = tern::allocation_statistics();
  EXPECT_EQ(after.live, before.live);
  EXPECT_GT(after.classes[c].cached, 0u);
  tern::release_memory();
  EXPECT_EQ(tern::allocation_statistics().classes[c].cached, 0u);
  for (void*& p : blocks) p = tern::allocate(600);
  tern::heap_profile::start(0);
  for (void* p : blocks) tern::deallocate(p);
  EXPECT_EQ(tern::allocation_statistics().live, before.live);
}

}  // namespace

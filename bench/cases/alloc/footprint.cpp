// alloc/fragmentation/live_mb:N, alloc/thread_churn/blocks:N
//
// One operation  fragmentation: one block of what follows. Blocks of 16 to 255 bytes up to N MiB in all are allocated; all but every
//                eighth are freed; then blocks of 256 to 4,095 bytes up to N MiB, and all but every eighth of those are freed. `rss_bytes`
//                is the resident memory one second later, page tables included; live are then N / 4 MiB.
//                thread_churn: one thread that is started, allocates N blocks of 16 to 1,039 bytes, frees them, and ends. `rss_bytes` is
//                what the threads after the first 64 have added.
// Kept equal     one thread at a time; the same sizes; unsized free; a process of its own.
#include <chrono>
#include <thread>
#include <vector>

#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class fragmentation {
 public:
  static constexpr bool cold = true;
  explicit fragmentation(const row_params& p)
      : bytes_(p.size_of("live_mb") << 20), count_(count(16, 240) + count(256, 3840)) {
    kept_.reserve(count_ / 8 + 2);
  }
  fragmentation(const fragmentation&) = delete;
  fragmentation& operator=(const fragmentation&) = delete;
  ~fragmentation() {
    for (void* block : kept_) S::deallocate(block);
  }
  static std::uint64_t fixed_operations(const row_params&, std::int64_t) { return 1; }
  std::uint64_t operations() const { return count_; }
  std::uint32_t run() {
    for (void* block : kept_) S::deallocate(block);
    kept_.clear();
    fill(16, 240);
    fill(256, 3840);
    return static_cast<std::uint32_t>(count_);
  }
  void finish(measurement& m) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    m.counters["rss_bytes"] = static_cast<double>(memory_now().resident_bytes);
  }

 private:
  std::uint64_t count(std::size_t least, std::uint64_t range) const {
    sequence sizes(least);
    std::uint64_t n = 0;
    for (std::size_t sum = 0; sum < bytes_; ++n) sum += least + sizes.below(range);
    return n;
  }
  void fill(std::size_t least, std::uint64_t range) {
    sequence sizes(least);
    std::vector<std::uint64_t*> blocks;
    for (std::size_t sum = 0; sum < bytes_;) {
      const std::size_t size = least + sizes.below(range);
      sum += size;
      auto* block = static_cast<unsigned char*>(S::allocate(opaque(size)));
      for (std::size_t at = 0; at < size; at += 64) block[at] = 1;
      blocks.push_back(reinterpret_cast<std::uint64_t*>(block));
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (i % 8 == 0) {
        kept_.push_back(blocks[i]);
      } else {
        S::deallocate(blocks[i]);
      }
    }
  }

  std::size_t bytes_;
  std::uint64_t count_;
  std::vector<void*> kept_;
};

template <allocator_subject S>
class thread_churn {
 public:
  explicit thread_churn(const row_params& p) : blocks_(p.size_of("blocks")) {}
  std::uint64_t operations() const { return threads; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < threads; ++i) {
      std::thread([&] {
        sequence sizes(i);
        std::vector<std::uint64_t*> held(blocks_);
        for (std::uint64_t*& block : held) {
          block = static_cast<std::uint64_t*>(S::allocate(16 + sizes.below(1024)));
          *block = i;
        }
        for (std::uint64_t* block : held) {
          sum = fold(sum, *block);
          S::deallocate(block);
        }
      }).join();
    }
    return sum;
  }
  void after_batch(measurement& m) {
    const auto now = static_cast<double>(memory_now().resident_bytes);
    if (++batches_ == 1) first_ = now;
    m.counters["rss_bytes"] = now > first_ ? now - first_ : 0;
  }

 private:
  static constexpr std::uint64_t threads = 64;
  std::size_t blocks_;
  int batches_ = 0;
  double first_ = 0;
};

const registration<fragmentation, allocators> fragmentation_registered{{
    .area = "alloc",
    .name = "fragmentation",
    .smoke = {{"live_mb", 1}},
    .points = {{{{"live_mb", 64}}, tier::standard, false, 1500}},
    .isolated = true,
}};
const registration<thread_churn, allocators> thread_churn_registered{{
    .area = "alloc",
    .name = "thread_churn",
    .smoke = {{"blocks", 100}},
    .points = {{{{"blocks", 100}}, tier::standard}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

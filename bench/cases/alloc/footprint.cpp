// alloc/fragmentation/live_mb:N, alloc/checkerboard/live_mb:N/rounds:R, alloc/aging/live_mb:N/turnover:T, alloc/thread_churn/blocks:N
//
// One operation  fragmentation: one block of what follows. Blocks of 16 to 255 bytes up to N MiB in all are allocated; all but every
//                eighth are freed; then blocks of 256 to 4,095 bytes up to N MiB, and all but every eighth of those are freed. `rss_bytes`
//                is the resident memory one second later, page tables included; live are then N / 4 MiB.
//                checkerboard: a round. Each frees every second block, oldest first, and allocates blocks of the next of eight sizes, 48 bytes to
//                6 KiB, until N MiB live again. aging: a share of N MiB, replaced; T of these. Blocks die at random for others whose sizes
//                are 16 to 8,191 bytes, small or large ones more often in turns of N MiB. `rss_bytes` is the resident memory at the end, page
//                tables included: the points R, or T, are a curve over the age of a heap of which N MiB live.
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

// A heap of which so many bytes live, whatever comes and goes. A block's first word is its size.
template <allocator_subject S>
class steady_heap {
 public:
  static constexpr bool cold = true;
  steady_heap(const row_params& p, const char* age)
      : bytes_(p.size_of("live_mb") << 20), age_(p.size_of(age)) {
    held_.reserve(bytes_ / 16);
  }
  steady_heap(const steady_heap&) = delete;
  steady_heap& operator=(const steady_heap&) = delete;
  ~steady_heap() {
    for (std::uint32_t* block : held_) S::deallocate(block);
  }
  static std::uint64_t fixed_operations(const row_params&, std::int64_t) { return 1; }
  std::uint64_t operations() const { return age_ + 1; }
  void finish(measurement& m) { m.counters["rss_bytes"] = static_cast<double>(memory_now().resident_bytes); }

 protected:
  void make(std::size_t size) {
    auto* block = static_cast<std::uint32_t*>(S::allocate(opaque(size)));
    for (std::size_t at = 0; at < size; at += 64) block[at / sizeof *block] = 1;
    *block = static_cast<std::uint32_t>(size);
    held_.push_back(block);
    live_ += size;
  }
  void give(std::uint32_t* block) {
    live_ -= *block;
    S::deallocate(block);
  }

  std::size_t bytes_;
  std::size_t age_;
  std::size_t live_ = 0;
  std::vector<std::uint32_t*> held_;
};

template <allocator_subject S>
class checkerboard : public steady_heap<S> {
 public:
  explicit checkerboard(const row_params& p) : steady_heap<S>(p, "rounds") {}
  std::uint32_t run() {
    for (std::size_t round = 0; round <= this->age_; ++round) {
      std::size_t kept = 0;
      for (std::size_t i = 0; i < this->held_.size(); ++i) {
        if (i % 2 == 0) {
          this->held_[kept++] = this->held_[i];
        } else {
          this->give(this->held_[i]);
        }
      }
      this->held_.resize(kept);
      const std::size_t size = std::size_t{48} << round % 8;
      while (this->live_ + size <= this->bytes_) this->make(size);
    }
    return static_cast<std::uint32_t>(this->live_);
  }
};

template <allocator_subject S>
class aging : public steady_heap<S> {
 public:
  explicit aging(const row_params& p) : steady_heap<S>(p, "turnover") {}
  std::uint32_t run() {
    sequence random(7);
    for (std::size_t turn = 0; turn <= this->age_; ++turn) {
      for (std::size_t made = 0; made < this->bytes_;) {
        const std::size_t low = std::size_t{16} << (random.below(5) + turn % 5);
        const std::size_t size = low + random.below(low);
        while (this->live_ + size > this->bytes_) {
          std::uint32_t*& dead = this->held_[random.below(this->held_.size())];
          this->give(dead);
          dead = this->held_.back();
          this->held_.pop_back();
        }
        this->make(size);
        made += size;
      }
    }
    return static_cast<std::uint32_t>(this->live_);
  }
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
const registration<checkerboard, allocators> checkerboard_registered{{
    .area = "alloc",
    .name = "checkerboard",
    .smoke = {{"live_mb", 1}, {"rounds", 1}},
    .points = {{{{"live_mb", 64}, {"rounds", 0}}, tier::full, false, 300},
               {{{"live_mb", 64}, {"rounds", 2}}, tier::full, false, 400},
               {{{"live_mb", 64}, {"rounds", 8}}, tier::full, false, 500},
               {{{"live_mb", 64}, {"rounds", 32}}, tier::full, false, 1000}},
    .isolated = true,
}};
const registration<aging, allocators> aging_registered{{
    .area = "alloc",
    .name = "aging",
    .smoke = {{"live_mb", 1}, {"turnover", 1}},
    .points = {{{{"live_mb", 64}, {"turnover", 0}}, tier::full, false, 300},
               {{{"live_mb", 64}, {"turnover", 2}}, tier::full, false, 400},
               {{{"live_mb", 64}, {"turnover", 8}}, tier::full, false, 800},
               {{{"live_mb", 64}, {"turnover", 32}}, tier::full, false, 2500}},
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

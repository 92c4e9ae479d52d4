// alloc/burst/blocks:N, alloc/burst_tier/blocks:N[/threads:T]
//
// One operation  one of N allocations of 64 bytes, each written in its first 8, and its free; the N frees follow the N
//                allocations, the first block first. N decides which tier serves it: 32 a cache, 4,096 the central lists,
//                262,144 (16 MiB) the page heap.
//                burst_tier: one of these allocations, timed by itself, two readings of the clock and its first write included. Blocks come
//                from a lower tier in batches: of 32 all are a cache's, of 4,096 (p999 of tern, whose caches hold one less) and 16,384 (p99) the
//                upper percentiles are refills from the central lists, of 262,144 the uppermost are the page heap's.
//                T threads: each does the same at the same time, so that they meet at the lower tiers; the latencies are those of all.
// Kept equal     one thread if none are said, in a process that has others; T pooled threads, started before the clock; unsized free; the
//                tables of pointers are not the subject's.
// Limits         A thread that loses its CPU while it holds a lock keeps the others waiting: the maximum says more of the machine.
#include <memory>
#include <vector>

#include "bench/harness/crew.hpp"
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class burst {
 public:
  explicit burst(const row_params& p)
      : blocks_(p.size_of("blocks")), rounds_(blocks_.size() < 16384 ? 16384 / blocks_.size() : 1) {}
  std::uint64_t operations() const { return rounds_ * blocks_.size(); }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::size_t round = 0; round < rounds_; ++round) {
      std::uint64_t value = round;
      for (std::uint64_t*& block : blocks_) {
        block = static_cast<std::uint64_t*>(S::allocate(opaque(std::size_t{64})));
        *block = value++;
      }
      keep(blocks_.data());
      for (std::uint64_t* block : blocks_) {
        sum += static_cast<std::uint32_t>(*block);
        S::deallocate(block);
      }
    }
    return sum;
  }

 private:
  std::vector<std::uint64_t*> blocks_;
  std::size_t rounds_;
};

template <allocator_subject S>
class burst_tier {
 public:
  explicit burst_tier(const row_params& p)
      : rounds_(p.size_of("blocks") < 16384 ? 16384 / p.size_of("blocks") : 1),
        own_(static_cast<std::size_t>(p.value_or("threads", 1))) {
    for (mutator& m : own_) m.blocks.resize(p.size_of("blocks"));
    if (own_.size() > 1) crew_ = std::make_unique<crew>(own_.size());
  }
  std::uint64_t operations() const { return own_.size() * rounds_ * own_.front().blocks.size(); }
  std::uint32_t run(histogram& latencies) {
    if (crew_ == nullptr)
      work(own_.front());
    else
      crew_->run([this](std::size_t self) { work(own_[self]); });
    std::uint32_t sum = 0;
    for (mutator& m : own_) {
      sum += m.sum;
      latencies.merge(m.times);
      m.times.reset();
    }
    return sum;
  }

 private:
  // Not on one line of the cache.
  struct alignas(128) mutator {
    std::vector<std::uint64_t*> blocks;
    histogram times;
    std::uint32_t sum = 0;
  };

  void work(mutator& m) const {
    std::uint32_t sum = 0;
    for (std::size_t round = 0; round < rounds_; ++round) {
      for (std::uint64_t*& block : m.blocks) {
        const std::int64_t begin = now_ns();
        block = static_cast<std::uint64_t*>(S::allocate(opaque(std::size_t{64})));
        *block = round;
        keep(block);
        m.times.record(now_ns() - begin);
      }
      for (std::uint64_t* block : m.blocks) {
        sum += static_cast<std::uint32_t>(*block) + 1;
        S::deallocate(block);
      }
    }
    m.sum = sum;
  }

  std::size_t rounds_;
  std::vector<mutator> own_;
  std::unique_ptr<crew> crew_;
};

const registration<burst_tier, allocators> burst_tier_registered{{
    .area = "alloc",
    .name = "burst_tier",
    .smoke = {{"blocks", 32}},
    .points = {{{{"blocks", 32}}, tier::standard},
               {{{"blocks", 4096}}, tier::standard},
               {{{"blocks", 262144}}, tier::standard, false, 10},
               {{{"blocks", 16384}}, tier::standard},
               {{{"blocks", 16384}, {"threads", 2}}, tier::standard},
               {{{"blocks", 262144}, {"threads", 2}}, tier::standard, false, 20}},
}};

const registration<burst, allocators> burst_registered{{
    .area = "alloc",
    .name = "burst",
    .smoke = {{"blocks", 32}},
    .points = {{{{"blocks", 32}}, tier::quick, true},
               {{{"blocks", 4096}}, tier::quick, true},
               {{{"blocks", 262144}}, tier::quick, false, 40}},
}};

}  // namespace
}  // namespace tern_bench

// alloc/larson/threads:T
//
// One operation  as in alloc/random (sizes 16 to 527), by any of T threads; the time is wall time, so T threads on T
//                processors share it. Each thread works on 1,024 slots and hands them to the next thread after every 16,384
//                operations: with more than one thread most frees are of another thread's blocks.
// Also           cache_hits (tern): the share of the allocations, since the slots were filled, that a cache served, without a lock.
// Kept equal     T pooled OS threads, started before the clock; the same slots and sizes; unsized free.
// Limits         Two processors show no scaling, only whether the second thread hurts.
// References     P.-A. Larson and M. Krishnan, Memory allocation for long-running server applications, 1998.
#include <vector>

#include "bench/harness/crew.hpp"
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class larson {
 public:
  explicit larson(const row_params& p)
      : crew_(p.size_of("threads")), slots_(crew_.size()), sums_(crew_.size()) {
    crew_.run([&](std::size_t self) {
      sequence sizes(self);
      slots_[self].resize(slots_per_thread);
      for (std::size_t i = 0; i < slots_per_thread; ++i) slots_[self][i] = make(i, sizes);
    });
    if constexpr (counts_refills) refills_before_ = S::refills();
  }
  larson(const larson&) = delete;
  larson& operator=(const larson&) = delete;
  ~larson() {
    for (auto& chunk : slots_) {
      for (std::uint64_t* block : chunk) S::deallocate(block);
    }
  }
  std::uint64_t operations() const { return crew_.size() * rounds * round_operations; }
  std::uint32_t run() {
    crew_.run([&](std::size_t self) {
      std::uint32_t sum = 0;
      for (std::size_t round = 0; round < rounds; ++round) {
        const std::size_t chunk = (self + round) % crew_.size();
        sequence random(chunk * rounds + round);
        auto& slots = slots_[chunk];
        for (std::uint64_t i = 0; i < round_operations; ++i) {
          const std::size_t at = random.below(slots_per_thread);
          sum = fold(sum, *slots[at] + i);
          S::deallocate(slots[at]);
          slots[at] = make(at, random);
        }
        crew_.rendezvous();
      }
      sums_[self].value = sum;
    });
    std::uint32_t total = 0;
    for (const auto& sum : sums_) total += sum.value;
    allocations_ += operations();
    return total;
  }
  void finish(measurement& m) const {
    if constexpr (counts_refills) {
      const auto refills = static_cast<double>(S::refills() - refills_before_);
      m.counters["cache_hits"] = 1 - refills / static_cast<double>(allocations_);
    }
  }

 private:
  static constexpr bool counts_refills = requires { S::refills(); };
  static constexpr std::size_t slots_per_thread = 1024;
  static constexpr std::size_t rounds = 8;
  static constexpr std::uint64_t round_operations = 16384;
  struct alignas(128) padded {
    std::uint32_t value = 0;
  };
  static std::uint64_t* make(std::size_t index, sequence& sizes) {
    auto* block = static_cast<std::uint64_t*>(S::allocate(16 + sizes.below(512)));
    *block = index;
    keep(block);
    return block;
  }

  crew crew_;
  std::vector<std::vector<std::uint64_t*>>
      slots_;  // one chunk per thread; its user changes at each rendezvous
  std::vector<padded> sums_;
  std::uint64_t allocations_ = 0;  // since the slots were filled
  std::uint64_t refills_before_ = 0;
};

const registration<larson, allocators> larson_registered{{
    .area = "alloc",
    .name = "larson",
    .smoke = {{"threads", 2}},
    .points = {{{{"threads", 1}}, tier::standard},
               {{{"threads", 2}}, tier::quick, true},
               {{{"threads", 4}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

// alloc/sh6/threads:T, alloc/sh8/threads:T
//
// One operation  one block, allocated, written and freed. Each of T threads fills 2,048 slots with blocks whose sizes walk from 1 to
//                1,000 bytes, small ones more often; it frees every third at once, of the others the younger half last first
//                and the older half first to last. sh6: its own; sh8: those that the thread before it filled.
//                The time is wall time, which T threads on T processors share.
// Kept equal     T pooled OS threads; the same sizes and order; unsized free.
// Limits         Two processors show no scaling.
// References     MicroQuill's benchmarks sh6bench and sh8bench, whose patterns these follow.
#include <vector>

#include "bench/harness/crew.hpp"
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S, bool OfAnother>
class smart_heap {
 public:
  explicit smart_heap(const row_params& p)
      : crew_(p.size_of("threads")), slots_(crew_.size()), sums_(crew_.size()) {
    for (auto& mine : slots_) mine.resize(slots_per_thread);
  }
  std::uint64_t operations() const { return crew_.size() * rounds * slots_per_thread; }
  std::uint32_t run() {
    crew_.run([&](std::size_t self) {
      std::uint32_t sum = 0;
      const auto give = [&](unsigned char*& block) {
        if (block == nullptr) return;
        sum = fold(sum, *block);
        S::deallocate(block);
        block = nullptr;
      };
      for (std::size_t round = 0; round < rounds; ++round) {
        auto& mine = slots_[self];
        for (std::size_t i = 0; i < slots_per_thread; ++i) {
          const std::size_t size = 1 + (i * i / 8 + round * 37) % (i % 4 == 0 ? 1000 : 125);
          mine[i] = static_cast<unsigned char*>(S::allocate(opaque(size)));
          *mine[i] = static_cast<unsigned char>(i);
          if (i % 3 == 0) give(mine[i]);
        }
        if constexpr (OfAnother) crew_.rendezvous();
        auto& theirs = OfAnother ? slots_[(self + 1) % slots_.size()] : mine;
        for (std::size_t i = slots_per_thread; i-- > slots_per_thread / 2;) give(theirs[i]);
        for (std::size_t i = 0; i < slots_per_thread / 2; ++i) give(theirs[i]);
        if constexpr (OfAnother) crew_.rendezvous();
      }
      sums_[self].value = sum;
    });
    std::uint32_t total = 0;
    for (const auto& sum : sums_) total += sum.value;
    return total;
  }

 private:
  static constexpr std::size_t slots_per_thread = 2048;
  static constexpr std::size_t rounds = 16;
  struct alignas(128) padded {
    std::uint32_t value = 0;
  };

  crew crew_;
  std::vector<std::vector<unsigned char*>> slots_;
  std::vector<padded> sums_;
};

template <class S>
using sh6 = smart_heap<S, false>;
template <class S>
using sh8 = smart_heap<S, true>;

const registration<sh6, allocators> sh6_registered{{
    .area = "alloc",
    .name = "sh6",
    .smoke = {{"threads", 1}},
    .points = {{{{"threads", 1}}, tier::standard}, {{{"threads", 2}}, tier::standard}},
}};
const registration<sh8, allocators> sh8_registered{{
    .area = "alloc",
    .name = "sh8",
    .smoke = {{"threads", 2}},
    .points = {{{{"threads", 2}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

// alloc/xmalloc/threads:T
//
// One operation  one block of 16 to 271 bytes: allocated and written (8 bytes) by one thread, read and freed by the next. Each thread
//                allocates 256, hands them on, and frees 256 of those it was given; it is 16 such batches ahead.
//                The time is wall time, which T threads on T processors share.
// Kept equal     T pooled OS threads in a ring; the hand-over is not the subject's; the same sizes; unsized free.
// Limits         Two processors show no scaling, only what a foreign free costs.
// References     C. Lever and D. Boreham, malloc() performance in a multithreaded Linux environment, 2000.
#include <deque>
#include <vector>

#include "bench/cases/alloc/pointer_ring.hpp"
#include "bench/harness/crew.hpp"
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class xmalloc {
 public:
  explicit xmalloc(const row_params& p) : crew_(p.size_of("threads")), sums_(crew_.size()) {
    for (std::size_t i = 0; i < crew_.size(); ++i) rings_.emplace_back(2 * lead * batch);
  }
  std::uint64_t operations() const { return crew_.size() * batches * batch; }
  std::uint32_t run() {
    crew_.run([&](std::size_t self) {
      pointer_ring& to = rings_[(self + 1) % crew_.size()];
      pointer_ring& from = rings_[self];
      sequence sizes(self);
      std::uint32_t sum = 0;
      const auto receive = [&] {
        for (std::size_t i = 0; i < batch; ++i) {
          std::uint64_t* block = from.pop();
          sum = fold(sum, *block);
          S::deallocate(block);
        }
      };
      for (std::size_t k = 0; k < batches; ++k) {
        for (std::size_t i = 0; i < batch; ++i) {
          auto* block = static_cast<std::uint64_t*>(S::allocate(16 + sizes.below(256)));
          *block = k * batch + i;
          to.push(block);
        }
        if (k >= lead) receive();
      }
      for (std::size_t k = 0; k < lead; ++k) receive();
      sums_[self].value = sum;
    });
    std::uint32_t total = 0;
    for (const auto& sum : sums_) total += sum.value;
    return total;
  }

 private:
  static constexpr std::size_t batch = 256;
  static constexpr std::size_t batches = 256;
  static constexpr std::size_t lead = 16;
  struct alignas(128) padded {
    std::uint32_t value = 0;
  };

  crew crew_;
  std::deque<pointer_ring> rings_;
  std::vector<padded> sums_;
};

const registration<xmalloc, allocators> xmalloc_registered{{
    .area = "alloc",
    .name = "xmalloc",
    .smoke = {{"threads", 2}},
    .points = {{{{"threads", 2}}, tier::quick, true}, {{{"threads", 4}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

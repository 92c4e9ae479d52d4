// alloc/realloc_grow/limit:N
//
// One operation  one step of growing a block from 64 bytes to N by half its size at a time, the contents kept; of each new part
//                one word per 4 KiB is written. At N the block is freed and growth begins anew.
// Kept equal     one thread, in a process that has others; the old size is given to subjects that can use it.
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class realloc_grow {
 public:
  explicit realloc_grow(const row_params& p) : limit_(p.size_of("limit")) {
    for (std::size_t size = first; size < limit_; size = next(size)) ++steps_;
    rounds_ = limit_ <= 65536 ? 256 : limit_ <= 1048576 ? 16 : 1;
  }
  std::uint64_t operations() const { return rounds_ * steps_; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::size_t round = 0; round < rounds_; ++round) {
      std::size_t size = first;
      auto* block = static_cast<unsigned char*>(S::allocate(opaque(size)));
      block[0] = static_cast<unsigned char>(round);
      while (size < limit_) {
        const std::size_t bigger = next(size);
        block = static_cast<unsigned char*>(S::reallocate(block, size, opaque(bigger)));
        for (std::size_t at = size; at < bigger; at += 4096) block[at] = static_cast<unsigned char>(at >> 3);
        keep(block);
        sum = fold(sum, block[0] + std::uint64_t{block[size]});
        size = bigger;
      }
      S::deallocate(block);
    }
    return sum;
  }

 private:
  static constexpr std::size_t first = 64;
  [[nodiscard]] std::size_t next(std::size_t size) const {
    const std::size_t grown = size + size / 2;
    return grown < limit_ ? grown : limit_;
  }

  std::size_t limit_;
  std::size_t steps_ = 0;
  std::size_t rounds_ = 1;
};

const registration<realloc_grow, allocators> realloc_grow_registered{{
    .area = "alloc",
    .name = "realloc_grow",
    .smoke = {{"limit", 65536}},
    .points = {{{{"limit", 65536}}, tier::standard},
               {{{"limit", 1048576}}},
               {{{"limit", 67108864}}, tier::standard, false, 100},
               {{{"limit", 1073741824}}, tier::full, false, 2000}},
}};

}  // namespace
}  // namespace tern_bench

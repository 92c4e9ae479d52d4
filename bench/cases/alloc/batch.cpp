// alloc/batch_lifo/size:N/batch:B, alloc/batch_fifo/size:N/batch:B
//
// One operation  one of B allocations of N bytes, each written in its first 8 bytes, and its free; the B frees follow the B
//                allocations: lifo the last block first, fifo the first block first.
// Kept equal     one thread, in a process that has others; unsized free; the table of pointers is not the subject's.
#include <vector>

#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S, bool LastFirst>
class batch {
 public:
  explicit batch(const row_params& p)
      : size_(p.size_of("size")),
        blocks_(p.size_of("batch")),
        rounds_(blocks_.size() < 16384 ? 16384 / blocks_.size() : 1) {}
  std::uint64_t operations() const { return rounds_ * blocks_.size(); }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::size_t round = 0; round < rounds_; ++round) {
      std::uint64_t value = round;
      for (std::uint64_t*& block : blocks_) {
        block = static_cast<std::uint64_t*>(S::allocate(opaque(size_)));
        *block = value++;
      }
      keep(blocks_.data());
      for (std::size_t i = 0; i < blocks_.size(); ++i) {
        std::uint64_t* const block = blocks_[LastFirst ? blocks_.size() - 1 - i : i];
        sum += static_cast<std::uint32_t>(*block);
        S::deallocate(block);
      }
    }
    return sum;
  }

 private:
  std::size_t size_;
  std::vector<std::uint64_t*> blocks_;
  std::size_t rounds_;
};

template <class S>
using batch_lifo = batch<S, true>;
template <class S>
using batch_fifo = batch<S, false>;

const registration<batch_fifo, allocators> batch_fifo_registered{{
    .area = "alloc",
    .name = "batch_fifo",
    .smoke = {{"size", 64}, {"batch", 64}},
    .points = {{{{"size", 64}, {"batch", 1024}}, tier::standard}},
}};
const registration<batch_lifo, allocators> batch_lifo_registered{{
    .area = "alloc",
    .name = "batch_lifo",
    .smoke = {{"size", 64}, {"batch", 64}},
    .points = {{{{"size", 64}, {"batch", 1024}}, tier::quick, true},
               {{{"size", 64}, {"batch", 64}}, tier::standard},
               {{{"size", 64}, {"batch", 65536}}, tier::standard},
               {{{"size", 512}, {"batch", 1024}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

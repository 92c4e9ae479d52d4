// alloc/pair/size:N
//
// One operation  allocate N bytes, write the first 8 of them, read them back, free the block.
// Kept equal     one thread, in a process that has others; the size is unknown to the compiler at every call; the free is
//                unsized. Memory is not zeroed by any subject.
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class pair {
 public:
  explicit pair(const row_params& p) : size_(p.size_of("size")) {}
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      auto* word = static_cast<std::uint64_t*>(S::allocate(opaque(size_)));
      *word = i;
      keep(word);
      sum += static_cast<std::uint32_t>(*word);
      S::deallocate(word);
    }
    return sum;
  }

 private:
  static constexpr std::uint64_t batch = 16384;
  std::size_t size_;
};

const registration<pair, allocators> pair_registered{{
    .area = "alloc",
    .name = "pair",
    .smoke = {{"size", 8}},
    .points = {{{{"size", 8}}},
               {{{"size", 64}}, tier::quick, true},
               {{{"size", 1024}}, tier::quick, true},
               {{{"size", 32768}}, tier::quick, true},
               {{{"size", 16}}, tier::standard},
               {{{"size", 256}}, tier::standard},
               {{{"size", 4096}}, tier::standard},
               {{{"size", 16384}}, tier::standard}},
    .control = "malloc",
}};

}  // namespace
}  // namespace tern_bench

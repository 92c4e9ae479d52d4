// alloc/large/size:N
//
// One operation  allocate N bytes (64 KiB and more), touch none of them, free the block.
// Kept equal     one thread, in a process that has others; nothing else is live, so that whether memory goes back to the OS
//                between operations is the subject's own policy; unsized free.
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class large {
 public:
  explicit large(const row_params& p) : size_(p.size_of("size")) {}
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      void* block = S::allocate(opaque(size_));
      keep(block);
      sum += block != nullptr ? 1U : 0U;
      S::deallocate(block);
    }
    return sum;
  }

 private:
  static constexpr std::uint64_t batch = 4096;
  std::size_t size_;
};

const registration<large, allocators> large_registered{{
    .area = "alloc",
    .name = "large",
    .smoke = {{"size", 65536}},
    .points = {{{{"size", 65536}}, tier::quick, true},
               {{{"size", 1048576}}},
               {{{"size", 262144}}, tier::standard},
               {{{"size", 4194304}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

// alloc/large/size:N, alloc/touch/size:N, alloc/zero/size:N
//
// One operation  large: allocate N bytes (64 KiB and more), touch none of them, free the block. touch: the same, and one byte per
//                4 KiB is written. zero: the block is asked for with all bytes zero (calloc), one byte per 4 KiB is read, and
//                then written, so that a block which is used again has to be cleared.
// Kept equal     one thread, in a process that has others; nothing else is live, so that whether memory goes back to the OS
//                between operations is the subject's own policy; unsized free.
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

enum class contents { untouched, touched, zeroed };

template <allocator_subject S, contents Of>
class whole_block {
 public:
  explicit whole_block(const row_params& p)
      : size_(p.size_of("size")),
        batch_(Of == contents::untouched || size_ < 65536 ? 4096 : (64 << 20) / size_) {}
  std::uint64_t operations() const { return batch_; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch_; ++i) {
      void* block = Of == contents::zeroed ? S::allocate_zeroed(opaque(size_)) : S::allocate(opaque(size_));
      keep(block);
      sum += block != nullptr ? 1U : 0U;
      if constexpr (Of != contents::untouched) {
        auto* bytes = static_cast<unsigned char*>(block);
        for (std::size_t at = 0; at < size_; at += 4096) {
          if (Of == contents::zeroed) sum += bytes[at];
          bytes[at] = static_cast<unsigned char>(i | 1);
        }
        keep(block);
      }
      S::deallocate(block);
    }
    return sum;
  }

 private:
  std::size_t size_;
  std::uint64_t batch_;
};

template <class S>
using large = whole_block<S, contents::untouched>;
template <class S>
using touch = whole_block<S, contents::touched>;
template <class S>
using zero = whole_block<S, contents::zeroed>;

const registration<touch, allocators> touch_registered{{
    .area = "alloc",
    .name = "touch",
    .smoke = {{"size", 65536}},
    .points = {{{{"size", 65536}}, tier::standard}, {{{"size", 4194304}}, tier::standard}},
}};
const registration<zero, allocators> zero_registered{{
    .area = "alloc",
    .name = "zero",
    .smoke = {{"size", 64}},
    .points = {{{{"size", 64}}, tier::standard},
               {{{"size", 4096}}, tier::standard},
               {{{"size", 65536}}, tier::standard},
               {{{"size", 1048576}}, tier::standard}},
}};
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

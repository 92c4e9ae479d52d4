// alloc/large/size:N, alloc/touch/size:N, alloc/zero/size:N[/dispatch:0]
//
// One operation  large: allocate N bytes (64 KiB and more), touch none of them, free the block. touch: the same, and one byte per
//                4 KiB is written. zero: the block is asked for with all bytes zero (calloc), one byte per 4 KiB is read, and
//                then written, so that a block which is used again has to be cleared. What clears is the C library's memset, which has
//                chosen its code by the features of the CPU that it found at run time (dispatch: the default); dispatch:0 is the same block,
//                cleared by a function for any CPU of the architecture. (For malloc that is
//                another difference as well: glibc's calloc takes another way to its blocks than its malloc.)
// Kept equal     one thread, in a process that has others; nothing else is live, so that whether memory goes back to the OS
//                between operations is the subject's own policy; unsized free.
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

enum class contents { untouched, touched, zeroed };

// 16 bytes a store, four at a time: SSE2's and NEON's, which the compiler must not take for a memset. Called, as that is; n >= 16.
[[gnu::noinline]] void clear_without_dispatch(void* block, std::size_t n) {
  using word [[gnu::vector_size(16), gnu::aligned(1), gnu::may_alias]] = long;
  auto* at = static_cast<unsigned char*>(block);
  unsigned char* const end = at + n;
  const auto store = [](unsigned char* to) { *reinterpret_cast<word*>(to) = word{}; };
  for (; n >= 64; n -= 64, at = opaque(at + 64)) {
    store(at);
    store(at + 16);
    store(at + 32);
    store(at + 48);
  }
  for (; n >= 16; n -= 16, at = opaque(at + 16)) store(at);
  if (n != 0) store(end - 16);
}

template <allocator_subject S, contents Of>
class whole_block {
 public:
  explicit whole_block(const row_params& p)
      : size_(p.size_of("size")),
        dispatch_(p.value_or("dispatch", 1) != 0),
        batch_(Of == contents::untouched || size_ < 65536 ? 4096 : (64 << 20) / size_) {}
  std::uint64_t operations() const { return batch_; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch_; ++i) {
      void* block = Of == contents::zeroed && dispatch_ ? S::allocate_zeroed(opaque(size_))
                                                        : S::allocate(opaque(size_));
      if (Of == contents::zeroed && !dispatch_) clear_without_dispatch(block, opaque(size_));
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
  bool dispatch_;
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
               {{{"size", 1048576}}, tier::standard},
               {{{"size", 64}, {"dispatch", 0}}, tier::standard},
               {{{"size", 4096}, {"dispatch", 0}}, tier::standard},
               {{{"size", 65536}, {"dispatch", 0}}, tier::standard}},
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

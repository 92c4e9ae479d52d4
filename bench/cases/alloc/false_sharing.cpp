// alloc/cache_scratch/threads:T, alloc/cache_thrash/threads:T
//
// One operation  allocate 8 bytes, write and read them 200 times, free them; by any of T threads, wall time. Where two threads' blocks
//                share a cache line the writes take turns. scratch: each thread begins by freeing a block that the main thread allocated
//                next to the others'; thrash: it begins with nothing.
// Kept equal     T pooled OS threads; unsized free.
// References     E. D. Berger et al., Hoard: a scalable memory allocator for multithreaded applications, 2000.
#include <vector>

#include "bench/harness/crew.hpp"
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S, bool Passive>
class false_sharing {
 public:
  explicit false_sharing(const row_params& p) : crew_(p.size_of("threads")), blocks_(crew_.size()) {}
  std::uint64_t operations() const { return crew_.size() * rounds; }
  std::uint32_t run() {
    if constexpr (Passive) {
      for (void*& block : blocks_) block = S::allocate(opaque(std::size_t{8}));
    }
    crew_.run([&](std::size_t self) {
      if constexpr (Passive) S::deallocate(blocks_[self]);
      for (std::uint64_t i = 0; i < rounds; ++i) {
        auto* word = static_cast<std::uint64_t*>(S::allocate(opaque(std::size_t{8})));
        *word = i;
        for (int k = 0; k < writes; ++k) {
          keep(word);
          ++*word;
        }
        keep(word);
        S::deallocate(word);
      }
    });
    return static_cast<std::uint32_t>(operations());
  }

 private:
  static constexpr std::uint64_t rounds = 4096;
  static constexpr int writes = 200;
  crew crew_;
  std::vector<void*> blocks_;
};

template <class S>
using cache_scratch = false_sharing<S, true>;
template <class S>
using cache_thrash = false_sharing<S, false>;

const registration<cache_scratch, allocators> cache_scratch_registered{{
    .area = "alloc",
    .name = "cache_scratch",
    .smoke = {{"threads", 2}},
    .points = {{{{"threads", 2}}, tier::standard}},
}};
const registration<cache_thrash, allocators> cache_thrash_registered{{
    .area = "alloc",
    .name = "cache_thrash",
    .smoke = {{"threads", 2}},
    .points = {{{{"threads", 2}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

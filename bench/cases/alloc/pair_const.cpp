// alloc/pair_const/size:N
//
// One operation  as in alloc/pair, where the size is a constant at the call.
// Kept equal     one thread, in a process that has others; each subject in its best form: constant size and sized free where it
//                has them (malloc has neither).
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class pair_const {
 public:
  explicit pair_const(const row_params& p) : size_(p["size"]) {}
  static std::string unfit(const row_params& p) {
    for (const std::int64_t size : {16, 64, 256, 1024}) {
      if (p["size"] == size) return {};
    }
    return "no constant of this size is compiled in";
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    switch (size_) {
      case 16: return run_const<16>();
      case 64: return run_const<64>();
      case 256: return run_const<256>();
      default: return run_const<1024>();
    }
  }

 private:
  template <std::size_t Size>
  std::uint32_t run_const() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      auto* word = static_cast<std::uint64_t*>(S::template allocate_const<Size>());
      *word = i;
      keep(word);
      sum += static_cast<std::uint32_t>(*word);
      S::template deallocate_const<Size>(word);
    }
    return sum;
  }

  static constexpr std::uint64_t batch = 16384;
  std::int64_t size_;
};

const registration<pair_const, linked_allocators> pair_const_registered{{
    .area = "alloc",
    .name = "pair_const",
    .smoke = {{"size", 16}},
    .points = {{{{"size", 64}}, tier::quick, true},
               {{{"size", 16}}, tier::standard},
               {{{"size", 256}}, tier::standard},
               {{{"size", 1024}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

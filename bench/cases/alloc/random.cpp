// alloc/random/slots:N
//
// One operation  pick one of N slots at random, free its block, allocate one of 16 to 1039 bytes (uniform) in its place and
//                write its first 8 bytes.
// Kept equal     one thread, in a process that has others; the same slots and sizes from the same generator; unsized free.
#include <vector>

#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class random_slots {
 public:
  explicit random_slots(const row_params& p) : slots_(p.size_of("slots")) {
    sequence sizes(1);
    for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i] = make(i, sizes);
  }
  random_slots(const random_slots&) = delete;
  random_slots& operator=(const random_slots&) = delete;
  ~random_slots() {
    for (std::uint64_t* block : slots_) S::deallocate(block);
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    sequence random(2);
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::size_t at = random.below(slots_.size());
      sum = fold(sum, *slots_[at] + i);
      S::deallocate(slots_[at]);
      slots_[at] = make(at, random);
    }
    return sum;
  }

 private:
  static constexpr std::uint64_t batch = 16384;
  static std::uint64_t* make(std::size_t index, sequence& sizes) {
    auto* block = static_cast<std::uint64_t*>(S::allocate(16 + sizes.below(1024)));
    *block = index;
    keep(block);
    return block;
  }

  std::vector<std::uint64_t*> slots_;
};

const registration<random_slots, allocators> random_registered{{
    .area = "alloc",
    .name = "random",
    .smoke = {{"slots", 256}},
    .points = {{{{"slots", 4096}}, tier::quick, true}, {{{"slots", 262144}}, tier::standard, false, 50}},
}};

}  // namespace
}  // namespace tern_bench

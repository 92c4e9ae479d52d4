// alloc/tail/slots:N
//
// One operation  one allocation, timed by itself: its latency in ns, two readings of the clock (about 50 ns) included. Of N slots one is
//                drawn at random, its block freed, and one of 16 to 1,039 bytes, or one in 500 of up to 256 KiB, takes its place.
// Kept equal     one thread, in a process that has others; the same slots and sizes; unsized free, not timed.
#include <vector>

#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class tail {
 public:
  explicit tail(const row_params& p) : slots_(p.size_of("slots")) {}
  tail(const tail&) = delete;
  tail& operator=(const tail&) = delete;
  ~tail() {
    for (std::uint64_t* block : slots_) S::deallocate(block);
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run(histogram& latencies) {
    std::uint32_t sum = 0;
    sequence random(3);
    for (std::uint64_t i = 0; i < batch; ++i) {
      std::uint64_t*& slot = slots_[random.below(slots_.size())];
      const std::size_t size = 16 + (random.below(500) == 0 ? random.below(256 << 10) : random.below(1024));
      S::deallocate(slot);
      const std::int64_t begin = now_ns();
      slot = static_cast<std::uint64_t*>(S::allocate(size));
      keep(slot);
      latencies.record(now_ns() - begin);
      *slot = i;
      sum = fold(sum, size + i);
    }
    return sum;
  }

 private:
  static constexpr std::uint64_t batch = 16384;
  std::vector<std::uint64_t*> slots_;
};

const registration<tail, allocators> tail_registered{{
    .area = "alloc",
    .name = "tail",
    .smoke = {{"slots", 1000}},
    .points = {{{{"slots", 20000}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

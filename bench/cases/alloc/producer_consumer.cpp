// alloc/producer_consumer/size:N
//
// One operation  one block of N bytes: allocated and written (8 bytes) by one thread, handed over, read and freed by another.
//                The time is wall time; the two sides overlap where there are two processors.
// Kept equal     two pooled OS threads; the same ring of 1,024 pointers, which is not the subject's; unsized free.
#include "bench/cases/alloc/pointer_ring.hpp"
#include "bench/harness/crew.hpp"
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class producer_consumer {
 public:
  explicit producer_consumer(const row_params& p) : size_(p.size_of("size")), ring_(1024), crew_(2) {}
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;  // consumer's, until run() has returned
    crew_.run([&](std::size_t self) {
      if (self == 0) {
        for (std::uint64_t i = 0; i < batch; ++i) {
          auto* block = static_cast<std::uint64_t*>(S::allocate(opaque(size_)));
          *block = i;
          ring_.push(block);
        }
      } else {
        std::uint32_t mine = 0;
        for (std::uint64_t i = 0; i < batch; ++i) {
          std::uint64_t* block = ring_.pop();
          mine = fold(mine, *block);
          S::deallocate(block);
        }
        sum = mine;
      }
    });
    return sum;
  }

 private:
  static constexpr std::uint64_t batch = 32768;
  std::size_t size_;
  pointer_ring ring_;
  crew crew_;
};

const registration<producer_consumer, allocators> producer_consumer_registered{{
    .area = "alloc",
    .name = "producer_consumer",
    .smoke = {{"size", 64}},
    .points = {{{{"size", 64}}, tier::quick, true}, {{{"size", 1024}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench

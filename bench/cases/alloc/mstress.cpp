// alloc/mstress/threads:T
//
// One operation  one block, allocated, written at both ends and freed, by any of T threads; wall time. Sizes are 8 to 2,000 bytes, one
//                in a hundred up to 100 times that. A block lives until its slot among its thread's 1,000 is drawn again, or is
//                swapped with one of 1,000 shared places, from which any thread takes and frees. After each round of 20,000
//                operations every thread ends, and its successor begins with nothing. The row also has the peak of the
//                resident memory, page tables included.
// Kept equal     T OS threads a round; the same sizes and draws; unsized free; a process of its own.
// Limits         Who takes from a shared place is chance, so the checksum is over what was allocated.
// References     D. Leijen's mstress in mimalloc's test-stress.c, 2018, whose pattern this follows.
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class mstress {
 public:
  explicit mstress(const row_params& p) : threads_(p.size_of("threads")) {}
  mstress(const mstress&) = delete;
  mstress& operator=(const mstress&) = delete;
  ~mstress() {
    for (auto& place : shared_) S::deallocate(place.load(std::memory_order_relaxed));
  }
  std::uint64_t operations() const { return threads_ * rounds * round_operations; }
  std::uint32_t run() {
    std::atomic<std::uint32_t> total{0};
    for (std::size_t round = 0; round < rounds; ++round) {
      std::vector<std::thread> crew;
      for (std::size_t self = 0; self < threads_; ++self) {
        crew.emplace_back([&, self] { total += work(round * threads_ + self); });
      }
      for (std::thread& member : crew) member.join();
    }
    return total;
  }
  void finish(measurement& m) { m.counters["rss_bytes"] = static_cast<double>(peak_resident_bytes()); }

 private:
  static constexpr std::size_t rounds = 10;
  static constexpr std::uint64_t round_operations = 20'000;
  static constexpr std::size_t places = 1000;

  std::uint32_t work(std::uint64_t seed) {
    std::vector<unsigned char*> mine(places);
    sequence random(seed);
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < round_operations; ++i) {
      std::size_t size = 8 + (random.below(8) != 0 ? random.below(120) : random.below(1993));
      if (random.below(100) == 0) size *= 1 + random.below(100);
      auto* block = static_cast<unsigned char*>(S::allocate(opaque(size)));
      block[0] = block[size - 1] = static_cast<unsigned char>(size);
      sum = fold(sum, block[0] + i);
      unsigned char*& slot = mine[random.below(places)];
      S::deallocate(slot);
      slot = block;
      if (random.below(4) == 0) {
        // acquire and release: the block's bytes go with its pointer.
        slot = shared_[random.below(places)].exchange(slot, std::memory_order_acq_rel);
      }
    }
    for (unsigned char* block : mine) S::deallocate(block);
    return sum;
  }

  std::size_t threads_;
  std::array<std::atomic<unsigned char*>, places> shared_{};
};

const registration<mstress, allocators> mstress_registered{{
    .area = "alloc",
    .name = "mstress",
    .smoke = {{"threads", 2}},
    .points = {{{{"threads", 2}}, tier::standard, false, 30}, {{{"threads", 4}}, tier::full, false, 60}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

// alloc/producer_consumer/size:N
//
// One operation  one block of N bytes: allocated and written (8 bytes) by one thread, handed over, read and freed by another.
//                The time is wall time; the two sides overlap where there are two processors.
// Kept equal     two pooled OS threads; the same ring of 1,024 pointers, which is not the subject's; unsized free.
#include <sched.h>

#include <atomic>
#include <vector>

#include "bench/harness/crew.hpp"
#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

// Single producer, single consumer; each side keeps the other's index until it runs out.
class pointer_ring {
 public:
  void push(std::uint64_t* p) {
    const std::size_t at = tail_.load(std::memory_order_relaxed);  // written by this side only
    for (int spins = 0; at - head_seen_ == capacity; ++spins) {
      head_seen_ = head_.load(std::memory_order_acquire);  // pairs with pop(): the slot has been read
      if (spins > 100) sched_yield();
    }
    slots_[at % capacity] = p;
    tail_.store(at + 1, std::memory_order_release);
  }
  std::uint64_t* pop() {
    const std::size_t at = head_.load(std::memory_order_relaxed);  // written by this side only
    for (int spins = 0; at == tail_seen_; ++spins) {
      tail_seen_ =
          tail_.load(std::memory_order_acquire);  // pairs with push(): the slot and the block are written
      if (spins > 100) sched_yield();
    }
    std::uint64_t* p = slots_[at % capacity];
    head_.store(at + 1, std::memory_order_release);
    return p;
  }

 private:
  static constexpr std::size_t capacity = 1024;
  std::vector<std::uint64_t*> slots_ = std::vector<std::uint64_t*>(capacity);
  alignas(128) std::atomic<std::size_t> tail_{0};
  std::size_t head_seen_ = 0;  // producer's
  alignas(128) std::atomic<std::size_t> head_{0};
  std::size_t tail_seen_ = 0;  // consumer's
};

template <allocator_subject S>
class producer_consumer {
 public:
  explicit producer_consumer(const row_params& p) : size_(p.size_of("size")), crew_(2) {}
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

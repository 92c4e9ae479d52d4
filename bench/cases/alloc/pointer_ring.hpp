// Hands pointers from one thread to another, for cases whose blocks are freed elsewhere. It is no part of what is measured.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tern_bench {

// Single producer, single consumer; the capacity is a power of two. Each side keeps the other's index until it runs out.
class pointer_ring {
 public:
  explicit pointer_ring(std::size_t capacity) : slots_(capacity) {}
  void push(std::uint64_t* p) {
    const std::size_t at = tail_.load(std::memory_order_relaxed);  // written by this side only
    for (int spins = 0; at - head_seen_ == slots_.size(); ++spins) {
      head_seen_ = head_.load(std::memory_order_acquire);  // pairs with pop(): the slot has been read
      if (spins > 100) sched_yield();
    }
    slots_[at & (slots_.size() - 1)] = p;
    tail_.store(at + 1, std::memory_order_release);
  }
  std::uint64_t* pop() {
    const std::size_t at = head_.load(std::memory_order_relaxed);  // written by this side only
    for (int spins = 0; at == tail_seen_; ++spins) {
      tail_seen_ =
          tail_.load(std::memory_order_acquire);  // pairs with push(): the slot and the block are written
      if (spins > 100) sched_yield();
    }
    std::uint64_t* p = slots_[at & (slots_.size() - 1)];
    head_.store(at + 1, std::memory_order_release);
    return p;
  }

 private:
  std::vector<std::uint64_t*> slots_;
  alignas(128) std::atomic<std::size_t> tail_{0};
  std::size_t head_seen_ = 0;  // producer's
  alignas(128) std::atomic<std::size_t> head_{0};
  std::size_t tail_seen_ = 0;  // consumer's
};

}  // namespace tern_bench

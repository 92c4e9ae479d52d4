// The most managed bytes that were in use at a time, as mutators that look now and then have seen it.
#pragma once

#include <atomic>
#include <cstddef>

#include <tern/gc.hpp>

namespace gc_test {

class heap_peak {
 public:
  void look() {
    const std::size_t now = tern::detail::gc::state.heap_bytes.load(std::memory_order_relaxed);
    std::size_t seen = most_.load(std::memory_order_relaxed);
    while (seen < now && !most_.compare_exchange_weak(seen, now, std::memory_order_relaxed)) {
    }
  }
  std::size_t most() const { return most_; }

 private:
  std::atomic<std::size_t> most_{0};
};

}  // namespace gc_test

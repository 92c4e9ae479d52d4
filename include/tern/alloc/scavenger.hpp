#pragma once

// scavenger: gives the memory of free pages back to the OS, little by little, while the program frees.
//
// Context     Told by whoever gives a span back to the page heap. It has no thread: a library that is put under other programs must not add one.
//             tern::release_memory() is for programs that drain and then rest.
// Protocol    1. free memory below `slack` stays;
//             2. what the program has needed at its most during the last one to two windows, and a tenth, stays: a buffer that comes and
//                goes keeps its pages;
//             3. the rest goes, a step at a time; after a step that took t, none for 99 t: at most 1% of a CPU.
// Invariants  I1 One thread at a time; others pass by. The lock comes before the page heap's.

#include <cstddef>
#include <cstdint>

#include <tern/alloc/page_heap.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/clock.hpp>

namespace tern::inline v1::detail {

template <class Heap>
class scavenger {
 public:
  explicit constexpr scavenger(Heap& h) noexcept : heap_{h} {}

  // After a span was freed. Not while a lock of the allocator is held.
  TERN_ALWAYS_INLINE void note(page_usage u) noexcept {
    if (TERN_UNLIKELY(u.dirty - u.in_use > slack / page_bytes)) work(u);
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

 private:
  static constexpr std::size_t slack = std::size_t{16} << 20;
  static constexpr std::size_t step = std::size_t{16} << 20;
  static constexpr std::int64_t window = 500'000'000;  // ns
  static constexpr std::int64_t least_rest = 1'000'000;

  TERN_NOINLINE void work(page_usage u) noexcept {
    if (!lock_.try_lock()) return;
    const std::int64_t begin = os::now();
    if (begin >= next_) {
      const std::size_t peak = heap_.take_peak();
      if (peak > recent_peak_) recent_peak_ = peak;
      if (begin >= window_end_) {
        last_peak_ = recent_peak_;
        recent_peak_ = u.in_use;
        window_end_ = begin + window;
      }
      const std::size_t need = last_peak_ > recent_peak_ ? last_peak_ : recent_peak_;
      const std::size_t kept = need + need / 10 + slack / page_bytes;
      if (u.dirty > kept) {
        const std::size_t excess = (u.dirty - kept) * page_bytes;
        heap_.release_memory(excess < step ? excess : step);
      }
      const std::int64_t end = os::now();
      next_ = end + (99 * (end - begin) > least_rest ? 99 * (end - begin) : least_rest);
    }
    lock_.unlock();
  }

  Heap& heap_;
  spin_lock<> lock_;
  // All below: protected by lock_.
  std::int64_t next_ = 0;        // ns: no step before
  std::int64_t window_end_ = 0;  // ns
  std::size_t last_peak_ = 0;    // pages in use at most in the window before this one
  std::size_t recent_peak_ = 0;  // in this one
};

}  // namespace tern::inline v1::detail

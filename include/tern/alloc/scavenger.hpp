#pragma once

// scavenger: gives the memory of free pages back to the OS, little by little, while the program frees; all that it may when a runtime rests.
//
// Context     Told by whoever gives a span back to the page heap. It has no thread: a library that is put under other programs must not add one.
//             tern::release_memory() is for programs that drain and then rest. A runtime's monitor looks in while fibers run, and settles
//             the heap once when none has run for half a second.
// Protocol    1. free memory below `slack` stays;
//             2. what the program has needed at its most during the last one to two windows, and a tenth, stays: a buffer that comes and
//                goes keeps its pages;
//             3. the rest goes, a step at a time; after a step that took t, none for 99 t: at most 1% of a CPU.
//             Soft limit: what is committed beyond it goes at once, though 1. and 2. would keep it, also when the heap grows. No rest: a page
//             goes once for each time that it came, which costs more.
//             Settling: a tenth of what is in use stays.
// Invariants  I1 One thread at a time; others pass by. The lock comes before the page heap's.

#include <cstddef>
#include <cstdint>

#include <tern/alloc/page_heap.hpp>
#include <tern/base/atomic.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/clock.hpp>

namespace tern::inline v1::detail {

template <class Heap>
class scavenger {
 public:
  explicit constexpr scavenger(Heap& h) noexcept : heap_{h} {}

  // After a span was freed. Not while a lock of the allocator is held.
  TERN_ALWAYS_INLINE void note(page_usage u) noexcept {
    const std::size_t idle = u.dirty - u.in_use;
    if (TERN_UNLIKELY(idle > slack / page_bytes || (idle != 0 && u.dirty + u.foreign > soft_limit())))
      work(u);
  }

  // After a span was allocated, some of whose pages may be fresh. Not while a lock of the allocator is held.
  TERN_ALWAYS_INLINE void note_growth() noexcept {
    if (TERN_UNLIKELY(soft_limit() != no_limit)) note(heap_.usage());
  }

  // Bytes committed, huge blocks included; 0: none.
  void set_soft_limit(std::size_t bytes) noexcept {
    soft_pages_.store(bytes == 0 ? no_limit : bytes / page_bytes,
                      memory_order_relaxed);  // relaxed: from now on or a moment later
    note_growth();
  }

  // Now and then, by who has a thread for it. Not while a lock of the allocator is held.
  void poll() noexcept { note(heap_.usage()); }

  // A step, when nothing runs. True: there is more to do.
  bool settle() noexcept {
    if (!lock_.try_lock()) return true;
    const page_usage u = heap_.usage();
    const std::size_t kept = u.in_use + u.in_use / 10 + least / page_bytes;
    const std::size_t excess = u.dirty > kept ? (u.dirty - kept) * page_bytes : 0;
    const bool some = excess != 0 && heap_.release_memory(excess < step ? excess : step) != 0;
    lock_.unlock();
    return some && excess > step;
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

 private:
  static constexpr std::size_t slack = std::size_t{16} << 20;
  static constexpr std::size_t step = std::size_t{16} << 20;
  static constexpr std::size_t least = std::size_t{1} << 20;  // free memory that is not worth a system call
  static constexpr std::size_t no_limit = SIZE_MAX;
  static constexpr std::int64_t window = 500'000'000;  // ns
  static constexpr std::int64_t least_rest = 1'000'000;

  std::size_t soft_limit() const noexcept { return soft_pages_.load(memory_order_relaxed); }

  TERN_NOINLINE void work(page_usage u) noexcept {
    if (!lock_.try_lock()) return;
    const std::int64_t begin = os::now();
    if (const std::size_t limit = soft_limit(); u.dirty + u.foreign > limit) {
      heap_.release_memory((u.dirty + u.foreign - limit) * page_bytes);
    } else if (begin >= next_) {
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
  atomic<std::size_t> soft_pages_{no_limit};
  spin_lock<> lock_;
  // All below: protected by lock_.
  std::int64_t next_ = 0;        // ns: no step before
  std::int64_t window_end_ = 0;  // ns
  std::size_t last_peak_ = 0;    // pages in use at most in the window before this one
  std::size_t recent_peak_ = 0;  // in this one
};

}  // namespace tern::inline v1::detail

// CPU cap: when the soft limit gives way, so that a program whose live bytes are near it goes on, as pure arithmetic.
//
// Context     pacing.hpp feeds it windows of time; the pacer is told what it says. No clock, no atomics: the caller serialises, tests drive
//             it in simulation.
// Structure   A leaky bucket. What the collector takes of the CPUs (its thread, assists, and what brakes keep from allocating threads) flows
//             in, what the program gets flows out; a second of every CPU fills it. It only stays full where the collector takes
//             more than half, so the share that it has in the long run is a half at most, with bursts of a second.
// Protocol    1. full at the end of any window: the soft limit gives way at once, in the middle of a cycle, too
//             2. at the end of a cycle that leaves it below full: the limit holds again, from the next goal on
// Invariants  fill <= 2 * capacity. As long as it is less than that: collector's time <= program's time + fill, whatever came before.
// Rejected    To forget what does not fit (as Go does): the cycle that is under way when it gets full takes its time all the same, each time,
//             so that the collector's share stays above the half. To owe all of it: where the growth that the program has set takes more
//             than half by itself, the limit would not hold for as long again after that is over.
//             Idle time as the program's: a process of one busy thread on many CPUs could be braked to a standstill with most of them idle.
//             To hold again in the middle of a cycle: its heap is far above the limit's goal by then, so that assists and brakes would
//             take all that the cycle before has saved.
// References  The limiter of the Go runtime (runtime/mgclimit.go, 2022), in its proposal for a soft memory limit.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tern::inline v1::detail::gc {

// What a stretch of time was spent on, in nanoseconds of CPU but for the first.
struct cpu_window {
  std::int64_t wall = 0;
  std::int64_t process = 0;    // by all threads of the process
  std::int64_t collector = 0;  // of that: marking and sweeping by the collector's thread, assists
  std::int64_t held = 0;       // slept by threads that were braked
};

class cpu_cap {
 public:
  static constexpr std::int64_t burst = 1'000'000'000;  // of each CPU

  constexpr void set_processors(unsigned n) noexcept {
    processors_ = std::max(1u, n);
    set_capacity(burst * processors_);
  }
  // Instead of a burst of each CPU. Requires: > 0.
  constexpr void set_capacity(std::int64_t ns) noexcept {
    capacity_ = ns;
    fill_ = std::min(fill_, 2 * capacity_);
  }

  constexpr void add(const cpu_window& w) noexcept {
    // Clocks of threads and of the process are read one after the other.
    const std::int64_t process = std::max<std::int64_t>(w.process, 0);
    const std::int64_t collector = std::clamp<std::int64_t>(w.collector, 0, process);
    // Whoever sleeps in a brake takes nothing from the program where other threads have the CPUs meanwhile.
    const std::int64_t idle = std::max<std::int64_t>(w.wall * processors_ - process, 0);
    const std::int64_t taken = collector + std::clamp<std::int64_t>(w.held, 0, idle);
    taken_ += taken;
    fill_ = std::clamp<std::int64_t>(fill_ + taken - (process - collector), 0, 2 * capacity_);
    if (fill_ >= capacity_ && !gives_way_) {
      gives_way_ = true;
      ++times_;
    }
  }
  // After the window that ends with the cycle was added.
  constexpr void cycle_ended() noexcept { gives_way_ = gives_way_ && fill_ >= capacity_; }

  constexpr bool gives_way() const noexcept { return gives_way_; }
  constexpr std::int64_t fill() const noexcept { return fill_; }
  constexpr std::int64_t capacity() const noexcept { return capacity_; }
  // Since the start: how often the bucket became full, and the nanoseconds that flowed in.
  constexpr std::uint64_t times() const noexcept { return times_; }
  constexpr std::int64_t taken() const noexcept { return taken_; }

 private:
  std::int64_t processors_ = 1;
  std::int64_t capacity_ = burst;
  std::int64_t fill_ = 0;
  std::int64_t taken_ = 0;
  std::uint64_t times_ = 0;
  bool gives_way_ = false;
};

}  // namespace tern::inline v1::detail::gc

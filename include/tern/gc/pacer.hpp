// Pacer: when a cycle begins and how much mutators must help, as pure arithmetic.
//
// Context     The collector feeds it what each cycle measured; allocation slow paths ask it. No clock, no atomics: the caller
//             serialises, tests drive it in simulation.
// Structure   live ---------------- trigger ------------- goal --------- brake
//                  allocate freely         cycle runs here      assists no longer suffice: short sleeps
//             goal    = max(minimum, live + live * percent / 100), at most the limits (the soft one unless it gives way: cpu_cap.hpp)
//             trigger = goal - what is expected to be allocated while marking (smoothed, with a margin), but never nearer to live
//                       than a twentieth of the distance
//             brake   = goal + max(goal / 4, minimum), or just behind a goal that the soft limit has set. From there on each refill
//                       sleeps, for twice as long with every sixteenth of the goal: that bounds the heap, however little CPU the marker gets
// Protocol    Assist: while marking, a refill owes allocated_bytes * ratio of marking work; it pays at most assist_cap at once and
//             carries the rest as debt, so that no allocation stalls for long.
// Rejected    A controller with proportional and integral terms: workloads change faster than it settles, and a floor and a
//             ceiling on the runway bound the damage of a bad guess.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace tern::inline v1::detail::gc {

inline constexpr std::size_t assist_cap_bytes = std::size_t{16} << 10;
inline constexpr std::int64_t shortest_brake_ns = 200'000;
inline constexpr std::size_t brake_doublings = 9;  // to a tenth of a second
inline constexpr std::size_t default_minimum_heap = std::size_t{4} << 20;

struct pacer_settings {
  std::uint32_t percent = 100;                 // growth over the live bytes
  std::size_t minimum = default_minimum_heap;  // bytes: no automatic cycle below
  std::size_t limit = SIZE_MAX;  // bytes: the goal stays below, as far as live bytes and the CPU cap allow
  std::size_t hard_limit = SIZE_MAX;  // bytes: the goal stays below, whatever lives
};

__extension__ typedef unsigned __int128 wide;  // NOLINT(modernize-use-using): no extension marker in an alias

// What one cycle measured, in bytes.
struct cycle_measure {
  std::size_t live = 0;  // marked, plus allocated while marking
  std::size_t allocated_while_marking = 0;
};

class pacer {
 public:
  constexpr pacer() noexcept { compute(); }

  constexpr void set(pacer_settings s) noexcept {
    settings_ = s;
    compute();
  }
  constexpr const pacer_settings& settings() const noexcept { return settings_; }

  // Whether the goal is as if there were no soft limit.
  constexpr void set_gives_way(bool on) noexcept {
    gives_way_ = on;
    compute();
  }
  constexpr bool gives_way() const noexcept { return gives_way_; }

  constexpr void cycle_done(cycle_measure m) noexcept {
    live_ = m.live;
    // Up at once, down by halves: a burst that came once may come again.
    runway_ = std::max(m.allocated_while_marking, (runway_ + m.allocated_while_marking) / 2);
    compute();
  }

  constexpr std::size_t live() const noexcept { return live_; }
  constexpr std::size_t goal() const noexcept { return goal_; }
  constexpr std::size_t trigger() const noexcept { return trigger_; }
  // Heap size at which allocation sleeps now and then, so that a marker that gets no CPU is not outrun without bound.
  constexpr std::size_t brake() const noexcept { return brake_; }
  // What a refill sleeps at most with so many bytes in use: it ends with the cycle, too.
  constexpr std::int64_t brake_ns(std::size_t heap) const noexcept {
    if (heap < brake_) return 0;
    const std::size_t step = std::max(goal_ / 16, std::size_t{64} << 10);
    return shortest_brake_ns << std::min((heap - brake_) / step, brake_doublings);
  }

  // What is left to mark is taken to be the rest of the last live bytes.
  constexpr std::size_t work_left(std::size_t marked) const noexcept {
    return live_ > marked ? live_ - marked : live_ / 16 + 1;
  }

  // Marking work that `allocated` bytes owe, with `heap` bytes allocated in all and `marked` bytes marked so far.
  constexpr std::size_t assist_due(std::size_t allocated, std::size_t heap,
                                   std::size_t marked) const noexcept {
    const std::size_t work = work_left(marked);
    // What is left to allocate is the way to the goal.
    const std::size_t room = goal_ > heap ? goal_ - heap : 1;
    // In 128 bits: both factors may be of the size of memory.
    const auto due = static_cast<wide>(allocated) * work / room;
    const std::size_t most = allocated * 64 + 1;  // beyond that the brake is the better tool
    return due > most ? most : static_cast<std::size_t>(due);
  }

 private:
  static constexpr std::size_t add(std::size_t a, std::size_t b) noexcept {
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
  }

  constexpr void compute() noexcept {
    const auto growth = static_cast<wide>(live_) * settings_.percent / 100;
    const std::size_t grown = growth > SIZE_MAX ? SIZE_MAX : static_cast<std::size_t>(growth);
    goal_ = std::max(settings_.minimum, add(live_, grown));
    // Under a limit the goal shrinks towards it, but a cycle must be worth something: a sixteenth of the live bytes at least.
    const bool is_limited = goal_ > settings_.limit && !gives_way_;
    if (is_limited) goal_ = std::max(settings_.limit, add(live_, live_ / 16 + (std::size_t{64} << 10)));
    goal_ = std::min(goal_, std::max(settings_.hard_limit, live_));
    const std::size_t distance = goal_ - std::min(live_, goal_);
    const std::size_t wanted = add(runway_, runway_ / 8);
    const std::size_t runway = std::clamp(wanted, distance / 20, distance - distance / 20);
    trigger_ = goal_ - runway;
    // A growth is a wish, a limit is not: what it costs to keep it is the cap's affair.
    brake_ = add(goal_, is_limited ? goal_ / 64 + 1 : std::max(goal_ / 4, settings_.minimum));
  }

  pacer_settings settings_;
  std::size_t live_ = 0;
  std::size_t runway_ = 0;
  std::size_t goal_ = 0;
  std::size_t trigger_ = 0;
  std::size_t brake_ = 0;
  bool gives_way_ = false;
};

// Marking work owed, paid in bounded pieces. One for each mutator.
class assist_account {
 public:
  // Adds `due` and returns what to pay now. Nobody owes more than there is to do.
  constexpr std::size_t charge(std::size_t due, std::size_t work_left) noexcept {
    debt_ = due > work_left ? work_left : std::min(debt_, work_left - due) + due;
    return std::min(debt_, assist_cap_bytes);
  }
  constexpr void paid(std::size_t bytes) noexcept { debt_ -= std::min(debt_, bytes); }
  constexpr void forgive() noexcept { debt_ = 0; }
  constexpr std::size_t debt() const noexcept { return debt_; }

 private:
  std::size_t debt_ = 0;
};

}  // namespace tern::inline v1::detail::gc

// Load watch: how many processors a runtime should have, by what the monitor has seen of them lately.
//
// Context     The monitor asks once per round where runtime_options::automatic_processors is set. No clock and no atomics: tests drive it.
// Protocol    Each round is a sample: how many processors run fibers, and whether work waits while none sleeps or searches. Ten rounds
//             (100 ms) are a window. At its end
//             - work waited in at least 8 of 10 rounds: a quarter more, at least one more, up to the cap;
//             - else, in five windows in a row (500 ms), fewer than count - 1.25 were busy on average: one fewer.
// Invariants  I1 after a change a new window begins, so each one is judged by what it has led to.
//             I2 growing and shrinking do not meet: one fewer is still a quarter of a processor more than was busy.
// Limits      A runtime in which nothing runs is not sampled, since its monitor sleeps; its count stays, and sleeping processors cost nothing.
#pragma once

#include <cstdint>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

class load_watch {
 public:
  static constexpr std::uint32_t window = 10;        // rounds
  static constexpr std::uint32_t waits_to_grow = 8;  // of a window
  static constexpr std::uint32_t windows_to_shrink = 5;

  // One round. What the count should be now.
  std::uint32_t advise(std::uint32_t count, std::uint32_t most, std::uint32_t busy, bool waits) noexcept {
    busy_ += busy;
    waits_ += waits ? 1 : 0;
    if (++rounds_ < window) return count;
    const bool grows = waits_ >= waits_to_grow;
    // In quarters of a processor and round.
    const bool is_slack = !grows && 4 * busy_ + 5 * window < 4 * count * window;
    slack_ = is_slack ? slack_ + 1 : 0;
    busy_ = waits_ = rounds_ = 0;
    if (grows) {
      const std::uint32_t more = count + (count + 3) / 4;
      return more < most ? more : most;
    }
    if (slack_ < windows_to_shrink) return count;
    slack_ = 0;
    return count > 1 ? count - 1 : 1;
  }

  // The rounds have not followed each other: what was seen is too old.
  void forget() noexcept { busy_ = waits_ = rounds_ = slack_ = 0; }

 private:
  std::uint32_t busy_ = 0;
  std::uint32_t waits_ = 0;
  std::uint32_t rounds_ = 0;
  std::uint32_t slack_ = 0;
};

}  // namespace tern::inline v1::detail

#pragma once

// Size classes: 16 B steps to 128 B, then 8 steps per doubling, to 2 MiB.
//
// Structure   index  0..7    16, 32 ... 128
//             index  8..15   144, 160 ... 256, and so on: eight per doubling
//             index  0..71   up to 32 KiB: blocks cut from shared spans ("small")
//             index 72..119  up to 2 MiB: a span for each block ("large")
//             With TERN_SIZE_CLASS_STEPS=4 the same to 128 B, then four per doubling: 40 small classes and 24 large ones.
// Invariants  I1 class_size(class_of(n)) >= n, and wastes at most 12.5% of it above 128 B (25% with four steps).
//             I2 For a power of two a <= page_bytes, the class of round_up(n, a) is a multiple of a: steps are powers of two
//                between which a multiple of `a` is either a step or lies on a multiple of a larger one. Aligned requests
//                need no further table. Tested over all classes.
// Rejected    The formula of class_of() for small sizes that the compiler does not know. It is five instructions without a branch, but bsr
//             alone takes as long on an EPYC as a look-up: with a table a pair of 4 KiB takes 0.66 of the time, one of 32 KiB 0.82.
//             Four steps per doubling as the default: twice the waste, for 56 classes fewer. Measured in turns on an EPYC: pairs of one size
//             equal, pairs of mixed sizes 1.14 times slower; a burst of 20,000 mixed blocks 1.8 times faster, since fewer bins share the
//             cache's budget; 8.2% of a mixed load lost to rounding instead of 4.2%.

#include <array>
#include <cstddef>
#include <cstdint>

#include <tern/base/bits.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// The allocator's page. Constant, also where OS pages are 16 or 64 KiB: everything that talks to the OS rounds to OS pages
// by itself, and a 64 KiB page of 16 B blocks would not fit the bit words of a span.
inline constexpr unsigned page_shift = 13;
inline constexpr std::size_t page_bytes = std::size_t{1} << page_shift;

inline constexpr std::size_t chunk_bytes = std::size_t{2} << 20;
inline constexpr std::size_t pages_per_chunk = chunk_bytes / page_bytes;

inline constexpr std::size_t block_alignment = 16;
inline constexpr std::size_t max_small_size = std::size_t{32} << 10;
inline constexpr std::size_t max_class_size = std::size_t{2} << 20;
inline constexpr unsigned step_bits = TERN_SIZE_CLASS_STEPS == 8 ? 3 : 2;  // 2^step_bits steps per doubling
static_assert(TERN_SIZE_CLASS_STEPS == 1 << step_bits, "TERN_SIZE_CLASS_STEPS is 4 or 8");

// Classes up to a power of two of at least 128.
constexpr unsigned classes_to(std::size_t n) noexcept { return (log2_floor(n) - step_bits - 3) << step_bits; }
inline constexpr unsigned small_class_count = classes_to(max_small_size);
inline constexpr unsigned class_count = classes_to(max_class_size);

// Requires: n <= max_class_size. Zero counts as one byte.
constexpr unsigned class_of(std::size_t n) noexcept {
  const std::size_t last = n - (n != 0);
  // The bit (128 of eight steps) keeps the step at 16 B below: one formula serves the linear part and the doublings.
  const unsigned shift = static_cast<unsigned>(std::bit_width(last | (16u << step_bits))) - (step_bits + 1);
  return ((shift - 4) << step_bits) + static_cast<unsigned>(last >> shift);
}

// The same by a table up to this size, for sizes that the compiler does not know.
inline constexpr std::size_t max_table_size = 1024;
inline constexpr auto small_class_of = [] {
  std::array<std::uint8_t, max_table_size / 16 + 1> table{};
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::uint8_t>(class_of(i * 16));
  return table;
}();

// From there to the last small class, by steps that divide all of its steps.
inline constexpr std::size_t middle_step = 128;
inline constexpr auto middle_class_of = [] {
  std::array<std::uint8_t, max_small_size / middle_step + 1> table{};
  for (std::size_t i = 0; i < table.size(); ++i)
    table[i] = static_cast<std::uint8_t>(class_of(i * middle_step));
  return table;
}();

static_assert([] {
  for (std::size_t n = max_table_size + 1; n <= max_small_size; ++n)
    if (middle_class_of[(n + middle_step - 1) / middle_step] != class_of(n)) return false;
  return true;
}());

constexpr std::size_t compute_class_size(unsigned index) noexcept {
  constexpr unsigned steps = 1u << step_bits;
  if (index < steps) return (index + std::size_t{1}) << 4;
  return ((index & (steps - 1)) + std::size_t{steps + 1}) << ((index >> step_bits) + 3);
}

// What a class needs to know in slow paths.
struct class_info {
  std::uint32_t size = 0;        // bytes
  std::uint32_t pages = 0;       // of a span
  std::uint32_t blocks = 0;      // in a span
  std::uint32_t batch = 0;       // blocks moved between a cache and the central list at once
  std::uint32_t max_cached = 0;  // blocks in one cache at most
  std::uint64_t reciprocal = 0;  // ceil(2^40 / size): offset * reciprocal >> 40 == offset / size
};

inline constexpr unsigned max_blocks_per_span = 512;
inline constexpr unsigned max_batch = 32;

constexpr class_info compute_class_info(unsigned index) noexcept {
  class_info info;
  const std::size_t size = compute_class_size(index);
  info.size = static_cast<std::uint32_t>(size);
  if (index >= small_class_count) {
    info.pages = static_cast<std::uint32_t>((size + page_bytes - 1) / page_bytes);
    info.blocks = 1;
    info.batch = 1;
    const std::size_t held = (std::size_t{2} << 20) / size;
    info.max_cached = static_cast<std::uint32_t>(held < 1 ? 1 : held);
  } else {
    // About 128 blocks, within 8 KiB and 256 KiB; then up to 7 pages more where that leaves a smaller tail.
    std::size_t first = size * 128 / page_bytes;
    if (first < 1) first = 1;
    if (first > 32) first = 32;
    std::size_t best = 0;
    std::size_t best_waste = 0;
    for (std::size_t pages = first; pages < first + 8; ++pages) {
      const std::size_t blocks = pages * page_bytes / size;
      if (blocks > max_blocks_per_span) break;
      const std::size_t waste = pages * page_bytes - blocks * size;
      if (best == 0 || waste * best < best_waste * pages) {
        best = pages;
        best_waste = waste;
      }
      if (waste * 64 <= pages * page_bytes) break;  // below 1/64: good enough, shorter is better
    }
    info.pages = static_cast<std::uint32_t>(best);
    info.blocks = static_cast<std::uint32_t>(best * page_bytes / size);
    const std::size_t batch = (std::size_t{64} << 10) / size;
    info.batch = static_cast<std::uint32_t>(batch > max_batch ? max_batch : batch);
    const std::size_t held = (std::size_t{256} << 10) / size;
    info.max_cached = static_cast<std::uint32_t>(held > 4095 ? 4095 : held);
  }
  info.reciprocal = ((std::uint64_t{1} << 40) + size - 1) / size;
  return info;
}

inline constexpr auto class_table = [] {
  std::array<class_info, class_count> table{};
  for (unsigned i = 0; i < class_count; ++i) table[i] = compute_class_info(i);
  return table;
}();

constexpr std::size_t class_size(unsigned index) noexcept { return class_table[index].size; }
constexpr bool is_small(unsigned index) noexcept { return index < small_class_count; }

static_assert(step_bits != 3 || (small_class_count == 72 && class_count == 120));
static_assert(class_of(0) == 0 && class_of(16) == 0 && class_of(17) == 1 && class_of(128) == 7);
static_assert(class_of(129) == 8 && class_of(max_small_size) == small_class_count - 1);
static_assert(class_of(max_class_size) == class_count - 1 && class_size(class_count - 1) == max_class_size);

}  // namespace tern::inline v1::detail

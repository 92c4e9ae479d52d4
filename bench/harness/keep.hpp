// Keeps the compiler honest: values that it must believe are used, memory that it must believe is read.
//
// Google Benchmark's DoNotOptimize does the same, but its forms changed between releases (a copy through memory in some);
// these are fixed, so that a row does not change with the library it is linked to.
#pragma once

#include <cstdint>

namespace tern_bench {

/// The compiler must have `value` at hand here, and cannot tell what became of it or of memory.
template <class T>
inline void keep(const T& value) {
  if constexpr (sizeof(T) <= sizeof(void*) && __is_trivially_copyable(T)) {
    asm volatile("" : : "r"(value) : "memory");
  } else {
    asm volatile("" : : "m"(value) : "memory");
  }
}

/// The same, but `value` alone: what else is in registers stays there.
template <class T>
inline void keep_value(const T& value) {
  asm volatile("" : : "r"(value));
}

/// Returns `value`, of which the compiler then knows nothing.
template <class T>
[[nodiscard]] inline T opaque(T value) {
  asm volatile("" : "+r"(value));
  return value;
}

/// Folds one value into a 32-bit checksum in which the order of the values does not count.
inline std::uint32_t fold(std::uint32_t sum, std::uint64_t value) noexcept {
  value ^= value >> 32;
  value *= 0x9E3779B97F4A7C15U;
  return sum + static_cast<std::uint32_t>(value >> 32);
}

/// A small generator (xorshift64*), the same in every subject and in every process.
class sequence {
 public:
  explicit sequence(std::uint64_t seed) noexcept : state_(seed * 0x9E3779B97F4A7C15U + 0x632BE59BD9B4E019U) {}
  std::uint64_t operator()() noexcept {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DU;
  }
  /// Below `bound`, which is at most 2^32.
  std::uint64_t below(std::uint64_t bound) noexcept { return ((*this)() >> 32) * bound >> 32; }

 private:
  std::uint64_t state_;
};

}  // namespace tern_bench

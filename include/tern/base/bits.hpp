#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

constexpr bool is_power_of_two(std::size_t n) noexcept { return std::has_single_bit(n); }

// Requires: `to` is a power of two and the result fits.
constexpr std::size_t round_up(std::size_t n, std::size_t to) noexcept { return (n + to - 1) & ~(to - 1); }
constexpr std::size_t round_down(std::size_t n, std::size_t to) noexcept { return n & ~(to - 1); }

// Requires: n > 0.
constexpr unsigned log2_floor(std::size_t n) noexcept { return static_cast<unsigned>(std::bit_width(n)) - 1; }
constexpr unsigned log2_ceil(std::size_t n) noexcept { return n <= 1 ? 0 : log2_floor(n - 1) + 1; }

inline std::uintptr_t to_word(const void* p) noexcept { return reinterpret_cast<std::uintptr_t>(p); }

// Pointer arithmetic in bytes.
template <class T = void>
T* at_offset(void* p, std::ptrdiff_t bytes) noexcept {
  return reinterpret_cast<T*>(static_cast<char*>(p) + bytes);
}
template <class T = void>
const T* at_offset(const void* p, std::ptrdiff_t bytes) noexcept {
  return reinterpret_cast<const T*>(static_cast<const char*>(p) + bytes);
}

}  // namespace tern::inline v1::detail

#pragma once

#include <cstdint>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// splitmix64 (Steele, Lea, Flood 2014): one multiply-xorshift chain per number, any seed is good.
class fast_random {
 public:
  constexpr explicit fast_random(std::uint64_t seed = 0x9e3779b97f4a7c15u) noexcept : state_{seed} {}

  constexpr std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound) up to a bias of bound / 2^32 (Lemire's multiply-shift). Requires: bound > 0.
  constexpr std::uint32_t below(std::uint32_t bound) noexcept {
    return static_cast<std::uint32_t>(((next() >> 32) * bound) >> 32);
  }

 private:
  std::uint64_t state_;
};

}  // namespace tern::inline v1::detail

// The seed and the scale of a randomized test.
//
// The seed comes from --seed=N, else from TERN_SEED, else from the clock; it is printed when first asked for, so that
// a failed run can be repeated. The scale comes from TERN_STRESS_SCALE (default 1; 0.05 under emulation).
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace tern_test {

namespace detail {

inline std::uint64_t choose_seed() {
  const std::string flag = "--seed=";
  std::ifstream command("/proc/self/cmdline", std::ios::binary);
  for (std::string word; std::getline(command, word, '\0');)
    if (word.rfind(flag, 0) == 0) return std::strtoull(word.c_str() + flag.size(), nullptr, 0);
  if (const char* text = std::getenv("TERN_SEED"); text != nullptr && *text != '\0')
    return std::strtoull(text, nullptr, 0);
  const auto ticks = std::chrono::steady_clock::now().time_since_epoch().count();
  return (static_cast<std::uint64_t>(ticks) * 0x9e3779b97f4a7c15u) >> 32;
}

}  // namespace detail

// The seed of this process: the same on every call and in every thread.
inline std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const std::uint64_t chosen = detail::choose_seed();
    std::printf("seed %llu (repeat with --seed=%llu)\n", static_cast<unsigned long long>(chosen),
                static_cast<unsigned long long>(chosen));
    std::fflush(stdout);
    return chosen;
  }();
  return value;
}

// How much of the normal work to do: 1 is all of it.
inline double scale() {
  static const double value = [] {
    const char* text = std::getenv("TERN_STRESS_SCALE");
    const double given = text != nullptr && *text != '\0' ? std::strtod(text, nullptr) : 1.0;
    return given > 0.0 ? given : 1.0;
  }();
  return value;
}

// `count` scaled, at least 1.
template <class Integer>
Integer scale(Integer count) {
  const double scaled = static_cast<double>(count) * scale();
  return scaled < 1.0 ? Integer{1} : static_cast<Integer>(scaled);
}

}  // namespace tern_test

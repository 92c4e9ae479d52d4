#pragma once

#include <cstdint>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

#if defined(__x86_64__)
inline constexpr bool is_x86_64 = true;
inline constexpr bool is_aarch64 = false;
// Whether other threads see the plain stores of one in their order.
inline constexpr bool stores_stay_in_order = true;
// Bytes below sp that a leaf may use, and that an asynchronous or inlined stop may leave live pointers in.
inline constexpr std::uintptr_t red_zone_size = 128;
#else
inline constexpr bool is_x86_64 = false;
inline constexpr bool is_aarch64 = true;
inline constexpr bool stores_stay_in_order = false;
inline constexpr std::uintptr_t red_zone_size = 0;
#endif

// The caller's stack pointer. Inlined, so that it means the frame that asks.
TERN_ALWAYS_INLINE std::uintptr_t stack_pointer() noexcept {
  std::uintptr_t sp;
#if defined(__x86_64__)
  asm volatile("movq %%rsp, %0" : "=r"(sp));
#else
  asm volatile("mov %0, sp" : "=r"(sp));
#endif
  return sp;
}

TERN_ALWAYS_INLINE void prefetch(const void* p) noexcept { __builtin_prefetch(p, 0, 3); }
TERN_ALWAYS_INLINE void prefetch_for_write(const void* p) noexcept { __builtin_prefetch(p, 1, 3); }

// The cycle counter, in ticks of an unspecified constant rate; not ordered with memory accesses. About 10 ns at most.
TERN_ALWAYS_INLINE std::uint64_t cycle_count() noexcept {
#if defined(__x86_64__)
  std::uint32_t lo;
  std::uint32_t hi;
  asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
  return (static_cast<std::uint64_t>(hi) << 32) | lo;
#else
  std::uint64_t v;
  asm volatile("mrs %0, cntvct_el0" : "=r"(v));
  return v;
#endif
}

}  // namespace tern::inline v1::detail

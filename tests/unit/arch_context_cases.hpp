#pragma once

// What the context switch must keep, as plain functions that end the process on failure: arch_context_test.cpp runs them under
// googletest, tests/tool/context_matrix_test.sh builds this file alone for every compiler, level and option.

#include <cfenv>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <unwind.h>

#include <tern/arch/context.hpp>
#include <tern/arch/sanitizer.hpp>

namespace context_cases {

using tern::detail::context;
using tern::detail::make_context;
using tern::detail::sanitizer_fiber;

inline void check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "context case failed: %s\n", what);
  std::abort();
}

struct coroutine {
  context self, other;
  std::uint32_t left = 1;  // right behind `other`: what a switch that publishes sets
  std::uint32_t published = 0;
  sanitizer_fiber self_san, other_san;
  void (*body)(coroutine&) = nullptr;
  bool ended = false;
  char* memory = nullptr;
  static constexpr std::size_t bytes = 256 * 1024;

  explicit coroutine(void (*f)(coroutine&))
      : body{f}, memory{static_cast<char*>(std::aligned_alloc(4096, bytes))} {
    self_san.create(memory, bytes);
    other_san.adopt_thread();
    make_context(self, memory + bytes, &entry);
  }
  coroutine(const coroutine&) = delete;
  ~coroutine() {
    check(ended, "a coroutine ended");
    self_san.destroy();
    std::free(memory);
  }

  static void entry(void* message) {
    auto& c = *static_cast<coroutine*>(message);
    c.self_san.after_switch(c.other_san);
    check(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) % 16 == 0,
          "frame aligned as after a call");
    c.body(c);
    c.ended = true;
    c.self_san.before_exit(c.other_san);
    tern::detail::jump_context(c.other, message);
  }

  // Continues the coroutine from outside. Everything is inlined into the caller where the switch allows it.
  TERN_ALWAYS_INLINE void resume() {
    other_san.before_switch(self_san);
    void* back = tern::detail::switch_context(other, self, this);
    check(back == this, "the message arrives outside");
    other_san.after_switch(self_san);
  }
  TERN_ALWAYS_INLINE void pause() {
    self_san.before_switch(other_san);
    void* back = tern::detail::switch_context(self, other, this);
    check(back == this, "the message arrives inside");
    self_san.after_switch(other_san);
  }
};

// Fills every register that the ABI and the compiler leave to us with rubbish, then pauses.
[[gnu::noinline]] inline void spoil_registers() {
#if defined(__x86_64__)
  asm volatile(
      "movq $-7, %%rbx; movq $-7, %%r12; movq $-7, %%r13; movq $-7, %%r14; movq $-7, %%r15;"
      "pcmpeqb %%xmm6, %%xmm6; pcmpeqb %%xmm7, %%xmm7; pcmpeqb %%xmm8, %%xmm8; pcmpeqb %%xmm15, %%xmm15" ::
          : "rbx", "r12", "r13", "r14", "r15", "xmm6", "xmm7", "xmm8", "xmm15");
#if defined(__AVX512F__)
  asm volatile("vpternlogd $255, %%zmm16, %%zmm16, %%zmm16; vpternlogd $255, %%zmm31, %%zmm31, %%zmm31" ::
                   : "xmm16", "xmm31");
#endif
#else
  asm volatile(
      "mov x19, #-7; mov x20, #-7; mov x21, #-7; mov x22, #-7; mov x23, #-7; mov x24, #-7; mov x25, #-7; mov "
      "x26, #-7;"
      "mov x27, #-7; mov x28, #-7; movi v8.16b, #255; movi v9.16b, #255; movi v14.16b, #255; movi v15.16b, "
      "#255" ::
          : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "v8", "v9", "v14", "v15");
#endif
}

inline void spoiler(coroutine& c) {
  for (int i = 0; i < 3; ++i) {
    spoil_registers();
    c.pause();
  }
  spoil_registers();
}

// Integer, floating and long double values that the compiler would like to keep in registers across the switch.
[[gnu::noinline]] inline void values_survive(long seed) {
  coroutine c{&spoiler};
  long a = seed + 1, b = seed + 2, d = seed + 3, e = seed + 4, f = seed + 5, g = seed + 6, h = seed + 7;
  double x = static_cast<double>(seed) * 1.5, y = static_cast<double>(seed) * 2.5,
         z = static_cast<double>(seed) * 3.5;
  float s = static_cast<float>(seed) * 0.25f;
  long double w = static_cast<long double>(seed) / 3;
  for (int i = 0; i < 4; ++i) {
    c.resume();
    a += b, b += d, d += e, e += f, f += g, g += h, h += 1;
    x += 1, y += x, z += y, s += 1, w += 1;
  }
  long a2 = seed + 1, b2 = seed + 2, d2 = seed + 3, e2 = seed + 4, f2 = seed + 5, g2 = seed + 6,
       h2 = seed + 7;
  double x2 = static_cast<double>(seed) * 1.5, y2 = static_cast<double>(seed) * 2.5,
         z2 = static_cast<double>(seed) * 3.5;
  float s2 = static_cast<float>(seed) * 0.25f;
  long double w2 = static_cast<long double>(seed) / 3;
  for (int i = 0; i < 4; ++i) {
    a2 += b2, b2 += d2, d2 += e2, e2 += f2, f2 += g2, g2 += h2, h2 += 1;
    x2 += 1, y2 += x2, z2 += y2, s2 += 1, w2 += 1;
  }
  check(a == a2 && b == b2 && d == d2 && e == e2 && f == f2 && g == g2 && h == h2, "integers survive");
  check(x == x2 && y == y2 && z == z2 && s == s2 && w == w2, "floating values survive");
}

// Vectors of the widest kind that the build has, many enough to fill the register file.
typedef float wide __attribute__((vector_size(64)));
[[gnu::noinline]] inline void vectors_survive(float seed) {
  coroutine c{&spoiler};
  wide v[12];
  for (int i = 0; i < 12; ++i)
    for (int k = 0; k < 16; ++k) v[i][k] = seed + static_cast<float>(i * 16 + k);
  wide v0 = v[0], v1 = v[1], v2 = v[2], v3 = v[3], v4 = v[4], v5 = v[5], v6 = v[6], v7 = v[7], v8 = v[8],
       v9 = v[9];
  for (int i = 0; i < 4; ++i) {
    c.resume();
    v0 += v1, v1 += v2, v2 += v3, v3 += v4, v4 += v5, v5 += v6, v6 += v7, v7 += v8, v8 += v9;
  }
  wide u0 = v[0], u1 = v[1], u2 = v[2], u3 = v[3], u4 = v[4], u5 = v[5], u6 = v[6], u7 = v[7], u8 = v[8],
       u9 = v[9];
  for (int i = 0; i < 4; ++i)
    u0 += u1, u1 += u2, u2 += u3, u3 += u4, u4 += u5, u5 += u6, u6 += u7, u7 += u8, u8 += u9;
  for (int k = 0; k < 16; ++k)
    check(v0[k] == u0[k] && v1[k] == u1[k] && v4[k] == u4[k] && v8[k] == u8[k] && v9[k] == u9[k],
          "vectors survive");
}

// alloca beside an over-aligned local: the compilers address such a frame through the base pointer (rbx, x19).
[[gnu::noinline]] inline void based_frame_survives(std::size_t n) {
  coroutine c{&spoiler};
  alignas(128) volatile char aligned[128];
  auto* dynamic = static_cast<volatile char*>(__builtin_alloca(n));
  aligned[3] = 7;
  dynamic[0] = 9;
  dynamic[n - 1] = 11;
  for (int i = 0; i < 4; ++i) {
    c.resume();
    check(reinterpret_cast<std::uintptr_t>(&aligned[0]) % 128 == 0, "an aligned frame stays");
    check(aligned[3] == 7 && dynamic[0] == 9 && dynamic[n - 1] == 11, "a based frame stays");
  }
}

// A leaf that lives in its red zone, with the switch inlined into it.
[[gnu::noinline]] inline long red_zone_leaf(context& from, context& to, void* message, const long* p) {
  long a = p[0], b = p[1], c = p[2], d = p[3], e = p[4], f = p[5], g = p[6], h = p[7];
  void* m = tern::detail::switch_context(from, to, message);
  return (m == message ? 0 : 1000000) + a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}
inline void red_zone_survives() {
  coroutine c{&spoiler};
  const long p[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int i = 0; i < 4; ++i) {
    c.other_san.before_switch(c.self_san);
    const long sum = red_zone_leaf(c.other, c.self, &c, p);
    c.other_san.after_switch(c.self_san);
    check(sum == 1 + 4 + 9 + 16 + 25 + 36 + 49 + 64, "the red zone survives");
  }
}

// A switch that publishes what it leaves: both stores are seen on the other side, and it comes back as any other does.
inline void expects_publication(coroutine& c) {
  check(c.left == 2 && c.published == 77 && c.other.sp != nullptr, "the left side is saved and published");
  spoil_registers();
}
TERN_SWITCHES inline long leave_publishing(coroutine& c, const long* p) {
  const long a = p[0], b = p[1], d = p[2];
  void* back =
      tern::detail::switch_context_publishing<sizeof(context), 2>(c.other, c.self, &c, &c.published, 77);
  return (back == &c ? 0 : 1000000) + a + 2 * b + 3 * d;
}
inline void publishing_switch() {
  if constexpr (tern::detail::switching_function_inlines) {
    coroutine c{&expects_publication};
    const long p[3] = {1, 2, 3};
    check(leave_publishing(c, p) == 1 + 4 + 9, "values survive a switch that publishes");
  }
}

[[gnu::noinline]] inline double sum_of(int n, ...) {
  std::va_list l;
  va_start(l, n);
  double s = 0;
  for (int i = 0; i < n; ++i) s += va_arg(l, double);
  va_end(l);
  return s;
}

[[gnu::noinline]] inline std::uint64_t deep(coroutine& c, int n, double x) {
  volatile double keep = x;
  std::uint64_t r = n == 0 ? 1 : deep(c, n - 1, x + 1);
  if (n % 16 == 0) c.pause();
  check(keep == x, "a deep frame survives");
  return r + static_cast<std::uint64_t>(keep);
}

inline void work(coroutine& c) {
  // Variadic calls with vector arguments use aligned stores into the frame.
  char text[64];
  std::snprintf(text, sizeof text, "%.3f %d %s %.1f", 1.5, 7, "x", 2.5);
  check(std::string{text} == "1.500 7 x 2.5", "printf of doubles on a fiber stack");
  c.pause();
  check(sum_of(6, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0) == 21.0, "varargs on a fiber stack");
  for (int i = 0; i < 3; ++i) {
    bool caught = false;
    try {
      c.pause();
      throw std::runtime_error{std::string(40, 'a')};
    } catch (const std::exception& e) {
      const std::string what = e.what();
      c.pause();
      caught = what == std::string(40, 'a');
    }
    check(caught, "an exception is caught inside a fiber");
  }
  std::uint64_t expected = 1;
  for (std::uint64_t i = 0; i <= 200; ++i) expected += i;
  check(deep(c, 200, 0) == expected, "a deep chain returns");
}

inline void calls_and_exceptions() {
  coroutine a{&work}, b{&work};
  int n = 0;
  while (!a.ended || !b.ended) {
    if (!a.ended) a.resume();
    if (!b.ended) b.resume();
    // The thread's own exceptions go on meanwhile.
    try {
      throw n;
    } catch (int v) {
      check(v == n, "an exception on the thread between two switches");
    }
    ++n;
  }
  check(n > 20, "the two took turns");
}

// The unwinder reaches the end of a fiber's stack and stops there.
inline int frames_seen = 0;
inline _Unwind_Reason_Code count_frame(_Unwind_Context*, void* n) {
  return ++*static_cast<int*>(n) < 1000 ? _URC_NO_REASON : _URC_END_OF_STACK;
}
[[gnu::noinline]] inline void backtrace_body(coroutine& c) {
  frames_seen = 0;
  const _Unwind_Reason_Code r = _Unwind_Backtrace(&count_frame, &frames_seen);
  check(r == _URC_END_OF_STACK, "the unwinder stops at the end of a fiber's stack");
  c.pause();
}
inline void unwinder_stops() {
  coroutine c{&backtrace_body};
  c.resume();
  c.resume();
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
  check(frames_seen >= 2 && frames_seen < 12, "the unwinder sees a fiber's frames and no more");
#endif
}

// The rounding mode is the thread's, not the context's: documented, so checked.
inline void rounding_body(coroutine& c) {
  std::fesetround(FE_UPWARD);
  c.pause();
  std::fesetround(FE_TONEAREST);
}
inline void rounding_mode_is_the_threads() {
  coroutine c{&rounding_body};
  c.resume();
  check(std::fegetround() == FE_UPWARD, "the switch leaves the rounding mode alone");
  c.resume();
  check(std::fegetround() == FE_TONEAREST, "the switch leaves the rounding mode alone");
}

#if defined(__x86_64__) && !defined(__AVX512F__)
// A function compiled for AVX-512 in a file that is not: the compiler may hold values in zmm16-31 across a switch that cannot
// name them, unless the switch is a call.
[[gnu::target("avx512f")]] inline void spoil_upper() {
  asm volatile(
      "vpternlogd $255, %zmm16, %zmm16, %zmm16; vpternlogd $255, %zmm17, %zmm17, %zmm17;"
      "vpternlogd $255, %zmm30, %zmm30, %zmm30; vpternlogd $255, %zmm31, %zmm31, %zmm31");
}
inline void upper_spoiler(coroutine& c) {
  spoil_upper();
  c.pause();
  spoil_upper();
}
[[gnu::noinline, gnu::target("avx512f")]] inline void target_function_survives(const double* in,
                                                                               double* out) {
  coroutine c{&upper_spoiler};
  double v[24];
  double a0 = in[0], a1 = in[1], a2 = in[2], a3 = in[3], a4 = in[4], a5 = in[5], a6 = in[6], a7 = in[7],
         a8 = in[8], a9 = in[9];
  double b0 = in[10], b1 = in[11], b2 = in[12], b3 = in[13], b4 = in[14], b5 = in[15], b6 = in[16],
         b7 = in[17], b8 = in[18];
  for (int i = 0; i < 2; ++i) {
    c.resume();
    a0 += b0, a1 += b1, a2 += b2, a3 += b3, a4 += b4, a5 += b5, a6 += b6, a7 += b7, a8 += b8, a9 += a0;
    b0 += 1, b1 += 1, b2 += 1, b3 += 1, b4 += 1, b5 += 1, b6 += 1, b7 += 1, b8 += 1;
  }
  const double all[19] = {a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8};
  for (int i = 0; i < 19; ++i) v[i] = all[i], out[i] = v[i];
}
inline void target_attribute() {
  if (!__builtin_cpu_supports("avx512f")) return;
  double in[19], out[19];
  for (int i = 0; i < 19; ++i) in[i] = i * 1.5;
  target_function_survives(in, out);
  for (int i = 0; i < 9; ++i) {
    check(out[i] == in[i] + 2 * in[10 + i] + 1, "values of a target function survive");
    check(out[10 + i] == in[10 + i] + 2, "values of a target function survive");
  }
}
#else
inline void target_attribute() {}
#endif

inline void run_all() {
  check(tern::detail::context_refusal() == nullptr, "nothing forbids switching here");
  values_survive(40);
  vectors_survive(3);
  based_frame_survives(72);
  // Under TSan the switch is a call, so no red zone is at stake; and a leaf that switches on behalf of its caller leaves its shadow call
  // stacks unbalanced (one run in six dies).
  if constexpr (!tern::detail::tsan_build) red_zone_survives();
  publishing_switch();
  calls_and_exceptions();
  unwinder_stops();
  rounding_mode_is_the_threads();
  target_attribute();
}

}  // namespace context_cases

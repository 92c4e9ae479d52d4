#pragma once

// One-word thread-locals whose address no compiler can keep across a fiber switch.
//
// Context     A fiber may be resumed by another worker. Both compilers compute the address of a thread-local once and keep
//             it in a callee-saved register or a spill slot, also across an asm barrier and a noinline call; the resumed
//             fiber would then read the other thread's word.
// Protocol    TERN_TLS_POINTER(name) declares the word and name##_get() / name##_set(): the whole access, address
//             included, is one volatile asm, which is neither merged nor moved across the switch (also volatile asm).
//             Code built for a shared object must not use initial-exec TLS (dlopen has little of it), and goes through a
//             function that cannot be inlined, cloned or deduced to be pure; but for TERN_STATIC_TLS (base/config.hpp).
// Limits      Never take the address of the word. Constant-initialised to null, so there is no TLS wrapper and no constructor.

#include <tern/base/config.hpp>

#if defined(__PIC__) && !defined(__PIE__) && !TERN_STATIC_TLS
#define TERN_TLS_BY_CALL 1
#else
#define TERN_TLS_BY_CALL 0
#endif

#if defined(__clang__)
#define TERN_TLS_NO_ANALYSIS [[gnu::noinline]]
#else
#define TERN_TLS_NO_ANALYSIS [[gnu::noinline, gnu::noipa]]
#endif

#if TERN_TLS_BY_CALL
#define TERN_TLS_GET_BODY(symbol) \
  asm volatile("" ::: "memory");  \
  return symbol
#define TERN_TLS_SET_BODY(symbol) \
  symbol = value;                 \
  asm volatile("" ::: "memory")
#define TERN_TLS_FUNCTION TERN_TLS_NO_ANALYSIS inline
#elif defined(__x86_64__)
#define TERN_TLS_GET_BODY(symbol)         \
  void* result;                           \
  asm volatile("movq " #symbol            \
               "@gottpoff(%%rip), %0\n\t" \
               "movq %%fs:(%0), %0"       \
               : "=r"(result)             \
               :                          \
               : "memory");               \
  return result
#define TERN_TLS_SET_BODY(symbol)         \
  void* scratch;                          \
  asm volatile("movq " #symbol            \
               "@gottpoff(%%rip), %0\n\t" \
               "movq %1, %%fs:(%0)"       \
               : "=&r"(scratch)           \
               : "r"(value)               \
               : "memory")
#define TERN_TLS_FUNCTION TERN_ALWAYS_INLINE
#else
#define TERN_TLS_GET_BODY(symbol)            \
  void* result;                              \
  void* thread;                              \
  asm volatile(                              \
      "mrs %1, tpidr_el0\n\t"                \
      "adrp %0, :gottprel:" #symbol          \
      "\n\t"                                 \
      "ldr %0, [%0, :gottprel_lo12:" #symbol \
      "]\n\t"                                \
      "ldr %0, [%1, %0]"                     \
      : "=&r"(result), "=&r"(thread)         \
      :                                      \
      : "memory");                           \
  return result
#define TERN_TLS_SET_BODY(symbol)            \
  void* scratch;                             \
  void* thread;                              \
  asm volatile(                              \
      "mrs %1, tpidr_el0\n\t"                \
      "adrp %0, :gottprel:" #symbol          \
      "\n\t"                                 \
      "ldr %0, [%0, :gottprel_lo12:" #symbol \
      "]\n\t"                                \
      "str %2, [%1, %0]"                     \
      : "=&r"(scratch), "=&r"(thread)        \
      : "r"(value)                           \
      : "memory")
#define TERN_TLS_FUNCTION TERN_ALWAYS_INLINE
#endif

// At namespace scope, inside tern::detail. The symbol has C linkage so that asm can name it; `used` keeps it in every
// translation unit whose asm refers to it.
#define TERN_TLS_POINTER(name)                                                                       \
  extern "C" {                                                                                       \
  [[gnu::used]] inline constinit thread_local void* tern_v1_tls_##name = nullptr;                    \
  }                                                                                                  \
  TERN_TLS_FUNCTION void* name##_get() noexcept { TERN_TLS_GET_BODY(tern_v1_tls_##name); }           \
  TERN_TLS_FUNCTION void name##_set(void* value) noexcept { TERN_TLS_SET_BODY(tern_v1_tls_##name); } \
  static_assert(sizeof(void*) == 8)

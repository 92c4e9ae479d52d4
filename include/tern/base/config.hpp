#pragma once

// Build configuration: every configuration macro of the library lives here and nowhere else.
//
// Nothing here must be set by a user. The macros that may be set on the command line are
//   TERN_DEBUG_LEVEL  0 off (default with NDEBUG), 1 cheap checks (default without), 2 internal, 3 O(n) checks
//   TERN_PERTURB      1: yield at random at every atomic operation, to widen races in tests
//   TERN_HARDENED     1: the allocator seals, zeroes and delays blocks (alloc/hardened.hpp); the same in the whole program
//   TERN_SIZE_CLASS_STEPS  8 (default) or 4 size classes per doubling (alloc/size_class.hpp); the same in the whole program
//   TERN_KEEP_FP_MODE 1: each fiber has a floating-point mode of its own (arch/fp_mode.hpp); the same in the whole program
//   TERN_CHECK_HELD_LOCKS 1: a fiber that waits or yields while it holds a std::mutex, or initialises a function-local static, ends the
//                     process (os/held_locks.hpp); the same in the whole program
//   TERN_STATIC_TLS   1: for a shared object that is only ever loaded at the start of a program: its thread-locals are in
//                     static TLS, a load each. Without it position-independent code reaches them by a call
//   TERN_GC_WITHOUT_* 1: test-only mutants of the collector, see below

#if !defined(__linux__)
#error "tern runs on Linux only"
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#error "tern runs on x86-64 and ARM64 only"
#endif
#if !defined(__cpp_concepts) || __cplusplus < 202002L
#error "tern needs C++20"
#endif

#if defined(__SANITIZE_ADDRESS__)
#define TERN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TERN_ASAN 1
#endif
#endif
#ifndef TERN_ASAN
#define TERN_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define TERN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TERN_TSAN 1
#endif
#endif
#ifndef TERN_TSAN
#define TERN_TSAN 0
#endif

#ifndef TERN_DEBUG_LEVEL
#ifdef NDEBUG
#define TERN_DEBUG_LEVEL 0
#else
#define TERN_DEBUG_LEVEL 1
#endif
#endif

#ifndef TERN_PERTURB
#define TERN_PERTURB 0
#endif

#ifndef TERN_HARDENED
#define TERN_HARDENED 0
#endif

#ifndef TERN_SIZE_CLASS_STEPS
#define TERN_SIZE_CLASS_STEPS 8
#endif

#ifndef TERN_KEEP_FP_MODE
#define TERN_KEEP_FP_MODE 0
#endif

// The sanitizers have definitions of their own of what it counts by.
#if !defined(TERN_CHECK_HELD_LOCKS) || TERN_ASAN || TERN_TSAN
#undef TERN_CHECK_HELD_LOCKS
#define TERN_CHECK_HELD_LOCKS 0
#endif

#ifndef TERN_STATIC_TLS
#define TERN_STATIC_TLS 0
#endif

// Test only: each leaves out one part that the collector's soundness rests on, so that a test can show that it would be missed.
// Set to 1 before the first include of a whole program; never in a program that wants its objects.
#ifndef TERN_GC_WITHOUT_BARRIER
#define TERN_GC_WITHOUT_BARRIER 0
#endif
#ifndef TERN_GC_WITHOUT_RESCAN
#define TERN_GC_WITHOUT_RESCAN 0
#endif
#ifndef TERN_GC_WITHOUT_TERMINATION_COUNTS
#define TERN_GC_WITHOUT_TERMINATION_COUNTS 0
#endif
#ifndef TERN_GC_WITHOUT_BLACK_ALLOCATION
#define TERN_GC_WITHOUT_BLACK_ALLOCATION 0
#endif
#ifndef TERN_GC_WITHOUT_EXPOSED_FRAMES
#define TERN_GC_WITHOUT_EXPOSED_FRAMES 0
#endif

#define TERN_ALWAYS_INLINE [[gnu::always_inline]] inline
#define TERN_NOINLINE [[gnu::noinline]]
#define TERN_COLD [[gnu::cold, gnu::noinline]]
#define TERN_LIKELY(x) __builtin_expect(static_cast<bool>(x), 1)
#define TERN_UNLIKELY(x) __builtin_expect(static_cast<bool>(x), 0)

// Functions that read memory which the sanitizers rightly believe not to be theirs (conservative stack scans).
#if defined(__clang__)
#define TERN_NO_SANITIZE [[clang::no_sanitize("address", "thread", "undefined", "memory")]]
#else
#define TERN_NO_SANITIZE [[gnu::no_sanitize_address, gnu::no_sanitize_thread, gnu::no_sanitize_undefined]]
#endif

// The spin-wait hint. ARM64: isb stalls for about as long as x86's pause, where yield is a no-op on most cores.
#if defined(__x86_64__)
#define TERN_CPU_PAUSE() __builtin_ia32_pause()
#else
#define TERN_CPU_PAUSE() __asm__ volatile("isb" ::: "memory")
#endif

namespace tern::inline v1::detail {

// Bytes that two cores may contend for. 64 on every x86-64 and on the ARM64 server cores; adjacent-line prefetch makes
// 128 the safer distance for words that different cores write all the time.
inline constexpr unsigned long cache_line_size = 64;
inline constexpr unsigned long contended_line_size = 128;

inline constexpr bool asan_build = TERN_ASAN != 0;
inline constexpr bool tsan_build = TERN_TSAN != 0;

}  // namespace tern::inline v1::detail

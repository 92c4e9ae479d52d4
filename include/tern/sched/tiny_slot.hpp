// Tiny slots: fibers that hold less than an OS page, for those that mostly wait.
//
// Context     thread_attributes::tiny. stack_pool.hpp cuts the slots, spawn.hpp asks for them; here is what one holds and where
//             they are refused.
// Structure   A slot of 2 KiB, aligned to its size; two lie on a page of 4 KiB:
//               slot start                                        slot end
//               | canary | stack ... <- | closure | control block |
//             No colour: a line of it would cost a twenty-eighth of the stack, and fibers that mostly wait are cold anyway.
// Budget      1,792 bytes between canary and control block. The deepest of the library's own ways (spawn, join, wait, wake,
//             switch, exit; a select of two cases with all that it puts on its caller's frame) takes up to `tiny_reserve` of
//             them: 992 on x86-64, 1,136 on ARM64. tests/unit/sched_tiny_test.cpp paints stacks and measures. What is left, 640
//             bytes, is the function's, its closure's (above 128 bytes it goes to the heap) and that of whatever it calls.
//             What does not fit: throwing (3.3 KiB the first time on x86-64, 1.8 KiB later; 6.6 KiB on ARM64), also `cancelled`;
//             printf (2 KiB); gc::make where it has to help a collection; runtime::dump. Making threads would not either, so a
//             worker does that on its own stack: roomy_stack.hpp.
// Refused     1. Where the kernel's signal frame (AT_MINSIGSTKSZ) does not fit beside the reserve, and the program has not
//                promised that its handlers run on the alternate stack (runtime_options::signals_on_alternate_stack). The frame
//                is 4.6 KiB on ARM64, and on x86-64 1.7 KiB (AVX2), 3.5 KiB (AVX-512) or 11 KiB (AMX): without the promise
//                tiny fibers are refused on every machine known to us.
//                What the promise is about: workers block all signals but SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT,
//                SIGPROF and SIGURG, so it is handlers of these, and setuid() and its kin, for which the C library interrupts every
//                thread. The library's own have SA_ONSTACK: faults, SIGQUIT and the collector's, of SIGURG.
//             2. Where the program is bound lazily: the first call of a function would save all vector registers and search
//                symbol tables on the caller's stack. -Wl,-z,now (many distributions' default) or LD_BIND_NOW=1.
// Limits      An overflow is found when the fiber next waits, yields or ends, after it has overwritten its neighbour; a frame
//             that jumps over the canary is not found. From the first tiny fiber on, each switch of the process looks which
//             kind of slot it leaves.
//             With a sanitizer, without optimisation, and with assertions, frames are too large: there a tiny fiber has the
//             smallest slot with a guard; what is refused is the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tern/base/config.hpp>
#include <tern/sched/fiber.hpp>

namespace tern::inline v1::detail {

#if defined(__OPTIMIZE__)
inline constexpr bool tiny_slots_fit = !asan_build && !tsan_build && TERN_DEBUG_LEVEL == 0;
#else
inline constexpr bool tiny_slots_fit = false;
#endif

inline constexpr unsigned tiny_shift = 11;
inline constexpr std::size_t tiny_slot_bytes = std::size_t{1} << tiny_shift;
inline constexpr std::size_t canary_bytes = cache_line_size;
inline constexpr std::size_t tiny_stack_bytes = tiny_slot_bytes - canary_bytes - sizeof(fiber);
inline constexpr std::size_t tiny_reserve = 1152;
inline constexpr std::size_t tiny_closure_bytes = 128;

// `stack_size` of a spawn that asks for a tiny slot.
inline constexpr std::size_t tiny_request = SIZE_MAX;

// Whether a slot holds a signal frame of so many bytes, and a small handler, where a fiber is deepest inside the library. 0: the
// kernel does not tell.
constexpr bool tiny_slot_holds_signal(std::size_t frame_bytes) noexcept {
  constexpr std::size_t handler = 256;
  return frame_bytes != 0 && frame_bytes + handler + tiny_reserve <= tiny_stack_bytes;
}

}  // namespace tern::inline v1::detail

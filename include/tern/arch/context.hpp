#pragma once

// Context switch: saves the running computation and continues another one on its own stack.
//
// Context     Called by the scheduler at each park, yield and exit, by nothing else. The two processor-specific files hold
//             `context`, the switch itself and the first entry; this one chooses how the switch is called.
// Structure   A context is four words: sp, pc, fp and base. All other registers are listed as clobbered, so the compiler
//             saves exactly those that are live at the call, in its own frame. fp and base (rbp, rbx; x29, x19) cannot be
//             listed, since a compiler may address its frame through them: they are saved by hand.
// Protocol    1. `switch_context(from, to, message)` stores the running state to `from` and continues `to`.
//             2. There the pending switch_context returns `message`, or the entry of a new context receives it.
//             3. `from` may be continued, by any thread, only after the incoming side knows that it was saved: the
//                incoming side is what publishes `from` (finish_switch of the scheduler).
// Invariants  I1 The switch writes nothing to either stack, so a red zone in use by the caller stays as it was. A
//                conservative scan therefore begins at sp - red_zone_size.
//             I2 sp at the entry of a new context is aligned to 16 before the call, as the ABIs ask.
// Rejected    ucontext (a system call per switch for the signal mask); a saved register area on the stack (costs the pushes
//             even where nothing is live, and would lie in the caller's red zone when inlined).
// Limits      Not preserved, and so owned by the worker thread: MXCSR, x87 control word, FPCR (but for TERN_KEEP_FP_MODE), FPSR, AMX
//             tiles, SME ZA, signal mask, errno. A fiber that changes the rounding mode restores it before it parks. Shadow stacks
//             (x86 SHSTK, ARM GCS) tie returns to one stack: `context_refusal()` names them when they are switched on.
//             Exceptions must not leave the entry function.

#include <tern/arch/cpu.hpp>
#include <tern/arch/fp_mode.hpp>
#include <tern/base/bits.hpp>
#include <tern/base/config.hpp>

#if defined(__has_feature)
#if __has_feature(safe_stack)
#error "tern cannot switch stacks under SafeStack: build without -fsanitize=safe-stack"
#endif
#if __has_feature(shadow_call_stack)
#error "tern cannot switch stacks under ShadowCallStack: build without -fsanitize=shadow-call-stack"
#endif
#endif

#if defined(__x86_64__)
#include <tern/arch/context_x86_64.hpp>
#else
#include <tern/arch/context_aarch64.hpp>
#endif

namespace tern::inline v1::detail {

// True where the switch may be inlined into any function. Else it must be a call: at -O0 and under a sanitizer no register is
// left for the operands, and GCC can name the registers of a vector extension only where the whole file is compiled for it,
// whereas a single function with a target attribute may hold values in them.
inline constexpr bool context_switch_inlines = context_clobbers_complete && !asan_build && !tsan_build &&
#if defined(__OPTIMIZE__)
                                               true;
#else
                                               false;
#endif

// The switch as a call: everything that the ABI lets a callee destroy is dead here. noipa: GCC must not look inside to find that
// a register that we cannot name is "not used".
#if defined(__clang__)
[[gnu::noinline, clang::disable_sanitizer_instrumentation]]
#else
[[gnu::noipa, gnu::no_sanitize_address, gnu::no_sanitize_thread, gnu::no_sanitize_undefined]]
#endif
inline void* switch_context_call(context& from, context& to, void* message) noexcept {
  return switch_context_body(from, to, message);
}

// A function that switches, and so may end on another thread. Its callers see none of its inside, and by the ABI keep nothing in the registers
// that a switch destroys, named in the asm or not; in itself the compiler holds values only in registers that the file is compiled for. So the
// switch is inlined into it also where it cannot be inlined everywhere.
#if defined(__clang__)
#define TERN_SWITCHES [[gnu::noinline]]
#else
#define TERN_SWITCHES [[gnu::noinline, gnu::noipa]]
#endif
#if defined(__OPTIMIZE__) && !defined(__APX_F__)
inline constexpr bool switching_function_inlines = !asan_build && !tsan_build;
#else
inline constexpr bool switching_function_inlines = false;
#endif

// As switch_context(). Requires: the caller is TERN_SWITCHES and has no target attribute, or is inlined into such a function.
TERN_ALWAYS_INLINE void* switch_context_here(context& from, context& to, void* message) noexcept {
  const kept_fp_mode mode;
  if constexpr (switching_function_inlines) {
    message = switch_context_body(from, to, message);
  } else {
    message = switch_context_call(from, to, message);
  }
  mode.restore();
  return message;
}

// As switch_context_here(), and the last two things that are done for `from`, once it is saved, are stores: of `Saved` to the 32-bit word
// `Offset` bytes behind it, then, with release, of `value` to the 32-bit word at `word`. That may be what lets another thread continue `from`.
// Requires: as switch_context_here(), and switching_function_inlines: nothing of the stack may be touched after the stores.
template <std::size_t Offset, std::uint32_t Saved>
TERN_ALWAYS_INLINE void* switch_context_publishing(context& from, context& to, void* message, void* word,
                                                   std::uint32_t value) noexcept {
  if constexpr (switching_function_inlines) {
    const kept_fp_mode mode;
    message = switch_context_publishing_body<Offset, Saved>(from, to, message, word, value);
    mode.restore();
    return message;
  } else {
    __builtin_unreachable();
  }
}

// Saves the running computation to `from` and continues `to`. Returns the message of whoever continues `from` again.
// Requires: `to` was saved by a completed switch or made by make_context, and is continued by nobody else.
TERN_ALWAYS_INLINE void* switch_context(context& from, context& to, void* message) noexcept {
  const kept_fp_mode mode;
  if constexpr (context_switch_inlines) {
    message = switch_context_body(from, to, message);
  } else {
    message = switch_context_call(from, to, message);
  }
  mode.restore();
  return message;
}

}  // namespace tern::inline v1::detail

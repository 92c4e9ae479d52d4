// Unwinding of a suspended computation: the return addresses on the stack of a context that does not run.
//
// Context     For dumps. The unwinder is the C++ runtime's own, which every program with exceptions has, so frame pointers are not needed.
// Protocol    The unwinder begins at its caller and asks the call frame information how that one was called. Here the answer is written by
//             hand: around the call it says that the caller's registers are the four words of the context, whatever this stack
//             holds. The frame above this one is thus the suspended one, and the rest follows by itself to the fiber's entry, whose
//             return address is undefined.
// Rejected    Walking frame pointers (rbp is a general register at -O2). Switching to the stack to let it unwind itself (writes under its
//             sp, and needs the right to run it).
// Limits      Callee-saved registers other than fp and base are not known: no compiler computes a frame's address from them. Nothing is found
//             where the code was compiled without call frame information.
#pragma once

#include <unwind.h>

#include <cstddef>
#include <cstdint>

#include <tern/arch/context.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// Where the addresses go. `skip` frames are left out first.
struct unwind_sink {
  void** out = nullptr;
  std::size_t capacity = 0;
  std::size_t count = 0;
  std::size_t skip = 0;
};

inline _Unwind_Reason_Code unwind_step(_Unwind_Context* frame, void* argument) noexcept {
  auto& sink = *static_cast<unwind_sink*>(argument);
  if (sink.skip != 0) {
    --sink.skip;
    return _URC_NO_REASON;
  }
  const auto pc = static_cast<std::uintptr_t>(_Unwind_GetIP(frame));
  if (pc == 0 || sink.count == sink.capacity) return _URC_END_OF_STACK;
  sink.out[sink.count++] = reinterpret_cast<void*>(pc);
  return _URC_NO_REASON;
}

// The return addresses of `from`, innermost first, at most `capacity`; how many. Requires: `from` was saved by a switch, and nobody
// continues it meanwhile.
#if defined(__clang__)
[[gnu::noinline]]
#else
[[gnu::noinline, gnu::noipa]]  // the callee destroys registers that the asm does not name
#endif
inline std::size_t unwind_saved(const context& from, void** out, std::size_t capacity) noexcept {
  unwind_sink sink{out, capacity, 0, 1};  // 1: this function
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
#if defined(__x86_64__)
  register const context* at asm("r12") = &from;
  void* step = reinterpret_cast<void*>(&unwind_step);
  void* argument = &sink;
  void* walk = reinterpret_cast<void*>(&_Unwind_Backtrace);
  // cfi_escape: DW_CFA_def_cfa_expression {breg12 0, deref}, then DW_CFA_expression {breg12 n} for rip, rbp and rbx. The caller's rsp is the
  // frame address by definition.
  asm volatile(
      "movq %%rsp, %%r13\n\t"
      "subq $128, %%rsp\n\t"  // the red zone of this function
      "andq $-16, %%rsp\n\t"
      ".cfi_remember_state\n\t"
      ".cfi_escape 0x0f, 3, 0x7c, 0, 0x06\n\t"
      ".cfi_escape 0x10, 16, 2, 0x7c, 8\n\t"
      ".cfi_escape 0x10, 6, 2, 0x7c, 16\n\t"
      ".cfi_escape 0x10, 3, 2, 0x7c, 24\n\t"
      ".cfi_same_value r12\n\t"
      ".cfi_same_value r13\n\t"
      ".cfi_same_value r14\n\t"
      ".cfi_same_value r15\n\t"
      "callq *%[walk]\n\t"
      ".cfi_restore_state\n\t"
      "movq %%r13, %%rsp"
      : "+D"(step), "+S"(argument), [walk] "+a"(walk)
      : "r"(at)
      : "rcx", "rdx", "r8", "r9", "r10", "r11", "r13", "memory", "cc",                   //
        "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",             //
        "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",  //
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#else
  register const context* at asm("x20") = &from;
  register void* step asm("x0") = reinterpret_cast<void*>(&unwind_step);
  register void* argument asm("x1") = &sink;
  register void* walk asm("x16") = reinterpret_cast<void*>(&_Unwind_Backtrace);
  // As above with breg20, for x30, x29 and x19. Register 34 is the state of the return address's signature: the saved pc has none.
  asm volatile(
      ".cfi_remember_state\n\t"
      ".cfi_escape 0x0f, 3, 0x84, 0, 0x06\n\t"
      ".cfi_escape 0x10, 30, 2, 0x84, 8\n\t"
      ".cfi_escape 0x10, 29, 2, 0x84, 16\n\t"
      ".cfi_escape 0x10, 19, 2, 0x84, 24\n\t"
      ".cfi_same_value x20\n\t"
      ".cfi_same_value x21\n\t"
      ".cfi_same_value x22\n\t"
      ".cfi_same_value x23\n\t"
      ".cfi_same_value x24\n\t"
      ".cfi_same_value x25\n\t"
      ".cfi_same_value x26\n\t"
      ".cfi_same_value x27\n\t"
      ".cfi_same_value x28\n\t"
      "blr %[walk]\n\t"
      ".cfi_restore_state"
      : "+r"(step), "+r"(argument), [walk] "+r"(walk)
      : "r"(at)
      : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x17",
        "x18", "x30", "memory", "cc",  //
        "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15",  //
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",
        "v30", "v31");
#endif
#else
  static_cast<void>(from);
#endif
  return sink.count;
}

// The same for the running computation: its caller comes first.
TERN_NOINLINE inline std::size_t unwind_here(void** out, std::size_t capacity) noexcept {
  unwind_sink sink{out, capacity, 0, 1};
  _Unwind_Backtrace(&unwind_step, &sink);
  return sink.count;
}

}  // namespace tern::inline v1::detail

#pragma once

// The context switch on ARM64 (AAPCS64). See context.hpp for the contract; this file is included through it.
//
// References  Procedure Call Standard for the Arm 64-bit Architecture, 6.1.1 and 6.1.2; there is no red zone.

#include <cstddef>
#include <cstdint>

#include <tern/base/bits.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// A suspended computation. Written by the switch that leaves it, read by the switch that continues it.
struct context {
  void* sp = nullptr;
  void* pc = nullptr;
  void* fp = nullptr;    // x29
  void* base = nullptr;  // x19: the compilers' base pointer, so it cannot be listed as clobbered
};
static_assert(offsetof(context, sp) == 0 && offsetof(context, pc) == 8 && offsetof(context, fp) == 16 &&
                  offsetof(context, base) == 24 && sizeof(context) == 32,
              "the assembly below uses these offsets");

// The v registers stand for the z registers too. The first-fault register has a name under GCC only, and only compiled code for
// SVE keeps anything in it, never across a volatile asm.
#if defined(__clang__) || defined(__ARM_FEATURE_SVE)
inline constexpr bool context_clobbers_complete = true;
#else
inline constexpr bool context_clobbers_complete = false;
#endif

// The asm statement proper: use switch_context(). hint #36 is `bti j`, a nop for processors without it.
TERN_ALWAYS_INLINE void* switch_context_body(context& from, context& to, void* message) noexcept {
  register void* carried asm("x0") = message;
  register context* save asm("x1") = &from;
  register context* load asm("x2") = &to;
  asm volatile(
      "adr x3, 1f\n\t"
      "mov x4, sp\n\t"
      "stp x4, x3, [x1]\n\t"
      "stp x29, x19, [x1, #16]\n\t"
      "ldp x4, x3, [x2]\n\t"
      "ldp x29, x19, [x2, #16]\n\t"
      "mov sp, x4\n\t"
      "br x3\n"
      "1:\n\t"
      "hint #36\n\t"
      : "+r"(carried), "+r"(save), "+r"(load)
      :
      : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
        "x18",                                                                                 //
        "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "memory", "cc",  //
        "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15",  //
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",
        "v30", "v31",  //
        "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12", "p13", "p14", "p15");
  return carried;
}

// The asm statement proper of switch_context_publishing().
template <std::size_t Offset, std::uint32_t Saved>
TERN_ALWAYS_INLINE void* switch_context_publishing_body(context& from, context& to, void* message, void* word,
                                                        std::uint32_t value) noexcept {
  register void* carried asm("x0") = message;
  register context* save asm("x1") = &from;
  register context* load asm("x2") = &to;
  register void* published asm("x5") = word;
  register std::uint32_t published_value asm("x6") = value;
  asm volatile(
      "adr x3, 1f\n\t"
      "mov x4, sp\n\t"
      "stp x4, x3, [x1]\n\t"
      "stp x29, x19, [x1, #16]\n\t"
      "mov w3, %[saved]\n\t"
      "str w3, [x1, %[offset]]\n\t"
      "stlr w6, [x5]\n\t"
      "ldp x4, x3, [x2]\n\t"
      "ldp x29, x19, [x2, #16]\n\t"
      "mov sp, x4\n\t"
      "br x3\n"
      "1:\n\t"
      "hint #36\n\t"
      : "+r"(carried), "+r"(save), "+r"(load), "+r"(published), "+r"(published_value)
      : [offset] "i"(Offset), [saved] "i"(Saved)
      : "x3", "x4", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
        "x18",                                                                                 //
        "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "memory", "cc",  //
        "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15",  //
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",
        "v30", "v31",  //
        "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12", "p13", "p14", "p15");
  return carried;
}

// Continues `to` and forgets the running computation: for a fiber that has ended.
[[noreturn]] TERN_ALWAYS_INLINE void jump_context(context& to, void* message) noexcept {
  register void* carried asm("x0") = message;
  register context* load asm("x2") = &to;
  asm volatile(
      "ldp x4, x3, [x2]\n\t"
      "ldp x29, x19, [x2, #16]\n\t"
      "mov sp, x4\n\t"
      "br x3"
      :
      : "r"(carried), "r"(load)
      : "x3", "x4", "memory");
  __builtin_unreachable();
}

// Prepares `c` so that the first switch to it calls entry(message) on the stack that ends at `stack_top`. `entry` never returns.
// The return address of the entry is marked undefined, where unwinders and debuggers stop; x29 is null for frame-pointer walkers.
// Writes nothing to the stack.
TERN_ALWAYS_INLINE void make_context(context& c, void* stack_top, void (*entry)(void* message)) noexcept {
  void* start;
  asm("adr %0, 1f\n\t"
      "b 2f\n"
      "1:\n\t"
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
      ".cfi_remember_state\n\t"
      ".cfi_def_cfa sp, 0\n\t"  // the surrounding function's may load from its frame, which does not exist here
      ".cfi_undefined x30\n\t"
      ".cfi_undefined x29\n\t"
      ".cfi_undefined x19\n\t"
#endif
      "hint #36\n\t"
      "mov x29, xzr\n\t"
      "blr x19\n\t"
      "brk #1\n\t"
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
      ".cfi_restore_state\n"
#endif
      "2:"
      : "=r"(start));
  c.sp = reinterpret_cast<void*>(round_down(to_word(stack_top), 16));
  c.pc = start;
  c.fp = nullptr;
  c.base = reinterpret_cast<void*>(entry);
}

// Why contexts cannot be switched in this process as it runs now; null if they can.
inline const char* context_refusal() noexcept {
  register std::uint64_t feature asm("x16") = 1;
  asm volatile(
      "hint #40"
      : "+r"(feature));  // chkfeat x16: clears bit 0 where the guarded control stack is on, else a nop
  return feature != 0
             ? nullptr
             : "the ARM guarded control stack is on: run with GLIBC_TUNABLES=glibc.cpu.aarch64_gcs=0";
}

}  // namespace tern::inline v1::detail

#pragma once

// The context switch on x86-64 (System V ABI). See context.hpp for the contract; this file is included through it.
//
// References  System V ABI, AMD64 supplement, 3.2.1 registers and 3.2.2 the red zone.

#include <cstddef>
#include <cstdint>

#include <tern/base/bits.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// A suspended computation. Written by the switch that leaves it, read by the switch that continues it.
struct context {
  void* sp = nullptr;
  void* pc = nullptr;
  void* fp = nullptr;  // rbp
  void* base =
      nullptr;  // rbx: clang's base pointer in realigned frames with alloca, so it cannot be listed as clobbered
};
static_assert(offsetof(context, sp) == 0 && offsetof(context, pc) == 8 && offsetof(context, fp) == 16 &&
                  offsetof(context, base) == 24 && sizeof(context) == 32,
              "the assembly below uses these offsets");

// clang accepts the AVX-512 registers always; GCC only when the file is compiled for them. APX registers have no names yet.
#if (defined(__clang__) || defined(__AVX512F__)) && !defined(__APX_F__)
inline constexpr bool context_clobbers_complete = true;
#else
inline constexpr bool context_clobbers_complete = false;
#endif

// The asm statement proper: use switch_context().
TERN_ALWAYS_INLINE void* switch_context_body(context& from, context& to, void* message) noexcept {
  context* save = &from;
  context* load = &to;
  asm volatile(
      "leaq 1f(%%rip), %%rax\n\t"
      "movq %%rsp, 0(%[save])\n\t"
      "movq %%rax, 8(%[save])\n\t"
      "movq %%rbp, 16(%[save])\n\t"
      "movq %%rbx, 24(%[save])\n\t"
      "movq 8(%[load]), %%rax\n\t"
      "movq 16(%[load]), %%rbp\n\t"
      "movq 24(%[load]), %%rbx\n\t"
      "movq 0(%[load]), %%rsp\n\t"
      "jmpq *%%rax\n"
      "1:\n\t"
#if defined(__CET__) && (__CET__ & 1)
      "endbr64\n\t"
#endif
      : [save] "+d"(save), [load] "+S"(load), "+D"(message)
      :
      : "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",  //
        "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",                 //
        "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", "mm7",                              //
        "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",                      //
        "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#if defined(__clang__) || defined(__AVX512F__)
        ,
        "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",  //
        "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",  //
        "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#endif
  );
  return message;
}

// The asm statement proper of switch_context_publishing(). Stores are seen in order here.
template <std::size_t Offset, std::uint32_t Saved>
TERN_ALWAYS_INLINE void* switch_context_publishing_body(context& from, context& to, void* message, void* word,
                                                        std::uint32_t value) noexcept {
  context* save = &from;
  context* load = &to;
  asm volatile(
      "leaq 1f(%%rip), %%r8\n\t"
      "movq %%rsp, 0(%[save])\n\t"
      "movq %%r8, 8(%[save])\n\t"
      "movq %%rbp, 16(%[save])\n\t"
      "movq %%rbx, 24(%[save])\n\t"
      "movl %[saved], %c[offset](%[save])\n\t"
      "movl %k[value], (%[word])\n\t"
      "movq 8(%[load]), %%r8\n\t"
      "movq 16(%[load]), %%rbp\n\t"
      "movq 24(%[load]), %%rbx\n\t"
      "movq 0(%[load]), %%rsp\n\t"
      "jmpq *%%r8\n"
      "1:\n\t"
#if defined(__CET__) && (__CET__ & 1)
      "endbr64\n\t"
#endif
      : [save] "+d"(save), [load] "+S"(load), "+D"(message), [word] "+c"(word), [value] "+a"(value)
      : [offset] "i"(Offset), [saved] "i"(Saved)
      : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",  //
        "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",   //
        "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", "mm7",                //
        "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",        //
        "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#if defined(__clang__) || defined(__AVX512F__)
        ,
        "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",  //
        "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",  //
        "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#endif
  );
  return message;
}

// Continues `to` and forgets the running computation: for a fiber that has ended.
[[noreturn]] TERN_ALWAYS_INLINE void jump_context(context& to, void* message) noexcept {
  context* load = &to;
  asm volatile(
      "movq 8(%[load]), %%rax\n\t"
      "movq 16(%[load]), %%rbp\n\t"
      "movq 24(%[load]), %%rbx\n\t"
      "movq 0(%[load]), %%rsp\n\t"
      "jmpq *%%rax"
      :
      : [load] "S"(load), "D"(message)
      : "rax", "memory");
  __builtin_unreachable();
}

// Prepares `c` so that the first switch to it calls entry(message) on the stack that ends at `stack_top`. `entry` never returns.
// The return address of the entry is marked undefined, where unwinders and debuggers stop; rbp is null for frame-pointer walkers.
// Writes nothing to the stack.
TERN_ALWAYS_INLINE void make_context(context& c, void* stack_top, void (*entry)(void* message)) noexcept {
  void* start;
  asm("leaq 1f(%%rip), %0\n\t"
      "jmp 2f\n"
      "1:\n\t"
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
      ".cfi_remember_state\n\t"
      ".cfi_def_cfa rsp, 16\n\t"  // the surrounding function's may load from its frame, which does not exist here
      ".cfi_undefined rip\n\t"
      ".cfi_undefined rbp\n\t"
      ".cfi_undefined rbx\n\t"
#endif
#if defined(__CET__) && (__CET__ & 1)
      "endbr64\n\t"
#endif
      "xorl %%ebp, %%ebp\n\t"
      "callq *%%rbx\n\t"
      "ud2\n\t"
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

// Why contexts cannot be switched in this process as it runs now; null if they can. A library built for shadow stacks runs well
// as long as the kernel did not switch them on for the thread, so this is a question for run time.
inline const char* context_refusal() noexcept {
  std::uint64_t shadow = 0;
  asm volatile("rdsspq %0" : "+r"(shadow));  // a nop that leaves 0 where shadow stacks are off
  return shadow == 0 ? nullptr : "x86 shadow stacks are on: run with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off";
}

}  // namespace tern::inline v1::detail

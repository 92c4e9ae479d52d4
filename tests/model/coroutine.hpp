// Coroutine: a stack of its own and a switch in user space, so that the checker changes threads in a few nanoseconds.
//
// Kept apart from arch/context on purpose: the checker must not stand on code that it may be asked to check.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <tern/base/config.hpp>

#if TERN_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if TERN_TSAN
#include <sanitizer/tsan_interface.h>
#endif

// void tern_model_switch(void** save_sp, void* load_sp): pushes the callee-saved registers, exchanges stacks, pops.
extern "C" void tern_model_switch(void** save_sp, void* load_sp);

#if defined(__x86_64__)
asm(R"(
.text
.weak tern_model_switch
.type tern_model_switch, @function
tern_model_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tern_model_switch, . - tern_model_switch
)");
#else
asm(R"(
.text
.weak tern_model_switch
.type tern_model_switch, %function
tern_model_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size tern_model_switch, . - tern_model_switch
)");
#endif

namespace tern_model {

/// A context that can be switched to. A default-constructed one stands for the stack that is running.
class coroutine {
 public:
  coroutine() noexcept = default;
  coroutine(const coroutine&) = delete;
  coroutine& operator=(const coroutine&) = delete;

  ~coroutine() {
    if (stack_ == nullptr) return;
#if TERN_TSAN
    if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
#endif
    ::munmap(stack_, stack_bytes);
  }

  /// (Re)starts at `entry`, which must never return. What ran here before is abandoned, its destructors do not run.
  void start(void (*entry)()) {
    if (stack_ == nullptr) {
      void* p = ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (p == MAP_FAILED) std::abort();
      stack_ = static_cast<char*>(p);
    }
#if TERN_ASAN
    ASAN_UNPOISON_MEMORY_REGION(stack_, stack_bytes);
    fake_stack_ = nullptr;
    bottom_ = stack_;
    size_ = stack_bytes;
#endif
#if TERN_TSAN
    if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
    tsan_fiber_ = __tsan_create_fiber(0);
#endif
    entry_ = entry;
    auto* top = reinterpret_cast<std::uintptr_t*>(stack_ + stack_bytes);
#if defined(__x86_64__)
    *--top =
        0;  // the return address of the entry, and its alignment: sp mod 16 is 8 at a function's first instruction
    *--top = 0;
    top[0] = reinterpret_cast<std::uintptr_t>(&coroutine::enter);
    top -= 6;
    for (int i = 0; i < 6; ++i) top[i] = 0;
#else
    top -= 20;
    for (int i = 0; i < 20; ++i) top[i] = 0;
    top[11] = reinterpret_cast<std::uintptr_t>(&coroutine::enter);  // x30
#endif
    sp_ = top;
  }

  /// Suspends `from` (the running context) and resumes `to`.
  static void switch_to(coroutine& from, coroutine& to) noexcept {
#if TERN_TSAN
    if (from.tsan_fiber_ == nullptr) from.tsan_fiber_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
    arriving_ = &to;
    leaving_ = &from;
#if TERN_ASAN
    __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
    tern_model_switch(&from.sp_, to.sp_);
    arrive();
  }

 private:
  static constexpr std::size_t stack_bytes = 256 * 1024;

  static void arrive() noexcept {
#if TERN_ASAN
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(arriving_->fake_stack_, &bottom, &size);
    // The bounds of the stack that was left: the only way to learn those of the process's own stack.
    leaving_->bottom_ = bottom;
    leaving_->size_ = size;
#endif
  }

  static void enter() {
    arrive();
    arriving_->entry_();
    std::abort();
  }

  void* sp_ = nullptr;
  char* stack_ = nullptr;
  void (*entry_)() = nullptr;
#if TERN_ASAN
  void* fake_stack_ = nullptr;
  const void* bottom_ = nullptr;
  std::size_t size_ = 0;
#endif
#if TERN_TSAN
  void* tsan_fiber_ = nullptr;
#endif
  static inline coroutine* arriving_ = nullptr;
  static inline coroutine* leaving_ = nullptr;
};

}  // namespace tern_model

// Interruption: what a signal handler is told of the computation that it has interrupted.
//
// Limits      The context is the kernel's word as of the interruption. A sanitizer may call the handler later, elsewhere, with the same one.
#pragma once

#include <ucontext.h>

#include <cstdint>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// Where its stack pointer stood. `context`: the third argument of a handler with SA_SIGINFO.
inline std::uintptr_t interrupted_sp(const void* context) noexcept {
  const mcontext_t& m = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return static_cast<std::uintptr_t>(m.gregs[REG_RSP]);
#else
  return static_cast<std::uintptr_t>(m.sp);
#endif
}

// One past the last byte of the alternate signal stack, if the handler, which stands at `sp`, runs on it; else 0. All registers of the interrupted
// computation, vectors included, lie between the two then.
inline std::uintptr_t alternate_stack_end(const void* context, std::uintptr_t sp) noexcept {
  const stack_t& s = static_cast<const ucontext_t*>(context)->uc_stack;
  const auto low = reinterpret_cast<std::uintptr_t>(s.ss_sp);
  return sp - low < s.ss_size ? low + s.ss_size : 0;
}

}  // namespace tern::inline v1::detail

#pragma once

// What ASan and TSan must be told about a switch of stacks; empty in other builds.
//
// Context     One `sanitizer_fiber` beside each context that the scheduler switches: every fiber's and every worker's own.
// Protocol    1. A fiber: `create(stack_limit, bytes)` before its first switch, `destroy()` after its last one, from another
//                stack. A worker's own stack: `adopt_thread()` on it, once, before the first switch.
//             2. `self.before_switch(next)`, or `self.before_exit(next)` if self never runs again, directly before the switch.
//             3. `self.after_switch(previous)` first thing on the incoming side, with the fiber that was left.
// Limits      ASan learns the bounds of a thread's own stack at the first switch away from it, in after_switch. Between 2 and 3
//             no instrumented code may run except the switch.

#include <cstddef>

#include <tern/base/config.hpp>

#if TERN_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if TERN_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace tern::inline v1::detail {

struct sanitizer_fiber {
#if TERN_ASAN
  void* fake_stack = nullptr;   // of the suspended computation
  const void* limit = nullptr;  // lowest address of the stack; null: not known yet
  std::size_t bytes = 0;
#endif
#if TERN_TSAN
  void* state = nullptr;
#endif

  void create([[maybe_unused]] const void* stack_limit, [[maybe_unused]] std::size_t stack_bytes) noexcept {
#if TERN_ASAN
    fake_stack = nullptr;
    limit = stack_limit;
    bytes = stack_bytes;
#endif
#if TERN_TSAN
    state = __tsan_create_fiber(0);
#endif
  }

  void adopt_thread() noexcept {
#if TERN_TSAN
    state = __tsan_get_current_fiber();
#endif
  }

  // Requires: not the running one.
  void destroy() noexcept {
#if TERN_TSAN
    if (state != nullptr) __tsan_destroy_fiber(state);
    state = nullptr;
#endif
  }

  TERN_ALWAYS_INLINE void before_switch([[maybe_unused]] sanitizer_fiber& next) noexcept {
#if TERN_ASAN
    __sanitizer_start_switch_fiber(&fake_stack, next.limit, next.bytes);
#endif
#if TERN_TSAN
    __tsan_switch_to_fiber(next.state, 0);
#endif
  }

  TERN_ALWAYS_INLINE void before_exit([[maybe_unused]] sanitizer_fiber& next) noexcept {
#if TERN_ASAN
    __sanitizer_start_switch_fiber(nullptr, next.limit, next.bytes);  // null: frees this fiber's fake stack
#endif
#if TERN_TSAN
    __tsan_switch_to_fiber(next.state, 0);
#endif
  }

  TERN_ALWAYS_INLINE void after_switch([[maybe_unused]] sanitizer_fiber& previous) noexcept {
#if TERN_ASAN
    const void* left_limit = nullptr;
    std::size_t left_bytes = 0;
    __sanitizer_finish_switch_fiber(fake_stack, &left_limit, &left_bytes);
    if (previous.limit == nullptr) {
      previous.limit = left_limit;
      previous.bytes = left_bytes;
    }
#endif
  }
};

}  // namespace tern::inline v1::detail

// Roomy stack: calls of the library that do not fit a tiny slot, on the worker's own stack.
//
// Context     Making a thread, batches of slots. Everywhere else than in a tiny fiber it is a plain call.
// Structure   While a fiber runs, the worker's own stack is suspended in own_context and free below its stack pointer and red
//             zone.
// Protocol    A context of its own at that place, switched to and back: the fiber stays the running one, nobody else is told.
// Invariants  I1 the function does not park, poll a safepoint or throw: whoever looks at the running fiber's stack would look
//                at the wrong one.
//             I2 calls do not nest: what runs there (making a worker, batches of slots) does not ask for it again.
// Limits      A debugger's backtrace of such a call ends at run_roomy_call.
#pragma once

#include <memory>
#include <type_traits>

#include <tern/arch/context.hpp>
#include <tern/base/config.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/stack_pool.hpp>

namespace tern::inline v1::detail {

struct roomy_call {
  context back;
  context there;
  void (*function)(void*) noexcept;
  void* argument;
};

inline void run_roomy_call(void* message) {
  auto& c = *static_cast<roomy_call*>(message);
  c.function(c.argument);
  jump_context(c.back, nullptr);
}

TERN_SWITCHES inline void call_on_stack(void* stack_top, void (*function)(void*) noexcept,
                                        void* argument) noexcept {
  roomy_call c{{}, {}, function, argument};
  make_context(c.there, stack_top, &run_roomy_call);
  static_cast<void>(switch_context_here(c.back, c.there, &c));
}

// Not inlined: its frame would be the caller's.
template <class F>
TERN_NOINLINE void call_roomy_function(void* f) noexcept {
  (*static_cast<F*>(f))();
}

template <class F>
void on_roomy_stack(F&& f) noexcept {
  using function = std::remove_reference_t<F>;
  const fiber* self = current_fiber();
  if (self == nullptr || !stack_pool::is_tiny(self)) return call_roomy_function<function>(std::addressof(f));
  constexpr std::uintptr_t red_zone = 128;
  void* const top = reinterpret_cast<void*>(to_word(current_worker()->own_context.sp) - red_zone);
  call_on_stack(top, &call_roomy_function<function>, std::addressof(f));
}

}  // namespace tern::inline v1::detail

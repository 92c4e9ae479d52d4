#pragma once

// Whether Valgrind runs the program, and whether it checks its memory. Memcheck takes a move of sp by less than 2 MB for a push or a
// pop, so stacks lie farther apart there (stack_pool.hpp); else it would forget what is on those between the two, or believe in
// what is not.
//
// Protocol    A client request: instructions that together do nothing on a CPU, and that Valgrind finds in the code which it
//             translates. The numbers are its stable interface (valgrind.h, memcheck.h), so no header of it is needed.
// Rejected    To register each stack with it: which one is current it keeps for the process, not for each thread, and misses
//             pushes when threads take turns.

#include <cstddef>
#include <cstdint>

#include <tern/base/bits.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// The answer to a request, 0 on a bare CPU. A handful of instructions.
TERN_ALWAYS_INLINE std::uintptr_t valgrind_request(std::uintptr_t number, std::uintptr_t a = 0,
                                                   std::uintptr_t b = 0, std::uintptr_t c = 0) noexcept {
  const volatile std::uintptr_t words[6] = {number, a, b, c};
#if defined(__x86_64__)
  std::uintptr_t answer = 0;
  asm volatile(
      "rolq $3, %%rdi\n\t"
      "rolq $13, %%rdi\n\t"
      "rolq $61, %%rdi\n\t"
      "rolq $51, %%rdi\n\t"
      "xchgq %%rbx, %%rbx"
      : "+d"(answer)
      : "a"(&words[0])
      : "cc", "memory");
#else
  register std::uintptr_t answer __asm__("x3") = 0;
  register const volatile std::uintptr_t* place __asm__("x4") = &words[0];
  asm volatile(
      "ror x12, x12, #3\n\t"
      "ror x12, x12, #13\n\t"
      "ror x12, x12, #51\n\t"
      "ror x12, x12, #61\n\t"
      "orr x10, x10, x10"
      : "+r"(answer)
      : "r"(place)
      : "cc", "memory");
#endif
  return answer;
}

// With any of its tools.
inline bool runs_on_valgrind() noexcept { return valgrind_request(0x1001) != 0; }

// Asked for what it knows of a byte: the other tools know nothing.
inline bool runs_on_memcheck() noexcept {
  const char byte = 0;
  char known = 0;
  return valgrind_request(0x4d430008, to_word(&byte), to_word(&known), 1) == 1;
}

// What Memcheck takes for a switch, unless told otherwise: --max-stackframe.
inline constexpr std::size_t memcheck_distance = 2'000'000;

}  // namespace tern::inline v1::detail

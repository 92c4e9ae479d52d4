// malloc and free as this program is linked to them.
#pragma once

#include <gnu/libc-version.h>

#include <cstdlib>
#include <string>

#include "bench/subjects/concepts.hpp"

namespace tern_bench {

struct malloc_subject {
  static constexpr const char* name = "malloc";
  static constexpr role subject_role = role::baseline;
  static std::string version() { return std::string("glibc ") + gnu_get_libc_version(); }

  template <class F>
  static void run(const row_params&, F&& fn) {
    become_threaded();  // a program that runs tern has threads: malloc must not take its single-threaded short cut
    fn();
  }

  static void* allocate(std::size_t size) noexcept { return std::malloc(size); }
  static void* allocate_zeroed(std::size_t size) noexcept { return std::calloc(1, size); }
  static void deallocate(void* p) noexcept { std::free(p); }
  template <std::size_t Size>
  static void* allocate_const() noexcept {
    return std::malloc(Size);
  }
  template <std::size_t Size>
  static void deallocate_const(void* p) noexcept {
    std::free(p);  // C has no sized free before C23, and this libc none at all
  }
  static void* reallocate(void* p, std::size_t, std::size_t size) noexcept { return std::realloc(p, size); }
};
static_assert(allocator_subject<malloc_subject>);

}  // namespace tern_bench

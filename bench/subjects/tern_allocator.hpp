// tern's allocator, linked in.
#pragma once

#include <string>

#include <tern/alloc.hpp>

#include "bench/subjects/concepts.hpp"

namespace tern_bench {

struct tern_allocator {
  static constexpr const char* name = "tern";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }

  template <class F>
  static void run(const row_params&, F&& fn) {
    become_threaded();
    fn();
  }

  static void* allocate(std::size_t size) { return tern::allocate(size); }
  static void* allocate_zeroed(std::size_t size) { return tern::allocate_zeroed(size); }
  static void deallocate(void* p) noexcept { tern::deallocate(p); }
  template <std::size_t Size>
  static void* allocate_const() {
    return tern::allocate(Size);
  }
  template <std::size_t Size>
  static void deallocate_const(void* p) noexcept {
    tern::deallocate(p, Size);
  }
  static void* reallocate(void* p, std::size_t, std::size_t size) { return tern::reallocate(p, size); }

  /// Allocations of the process so far that no cache could serve.
  static std::uint64_t refills() {
    std::uint64_t sum = 0;
    for (const tern::class_statistics& c : tern::allocation_statistics().classes) sum += c.refills;
    return sum;
  }
};
static_assert(allocator_subject<tern_allocator>);

}  // namespace tern_bench

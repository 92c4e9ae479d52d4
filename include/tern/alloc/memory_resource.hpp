#pragma once

// The allocator as a std::pmr::memory_resource.

#include <cstddef>
#include <memory_resource>
#include <new>

#include <tern/alloc/allocator.hpp>

namespace tern::inline v1 {

namespace detail {

class heap_resource final : public std::pmr::memory_resource {
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return tern::allocate(bytes, alignment);
  }
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
    tern::deallocate(p, bytes, alignment);
  }
  // There is one per heap. Another of this type belongs to a shared object with a heap of its own.
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }
};

}  // namespace detail

// The resource whose memory is tern::allocate's. Never destroyed, so that objects with static storage may use it in their
// destructors. Thread-safe.
inline std::pmr::memory_resource* memory_resource() noexcept {
  alignas(detail::heap_resource) static constinit unsigned char storage[sizeof(detail::heap_resource)] = {};
  static std::pmr::memory_resource* const resource =
      ::new (static_cast<void*>(storage)) detail::heap_resource;
  return resource;
}

}  // namespace tern::inline v1

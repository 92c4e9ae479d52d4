// libtern-malloc.so: every operator new and delete.
//
// Limits      Where C++'s runtime (weak_runtime.hpp) came later and privately, with a plug-in of a C program, it is looked up when memory
//             is exhausted; exceptions of a new-handler then pass through the forms that do not throw.
//             Sizes and alignments that a delete is given are not trusted: the look-up by address costs as much, and programs
//             that delete through a base class without a virtual destructor are common.
#include <dlfcn.h>

#include <cstddef>
#include <new>

#include <tern/alloc/allocator.hpp>

#include "src/malloc/weak_runtime.hpp"

extern "C" {
[[gnu::weak]] std::new_handler installed_new_handler() noexcept asm("_ZSt15get_new_handlerv");
[[gnu::weak]] void* exception_memory(std::size_t) noexcept asm("__cxa_allocate_exception");
}

#define TERN_NEW_API [[gnu::visibility("default")]]

namespace {

constexpr std::size_t plain = tern::detail::block_alignment;

[[noreturn, gnu::cold, gnu::noinline]] void throw_exhausted() {
  if (exception_memory != nullptr) throw std::bad_alloc{};
  if (void* runtime = ::dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD); runtime != nullptr) {
    if (void* thrower = ::dlsym(runtime, "_ZSt17__throw_bad_allocv"); thrower != nullptr)
      reinterpret_cast<void (*)()>(thrower)();
  }
  tern::detail::fatal("operator new: memory is exhausted, and there is no C++ runtime to throw with");
}

std::new_handler new_handler() noexcept {
  return installed_new_handler != nullptr ? installed_new_handler() : nullptr;
}

// The standard's loop: the handler makes room, throws, or is taken away.
[[gnu::cold, gnu::noinline]] void* allocate_by_handler(std::size_t size, std::size_t alignment) {
  for (;;) {
    const std::new_handler handler = new_handler();
    if (handler == nullptr) throw_exhausted();
    handler();
    if (void* p = tern::try_allocate(size, alignment); p != nullptr) return p;
  }
}

[[gnu::cold, gnu::noinline]] void* allocate_by_handler_or_null(std::size_t size,
                                                               std::size_t alignment) noexcept {
  if (new_handler() == nullptr) return nullptr;
  try {
    return allocate_by_handler(size, alignment);
  } catch (...) {
    return nullptr;
  }
}

[[gnu::always_inline]] inline void* allocate(std::size_t size, std::size_t alignment) {
  void* const p = tern::try_allocate(size, alignment);
  return __builtin_expect(p != nullptr, 1) ? p : allocate_by_handler(size, alignment);
}

[[gnu::always_inline]] inline void* allocate_or_null(std::size_t size, std::size_t alignment) noexcept {
  void* const p = tern::try_allocate(size, alignment);
  return __builtin_expect(p != nullptr, 1) ? p : allocate_by_handler_or_null(size, alignment);
}

constexpr std::size_t number(std::align_val_t a) noexcept { return static_cast<std::size_t>(a); }

}  // namespace

TERN_NEW_API void* operator new(std::size_t n) { return allocate(n, plain); }
TERN_NEW_API void* operator new[](std::size_t n) { return allocate(n, plain); }
TERN_NEW_API void* operator new(std::size_t n, std::align_val_t a) { return allocate(n, number(a)); }
TERN_NEW_API void* operator new[](std::size_t n, std::align_val_t a) { return allocate(n, number(a)); }
TERN_NEW_API void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return allocate_or_null(n, plain);
}
TERN_NEW_API void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
  return allocate_or_null(n, plain);
}
TERN_NEW_API void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate_or_null(n, number(a));
}
TERN_NEW_API void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate_or_null(n, number(a));
}

TERN_NEW_API void operator delete(void* p) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete[](void* p) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete(void* p, std::size_t) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete[](void* p, std::size_t) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete(void* p, std::align_val_t) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete[](void* p, std::align_val_t) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete(void* p, std::size_t, std::align_val_t) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete(void* p, const std::nothrow_t&) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete[](void* p, const std::nothrow_t&) noexcept { tern::deallocate(p); }
TERN_NEW_API void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  tern::deallocate(p);
}
TERN_NEW_API void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  tern::deallocate(p);
}

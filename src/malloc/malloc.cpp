// libtern-malloc.so: the C family over tern's allocator, for LD_PRELOAD or for linking.
//
// Context     The dynamic linker binds every malloc of the process here, its own included. The heap is the library's: all symbols but
//             the family's are hidden, so a program that uses tern beside it has a heap of its own.
// Structure   malloc.cpp the functions of C, new.cpp those of C++. The work is the headers'.
// Protocol    Bootstrap: nothing needs to run first. All state is constant-initialised; the thread's word is in static TLS
//             (TERN_STATIC_TLS), whose access cannot allocate; while a thread's own cache is made, what pthread_key_create,
//             pthread_setspecific or pthread_atfork allocate comes from the shared cache.
//             Teardown: after the destructor of its thread-specific data a thread has the shared cache.
//             fork: handlers that hold every lock are registered before the first cache is made.
// Limits      As with every malloc: not from a signal handler. realloc(p, 0) frees p and answers null, as glibc's does.
#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include <tern/alloc/allocator.hpp>

#include "src/malloc/weak_runtime.hpp"

#define TERN_MALLOC_API extern "C" [[gnu::visibility("default")]]

namespace {

using tern::detail::is_power_of_two;
using tern::detail::round_up;

[[gnu::cold, gnu::noinline]] void* fail(int error) noexcept {
  errno = error;
  return nullptr;
}

// As glibc: an alignment that is no power of two counts as the next one.
void* allocate_aligned(std::size_t alignment, std::size_t size) noexcept {
  if (alignment <= tern::detail::block_alignment) return tern::try_allocate(size);
  if (!is_power_of_two(alignment)) {
    if (alignment > SIZE_MAX / 2) return fail(EINVAL);
    alignment = std::bit_ceil(alignment);
  }
  return tern::try_allocate(size, alignment);
}

template <class Info, class Number>
Info memory_info() noexcept {
  const tern::allocator_statistics s = tern::allocation_statistics();
  const auto number = [](std::size_t n) noexcept { return static_cast<Number>(n); };
  Info r{};
  r.arena = number(s.mapped);
  r.hblks = number(s.huge_blocks);
  r.hblkhd = number(s.huge);
  r.uordblks = number(s.live - s.huge);
  r.fordblks = number(s.mapped - (s.live - s.huge));
  r.fsmblks = number(s.cached);
  r.keepcost = number(s.mapped - s.in_use);
  return r;
}

}  // namespace

// On lines of their own: a pair is 18 cycles or 19, as the lines fall.
TERN_MALLOC_API [[gnu::aligned(64)]] void* malloc(std::size_t size) noexcept {
  return tern::try_allocate(size);
}

TERN_MALLOC_API [[gnu::aligned(64)]] void free(void* p) noexcept { tern::deallocate(p); }

TERN_MALLOC_API void* calloc(std::size_t count, std::size_t size) noexcept {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) return fail(ENOMEM);
  return tern::try_allocate_zeroed(bytes);
}

TERN_MALLOC_API void* realloc(void* p, std::size_t size) noexcept {
  if (size == 0 && p != nullptr) {
    tern::deallocate(p);
    return nullptr;
  }
  return tern::try_reallocate(p, size);
}

TERN_MALLOC_API void* reallocarray(void* p, std::size_t count, std::size_t size) noexcept {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) return fail(ENOMEM);
  return realloc(p, bytes);
}

TERN_MALLOC_API void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return allocate_aligned(alignment, size);
}

TERN_MALLOC_API void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return is_power_of_two(alignment) ? allocate_aligned(alignment, size) : fail(EINVAL);
}

TERN_MALLOC_API int posix_memalign(void** out, std::size_t alignment, std::size_t size) noexcept {
  if (!is_power_of_two(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  const int saved = errno;
  void* const p = allocate_aligned(alignment, size);
  errno = saved;
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}

TERN_MALLOC_API void* valloc(std::size_t size) noexcept {
  return allocate_aligned(tern::detail::os::page_size(), size);
}

TERN_MALLOC_API void* pvalloc(std::size_t size) noexcept {
  const std::size_t page = tern::detail::os::page_size();
  if (size > SIZE_MAX - page) return fail(ENOMEM);
  return allocate_aligned(page, round_up(size == 0 ? 1 : size, page));
}

TERN_MALLOC_API std::size_t malloc_usable_size(void* p) noexcept {
  return p == nullptr ? 0 : tern::usable_size(p);
}

TERN_MALLOC_API int malloc_trim(std::size_t) noexcept {
  const int saved = errno;
  const bool some = tern::release_memory() != 0;
  errno = saved;
  return some ? 1 : 0;
}

TERN_MALLOC_API struct mallinfo2 mallinfo2() noexcept { return memory_info<struct mallinfo2, std::size_t>(); }
TERN_MALLOC_API struct mallinfo mallinfo() noexcept { return memory_info<struct mallinfo, int>(); }
TERN_MALLOC_API void malloc_stats() noexcept { tern::detail::print_allocation_statistics(); }

// Names by which old programs reach past an interposed malloc: with two heaps in one process their blocks would be foreign.
TERN_MALLOC_API void* __libc_malloc(std::size_t size) noexcept { return malloc(size); }
TERN_MALLOC_API void __libc_free(void* p) noexcept { free(p); }
TERN_MALLOC_API void* __libc_calloc(std::size_t count, std::size_t size) noexcept {
  return calloc(count, size);
}
TERN_MALLOC_API void* __libc_realloc(void* p, std::size_t size) noexcept { return realloc(p, size); }
TERN_MALLOC_API void* __libc_memalign(std::size_t alignment, std::size_t size) noexcept {
  return memalign(alignment, size);
}
TERN_MALLOC_API void* __libc_valloc(std::size_t size) noexcept { return valloc(size); }
TERN_MALLOC_API void* __libc_pvalloc(std::size_t size) noexcept { return pvalloc(size); }

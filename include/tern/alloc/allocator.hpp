#pragma once

// allocate, deallocate and their forms.
//
// Structure   request                                   goes to
//             up to 2 MiB, alignment up to 8 KiB        the bound cache, its class's central list, the page heap
//             up to 2 MiB, alignment up to 2 MiB        the page heap for a span that is aligned; freed like any block
//             beyond either                             a mapping of its own
// Protocol    Fast path: the class (folded when the size is constant), the bound cache (one word of TLS), the top of its bin.
//             When memory is exhausted: the cache and the shared cache are given back, and the request is tried once more.
// Limits      Misuse that is found when the block leaves the cache, not before: a pointer into the middle of a block, a second
//             free, a wrong size. At debug level 1 pointers and sizes are checked on the spot.

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include <tern/alloc/central.hpp>
#include <tern/alloc/heap_profile.hpp>
#include <tern/alloc/huge.hpp>
#include <tern/alloc/sanitizer.hpp>
#include <tern/alloc/statistics.hpp>
#include <tern/alloc/thread_cache.hpp>

namespace tern::inline v1 {

namespace detail {

// Whether blocks of this size and alignment come from a bin: the class of class_request() has blocks so aligned.
TERN_ALWAYS_INLINE constexpr bool is_binned(std::size_t size, std::size_t alignment) noexcept {
  return size <= max_class_size && alignment <= page_bytes;
}

// The size whose class serves the request. Requires: is_binned.
TERN_ALWAYS_INLINE constexpr std::size_t class_request(std::size_t size, std::size_t alignment) noexcept {
  if (alignment <= block_alignment) return size;
  return round_up(size == 0 ? 1 : size, alignment);
}

// What a request beyond the bins' alignments, but not beyond a chunk, is served with: a large class.
constexpr unsigned aligned_span_class(std::size_t size) noexcept {
  return class_of(size > max_small_size ? size : max_small_size + 1);
}

[[noreturn]] TERN_COLD inline void throw_bad_alloc() { throw std::bad_alloc{}; }

// Everything that this thread can give back so that a failed request may succeed.
TERN_COLD inline void give_back_caches() noexcept {
  if (thread_cache* c = current_cache_if_any(); c != nullptr) c->flush_all();
  shared_cache()->flush_all();
  for (central_list& l : central_lists) l.drop_reserve();
}

TERN_NOINLINE inline void* pop_or_give_back(thread_cache& cache, unsigned c) noexcept {
  void* p = cache.pop_slow(c);
  if (TERN_UNLIKELY(p == nullptr)) {
    give_back_caches();
    p = cache.pop_slow(c);
    if (p == nullptr) errno = ENOMEM;
  }
  return p;
}

// Of both slow paths below, with the address that they return to.
TERN_ALWAYS_INLINE void* allocate_class_for(unsigned c, const void* asker) noexcept {
  read_debug_settings_once();
  thread_cache* const cache = current_cache();
  if (TERN_UNLIKELY(samples.is_on())) {
    if (void* sampled = samples.try_take(c, cache->clock, asker); sampled != nullptr) return sampled;
  }
  return pop_or_give_back(*cache, c);
}

TERN_NOINLINE inline void* allocate_class_slow(unsigned c) noexcept {
  return allocate_class_for(c, __builtin_return_address(0));
}

// The slow path of the throwing forms, so that their callers need no test of their own.
TERN_NOINLINE inline void* allocate_class_or_throw_slow(unsigned c) {
  void* p = allocate_class_for(c, __builtin_return_address(0));
  if (TERN_UNLIKELY(p == nullptr)) throw_bad_alloc();
  return p;
}

template <bool Throws>
TERN_ALWAYS_INLINE void* allocate_class(unsigned c) noexcept(!Throws) {
  thread_cache* const cache = current_cache_if_any();
  if (TERN_LIKELY(cache != nullptr)) {
    void* const p = cache->try_pop(c);
    if (TERN_LIKELY(p != nullptr)) return p;
  }
  if constexpr (Throws)
    return allocate_class_or_throw_slow(c);
  else
    return allocate_class_slow(c);
}

// As allocate_class_for().
TERN_ALWAYS_INLINE void* allocate_unbinned_for(std::size_t size, std::size_t alignment, huge_blocks::wish w,
                                               const void* asker) noexcept {
  void* p = nullptr;
  if (size <= max_class_size - seal_bytes && alignment <= chunk_bytes) {
    const unsigned c = aligned_span_class(size + seal_bytes);
    if (TERN_UNLIKELY(samples.is_on())) {
      if (p = samples.try_take(c, current_cache()->clock, asker, alignment); p != nullptr) {
        unpoison(p, size);
        if constexpr (hardened_build) hardening.seal(p, size, c, false);
        return p;
      }
    }
    const page_request r{
        .pages = class_table[c].pages, .size_class = static_cast<std::uint8_t>(c), .alignment = alignment};
    const auto init = [](span& s) noexcept { s.bits[0] = 1; };
    span* s = heap.allocate(r, init);
    if (s == nullptr) {
      give_back_caches();
      s = heap.allocate(r, init);
    }
    if (s != nullptr) {
      central_lists[c].count_large(1, 1);
      poison(s->memory(), s->bytes());
      p = s->memory();
      unpoison(p, size);
      if constexpr (hardened_build) hardening.seal(p, size, c, false);
    }
  } else {
    p = huge.allocate(size, alignment, w);
    if (p == nullptr) {
      give_back_caches();
      p = huge.allocate(size, alignment, w);
    }
    if (TERN_UNLIKELY(samples.is_on()) && p != nullptr) samples.note_huge(p, current_cache()->clock, asker);
  }
  if (p == nullptr) errno = ENOMEM;
  return p;
}

TERN_NOINLINE inline void* allocate_unbinned(std::size_t size, std::size_t alignment,
                                             huge_blocks::wish w = huge_blocks::wish::nothing) noexcept {
  return allocate_unbinned_for(size, alignment, w, __builtin_return_address(0));
}

TERN_NOINLINE inline void* allocate_unbinned_or_throw(std::size_t size, std::size_t alignment) {
  void* p = allocate_unbinned_for(size, alignment, huge_blocks::wish::nothing, __builtin_return_address(0));
  if (TERN_UNLIKELY(p == nullptr)) throw_bad_alloc();
  return p;
}

template <bool Throws>
TERN_ALWAYS_INLINE void* allocate_any(std::size_t size, std::size_t alignment) noexcept(!Throws) {
  TERN_ASSERT(is_power_of_two(alignment), "allocate: alignment is not a power of two");
  unsigned c = 0;
  if (alignment <= block_alignment && TERN_LIKELY(size <= max_table_size - seal_bytes)) {
    c = small_class_of[(size + seal_bytes + block_alignment - 1) / block_alignment];
  } else if (alignment <= block_alignment && TERN_LIKELY(size <= max_small_size - seal_bytes)) {
    c = middle_class_of[(size + seal_bytes + middle_step - 1) / middle_step];
  } else {
    if (TERN_UNLIKELY(size > max_class_size - seal_bytes || !is_binned(size + seal_bytes, alignment))) {
      if constexpr (Throws)
        return allocate_unbinned_or_throw(size, alignment);
      else
        return allocate_unbinned(size, alignment);
    }
    c = class_of(class_request(size + seal_bytes, alignment));
  }
  void* p = allocate_class<Throws>(c);
  if constexpr (asan_build) {
    if (p != nullptr) unpoison(p, size);
  }
  if constexpr (hardened_build) {
    if (p != nullptr) hardening.seal(p, size, c, true);
  }
  return p;
}

// A block of a large class that is fresh from the OS needs no clearing.
TERN_NOINLINE inline void* allocate_zeroed_large(std::size_t size) noexcept {
  read_debug_settings_once();
  const unsigned c = class_of(size);
  bool zeroed = false;
  thread_cache* const cache = current_cache();
  void* p = nullptr;
  if (TERN_UNLIKELY(samples.is_on())) {
    p = samples.try_take(c, cache->clock, __builtin_return_address(0));
    cache->unveil(c);
  }
  if (p == nullptr) p = cache->try_pop(c);
  if (p == nullptr) {
    if (span* s = central_lists[c].take_span(c); s != nullptr) {
      p = s->memory();
      zeroed = s->zeroed;
    } else {
      p = pop_or_give_back(*cache, c);
    }
  }
  if (TERN_UNLIKELY(samples.is_on())) cache->veil(c);
  if (p == nullptr) return nullptr;
  unpoison(p, size);
  if (!zeroed) std::memset(p, 0, size);
  return p;
}

// The slow paths of a free leave errno alone: it is often called between an error and its report.
TERN_NOINLINE inline void deallocate_class_slow(unsigned c, void* p) noexcept {
  const int saved = errno;
  thread_cache* const cache = current_cache();
  const bool done = TERN_UNLIKELY(samples.is_on()) && samples.try_free(c, p);
  if (!done && !cache->try_push(c, p)) cache->push_slow(c, p);
  errno = saved;
}

TERN_ALWAYS_INLINE void deallocate_class(unsigned c, void* p) noexcept {
  if constexpr (hardened_build) {
    const hardened_blocks::entry out = hardening.retire(p, c);
    if (out.p == nullptr) return;
    p = out.p;
    c = out.size_class;
  }
  poison(p, class_size(c));
  thread_cache* const cache = current_cache_if_any();
  if (TERN_LIKELY(cache != nullptr) && TERN_LIKELY(cache->try_push(c, p))) return;
  deallocate_class_slow(c, p);
}

// The record of the huge block that starts at p; any other pointer is fatal.
inline span* huge_record(void* p) noexcept {
  const page_entry e = heap.map().find(p);
  span* s = e.get<span>();
  if (e.kind() != span_kind::huge || s->start != to_word(p))
    fatal("deallocate: not a live block of this allocator (foreign pointer, or freed twice)");
  return s;
}

TERN_NOINLINE inline void deallocate_unbinned(void* p) noexcept {
  if (p == nullptr) return;
  const page_entry e = heap.map().find(p);
  if (e.kind() == span_kind::object) return deallocate_class(e.size_class(), p);  // far from the map's window
  const int saved = errno;
  if (TERN_UNLIKELY(e.kind() == span_kind::sampled)) {
    if constexpr (hardened_build) static_cast<void>(hardening.check(p, e.size_class()));
    samples.free(p);
  } else {
    span* s = huge_record(p);
    samples.forget_huge(s);
    huge.free(s);
  }
  errno = saved;
}

// A block that should be a mapping of its own, and null.
TERN_NOINLINE inline void deallocate_sized_unbinned(void* p, std::size_t size) noexcept {
  if (p != nullptr && size > max_class_size) static_cast<void>(huge_record(p));
  deallocate_unbinned(p);
}

// Debug level 1: p starts a block of class c, as far as its span tells.
inline bool is_block_of(unsigned c, void* p) noexcept {
  const page_entry e = heap.map().find(p);
  if (e.kind() == span_kind::sampled) return e.size_class() == c;
  if (e.kind() != span_kind::object || e.size_class() != c) return false;
  return (to_word(p) - e.get<span>()->start) % class_size(c) == 0;
}

}  // namespace detail

// `size` bytes, aligned to 16, or to `alignment` (a power of two). nullptr with errno ENOMEM when memory is exhausted, after
// which the heap is as usable as before. Zero bytes: a unique pointer. The memory is not zeroed. Thread-safe; O(1) but for
// refills. Any thread or fiber may free the block.
[[nodiscard]] TERN_ALWAYS_INLINE void* try_allocate(std::size_t size) noexcept {
  return detail::allocate_any<false>(size, detail::block_alignment);
}
[[nodiscard]] TERN_ALWAYS_INLINE void* try_allocate(std::size_t size, std::size_t alignment) noexcept {
  return detail::allocate_any<false>(size, alignment);
}

// try_allocate which throws std::bad_alloc instead.
[[nodiscard]] TERN_ALWAYS_INLINE void* allocate(std::size_t size) {
  return detail::allocate_any<true>(size, detail::block_alignment);
}
[[nodiscard]] TERN_ALWAYS_INLINE void* allocate(std::size_t size, std::size_t alignment) {
  return detail::allocate_any<true>(size, alignment);
}

// try_allocate of a block whose bytes are zero. What the OS has just given is not cleared again.
[[nodiscard]] inline void* try_allocate_zeroed(std::size_t size) noexcept {
  if (!detail::hardened_build && size > detail::max_small_size) {
    return size > detail::max_class_size
               ? detail::allocate_unbinned(size, detail::block_alignment, detail::huge_blocks::wish::zeroed)
               : detail::allocate_zeroed_large(size);
  }
  void* p = try_allocate(size);
  if (TERN_LIKELY(p != nullptr)) std::memset(p, 0, size);
  return p;
}

// try_allocate_zeroed which throws std::bad_alloc instead.
[[nodiscard]] inline void* allocate_zeroed(std::size_t size) {
  void* p = try_allocate_zeroed(size);
  if (TERN_UNLIKELY(p == nullptr)) detail::throw_bad_alloc();
  return p;
}

// Frees a block of any form of allocate. Null is ignored. A pointer that is no live block's start is fatal: at once if it lies
// in no block at all, at latest when the cache gives it back otherwise. Thread-safe.
TERN_ALWAYS_INLINE void deallocate(void* p) noexcept {
  const unsigned near = detail::heap.map().near_class(p);
  if (TERN_UNLIKELY(near == 0)) return detail::deallocate_unbinned(p);
  TERN_ASSERT(detail::is_block_of(near - 1, p), "deallocate: pointer into the middle of a block");
  detail::deallocate_class(near - 1, p);
}

// Bytes of the block that the caller may use, at least what was asked for. Requires: p is a live block.
inline std::size_t usable_size(void* p) noexcept {
  const detail::page_entry e = detail::heap.map().find(p);
  const bool has_class = e.kind() == detail::span_kind::object || e.kind() == detail::span_kind::sampled;
  if (detail::hardened_build && has_class) return detail::hardening.check(p, e.size_class());
  const std::size_t n = has_class ? detail::class_size(e.size_class()) : detail::huge_record(p)->mapped_bytes;
  detail::unpoison(p, n);
  return n;
}

// The same for a block of known size, which saves the look-up. Requires: allocate(size) or reallocate(q, size) made
// it; usable_size(p) is right as well. A size of another class is fatal, at latest when the cache gives the block back.
TERN_ALWAYS_INLINE void deallocate(void* p, std::size_t size) noexcept {
  if constexpr (detail::hardened_build) {
    if (p != nullptr && size <= detail::max_class_size - detail::seal_bytes && usable_size(p) != size)
      detail::fatal("hardened: the size does not match the block's");
    return deallocate(p);
  }
  if (TERN_UNLIKELY(size > detail::max_class_size) || p == nullptr)
    return detail::deallocate_sized_unbinned(p, size);
  const unsigned c = detail::class_of(size);
  TERN_ASSERT(detail::is_block_of(c, p), "deallocate: the size does not match the block's");
  detail::deallocate_class(c, p);
}

// Requires: allocate(size, alignment) made it.
TERN_ALWAYS_INLINE void deallocate(void* p, std::size_t size, std::size_t alignment) noexcept {
  if (detail::hardened_build || TERN_UNLIKELY(!detail::is_binned(size, alignment))) return deallocate(p);
  return deallocate(p, detail::class_request(size, alignment));
}

// A block of `size` bytes with the old one's bytes up to the smaller size; the old one is freed, or is still the answer.
// p null: allocate. nullptr when memory is exhausted, and then p is untouched. Alignment: 16, whatever p's was.
[[nodiscard]] inline void* try_reallocate(void* p, std::size_t size) noexcept {
  if (p == nullptr) return try_allocate(size);
  const detail::page_entry e = detail::heap.map().find(p);
  if (e.kind() != detail::span_kind::object && e.kind() != detail::span_kind::sampled) {
    detail::span* s = detail::huge_record(p);
    if (size > detail::max_class_size) {
      void* moved = detail::samples.resize_huge(s, [&]() noexcept { return detail::huge.resize(s, size); });
      if (moved == nullptr) errno = ENOMEM;
      if (TERN_UNLIKELY(detail::samples.is_on()) && moved != nullptr)
        detail::samples.note_huge(moved, detail::current_cache()->clock, nullptr);
      return moved;
    }
  }
  const std::size_t before = usable_size(p);
  void* q = nullptr;
  if (e.kind() == detail::span_kind::object && size <= detail::max_class_size - detail::seal_bytes) {
    const unsigned to = detail::class_of(size + detail::seal_bytes);
    const bool is_large = !detail::is_small(to);
    // In place within the class only, so that the block may be freed with its new size; a large one may change its class.
    // Growth counts as an allocation where samples are taken: not in place.
    const bool in_place = is_large && TERN_LIKELY(!detail::samples.is_on());
    if (to == e.size_class() ||
        (in_place && !detail::is_small(e.size_class()) && detail::resize_large(e.get<detail::span>(), to))) {
      if constexpr (detail::asan_build) {
        detail::poison(p, detail::class_size(to));
        detail::unpoison(p, size);
      }
      if constexpr (detail::hardened_build) detail::hardening.seal(p, size, to, false);
      return p;
    }
    // What has grown will grow on.
    if (in_place && size > before) {
      if (detail::span* s = detail::central_lists[to].take_span(to, true); s != nullptr) {
        q = s->memory();
        detail::unpoison(q, size);
        if constexpr (detail::hardened_build) detail::hardening.seal(q, size, to, false);
      }
    }
  }
  if (size > detail::max_class_size)
    q = detail::allocate_unbinned(size, detail::block_alignment, detail::huge_blocks::wish::to_grow);
  if (q == nullptr) q = try_allocate(size);
  if (q == nullptr) return nullptr;
  std::memcpy(q, p, size < before ? size : before);
  deallocate(p);
  return q;
}

// try_reallocate which throws std::bad_alloc instead.
[[nodiscard]] inline void* reallocate(void* p, std::size_t size) {
  void* q = try_reallocate(p, size);
  if (TERN_UNLIKELY(q == nullptr)) detail::throw_bad_alloc();
  return q;
}

// Gives what the calling thread's cache and the free pages hold back to the OS. Returns the bytes of pages that went.
// Other threads' caches are not touched. Thread-safe; as long as the system calls take.
inline std::size_t release_memory() noexcept {
  detail::give_back_caches();
  return detail::heap.release_memory();
}

// At most so many bytes in spans and huge blocks from now on, caches included; 0: no limit. Beyond it allocations fail as if memory
// were exhausted. What is in use already stays. Thread-safe.
inline void set_memory_limit(std::size_t bytes) noexcept { detail::heap.set_limit(bytes); }

// A limit for what is committed (allocation_statistics) that nothing fails for: beyond it free pages go back to the OS as soon as they are
// free, at the price of the faults that bring them back; 0: none. What lives may exceed it. For programs that share a machine; some way
// below the limit above, where both are set. Thread-safe.
inline void set_soft_memory_limit(std::size_t bytes) noexcept {
  detail::heap_scavenger.set_soft_limit(bytes);
}

// A standard allocator over allocate and deallocate. All are equal; stateless.
template <class T>
struct allocator {
  using value_type = T;
  using is_always_equal = std::true_type;
  using propagate_on_container_move_assignment = std::true_type;

  constexpr allocator() noexcept = default;
  template <class U>
  constexpr allocator(const allocator<U>&) noexcept {}

  // Throws std::bad_array_new_length or std::bad_alloc.
  [[nodiscard]] T* allocate(std::size_t n) {
    if (n > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length{};
    if constexpr (alignof(T) <= detail::block_alignment)
      return static_cast<T*>(tern::allocate(n * sizeof(T)));
    else
      return static_cast<T*>(tern::allocate(n * sizeof(T), alignof(T)));
  }
  void deallocate(T* p, std::size_t n) noexcept {
    if constexpr (alignof(T) <= detail::block_alignment)
      tern::deallocate(p, n * sizeof(T));
    else
      tern::deallocate(p, n * sizeof(T), alignof(T));
  }

  template <class U>
  constexpr bool operator==(const allocator<U>&) const noexcept {
    return true;
  }
};

}  // namespace tern::inline v1

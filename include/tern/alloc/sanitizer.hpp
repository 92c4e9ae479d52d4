#pragma once

// What ASan and its leak checker are told about blocks; empty in other builds.
//
// Protocol    A free block is poisoned whole; handing it out unpoisons the bytes that were asked for. Pages of the page heap
//             are leak-checker roots, since a pointer kept in a block must keep malloc's memory alive in its eyes.
// Limits      Not with the hardened policy, which reads and writes the ends of blocks itself.

#include <cstddef>

#include <tern/base/config.hpp>

#if TERN_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

namespace tern::inline v1::detail {

TERN_ALWAYS_INLINE void poison([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) noexcept {
#if TERN_ASAN && !TERN_HARDENED
  __asan_poison_memory_region(p, bytes);
#endif
}

TERN_ALWAYS_INLINE void unpoison([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) noexcept {
#if TERN_ASAN && !TERN_HARDENED
  __asan_unpoison_memory_region(p, bytes);
#endif
}

inline void add_leak_root([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) noexcept {
#if TERN_ASAN
  __lsan_register_root_region(p, bytes);
#endif
}

inline void remove_leak_root([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) noexcept {
#if TERN_ASAN
  __lsan_unregister_root_region(p, bytes);
#endif
}

}  // namespace tern::inline v1::detail

// A word of managed memory that mutators write while markers read it.
//
// Context     gc::member holds one; the marker reads the same word through its address. Plain words and not atomic objects:
//             constructing an atomic object is not an atomic store, and a half-built object may be marked.
// Ordering    Stores are relaxed: the barrier keeps the marker sound whether it sees the old or the new value, and publishing an
//             object to another mutator needs synchronisation of the program's own. The marker's loads acquire, so that what
//             it follows is at least as new as what published it.
#pragma once

#include <cstdint>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail::gc {

template <class T>
TERN_ALWAYS_INLINE T* slot_load(T* const& slot) noexcept {
  return __atomic_load_n(&slot, __ATOMIC_RELAXED);
}

template <class T>
TERN_ALWAYS_INLINE void slot_store(T*& slot, T* value) noexcept {
  __atomic_store_n(&slot, value, __ATOMIC_RELAXED);
}

TERN_ALWAYS_INLINE std::uintptr_t slot_word(const std::uintptr_t* slot) noexcept {
  return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
}

// The same for a word of an object whose type does not tell its members: the program may be writing a number there.
TERN_NO_SANITIZE inline std::uintptr_t opaque_word(const std::uintptr_t* slot) noexcept {
  if constexpr (tsan_build)
    return *static_cast<const volatile std::uintptr_t*>(slot);  // an atomic load would be looked at
  else
    return slot_word(slot);
}

}  // namespace tern::inline v1::detail::gc

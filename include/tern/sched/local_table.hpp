// Local table: the fiber-local values of one fiber or plain thread.
//
// Structure   slots: an array by the index of the fiber_local, which holds the value's record or null. `newest` links the records in the
//             order in which they were made. A record names the fiber_local by a key that is not used twice, so an index may be.
// Invariants  I1 the table is touched by its fiber (or thread) alone. I2 a record is in one slot and on the list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <tern/alloc/allocator.hpp>
#include <tern/sched/fiber.hpp>

namespace tern::inline v1::detail {

struct local_record {
  std::uint64_t key;
  local_record* older;
  std::uint32_t index;
  void (*destroy)(local_record&) noexcept;  // ends the value and frees the record
};

struct local_table {
  local_record** slots = nullptr;
  std::uint32_t capacity = 0;
  local_record* newest = nullptr;

  local_record* find(std::uint32_t index, std::uint64_t key) const noexcept {
    if (index >= capacity) return nullptr;
    local_record* r = slots[index];
    return r != nullptr && r->key == key ? r : nullptr;
  }

  // Throws std::bad_alloc, and leaves the table as it is then.
  void reserve(std::uint32_t index) {
    if (index < capacity) return;
    std::uint32_t wanted = capacity == 0 ? 8 : capacity;
    while (wanted <= index) wanted *= 2;
    auto** grown = static_cast<local_record**>(allocate(wanted * sizeof(local_record*)));
    std::memset(static_cast<void*>(grown), 0, wanted * sizeof(local_record*));
    if (slots != nullptr) {
      std::memcpy(static_cast<void*>(grown), static_cast<const void*>(slots),
                  capacity * sizeof(local_record*));
      deallocate(slots, capacity * sizeof(local_record*));
    }
    slots = grown;
    capacity = wanted;
  }
  // Requires: reserve(r.index). A record of a fiber_local that is gone and had the same index stays on the list only.
  void add(local_record& r) noexcept {
    r.older = newest;
    newest = &r;
    slots[r.index] = &r;
  }
  void remove(local_record& r) noexcept {
    for (local_record** at = &newest; *at != nullptr; at = &(*at)->older)
      if (*at == &r) {
        *at = r.older;
        break;
      }
    if (slots[r.index] == &r) slots[r.index] = nullptr;
    r.destroy(r);
  }
  // The newest first; also those that destructors make meanwhile.
  void clear() noexcept {
    while (newest != nullptr) remove(*newest);
    if (slots != nullptr) deallocate(slots, capacity * sizeof(local_record*));
    slots = nullptr;
    capacity = 0;
  }
};

// At the end of a fiber, on its own stack: destructors may wait.
TERN_COLD inline void destroy_locals(fiber& f) noexcept {
  f.locals->clear();
  deallocate(f.locals, sizeof(local_table));
  f.flags &= ~static_cast<std::uint32_t>(fiber::has_locals);
}

}  // namespace tern::inline v1::detail

// Spans of managed cells, their side bits, and the way from a word to an object.
//
// Context     Objects carry no header: what the collector knows of a cell lies here, off to the side.
// Structure   Four words for each 64 cells, next to each other, since they are read together: cell_bits.hpp.
//             span states:  held by a mutator (on no list) | partial, full, pending, unswept (shape's lists) | being swept
// Invariants  I1 epoch == the heap's epoch: mark and born are of the running cycle, or clear. Else sweep is due.
//             I2 a cell that is not free is never handed out; a doomed cell becomes free only by its destructor.
//             I3 span records are type-stable, spans leave the heap only during sweep, and nobody looks words up then.
// Ordering    allocated is stored with release after the run is zeroed; look-ups load it with acquire: they never meet the bytes
//             of the cell's former life.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <tern/alloc/page_heap.hpp>
#include <tern/gc/cell_bits.hpp>
#include <tern/gc/type.hpp>

namespace tern::inline v1::detail::gc {

inline constexpr span_kind managed_kind = span_kind::client;

using bit_group = cell_bits<>;

enum class destroy_state : std::uint8_t { none, queued, running, running_queued };

class span : public span_base {
 public:
  static constexpr unsigned groups = max_cells / 64;

  shape* kind_of = nullptr;
  std::uint64_t reciprocal = 0;  // copies of the shape's, on the line that look-ups read
  std::uint32_t cells = 0;
  bool is_zero = false;                            // free cells read as zero: fresh from the OS
  destroy_state destroying = destroy_state::none;  // the executor's lock
  bool scans_inline = false;                       // inline_members says all of an object's members
  std::size_t cell_bytes = 0;                      // bytes of the whole span where there is one cell
  std::uint64_t inline_members = 0;                // a copy of the shape's, for the marker
  atomic<std::uint64_t> epoch{0};
  span* next_doomed = nullptr;  // the executor's lock
  bit_group bits[groups];

  unsigned used_groups() const noexcept { return (cells + 63) / 64; }

  TERN_ALWAYS_INLINE std::uint32_t index_of(std::uintptr_t word) const noexcept {
    return static_cast<std::uint32_t>(((word - start) * reciprocal) >> 40);
  }
  std::uintptr_t cell(std::uint32_t index) const noexcept { return start + index * cell_bytes; }

  static constexpr std::uint64_t mask(std::uint32_t index) noexcept {
    return std::uint64_t{1} << (index % 64);
  }
  bit_group& group(std::uint32_t index) noexcept { return bits[index / 64]; }

  TERN_ALWAYS_INLINE bool is_allocated(std::uint32_t i) noexcept { return group(i).is_allocated(mask(i)); }
  TERN_ALWAYS_INLINE bool is_marked(std::uint32_t i) noexcept { return group(i).is_marked(mask(i)); }
  // Requires: the mark lock.
  TERN_ALWAYS_INLINE bool mark_locked(std::uint32_t i) noexcept { return group(i).mark_locked(mask(i)); }
  void set_constructed(std::uint32_t i) noexcept { group(i).add_constructed(mask(i)); }

  // Bits of the cells that exist in group g.
  std::uint64_t valid_cells(unsigned g) const noexcept {
    const std::uint32_t left = cells - g * 64;
    return left >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
  }
  std::uint64_t free_cells(unsigned g) noexcept { return bits[g].free_cells() & valid_cells(g); }

  // Requires: the page heap's lock, before the span can be found.
  void init(shape& s, std::uint64_t current_epoch) noexcept {
    kind_of = &s;
    cells = s.cells;
    reciprocal = s.reciprocal;
    cell_bytes = s.is_large() ? bytes() : s.cell_bytes;
    scans_inline = !s.has_members() || (!s.is_array && s.unit.words == 1 && s.unit.is_exact);
    inline_members = scans_inline && s.has_members() ? s.unit.bits[0] : 0;
    is_zero = zeroed;
    destroying = destroy_state::none;
    epoch.store(current_epoch, memory_order_relaxed);  // relaxed: published by the map entry
    for (unsigned g = 0; g < used_groups(); ++g) bits[g].clear();
  }
};

// Sets or clears bits [first, last) of one of a span's words, by the span's only writer of that word.
template <class F>
void for_bit_range(std::uint32_t first, std::uint32_t last, F&& f) noexcept {
  while (first < last) {
    const std::uint32_t g = first / 64;
    const std::uint32_t end = last < (g + 1) * 64 ? last : (g + 1) * 64;
    const std::uint32_t n = end - first;
    const std::uint64_t ones = n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
    f(g, ones << (first % 64));
    first = end;
  }
}

// Consecutive free cells that a mutator hands out by moving a cursor.
struct cell_run {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

// The next run of free cells at or after `from`; empty when there is none. Requires: the span is held.
inline cell_run find_run(span& s, std::uint32_t from) noexcept {
  unsigned g = from / 64;
  if (from >= s.cells) return {};
  std::uint64_t free = s.free_cells(g) & (~std::uint64_t{0} << (from % 64));
  while (free == 0) {
    if (++g == s.used_groups()) return {};
    free = s.free_cells(g);
  }
  cell_run r;
  r.first = g * 64 + static_cast<std::uint32_t>(std::countr_zero(free));
  std::uint32_t at = r.first;
  for (;;) {
    const auto n = static_cast<std::uint32_t>(std::countr_one(free >> (at % 64)));
    at += n;
    if (at % 64 != 0 || ++g == s.used_groups() || n == 0) break;
    free = s.free_cells(g);
  }
  r.last = at;
  return r;
}

inline void set_allocated(span& s, cell_run r) noexcept {
  for_bit_range(r.first, r.last, [&](unsigned g, std::uint64_t m) noexcept { s.bits[g].add_allocated(m); });
}
inline void set_born(span& s, cell_run r) noexcept {
  for_bit_range(r.first, r.last, [&](unsigned g, std::uint64_t m) noexcept { s.bits[g].add_born(m); });
}
inline void clear_run(span& s, cell_run r) noexcept {
  for_bit_range(r.first, r.last, [&](unsigned g, std::uint64_t m) noexcept { s.bits[g].withdraw(m); });
}

// An object, by its span and cell.
struct object_ref {
  span* where = nullptr;
  std::uint32_t index = 0;

  explicit operator bool() const noexcept { return where != nullptr; }
  std::uintptr_t address() const noexcept { return where->cell(index); }
};

using managed_pages = page_heap<span, flat_page_map>;

// Address space, not memory. Smaller where each reserved byte has shadow memory.
inline constexpr std::size_t heap_reservation = std::size_t{asan_build || tsan_build ? 8 : 64} << 30;
inline constinit managed_pages pages{{.first_reservation = heap_reservation, .single = true}};

// The span that holds the address; null for a foreign word. One compare for most of those.
TERN_ALWAYS_INLINE span* span_of(std::uintptr_t word) noexcept {
  const page_entry e = pages.map().find_acquire(reinterpret_cast<const void*>(word));
  return e.kind() == managed_kind ? e.get<span>() : nullptr;
}

// The allocated object that the address lies in. Requires: not during sweep.
TERN_ALWAYS_INLINE object_ref object_at_inlined(std::uintptr_t word) noexcept {
  span* s = span_of(word);
  if (s == nullptr) return {};
  const std::uint32_t i = s->index_of(word);
  if (i >= s->cells || !s->is_allocated(i)) return {};
  return {s, i};
}
// The same for all but barrier and scan, whose code must not depend on what else a unit asks.
inline object_ref object_at(std::uintptr_t word) noexcept { return object_at_inlined(word); }

}  // namespace tern::inline v1::detail::gc

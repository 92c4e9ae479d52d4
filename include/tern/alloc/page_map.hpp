#pragma once

// From an address to the span that it lies in.
//
// Context     A free without a size asks it for the class; the collector asks it for every word that may be a pointer.
// Structure   An entry is one word: kind (8 bits), class (8 bits), span record (48 bits), so that the class of a block is known
//             without touching its span record. Two maps with the same face:
//               radix_page_map  the whole address space in two levels: 2^17 pointers in .bss, leaves of 2 MiB for 2 GiB each,
//                               committed on touch. A flat table of the address space fails under RLIMIT_AS. Beside it, for the
//                               32 GiB around the first reservation, a byte for each page with the class of its blocks: what a
//                               free needs to know, by one load. A free's speed is that of the chain from the pointer to its bin.
//               flat_page_map   one contiguous reservation, one array: one compare tells a foreign word, one load the entry.
// Protocol    cover() makes entries for a range writable, before the range is used. set() is the page heap's, under its lock.
// Ordering    set() stores with release after the span record's fields are written. find() loads relaxed: it is called with a
//             pointer to a block, and whoever handed that over ordered it. find_acquire() is for words of unknown origin.
// Limits      48-bit addresses: what mmap gives on x86-64 and ARM64 unless an address beyond is asked for.

#include <cstddef>
#include <cstdint>

#include <tern/alloc/metadata.hpp>
#include <tern/alloc/span.hpp>
#include <tern/base/atomic.hpp>

namespace tern::inline v1::detail {

class page_entry {
 public:
  constexpr page_entry() noexcept = default;
  explicit constexpr page_entry(std::uint64_t word) noexcept : word_{word} {}
  page_entry(span_base* s, span_kind kind, std::uint8_t size_class) noexcept
      : word_{to_word(s) | static_cast<std::uint64_t>(size_class) << 48 |
              static_cast<std::uint64_t>(kind) << 56} {}

  constexpr std::uint64_t word() const noexcept { return word_; }
  constexpr span_kind kind() const noexcept { return static_cast<span_kind>(word_ >> 56); }
  constexpr unsigned size_class() const noexcept { return static_cast<std::uint8_t>(word_ >> 48); }

  // The span record; null for a page that no heap knows. Span: the heap's own span type.
  template <class Span>
  Span* get() const noexcept {
    return static_cast<Span*>(reinterpret_cast<span_base*>(word_ & ((std::uint64_t{1} << 48) - 1)));
  }

 private:
  std::uint64_t word_ = 0;
};

class radix_page_map {
 public:
  constexpr radix_page_map() noexcept = default;

  // 1 + the class of the block that p points to; 0 where the answer takes a find(): no object, or beyond the window.
  TERN_ALWAYS_INLINE unsigned near_class(const void* p) const noexcept {
    // relaxed, both: as in find(). The window is set once, and every byte is 0 before.
    const std::uintptr_t i = (to_word(p) >> page_shift) - window_.load(memory_order_relaxed);
    return TERN_LIKELY(i < window_pages) ? classes_[i].load() : 0;
  }

  TERN_ALWAYS_INLINE page_entry find(const void* p) const noexcept {
    const std::uintptr_t page = to_word(p) >> page_shift;
    if (TERN_UNLIKELY(page >> (root_bits + leaf_bits) != 0)) return {};
    // relaxed, both: a block's pointer came through a synchronised hand-over from the allocation that set the entry; for a
    // foreign pointer any answer of "none" is right, and leaves are never taken away.
    const leaf* l = root_[page >> leaf_bits].load(memory_order_relaxed);
    if (TERN_UNLIKELY(l == nullptr)) return {};
    return page_entry{l->entries[page & (leaf_size - 1)].load(memory_order_relaxed)};
  }

  page_entry find_acquire(const void* p) const noexcept {
    const std::uintptr_t page = to_word(p) >> page_shift;
    if (page >> (root_bits + leaf_bits) != 0) return {};
    const leaf* l = root_[page >> leaf_bits].load(memory_order_acquire);  // pairs-with: cover()
    if (l == nullptr) return {};
    // pairs-with: set(); else the record's fields may be older than its entry.
    return page_entry{l->entries[page & (leaf_size - 1)].load(memory_order_acquire)};
  }

  // False when there is no memory for the leaves. Thread-safe.
  bool cover(std::uintptr_t start, std::size_t bytes) noexcept {
    const std::uintptr_t first = start >> (page_shift + leaf_bits);
    const std::uintptr_t last = (start + bytes - 1) >> (page_shift + leaf_bits);
    if (last >> root_bits != 0) return false;
    place_window(start);
    for (std::uintptr_t i = first; i <= last; ++i) {
      if (root_[i].load(memory_order_acquire) != nullptr) continue;  // pairs-with: the exchange in plant()
      void* p = spare_leaf();
      if (p == nullptr) return false;
      plant(i, p);
    }
    return true;
  }

  // Memory for a leaf: cover_with() cannot fail for want of it. nullptr when there is none.
  static void* spare_leaf() noexcept { return os::reserve(sizeof(leaf)); }

  // As cover() for the page at `start`, with a spare leaf, which is used up or given back. False: the address is beyond the map.
  bool cover_with(std::uintptr_t start, void* spare) noexcept {
    const std::uintptr_t i = start >> (page_shift + leaf_bits);
    if (i >> root_bits != 0) return os::unreserve(spare, sizeof(leaf)), false;
    place_window(start);
    plant(i, spare);
    return true;
  }

  // Requires: covered.
  void set(std::uintptr_t address, page_entry e) noexcept {
    const std::uintptr_t page = address >> page_shift;
    // relaxed: the caller has covered the address.
    leaf* l = root_[page >> leaf_bits].load(memory_order_relaxed);
    l->entries[page & (leaf_size - 1)].store(e.word(), memory_order_release);  // pairs-with: find_acquire()
    const std::uintptr_t i = page - window_.load(memory_order_relaxed);  // relaxed, both: see near_class()
    if (i < window_pages)
      classes_[i].store(e.kind() == span_kind::object ? static_cast<std::uint8_t>(e.size_class() + 1)
                                                      : std::uint8_t{0});
  }

 private:
  static constexpr std::uintptr_t window_pages = std::uintptr_t{1} << (35 - page_shift);
  static_assert(class_count < 255);

  // Most of it below: the OS maps downwards.
  void place_window(std::uintptr_t start) noexcept {
    const std::uintptr_t page = start >> page_shift;
    const std::uintptr_t below = window_pages / 4 * 3;
    std::uintptr_t none = 0;
    // relaxed: see near_class().
    if (window_.load(memory_order_relaxed) == 0)
      window_.compare_exchange_strong(none, page > below ? page - below : 1, memory_order_relaxed);
  }

  static constexpr unsigned root_bits = 17;
  static constexpr unsigned leaf_bits = 48 - page_shift - root_bits;
  static constexpr std::size_t leaf_size = std::size_t{1} << leaf_bits;
  struct leaf {
    atomic<std::uint64_t> entries[leaf_size];
  };

  void plant(std::uintptr_t i, void* spare) noexcept {
    leaf* expected = nullptr;
    // Zeroed memory is a valid leaf: its atomics have no other representation.
    if (!root_[i].compare_exchange_strong(expected, static_cast<leaf*>(spare), memory_order_acq_rel,
                                          memory_order_acquire))
      os::unreserve(spare, sizeof(leaf));
  }

  atomic<std::uintptr_t> window_{0};  // its first page; 0: not placed yet
  atomic<leaf*> root_[std::size_t{1} << root_bits] = {};
  table_byte classes_[window_pages] = {};
};

class flat_page_map {
 public:
  constexpr flat_page_map() noexcept = default;

  // Whether the address lies in the range of the map. One subtraction and one compare.
  TERN_ALWAYS_INLINE bool contains(const void* p) const noexcept {
    // relaxed, both: base and length are set once, before the first block is handed out; before that every word is foreign.
    return to_word(p) - base_.load(memory_order_relaxed) < bytes_.load(memory_order_relaxed);
  }

  TERN_ALWAYS_INLINE page_entry find(const void* p) const noexcept {
    const std::uintptr_t offset = to_word(p) - base_.load(memory_order_relaxed);  // relaxed: see contains()
    if (TERN_UNLIKELY(offset >= bytes_.load(memory_order_relaxed))) return {};
    // relaxed: as in radix_page_map::find().
    return page_entry{entries_[offset >> page_shift].load(memory_order_relaxed)};
  }

  TERN_ALWAYS_INLINE page_entry find_acquire(const void* p) const noexcept {
    // pairs-with: cover(); a non-zero length comes with base and table.
    const std::size_t bytes = bytes_.load(memory_order_acquire);
    const std::uintptr_t offset =
        to_word(p) - base_.load(memory_order_relaxed);  // relaxed: ordered by the load above
    if (offset >= bytes) return {};
    // pairs-with: set(); else the record's fields may be older than its entry.
    return page_entry{entries_[offset >> page_shift].load(memory_order_acquire)};
  }

  // Once. False when there is no memory for the table, or when it covers another range already.
  bool cover(std::uintptr_t start, std::size_t bytes) noexcept {
    if (entries_ != nullptr) return false;
    void* p = os::reserve((bytes >> page_shift) * sizeof(std::uint64_t));
    if (p == nullptr) return false;
    entries_ = static_cast<atomic<std::uint64_t>*>(p);
    base_.store(start, memory_order_relaxed);   // relaxed: published by the next store
    bytes_.store(bytes, memory_order_release);  // pairs-with: find_acquire()
    return true;
  }

  void set(std::uintptr_t address, page_entry e) noexcept {
    const std::uintptr_t offset =
        address - base_.load(memory_order_relaxed);  // relaxed: the caller has covered it
    entries_[offset >> page_shift].store(e.word(), memory_order_release);  // pairs-with: find_acquire()
  }

  // The range, for snapshots of the collector.
  std::uintptr_t base() const noexcept {
    return base_.load(memory_order_relaxed);  // relaxed: see contains()
  }
  std::size_t bytes() const noexcept {
    return bytes_.load(memory_order_acquire);  // pairs-with: cover()
  }

 private:
  atomic<std::uintptr_t> base_{0};
  atomic<std::size_t> bytes_{0};
  atomic<std::uint64_t>* entries_ = nullptr;
};

}  // namespace tern::inline v1::detail

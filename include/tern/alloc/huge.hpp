#pragma once

// Huge blocks: above 2 MiB, or aligned beyond 2 MiB; each has a mapping of its own.
//
// Context     The allocator's slow paths. A block of its own mapping grows by mremap: pages move, bytes do not.
// Structure   A span record of kind huge; the map has an entry for the block's first page only, since a free, a resize and a
//             query name the start. What is no larger than max_borrowed and has not grown is borrowed from the page heap, since a mapping
//             that comes and goes costs a fault for each page; it has `pages`, a mapping has none. Each of the two steps in
//             where the other has no addresses left. Mappings are on a list, for who looks through memory (live_blocks.hpp).
// Protocol    resize: the entry is cleared before mremap, because another thread may be given the old addresses, and set
//             theirs, before mremap returns here.
//             A mapping is off the list, whose lock a visitor holds, before it goes or moves.
// Limits      A pointer into a huge block is unknown to the map, so freeing one is reported as a foreign pointer.
//             mremap keeps no alignment beyond the OS page's. A mapping of 16 MiB or more has whole huge pages (huge_pages.hpp), up to
//             2 MiB more than was asked for, in addresses, statistics and limits.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <tern/alloc/central.hpp>
#include <tern/alloc/huge_pages.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/memory.hpp>

namespace tern::inline v1::detail {

class huge_blocks {
 public:
  constexpr huge_blocks() noexcept = default;

  enum class wish : std::uint8_t { nothing, zeroed, to_grow };

  // nullptr when exhausted. Zeroed if that is wished. Requires: alignment is a power of two.
  void* allocate(std::size_t bytes, std::size_t alignment, wish w = wish::nothing) noexcept {
    if (bytes > max_bytes) return nullptr;
    const bool borrowed_first = bytes <= max_borrowed && w != wish::to_grow;
    if (borrowed_first) {
      if (void* p = borrow(bytes, alignment, w); p != nullptr) return p;
    }
    void* const p = map(bytes, alignment, w);
    return p != nullptr || borrowed_first ? p : borrow(bytes, alignment, w);
  }

  // Requires: s is the record of the huge block p.
  void free(span* s) noexcept {
    if (s->pages != 0) {
      count(-1, 0, s->mapped_bytes, -static_cast<std::ptrdiff_t>(s->mapped_bytes));
      heap_scavenger.note(heap.free(s));
      return;
    }
    void* const p = s->memory();
    const std::size_t mapped = s->mapped_bytes;
    withdraw(s);
    heap.give_record(s);
    os::unreserve(p, mapped);
    static_cast<void>(heap.change_foreign(pages_of(mapped), 0));
    count(-1, 0, mapped);
  }

  // The block at its new place, its old bytes kept; nullptr when exhausted, and the block stays as it was.
  void* resize(span* s, std::size_t bytes) noexcept {
    if (bytes > max_bytes) return nullptr;
    if (s->pages != 0) return leave(s, bytes);
    const std::size_t before = s->mapped_bytes;
    const std::size_t mapped = charge(bytes, before);
    if (mapped == 0) return nullptr;
    if (mapped == before) return s->memory();
    withdraw(s);
    void* p = ::mremap(s->memory(), before, mapped, 0);
    if (p == MAP_FAILED) p = move(s->memory(), before, mapped);
    if (p != MAP_FAILED) {
      s->start = to_word(p);
      s->mapped_bytes = mapped;
      if (mapped > before) advise(p, mapped);
      count(0, mapped, before);
    }
    publish(s);
    if (p != MAP_FAILED) return p;
    // A part that the program has advised or locked is a mapping of its own to the kernel, which moves one at a time.
    // Back to what it was, which is less.
    static_cast<void>(heap.change_foreign(pages_of(mapped), pages_of(before)));
    return copy(s, bytes);
  }

  // Calls f(start, bytes) for each block that has a mapping of its own. Who would free or resize one waits meanwhile, so f does neither.
  template <class F>
  void for_each_mapped(F&& f) noexcept {
    lock_scope hold{lock_};
    for (span_base* s = mapped_.front(); s != nullptr; s = mapped_.next(*s))
      f(s->start, static_cast<span*>(s)->mapped_bytes);
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

  struct totals {
    std::size_t blocks = 0;
    std::size_t bytes = 0;
    std::size_t borrowed = 0;  // bytes of them that are the page heap's
  };
  totals statistics() noexcept {
    lock_scope hold{lock_};
    return totals_;
  }

 private:
  static constexpr std::size_t max_bytes = std::size_t{1} << 46;
  static constexpr std::size_t pages_of(std::size_t bytes) noexcept {
    return (bytes + page_bytes - 1) / page_bytes;
  }
  static constexpr std::size_t max_borrowed = std::size_t{64} << 20;

  // The bytes of a mapping for `bytes`, in place of one of `before`, which the heap has counted; 0 where its limit forbids that. Whole huge
  // pages for a block that asks for them, if the limit has room: then the kernel (6.7 or later) gives it a place where they fit, and mremap
  // moves them as they are.
  static std::size_t charge(std::size_t bytes, std::size_t before) noexcept {
    const std::size_t least = round_up(bytes, os::page_size());
    const std::size_t whole = huge_pages::are_wanted(least) ? round_up(least, chunk_bytes) : least;
    if (whole == before || heap.change_foreign(pages_of(before), pages_of(whole))) return whole;
    return whole != least && heap.change_foreign(pages_of(before), pages_of(least)) ? least : 0;
  }
  static void advise(void* p, std::size_t mapped) noexcept {
    if (huge_pages::are_wanted(mapped)) os::advise_huge_pages(p, mapped, true);
  }

  void* map(std::size_t bytes, std::size_t alignment, wish w) noexcept {
    // At least a page of the map, though OS pages may be smaller: two blocks must not start in the same one.
    const std::size_t mapped = charge(bytes < page_bytes ? page_bytes : bytes, 0);
    if (mapped == 0) return nullptr;
    span* s = heap.take_record();
    void* p = s == nullptr ? nullptr : os::reserve(mapped, alignment);
    if (p == nullptr || !heap.map().cover(to_word(p), page_bytes)) {
      if (p != nullptr) os::unreserve(p, mapped);
      if (s != nullptr) heap.give_record(s);
      static_cast<void>(heap.change_foreign(pages_of(mapped), 0));
      return nullptr;
    }
    if (w == wish::to_grow) advise(p, mapped);
    s->start = to_word(p);
    s->mapped_bytes = mapped;
    s->kind = span_kind::huge;
    s->pages = 0;
    s->bits[0] = 0;
    publish(s);
    count(1, mapped, 0);
    heap_scavenger.note_growth();
    return p;
  }

  void* borrow(std::size_t bytes, std::size_t alignment, wish w) noexcept {
    const std::size_t pages = pages_of(bytes);
    span* s = heap.allocate({.pages = pages, .kind = span_kind::huge, .alignment = alignment},
                            [&](span& fresh) noexcept {
                              fresh.mapped_bytes = pages * page_bytes;
                              fresh.bits[0] = 0;
                            });
    if (s == nullptr) return nullptr;
    heap_scavenger.note_growth();
    if (s->zeroed && huge_pages::are_wanted(heap.statistics().mapped))
      huge_pages::before_sparse_use(s->start, s->end());
    if (w == wish::zeroed && !s->zeroed) std::memset(s->memory(), 0, bytes);
    count(1, s->bytes(), 0, static_cast<std::ptrdiff_t>(s->bytes()));
    return s->memory();
  }

  // The new place of a borrowed block: where it is, if there is room; else a mapping, to grow on.
  void* leave(span* s, std::size_t bytes) noexcept {
    const std::size_t pages = pages_of(bytes);
    const std::size_t before = s->mapped_bytes;
    if (pages <= max_borrowed / page_bytes && heap.resize(s, pages, 0)) {
      s->mapped_bytes = s->bytes();
      count(0, s->mapped_bytes, before, static_cast<std::ptrdiff_t>(s->mapped_bytes - before));
      return s->memory();
    }
    return copy(s, bytes);
  }

  // To another place, a mapping if there is one.
  void* copy(span* s, std::size_t bytes) noexcept {
    void* const p = allocate(bytes, 1, wish::to_grow);
    if (p == nullptr) return nullptr;
    std::memcpy(p, s->memory(), bytes < s->mapped_bytes ? bytes : s->mapped_bytes);
    free(s);
    return p;
  }

  // The leaf of the map for wherever it goes is got before: there is no way back, since another thread may take the old place at once.
  static void* move(void* from, std::size_t before, std::size_t mapped) noexcept {
    void* const leaf = heap.map().spare_leaf();
    if (leaf == nullptr) return MAP_FAILED;
    void* const p = ::mremap(from, before, mapped, MREMAP_MAYMOVE);
    if (!heap.map().cover_with(p != MAP_FAILED ? to_word(p) : to_word(from), leaf))
      fatal("reallocate: an address beyond the page map");
    return p;
  }

  void publish(span* s) noexcept {
    heap.map().set(s->start, page_entry{s, span_kind::huge, 0});
    add_leak_root(s->memory(), s->mapped_bytes);
    lock_scope hold{lock_};
    mapped_.push_back(*s);
  }
  void withdraw(span* s) noexcept {
    {
      lock_scope hold{lock_};
      mapped_.erase(*s);
    }
    heap.map().set(s->start, page_entry{});
    remove_leak_root(s->memory(), s->mapped_bytes);
  }

  void count(int blocks, std::size_t added, std::size_t removed, std::ptrdiff_t borrowed = 0) noexcept {
    lock_scope hold{lock_};
    totals_.borrowed += static_cast<std::size_t>(borrowed);
    totals_.blocks += static_cast<std::size_t>(blocks);
    totals_.bytes += added - removed;
  }

  spin_lock<> lock_;
  totals totals_;                             // lock_
  list<span_base, &span_base::hook> mapped_;  // lock_
};

inline constinit huge_blocks huge;

}  // namespace tern::inline v1::detail

#pragma once

// page_heap: runs of pages out of large reservations.
//
// Context     The bottom of the allocator (a growing heap over radix_page_map), and again of the collector (a single contiguous
//             reservation over flat_page_map). Span derives from span_base; the heap creates, recycles and owns the records.
// Structure   region   a reservation, 2 MiB-aligned: 64 MiB at first, then doubling; halved while the OS refuses
//             chunk    2 MiB of a region: taken in order as the heap grows, never given back as address space
//             span     pages, free or in use; free neighbours are always merged
//             free lists: one for each length below a chunk, with a bit for "not empty"; one for all longer spans
//             dirty bits: one a page, set once the page was handed out, cleared when its memory went back to the OS
// Protocol    allocate: best fit, among equals the one in the fullest chunk (empty chunks stay whole for huge pages); split;
//             else grow. The init function runs before any map entry names the span.
//             release_memory: takes dirty free spans off the lists, advises without the lock, puts them back.
// Invariants  I1 taken bytes = pages in use + pages free + pages detached by a release.   Asserted at level 3 in statistics().
//             I2 The map holds, for a span in use, an entry at each page; for a free one, at its first and last page; none else.
//             I3 pages committed <= dirty pages, but for the rest of a chunk with huge pages: a page that is not dirty reads as zero.
// Ordering    Everything under one lock; readers of the map need none (page_map.hpp).
// Rejected    A commit step (PROT_NONE, then mprotect): NORESERVE memory is free until touched; overcommit_memory=2 makes the halving go on.
//             Keeping free released and free dirty spans apart: merging late fragments the heap; the bits tell them apart.
// Limits      Regions may be neighbours in address space by chance; spans never cross them.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <tern/alloc/huge_pages.hpp>
#include <tern/alloc/metadata.hpp>
#include <tern/alloc/page_heap_types.hpp>
#include <tern/alloc/page_map.hpp>
#include <tern/alloc/sanitizer.hpp>
#include <tern/alloc/span.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/memory.hpp>

namespace tern::inline v1::detail {

template <class Span, class Map>
class page_heap {
 public:
  explicit constexpr page_heap(page_heap_options options = {}) noexcept : options_{options} {}
  page_heap(const page_heap&) = delete;
  page_heap& operator=(const page_heap&) = delete;

  // A span of `r.pages` pages, or nullptr when memory or address space is exhausted. `init(span)` runs under the heap's lock
  // before the span can be found in the map. The memory reads as zero if span->zeroed. Thread-safe.
  template <class Init>
  Span* allocate(const page_request& r, Init&& init) noexcept {
    const std::size_t align_pages = r.alignment <= page_bytes ? 1 : r.alignment / page_bytes;
    if (r.pages == 0 || r.pages > max_pages || align_pages > pages_per_chunk) return nullptr;
    lock_scope hold{lock_};
    if (exceeds_limit_locked(r.pages)) return nullptr;
    Span* s = nullptr;
    if (span_base* longest = lists_[0].front();
        r.to_grow && longest != nullptr && longest->pages >= r.pages + align_pages - 1)
      s = split_locked(longest, r.pages, align_pages);
    if (s == nullptr) s = take_fit_locked(r.pages, align_pages);
    if (s == nullptr && grow_locked(r.pages + align_pages - 1)) s = take_fit_locked(r.pages, align_pages);
    if (s == nullptr) return nullptr;
    s->kind = r.kind;
    s->size_class = r.size_class;
    s->zeroed = mark_used_locked(*s);
    init(*s);
    const page_entry e{s, r.kind, r.size_class};
    for (std::uintptr_t a = s->start; a != s->end(); a += page_bytes) map_.set(a, e);
    return s;
  }
  Span* allocate(const page_request& r) noexcept {
    return allocate(r, [](Span&) noexcept {});
  }

  // Requires: s came from allocate() of this heap and is in use. Returns what is in use then. Thread-safe.
  page_usage free(Span* s) noexcept {
    lock_scope hold{lock_};
    if (s->kind == span_kind::free || s->kind == span_kind::none)
      fatal("page heap: span freed that is not in use");
    for (std::uintptr_t a = s->start; a != s->end(); a += page_bytes) map_.set(a, page_entry{});
    count_chunks_locked(*s, false);
    pages_in_use_ -= s->pages;
    insert_free_locked(s);
    return {pages_in_use_, dirty_pages_, foreign_pages_};
  }

  page_usage usage() noexcept {
    lock_scope hold{lock_};
    return {pages_in_use_, dirty_pages_, foreign_pages_};
  }

  // At most so many bytes in use from now on, foreign ones included; 0: no limit. What is in use beyond it stays.
  void set_limit(std::size_t bytes) noexcept {
    lock_scope hold{lock_};
    limit_pages_ = bytes == 0 ? 0 : bytes < page_bytes ? 1 : bytes / page_bytes;
  }

  // Memory that is not this heap's, but counts against its limit: so many pages instead of `before`. False if that would exceed it.
  bool change_foreign(std::size_t before, std::size_t pages) noexcept {
    lock_scope hold{lock_};
    if (pages > before && exceeds_limit_locked(pages - before)) return false;
    foreign_pages_ += pages - before;
    return true;
  }

  // The most pages in use at a time since it was last asked.
  std::size_t take_peak() noexcept {
    lock_scope hold{lock_};
    const std::size_t peak = peak_pages_;
    peak_pages_ = pages_in_use_;
    return peak;
  }

  // Gives the span another length and class where it is: a longer one out of the free pages behind it. False if there are not enough,
  // and nothing has changed. Requires: s is in use, and no other thread looks it up meanwhile. Thread-safe.
  bool resize(Span* s, std::size_t pages, std::uint8_t size_class) noexcept {
    lock_scope hold{lock_};
    const std::uintptr_t old_end = s->end();
    if (pages > s->pages && (exceeds_limit_locked(pages - s->pages) || !append_locked(*s, pages - s->pages)))
      return false;
    if (pages < s->pages && !cut_locked(*s, pages)) return false;
    // The pages that it had keep their entries, unless the class is another one.
    std::uintptr_t a = s->size_class == size_class ? old_end : s->start;
    s->size_class = size_class;
    const page_entry e{s, s->kind, size_class};
    for (; a < s->end(); a += page_bytes) map_.set(a, e);
    return true;
  }

  // Makes the reservation now instead of at first use; `bytes` 0: the configured size, halved while the OS refuses.
  // Returns what was reserved, 0 on failure or when a single heap has its reservation already.
  std::size_t reserve(std::size_t bytes = 0) noexcept {
    lock_scope hold{lock_};
    if (options_.single && region_count_ != 0) return 0;
    if (bytes != 0) next_reservation_ = round_up(bytes, chunk_bytes);
    return add_region_locked(chunk_bytes) ? regions_[region_count_ - 1].bytes : 0;
  }

  // Gives the memory of free pages back to the OS until about `wanted` bytes went; returns how many did. The addresses stay
  // with the heap. Thread-safe; the system calls run without the lock.
  std::size_t release_memory(std::size_t wanted = SIZE_MAX) noexcept {
    std::size_t done = 0;
    while (done < wanted) {
      detached batch[release_batch];
      unsigned n = 0;
      {
        lock_scope hold{lock_};
        n = detach_dirty_locked(batch, (wanted - done) / page_bytes + 1);
      }
      if (n == 0) break;
      // Detached spans belong to this thread: no list and no map entry names them.
      for (unsigned i = 0; i < n; ++i) {
        if (batch[i].is_huge) huge_pages::before_release(batch[i].part.start, batch[i].part.end());
        os::release(batch[i].part.memory(), batch[i].part.bytes());
      }
      lock_scope hold{lock_};
      for (unsigned i = 0; i < n; ++i) {
        done += clear_dirty_locked(batch[i].part);
        pages_detached_ -= batch[i].whole->pages;
        insert_free_locked(batch[i].whole);
      }
    }
    lock_scope hold{lock_};
    released_ += done;
    return done;
  }

  // Calls f(first, end) for each range of addresses that the heap has had chunks of. They stay mapped; f may use the heap.
  template <class F>
  void for_each_taken(F&& f) noexcept {
    for (std::uint32_t i = 0;; ++i) {
      std::uintptr_t base = 0;
      std::size_t bytes = 0;
      {
        lock_scope hold{lock_};
        if (i >= region_count_) return;
        base = regions_[i].base;
        bytes = regions_[i].taken;
      }
      f(base, base + bytes);
    }
  }

  Map& map() noexcept { return map_; }
  const Map& map() const noexcept { return map_; }

  // Single heaps: whether the address lies in the reservation.
  TERN_ALWAYS_INLINE bool contains(const void* p) const noexcept { return map_.contains(p); }

  // A record that is not tied to pages of this heap (mappings of their own). nullptr when exhausted.
  Span* take_record() noexcept { return records_.take(); }
  void give_record(Span* s) noexcept {
    s->kind = span_kind::none;
    records_.give(s);
  }

  page_heap_statistics statistics() noexcept {
    lock_scope hold{lock_};
    page_heap_statistics s;
    for (std::uint32_t i = 0; i < region_count_; ++i) s.reserved += regions_[i].bytes;
    s.mapped = mapped_;
    s.in_use = pages_in_use_ * page_bytes;
    s.dirty = dirty_pages_ * page_bytes;
    s.released = released_;
    TERN_ASSERT_SLOW(count_free_pages_locked() + pages_detached_ + pages_in_use_ == s.mapped / page_bytes,
                     "page heap: pages in use and free do not add up");
    return s;
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
    records_.for_each_lock(f);
  }

 private:
  struct region {
    std::uintptr_t base = 0;
    std::size_t bytes = 0;
    std::size_t taken = 0;                // bytes in chunks that the heap has, from base on
    bool asks_for_huge = false;           // huge_pages.hpp
    std::uint64_t* dirty = nullptr;       // a bit for each page
    std::uint16_t* chunk_used = nullptr;  // pages in use in each chunk
  };
  using span_list = list<span_base, &span_base::hook>;

  static constexpr std::size_t max_pages = std::size_t{1} << (47 - page_shift);
  static constexpr std::size_t default_reservation = std::size_t{64} << 20;
  static constexpr std::size_t max_reservation = std::size_t{64} << 30;
  static constexpr std::uint32_t max_regions = 256;
  static constexpr unsigned release_batch = 64;
  static constexpr unsigned fit_candidates = 8;

  // List 0 holds all spans of a chunk or longer.
  static constexpr std::size_t list_index(std::size_t pages) noexcept {
    return pages < pages_per_chunk ? pages : 0;
  }

  bool exceeds_limit_locked(std::size_t more) const noexcept {
    return limit_pages_ != 0 && pages_in_use_ + foreign_pages_ + more > limit_pages_;
  }

  void push_list_locked(Span* s) noexcept {
    const std::size_t i = list_index(s->pages);
    lists_[i].push_front(*s);
    occupied_[i / 64] |= std::uint64_t{1} << (i % 64);
  }

  void unlink_locked(span_base* s) noexcept {
    const std::size_t i = list_index(s->pages);
    span_list::erase(*s);
    if (lists_[i].is_empty()) occupied_[i / 64] &= ~(std::uint64_t{1} << (i % 64));
  }

  // Shortest occupied list of at least `pages` below a chunk; 0 if none.
  std::size_t first_occupied_locked(std::size_t pages) const noexcept {
    if (pages >= pages_per_chunk) return 0;
    std::size_t word = pages / 64;
    std::uint64_t bits = occupied_[word] & (~std::uint64_t{0} << (pages % 64));
    if (word == 0) bits &= ~std::uint64_t{1};
    while (bits == 0) {
      if (++word == pages_per_chunk / 64) return 0;
      bits = occupied_[word];
    }
    return word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
  }

  span_base* find_fit_locked(std::size_t pages) noexcept {
    span_base* best = nullptr;
    if (const std::size_t i = first_occupied_locked(pages); i != 0) {
      unsigned best_used = 0;
      unsigned seen = 0;
      for (span_base* s = lists_[i].front(); s != nullptr && seen < fit_candidates;
           s = lists_[i].next(*s), ++seen) {
        const region& r = regions_[s->region];
        const unsigned used = r.chunk_used[(s->start - r.base) / chunk_bytes];
        if (best == nullptr || used > best_used) {
          best = s;
          best_used = used;
        }
      }
      return best;
    }
    for (span_base* s = lists_[0].front(); s != nullptr; s = lists_[0].next(*s))
      if (s->pages >= pages &&
          (best == nullptr || s->pages < best->pages || (s->pages == best->pages && s->start < best->start)))
        best = s;
    return best;
  }

  Span* take_fit_locked(std::size_t pages, std::size_t align_pages) noexcept {
    span_base* s = find_fit_locked(pages + align_pages - 1);
    return s == nullptr ? nullptr : split_locked(s, pages, align_pages);
  }

  // `pages` of the free span, nullptr without records for the rest. Requires: they fit.
  Span* split_locked(span_base* s, std::size_t pages, std::size_t align_pages) noexcept {
    const std::uintptr_t start = round_up(s->start, align_pages * page_bytes);
    const std::size_t front = (start - s->start) / page_bytes;
    const std::size_t back = s->pages - front - pages;
    Span* front_record = nullptr;
    Span* back_record = nullptr;
    if (front != 0 && (front_record = records_.take()) == nullptr) return nullptr;
    if (back != 0 && (back_record = records_.take()) == nullptr) {
      if (front_record != nullptr) records_.give(front_record);
      return nullptr;
    }
    unlink_locked(s);
    set_ends_locked(*s, page_entry{});
    if (front != 0) add_rest_locked(front_record, s->start, front, s->region);
    if (back != 0) add_rest_locked(back_record, start + pages * page_bytes, back, s->region);
    s->start = start;
    s->pages = pages;
    return static_cast<Span*>(s);
  }

  // What a split leaves over: no merging, its neighbours are in use.
  void add_rest_locked(Span* s, std::uintptr_t start, std::size_t pages,
                       std::uint32_t region_index) noexcept {
    s->start = start;
    s->pages = pages;
    s->region = region_index;
    s->kind = span_kind::free;
    set_ends_locked(*s, page_entry{s, span_kind::free, 0});
    push_list_locked(s);
  }

  void insert_free_locked(Span* s) noexcept {
    const region& r = regions_[s->region];
    if (s->start != r.base) absorb_locked(s, s->start - page_bytes);
    if (s->end() != r.base + r.taken) absorb_locked(s, s->end());
    s->kind = span_kind::free;
    set_ends_locked(*s, page_entry{s, span_kind::free, 0});
    push_list_locked(s);
  }

  // Merges the free span that has `address` into s, if there is one.
  void absorb_locked(Span* s, std::uintptr_t address) noexcept {
    const page_entry e = map_.find(reinterpret_cast<const void*>(address));
    if (e.kind() != span_kind::free) return;
    Span* other = e.template get<Span>();
    unlink_locked(other);
    set_ends_locked(*other, page_entry{});
    if (other->start < s->start) s->start = other->start;
    s->pages += other->pages;
    give_record(other);
  }

  bool append_locked(span_base& s, std::size_t more) noexcept {
    const region& r = regions_[s.region];
    const std::uintptr_t old_end = s.end();
    const auto behind = [&]() noexcept -> Span* {
      if (old_end == r.base + r.taken) return nullptr;
      const page_entry e = map_.find(reinterpret_cast<const void*>(old_end));
      return e.kind() == span_kind::free ? e.template get<Span>() : nullptr;
    };
    Span* next = behind();
    if (next == nullptr && old_end != r.base + r.taken) return false;
    const std::size_t there = next == nullptr ? 0 : next->pages;
    if (there < more) {  // at the end of what the region has in use the heap may grow
      if (next != nullptr && next->end() != r.base + r.taken) return false;
      const std::size_t bytes = round_up((more - there) * page_bytes, chunk_bytes);
      if (r.bytes - r.taken < bytes || !take_chunks_locked(s.region, bytes)) return false;
      next = behind();
    }
    unlink_locked(next);
    set_ends_locked(*next, page_entry{});
    span_base taken;
    taken.start = old_end;
    taken.pages = more;
    taken.region = s.region;
    static_cast<void>(mark_used_locked(taken));
    s.pages += more;
    if (next->pages == more)
      give_record(next);
    else
      add_rest_locked(next, s.end(), next->pages - more, s.region);
    return true;
  }

  bool cut_locked(span_base& s, std::size_t pages) noexcept {
    Span* rest = records_.take();
    if (rest == nullptr) return false;
    rest->start = s.start + pages * page_bytes;
    rest->pages = s.pages - pages;
    rest->region = s.region;
    for (std::uintptr_t a = rest->start; a != rest->end(); a += page_bytes) map_.set(a, page_entry{});
    count_chunks_locked(*rest, false);
    pages_in_use_ -= rest->pages;
    s.pages = pages;
    insert_free_locked(rest);
    return true;
  }

  void set_ends_locked(const span_base& s, page_entry e) noexcept {
    map_.set(s.start, e);
    if (s.pages > 1) map_.set(s.end() - page_bytes, e);
  }

  bool grow_locked(std::size_t pages) noexcept {
    const std::size_t bytes = round_up(pages * page_bytes, chunk_bytes);
    std::uint32_t i = 0;
    while (i < region_count_ && regions_[i].bytes - regions_[i].taken < bytes) ++i;
    if (i == region_count_) {
      if (options_.single && region_count_ != 0) return false;
      if (!add_region_locked(bytes)) return false;
    }
    return take_chunks_locked(i, bytes);
  }

  // Requires: the region has so many left.
  bool take_chunks_locked(std::uint32_t i, std::size_t bytes) noexcept {
    Span* s = records_.take();
    if (s == nullptr) return false;
    region& r = regions_[i];
    s->start = r.base + r.taken;
    s->pages = bytes / page_bytes;
    s->region = i;
    if (!r.asks_for_huge && huge_pages::are_wanted(mapped_)) {
      r.asks_for_huge = true;
      os::advise_huge_pages(s->memory(), r.bytes - r.taken, true);
    }
    r.taken += bytes;
    mapped_ += bytes;
    if (r.bytes >= os::large_reservation) os::set_dumped(s->memory(), bytes, true);
    add_leak_root(s->memory(), bytes);
    insert_free_locked(s);
    return true;
  }

  bool add_region_locked(std::size_t least) noexcept {
    if (region_count_ == max_regions) return false;
    if (next_reservation_ == 0)
      next_reservation_ = options_.first_reservation == 0 ? default_reservation
                                                          : round_up(options_.first_reservation, chunk_bytes);
    std::size_t bytes = next_reservation_ < least ? least : next_reservation_;
    for (;;) {
      if (try_region_locked(bytes)) break;
      if (bytes == least) return false;
      bytes = round_up(bytes / 2, chunk_bytes);
      if (bytes < least) bytes = least;
    }
    next_reservation_ = bytes >= max_reservation / 2 ? max_reservation : bytes * 2;
    return true;
  }

  bool try_region_locked(std::size_t bytes) noexcept {
    void* p = os::reserve(bytes, chunk_bytes);
    if (p == nullptr) return false;
    if (bytes >= os::large_reservation) os::set_dumped(p, bytes, false);
    const std::size_t dirty_words = round_up(bytes / page_bytes, 64) / 64;
    void* side =
        metadata.allocate(dirty_words * sizeof(std::uint64_t) + bytes / chunk_bytes * sizeof(std::uint16_t));
    if (side == nullptr || !map_.cover(to_word(p), bytes)) {
      os::unreserve(p, bytes);  // the side table is lost: some hundred bytes, at exhaustion only
      return false;
    }
    region& r = regions_[region_count_];
    r.base = to_word(p);
    r.bytes = bytes;
    r.dirty = static_cast<std::uint64_t*>(side);
    r.chunk_used = reinterpret_cast<std::uint16_t*>(r.dirty + dirty_words);
    ++region_count_;
    return true;
  }

  // Calls f(word, mask) for the dirty bits of the span's pages.
  template <class F>
  void for_dirty_words_locked(const span_base& s, F&& f) noexcept {
    const region& r = regions_[s.region];
    std::size_t page = (s.start - r.base) / page_bytes;
    std::size_t left = s.pages;
    while (left != 0) {
      const std::size_t bit = page % 64;
      const std::size_t n = left < 64 - bit ? left : 64 - bit;
      const std::uint64_t ones = n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
      f(r.dirty[page / 64], ones << bit);
      page += n;
      left -= n;
    }
  }

  void count_chunks_locked(const span_base& s, bool add) noexcept {
    const region& r = regions_[s.region];
    std::uintptr_t a = s.start;
    while (a < s.end()) {
      const std::uintptr_t chunk_end = round_down(a - r.base, chunk_bytes) + r.base + chunk_bytes;
      const std::uintptr_t end = chunk_end < s.end() ? chunk_end : s.end();
      std::uint16_t& used = r.chunk_used[(a - r.base) / chunk_bytes];
      const std::size_t n = (end - a) / page_bytes;
      used = static_cast<std::uint16_t>(add ? used + n : used - n);
      a = end;
    }
  }

  // True if no page of the span was dirty.
  bool mark_used_locked(const span_base& s) noexcept {
    std::size_t were_dirty = 0;
    for_dirty_words_locked(s, [&](std::uint64_t& word, std::uint64_t mask) noexcept {
      were_dirty += static_cast<std::size_t>(std::popcount(word & mask));
      word |= mask;
    });
    dirty_pages_ += s.pages - were_dirty;
    pages_in_use_ += s.pages;
    if (pages_in_use_ > peak_pages_) peak_pages_ = pages_in_use_;
    count_chunks_locked(s, true);
    return were_dirty == 0;
  }

  struct detached {
    Span* whole;
    span_base part;  // what goes back to the OS
    bool is_huge;    // its region asks for huge pages
  };

  // The last dirty pages of the span, about `most` of them, in whole OS pages.
  span_base dirty_tail_locked(const span_base& s, std::size_t most) noexcept {
    span_base part = whole_os_pages(s);
    const region& r = regions_[s.region];
    const std::size_t first = (part.start - r.base) / page_bytes;
    const auto is_dirty = [&](std::size_t page) noexcept {
      return (r.dirty[page / 64] >> (page % 64) & 1) != 0;
    };
    std::size_t end = first + part.pages;
    while (end != first && !is_dirty(end - 1)) --end;
    const std::size_t begin = end - first > most ? end - most : first;
    part.start = round_down(r.base + begin * page_bytes, os::page_size());
    part.pages = (round_up(r.base + end * page_bytes, os::page_size()) - part.start) / page_bytes;
    if (begin == end) {
      part.pages = 0;
    } else if (r.asks_for_huge) {  // the rest of the chunk came with the first page of it that was touched
      const std::uintptr_t rest =
          round_down(std::min(round_up(part.end(), chunk_bytes), s.end()), os::page_size());
      if (rest > part.end()) part.pages = (rest - part.start) / page_bytes;
    }
    return part;
  }

  unsigned detach_dirty_locked(detached* out, std::size_t most) noexcept {
    unsigned n = 0;
    std::size_t pages = 0;
    for (std::size_t i = pages_per_chunk; i-- > 0;) {
      // Longest first: the fewest system calls for the most memory. List 0 holds the longest.
      const std::size_t index = i == pages_per_chunk - 1 ? 0 : i + 1;
      span_base* next = lists_[index].front();
      while (next != nullptr) {
        if (n == release_batch || pages >= most) return n;
        span_base* s = next;
        next = lists_[index].next(*s);
        const span_base part = dirty_tail_locked(*s, most - pages);
        if (part.pages == 0) continue;
        unlink_locked(s);
        set_ends_locked(*s, page_entry{});
        pages_detached_ += s->pages;
        pages += part.pages;
        out[n++] = {static_cast<Span*>(s), part, regions_[s->region].asks_for_huge};
      }
    }
    return n;
  }

  // Bytes that were dirty.
  std::size_t clear_dirty_locked(const span_base& part) noexcept {
    std::size_t cleared = 0;
    for_dirty_words_locked(part, [&](std::uint64_t& word, std::uint64_t mask) noexcept {
      cleared += static_cast<std::size_t>(std::popcount(word & mask));
      word &= ~mask;
    });
    dirty_pages_ -= cleared;
    return cleared * page_bytes;
  }

  std::size_t count_free_pages_locked() noexcept {
    std::size_t n = 0;
    for (span_list& l : lists_)
      for (span_base* s = l.front(); s != nullptr; s = l.next(*s)) n += s->pages;
    return n;
  }

  page_heap_options options_;
  spin_lock<> lock_;
  // All below: protected by lock_, but for the map's entries, which are atomic.
  std::size_t next_reservation_ = 0;  // bytes
  std::size_t pages_in_use_ = 0;
  std::size_t peak_pages_ = 0;     // in use, since take_peak()
  std::size_t limit_pages_ = 0;    // 0: none
  std::size_t foreign_pages_ = 0;  // change_foreign()
  std::size_t pages_detached_ = 0;
  std::size_t dirty_pages_ = 0;
  std::size_t mapped_ = 0;    // bytes in chunks that the heap has
  std::size_t released_ = 0;  // bytes
  std::uint32_t region_count_ = 0;
  std::uint64_t occupied_[pages_per_chunk / 64] = {};
  span_list lists_[pages_per_chunk];
  type_stable_pool<Span> records_;
  Map map_;
  region regions_[max_regions];
};

}  // namespace tern::inline v1::detail

#pragma once

// Central lists: for each size class the spans that have blocks to give, and the way back for blocks that return.
//
// Context     Thread caches take and give batches. One lock for each class.
// Structure   One heap of pages for the process (`heap`), one central_list for each class.
//             span states, small classes:   partial (on the list) <-> full (on no list)
//                                           partial -> empty: kept as the reserve if there is none, else to the page heap
// Protocol    take:  1. under the lock, collect clear bits of the first partial span, set them, repeat;
//                    2. none left: leave the lock, get a span from the page heap, enter again.
//             give:  1. without the lock, find each block's span and index: this is where foreign pointers, pointers into the
//                       middle of a block and sizes that do not match are found;
//                    2. under the lock, clear the bits; a clear one means that the block was freed twice.
//             Blocks that other threads allocated return this way too: a thread that only frees fills its cache to the limit and
//             then gives it back in batches, so memory is bounded by the caches' limits.
// Invariants  I1 blocks_out = sum over spans of used. Read by statistics.
//             I2 At most one span is empty and kept (reserve_), which damps oscillation at a span's edge.
// Ordering    A block's bytes are handed from the giver to the taker by the class's lock.
// Rejected    Free lists through the blocks: each batch would touch every block, cold, under the lock.
//             A store of whole batches without a look at spans: it would hide double frees, and blocks would come back in the
//             order of their deaths and not of their addresses.
// Limits      Blocks of one span may be handed to two caches. A batch from a fresh span begins and ends at a cache line, so
//             two caches share lines only of spans whose blocks have come back in parts.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <tern/alloc/hardened.hpp>
#include <tern/alloc/page_heap.hpp>
#include <tern/alloc/sanitizer.hpp>
#include <tern/alloc/scavenger.hpp>
#include <tern/alloc/size_class.hpp>
#include <tern/alloc/span.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1::detail {

inline constinit page_heap<span, radix_page_map> heap{};
inline constinit scavenger<page_heap<span, radix_page_map>> heap_scavenger{heap};

// What frees a sampled block that came back with its class (sampling.hpp). Set before there is one.
inline constinit atomic<void (*)(void*) noexcept> sampled_free{nullptr};

struct central_statistics {
  std::size_t spans = 0;
  std::size_t span_bytes = 0;
  std::size_t blocks_out = 0;   // live or in caches
  std::size_t blocks_free = 0;  // in spans
  std::uint64_t refills = 0;    // batches taken so far, and large blocks made apart
};

class alignas(contended_line_size) central_list {
 public:
  constexpr central_list() noexcept = default;

  // Up to n blocks of class c to out[0, n), ascending addresses last, so that a stack pops them in ascending order.
  // Returns how many; fewer than n only when memory is exhausted.
  unsigned take(unsigned c, void** out, unsigned n) noexcept {
    return is_small(c) ? take_small(c, out, n) : take_large(c, out, n);
  }

  // Returns n blocks of class c. Any misuse that shows is fatal.
  void give(unsigned c, void* const* blocks, unsigned n) noexcept {
    while (n != 0) {
      const unsigned part = n < give_batch ? n : give_batch;
      if (is_small(c))
        give_small(c, blocks, part);
      else
        give_large(c, blocks, part);
      blocks += part;
      n -= part;
    }
  }

  // Gives the empty span that is kept back to the page heap.
  void drop_reserve() noexcept {
    span* s = nullptr;
    {
      lock_scope hold{lock_};
      s = reserve_;
      reserve_ = nullptr;
      if (s != nullptr) --spans_;
    }
    if (s != nullptr) retire(s);
  }

  central_statistics statistics(unsigned c) noexcept {
    lock_scope hold{lock_};
    central_statistics r;
    r.spans = spans_;
    r.span_bytes = spans_ * class_table[c].pages * page_bytes;
    r.blocks_out = blocks_out_;
    r.blocks_free = spans_ * class_table[c].blocks - blocks_out_;
    r.refills = refills_;
    return r;
  }

  // Which blocks of a span are not in it. Requires: the span is, or was a moment ago, of this small class.
  void copy_bits(const span& s, std::uint64_t* out) noexcept {
    lock_scope hold{lock_};
    for (unsigned w = 0; w < max_blocks_per_span / 64; ++w) out[w] = s.bits[w];
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

 private:
  using span_list = list<span_base, &span_base::hook>;
  static constexpr unsigned give_batch = 64;

  static constexpr unsigned word_count(unsigned c) noexcept { return (class_table[c].blocks + 63) / 64; }

  static span* new_span(unsigned c) noexcept {
    const class_info& info = class_table[c];
    span* s = heap.allocate({.pages = info.pages, .size_class = static_cast<std::uint8_t>(c)},
                            [&](span& fresh) noexcept {
                              fresh.used = 0;
                              fresh.first_word = 0;
                              for (std::uint64_t& w : fresh.bits) w = 0;
                              const unsigned tail = info.blocks % 64;
                              if (tail != 0) fresh.bits[info.blocks / 64] = ~std::uint64_t{0} << tail;
                            });
    if (s == nullptr) return nullptr;
    heap_scavenger.note_growth();
    if constexpr (hardened_build) {
      if (!s->zeroed) std::memset(s->memory(), 0, s->bytes());  // no seals of what was here before
    }
    poison(s->memory(), s->bytes());
    return s;
  }

  static bool is_empty(const span& s, unsigned c) noexcept {
    std::size_t set = 0;
    for (unsigned w = 0; w < word_count(c); ++w) set += static_cast<std::size_t>(std::popcount(s.bits[w]));
    return set == word_count(c) * std::size_t{64} - class_table[c].blocks;
  }

  static void retire(span* s) noexcept {
    TERN_ASSERT_SLOW(!is_small(s->size_class) || is_empty(*s, s->size_class),
                     "central: bits of an empty span are not clear");
    unpoison(s->memory(), s->bytes());
    heap_scavenger.note(heap.free(s));
  }

  // Not inlined into take(), where its loop has too few registers.
  TERN_NOINLINE unsigned take_small(unsigned c, void** out, unsigned n) noexcept {
    unsigned got = 0;
    std::uint64_t uncounted = 1;
    while (got < n) {
      {
        lock_scope hold{lock_};
        refills_ += std::exchange(uncounted, 0);
        got += take_locked(c, out + got, n - got);
      }
      if (got == n) break;
      span* s = new_span(c);
      if (s == nullptr) break;
      lock_scope hold{lock_};
      ++spans_;
      partial_.push_front(*s);
    }
    // Collected in ascending order; a stack wants the lowest on top.
    for (unsigned i = 0, j = got; i + 1 < j; ++i) {
      --j;
      void* const p = out[i];
      out[i] = out[j];
      out[j] = p;
    }
    return got;
  }

  unsigned take_locked(unsigned c, void** out, unsigned n) noexcept {
    const std::size_t size = class_table[c].size;
    const unsigned words = word_count(c);
    unsigned got = 0;
    while (got < n) {
      span* s = static_cast<span*>(partial_.front());
      if (s == nullptr) {
        if (reserve_ == nullptr) break;
        s = reserve_;
        reserve_ = nullptr;
        partial_.push_front(*s);
      }
      const unsigned before = got;
      unsigned w = s->first_word;
      while (got < n && w < words) {
        std::uint64_t clear = ~s->bits[w];
        std::uintptr_t base = s->start + w * 64 * size;
        while (clear != 0 && got < n) {
          const unsigned bit = static_cast<unsigned>(std::countr_zero(clear));
          out[got++] = reinterpret_cast<void*>(base + bit * size);
          clear &= clear - 1;
        }
        s->bits[w] = ~clear;
        if (clear == 0) ++w;
      }
      s->first_word = w;
      s->used += got - before;
      if (s->used == class_table[c].blocks) span_list::erase(*s);  // full: on no list until a block returns
    }
    blocks_out_ += got;
    return got;
  }

  // One span for each block.
  unsigned take_large(unsigned c, void** out, unsigned n) noexcept {
    unsigned got = 0;
    while (got < n) {
      span* s = take_span(c);
      if (s == nullptr) break;
      out[got++] = s->memory();
    }
    return got;
  }

 public:
  // The span of a fresh large block, `zeroed` or not; nullptr when memory is exhausted. Requires: c is a large class.
  span* take_span(unsigned c, bool to_grow = false) noexcept {
    const page_request r{
        .pages = class_table[c].pages, .size_class = static_cast<std::uint8_t>(c), .to_grow = to_grow};
    span* s = heap.allocate(r, [](span& fresh) noexcept { fresh.bits[0] = 1; });
    if (s == nullptr) return nullptr;
    heap_scavenger.note_growth();
    if constexpr (hardened_build)
      std::memset(reinterpret_cast<void*>(s->start + class_size(c) - seal_bytes), 0, seal_bytes);
    poison(s->memory(), s->bytes());
    count_large(1, 1);
    return s;
  }

  // A large block that was made apart (with a special alignment, or for another class) counts here, since it returns here.
  void count_large(int n, unsigned refills = 0) noexcept {
    lock_scope hold{lock_};
    refills_ += refills;
    spans_ += static_cast<std::size_t>(n);
    blocks_out_ += static_cast<std::size_t>(n);
  }

 private:
  // nullptr for a sampled block, which is freed.
  static span* span_of(unsigned c, void* p) noexcept {
    const page_entry e = heap.map().find(p);
    if (TERN_UNLIKELY(e.kind() == span_kind::sampled && e.size_class() == c)) {
      sampled_free.load(memory_order_relaxed)(p);  // relaxed: the block's way here came after the store
      return nullptr;
    }
    if (TERN_UNLIKELY(e.kind() != span_kind::object))
      fatal("deallocate: not a live block of this allocator (foreign pointer, or freed twice)");
    if (TERN_UNLIKELY(e.size_class() != c))
      fatal("deallocate: the size does not match the block's (or it was freed twice)");
    return e.get<span>();
  }

  void give_small(unsigned c, void* const* blocks, unsigned n) noexcept {
    const class_info& info = class_table[c];
    span* spans[give_batch];
    std::uint32_t indices[give_batch];
    unsigned known = 0;
    // Blocks that were allocated one after the other often come back so: the last one's span is asked before the map.
    span* last = nullptr;
    std::uintptr_t start = 0;
    std::size_t length = 0;
    for (unsigned i = 0; i < n; ++i) {
      std::uintptr_t offset = to_word(blocks[i]) - start;
      if (offset >= length) {
        last = span_of(c, blocks[i]);
        length = 0;
        if (TERN_UNLIKELY(last == nullptr)) continue;
        start = last->start;
        length = last->bytes();
        offset = to_word(blocks[i]) - start;
        __builtin_prefetch(last, 1);
      }
      const std::uint64_t index = (offset * info.reciprocal) >> 40;
      if (TERN_UNLIKELY(index * info.size != offset)) fatal("deallocate: pointer into the middle of a block");
      spans[known] = last;
      indices[known++] = static_cast<std::uint32_t>(index);
    }
    n = known;
    span* empty[give_batch];
    unsigned empties = 0;
    {
      lock_scope hold{lock_};
      for (unsigned i = 0; i < n; ++i) {
        span* s = spans[i];
        const unsigned w = indices[i] / 64;
        const std::uint64_t mask = std::uint64_t{1} << (indices[i] % 64);
        if (TERN_UNLIKELY((s->bits[w] & mask) == 0)) fatal("deallocate: block freed twice");
        s->bits[w] &= ~mask;
        if (w < s->first_word) s->first_word = w;
        if (s->used-- == info.blocks) partial_.push_front(*s);
        if (s->used == 0) {
          span_list::erase(*s);
          if (reserve_ == nullptr) {
            reserve_ = s;
          } else {
            empty[empties++] = s;
            --spans_;
          }
        }
      }
      blocks_out_ -= n;
    }
    for (unsigned i = 0; i < empties; ++i) retire(empty[i]);
  }

  void give_large(unsigned c, void* const* blocks, unsigned n) noexcept {
    span* spans[give_batch];
    unsigned known = 0;
    for (unsigned i = 0; i < n; ++i) {
      spans[known] = span_of(c, blocks[i]);
      if (TERN_UNLIKELY(spans[known] == nullptr)) continue;
      if (TERN_UNLIKELY(spans[known]->start != to_word(blocks[i])))
        fatal("deallocate: pointer into the middle of a block");
      ++known;
    }
    n = known;
    {
      lock_scope hold{lock_};
      for (unsigned i = 0; i < n; ++i) {
        if (TERN_UNLIKELY(spans[i]->bits[0] == 0)) fatal("deallocate: block freed twice");
        spans[i]->bits[0] = 0;
      }
      spans_ -= n;
      blocks_out_ -= n;
    }
    for (unsigned i = 0; i < n; ++i) retire(spans[i]);
  }

  spin_lock<> lock_;
  // All below: protected by lock_.
  span_list partial_;        // spans with used < blocks, but not empty ones; the last to gain a block first
  span* reserve_ = nullptr;  // an empty span
  std::size_t spans_ = 0;    // of this class, full ones included
  std::size_t blocks_out_ = 0;
  std::uint64_t refills_ = 0;
};

inline constinit central_list central_lists[class_count];

// Makes a large block one of another large class where it lies. False if there is no room.
inline bool resize_large(span* s, unsigned to) noexcept {
  const unsigned from = s->size_class;
  if (!heap.resize(s, class_table[to].pages, static_cast<std::uint8_t>(to))) return false;
  central_lists[from].count_large(-1);
  central_lists[to].count_large(1);
  return true;
}

}  // namespace tern::inline v1::detail

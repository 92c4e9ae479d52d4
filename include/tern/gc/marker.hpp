// Marker: from grey words to marked objects, until no queue holds anything.
//
// Context     Run by the collector's thread in quanta, and by mutators as assists; whoever holds mark_lock is the marker.
// Structure   grey chunks of mutators --> mark stack (chunks, last in first out) --> window (a ring, first in first out) --> mark
//             window:  head ... middle ... tail      what lies at tail  has its object and its span's record under way to the cache,
//                                                    what passes middle is located in its span, and its mark bits are under way,
//                                                    what leaves at head is marked and scanned.
//             An entry of the stack is a word that is believed to point into an object, or, in two words, a piece of a big array:
//             index, then the array's address with its lowest bit set.
// Protocol    take an entry into the window; when it is full mark the oldest one, count it, and push its non-null members. Entries are
//             marked when they leave the window and not before, so one object may be entered several times: the bound is the
//             number of members, not of objects.
// Invariants  An object is scanned by whoever sets its mark, at once: there is no marked object that is not scanned outside
//             mark_one(), except for arrays whose remaining pieces are on the stack.
// Rejected    Recursion (lists of ten million). Mark bits by atomic RMW (5 ns each, while one marker suffices on two CPUs).
// References  Cher, Hosking, Vitek, "Software prefetching for mark-sweep garbage collection", 2004.
#pragma once

#include <cstdint>

#include <tern/arch/cpu.hpp>
#include <tern/gc/grey.hpp>
#include <tern/gc/slot.hpp>

namespace tern::inline v1::detail::gc {

inline constexpr std::size_t piece_words = 2048;  // of an array, looked at before anything else gets a turn
inline constexpr unsigned window_size = 32;       // a power of two
inline constexpr unsigned window_near = 16;       // entries between tail and middle

class marker {
 public:
  // Requires, all: mark_lock is held.

  // Up to `bytes` of work: live objects that are marked, a word for each entry and a piece's length for each piece that is
  // looked at. Returns how much was done; less means that the stack and the exchange are empty.
  std::size_t mark_some(std::size_t bytes) noexcept {
    std::size_t done = 0;
    unsigned head = 0, middle = 0, tail = 0;  // free-running
    top stack;
    while (done < bytes) {
      const bool more = tail - head < window_size && fill_one(stack, tail, done);
      if (more && tail - middle <= window_near) continue;
      if (head == tail) break;
      if (middle != tail) locate(window_[middle++ % window_size]);
      if (more && tail - head < window_size) continue;
      done += sizeof(std::uintptr_t) + mark_one(stack, window_[head++ % window_size]);
    }
    // The window lives only inside a quantum, so that "queues are empty" has one meaning.
    for (; head != tail; ++head) stack.push(window_[head % window_size].word);
    stack.put_back();
    // Within the lock: who holds it sees the counts of what was taken from the queues (R4).
    bump(state.marked, objects_);
    bump(state.marked_bytes, bytes_);
    objects_ = bytes_ = 0;
    return done;
  }

  static bool is_empty() noexcept { return state.mark_stack == nullptr && state.grey.is_empty(); }

  static void push(std::uintptr_t word) noexcept {
    top stack;
    stack.push(word);
    stack.put_back();
  }

 private:
  // The top chunk of the mark stack, for the time of a quantum in registers: through memory each push and pop would wait for
  // the one before. Between construction and put_back() the stack's own words are not looked at by anybody.
  class top {
   public:
    top() noexcept { open(state.mark_stack); }

    TERN_ALWAYS_INLINE void push(std::uintptr_t word) noexcept {
      if (TERN_UNLIKELY(next_ == end_)) *this = with_chunk(*this);
      *next_++ = word;
    }
    TERN_ALWAYS_INLINE bool pop(std::uintptr_t& word) noexcept {
      if (TERN_UNLIKELY(next_ == begin_)) {
        *this = below(*this);
        if (chunk_ == nullptr) return false;
      }
      word = *--next_;
      return true;
    }
    // A chunk on the stack is never empty.
    void put_back() noexcept {
      if (chunk_ == nullptr) return;
      chunk_->count = static_cast<std::uint32_t>(next_ - begin_);
      if (chunk_->count == 0) *this = below(*this);
    }

   private:
    void open(grey_chunk* c) noexcept {
      chunk_ = c;
      begin_ = c == nullptr ? nullptr : c->words;
      next_ = c == nullptr ? nullptr : begin_ + c->count;
      end_ = c == nullptr ? nullptr : begin_ + grey_chunk::capacity;
    }
    // By value, both: what has its address taken is in memory.
    TERN_NOINLINE static top with_chunk(top t) noexcept {
      if (t.chunk_ != nullptr) t.chunk_->count = grey_chunk::capacity;
      grey_chunk* c = take_chunk();
      c->next = state.mark_stack;
      t.open(state.mark_stack = c);
      return t;
    }
    // Goes on with the chunk below, else with what mutators handed over; without a chunk where there is nothing.
    TERN_NOINLINE static top below(top t) noexcept {
      if (grey_chunk* c = t.chunk_) {
        state.mark_stack = c->next;
        grey_chunks.give(c);
      }
      if (state.mark_stack == nullptr) state.mark_stack = state.grey.take_all();
      t.open(state.mark_stack);
      return t;
    }

    grey_chunk* chunk_;
    std::uintptr_t* begin_;
    std::uintptr_t* next_;
    std::uintptr_t* end_;
  };

  struct entry {
    std::uintptr_t word;
    span* where;          // null once it is known to be no object
    std::uint32_t index;  // known from the middle on
  };

  // One entry from the stack into the window, or one piece of an array scanned. False when there is none.
  TERN_ALWAYS_INLINE bool fill_one(top& stack, unsigned& tail, std::size_t& done) noexcept {
    std::uintptr_t word;
    if (!stack.pop(word)) return false;
    if (TERN_UNLIKELY((word & 1) != 0)) {
      std::uintptr_t index = 0;
      stack.pop(index);
      stack = scan_complex(stack, word - 1, index);
      done += piece_words * sizeof(word);
      return true;
    }
    span* const s = span_of(word);
    if (TERN_UNLIKELY(s == nullptr)) return true;
    prefetch(reinterpret_cast<const void*>(word));
    prefetch(&s->start);
    prefetch(&s->cell_bytes);
    window_[tail++ % window_size] = {word, s, 0};
    return true;
  }

  // An array, from an index on, or an object with members beyond its first 64 words, or in no known place. By value: the caller's stays in registers.
  TERN_NOINLINE static top scan_complex(top stack, std::uintptr_t object, std::size_t from) noexcept {
    const span* const s = span_of(object);
    if (s->kind_of->is_array)
      scan_array(stack, *s->kind_of, object, s->cell_bytes, from);
    else
      scan_unit(stack, s->kind_of->unit, object);
    return stack;
  }

  TERN_ALWAYS_INLINE static void locate(entry& e) noexcept {
    e.index = e.where->index_of(e.word);
    if (TERN_LIKELY(e.index < e.where->cells))
      prefetch_for_write(&e.where->group(e.index));
    else
      e.where = nullptr;
  }

  TERN_ALWAYS_INLINE std::size_t mark_one(top& stack, const entry& e) noexcept {
    span* const s = e.where;
    if (TERN_UNLIKELY(s == nullptr) || !s->is_allocated(e.index) || !s->mark_locked(e.index)) return 0;
    const std::size_t bytes = s->cell_bytes;
    ++objects_;
    bytes_ += bytes;
    const std::uintptr_t object = s->cell(e.index);
    if (TERN_LIKELY(s->scans_inline)) {
      const auto* slots = reinterpret_cast<const std::uintptr_t*>(object);
      for (std::uint64_t bits = s->inline_members; bits != 0; bits &= bits - 1)
        push_member(stack, slots + std::countr_zero(bits));
    } else {
      stack = scan_complex(stack, object, 0);
    }
    return bytes;
  }

  TERN_ALWAYS_INLINE static void push_member(top& stack, const std::uintptr_t* slot) noexcept {
    const std::uintptr_t value = slot_word(slot);
    if (value != 0)
      // The lowest bit marks pieces; objects are aligned, so it stays inside.
      stack.push(value & ~std::uintptr_t{7});
  }

  static void scan_unit(top& stack, const layout& unit, std::uintptr_t object) noexcept {
    if (!unit.is_exact) return scan_opaque(stack, unit, object);
    const auto* slots = reinterpret_cast<const std::uintptr_t*>(object);
    for (std::size_t w = 0; w < unit.words; ++w, slots += 64)
      for (std::uint64_t bits = unit.bits[w]; bits != 0; bits &= bits - 1)
        push_member(stack, slots + std::countr_zero(bits));
  }

  // What is no pointer to an object is dropped when it leaves the window, as what a stack has given.
  static void scan_opaque(top& stack, const layout& unit, std::uintptr_t object) noexcept {
    const auto* slots = reinterpret_cast<const std::uintptr_t*>(object);
    for (std::size_t w = 0; w < unit.bytes / 8; ++w)
      if (const std::uintptr_t value = opaque_word(slots + w); span_of(value) != nullptr)
        stack.push(value & ~std::uintptr_t{7});
  }

  static void scan_array(top& stack, const shape& k, std::uintptr_t object, std::size_t cell_bytes,
                         std::size_t from) noexcept {
    // An array under construction has length 0 or its own: elements that come later are stored with the barrier.
    std::size_t length = slot_word(reinterpret_cast<const std::uintptr_t*>(object));
    const std::size_t room = (cell_bytes - sizeof(array_header)) / k.unit.bytes;
    if (length > room) length = room;
    std::size_t step = piece_words / (k.unit.bytes / 8 + 1);
    if (step == 0) step = 1;
    std::size_t to = length;
    if (length - from > step) {
      to = from + step;
      stack.push(to);
      stack.push(object | 1);
    }
    const std::uintptr_t elements = object + sizeof(array_header);
    for (std::size_t i = from; i < to; ++i) scan_unit(stack, k.unit, elements + i * k.unit.bytes);
  }

  entry window_[window_size] = {};
  std::uint64_t objects_ = 0;  // of this quantum, not in state.marked yet
  std::uint64_t bytes_ = 0;
};

inline constinit marker the_marker{};

}  // namespace tern::inline v1::detail::gc

// Marker: from grey words to marked objects, until no queue holds anything.
//
// Context     Run by the collector's thread in quanta, and by mutators as assists; whoever holds mark_lock is the marker.
// Structure   grey chunks of mutators --> mark stack (chunks, last in first out) --> prefetch window (first in first out) --> mark
//             An entry is a word that is believed to point into an object, or, in two words, a piece of a big array:
//             index, then the array's address with its lowest bit set.
// Protocol    take an entry into the window and prefetch what it points to; when the window is full look the oldest one up, mark it,
//             count it, and push its non-null members. Entries are marked when they leave the window and not before, so
//             one object may be entered several times: the bound is the number of members, not of objects.
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
inline constexpr unsigned window_size = 16;       // a power of two

class marker {
 public:
  // Requires, all: mark_lock is held.

  // Up to `bytes` of work: live objects that are marked, a word for each entry and a piece's length for each piece that is
  // looked at. Returns how much was done; less means that the stack and the exchange are empty.
  std::size_t mark_some(std::size_t bytes) noexcept {
    std::size_t done = 0;
    while (done < bytes) {
      if (count_ < window_size && fill_one(done)) continue;
      if (count_ == 0) break;
      const std::uintptr_t word = window_[head_++ % window_size];
      --count_;
      done += sizeof(word) + mark_one(word);
    }
    // The window lives only inside a quantum, so that "queues are empty" has one meaning.
    while (count_ != 0) {
      push(window_[head_++ % window_size]);
      --count_;
    }
    return done;
  }

  static bool is_empty() noexcept { return state.mark_stack == nullptr && state.grey.is_empty(); }

  static void push(std::uintptr_t word) noexcept {
    if (state.mark_stack == nullptr || state.mark_stack->count == grey_chunk::capacity) {
      grey_chunk* c = take_chunk();
      c->next = state.mark_stack;
      state.mark_stack = c;
    }
    state.mark_stack->words[state.mark_stack->count++] = word;
  }

 private:
  static bool pop(std::uintptr_t& word) noexcept {
    grey_chunk* c = state.mark_stack;
    if (c == nullptr) {
      c = state.mark_stack = state.grey.take_all();
      if (c == nullptr) return false;
    }
    word = c->words[--c->count];  // chunks on the stack are never empty
    if (c->count == 0) {
      state.mark_stack = c->next;
      grey_chunks.give(c);
    }
    return true;
  }

  // One entry from the stack into the window. False when there is none.
  bool fill_one(std::size_t& done) noexcept {
    std::uintptr_t word;
    if (!pop(word)) return false;
    if ((word & 1) != 0) {
      std::uintptr_t index = 0;
      pop(index);
      if (span* s = span_of(word - 1)) scan_array(*s->kind_of, word - 1, s->cell_bytes, index);
      done += piece_words * sizeof(word);
      return true;
    }
    prefetch(reinterpret_cast<const void*>(word));
    if (const span* s = span_of(word)) prefetch(&s->reciprocal);
    window_[(head_ + count_++) % window_size] = word;
    return true;
  }

  static std::size_t mark_one(std::uintptr_t word) noexcept {
    const object_ref o = object_at(word);
    if (!o || !o.where->mark_locked(o.index)) return 0;
    bump(state.marked);
    span& s = *o.where;
    const std::size_t bytes = s.cell_bytes;
    bump(state.marked_bytes, bytes);
    const shape& k = *s.kind_of;
    if (!k.has_members()) return bytes;
    const std::uintptr_t object = s.cell(o.index);
    if (k.is_array)
      scan_array(k, object, bytes, 0);
    else
      scan_unit(k.unit, object);
    return bytes;
  }

  static void push_member(const std::uintptr_t* slot) noexcept {
    const std::uintptr_t value = slot_word(slot);
    if (value != 0)
      push(value &
           ~std::uintptr_t{7});  // the lowest bit marks pieces; objects are aligned, so it stays inside
  }

  static void scan_unit(const layout& unit, std::uintptr_t object) noexcept {
    const auto* slots = reinterpret_cast<const std::uintptr_t*>(object);
    for (std::size_t w = 0; w < unit.words; ++w, slots += 64)
      for (std::uint64_t bits = unit.bits[w]; bits != 0; bits &= bits - 1)
        push_member(slots + std::countr_zero(bits));
  }

  static void scan_array(const shape& k, std::uintptr_t object, std::size_t cell_bytes,
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
      push(to);
      push(object | 1);
    }
    const std::uintptr_t elements = object + sizeof(array_header);
    for (std::size_t i = from; i < to; ++i) scan_unit(k.unit, elements + i * k.unit.bytes);
  }

  std::uintptr_t window_[window_size] = {};
  unsigned head_ = 0;
  unsigned count_ = 0;
};

inline constinit marker the_marker{};

}  // namespace tern::inline v1::detail::gc

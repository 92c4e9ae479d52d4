// Greying: from a word that may be a pointer to a note for the marker; and the conservative scan of stacks.
//
// Context     Barriers, stack scans and crossings note white objects in their mutator's buffer; the marker (marker.hpp) takes
//             full chunks, and what is left at each acknowledgement. Mark bits are the marker's alone.
// Protocol    1. look the word up; not an allocated object, or marked: nothing to do
//             2. count (termination rests on it), 3. note, 4. hand the chunk over when it is full.
// Invariants  Between a mutator's look at the barrier flag and its note there is no safepoint.
// Limits      A word that points one past the end of an object keeps that object alive only where the word's own cell begins there;
//             then both are kept: the scan cannot know which was meant. Arrays have room for such a pointer inside their cell.
#pragma once

#include <cstdint>

#include <tern/alloc/sanitizer.hpp>
#include <tern/arch/cpu.hpp>
#include <tern/gc/state.hpp>

#if TERN_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tern::inline v1::detail::gc {

inline void hand_over(mutator& m) noexcept {
  if (m.buffer == nullptr || m.buffer->count == 0) return;
  state.grey.push(m.buffer);
  m.buffer = nullptr;
}

// Notes a white object. Owner or claimer.
inline void note_grey(mutator& m, object_ref o) noexcept {
  bump(m.greyed);  // before the note can be seen: rule R4
  if (m.buffer == nullptr) m.buffer = take_chunk();
  m.buffer->words[m.buffer->count++] = o.address();
  if (m.buffer->count == grey_chunk::capacity) hand_over(m);
}

// A word of unknown origin: object start, interior, or one past the end. Calls f(object_ref) for what it may mean, one or two.
template <class F>
TERN_ALWAYS_INLINE void for_each_meaning(std::uintptr_t word, F&& f) noexcept {
  const flat_page_map& map = pages.map();
  // One past the end of the reservation is not looked at: no object ends there, growth stops before it.
  if (TERN_LIKELY(!map.contains(reinterpret_cast<const void*>(word)))) return;
  span* s = span_of(word);
  bool at_start = s == nullptr;
  if (s != nullptr) {
    const std::uint32_t i = s->index_of(word);
    if (i < s->cells && s->is_allocated(i)) f(object_ref{s, i});
    at_start = i >= s->cells || s->cell(i) == word;
  }
  if (!at_start || (word & (min_cell_bytes / 2 - 1)) != 0) return;
  const object_ref before = object_at_inlined(word - 1);
  if (!before) return;
  const shape& k = *before.where->kind_of;
  const bool has_slack = k.is_array || (k.unit.bytes != 0 && k.unit.bytes < before.where->cell_bytes);
  if (!has_slack) f(before);
}

inline void shade_word(mutator& m, std::uintptr_t word) noexcept {
  for_each_meaning(word, [&](object_ref o) noexcept {
    if (!o.where->is_marked(o.index)) note_grey(m, o);
  });
}

// Calls f(word) for each aligned word of [low, high). The words belong to frames of any state: the sanitizers are told to look
// away, since red zones, dead slots and other threads' saved frames are read on purpose.
template <class F>
TERN_NO_SANITIZE TERN_NOINLINE void for_each_stack_word(std::uintptr_t low, std::uintptr_t high,
                                                        [[maybe_unused]] void* fake_stack, F& f) noexcept {
  for (std::uintptr_t a = round_up(low, 8); a + 8 <= high; a += 8) {
    const std::uintptr_t w = *reinterpret_cast<const volatile std::uintptr_t*>(a);
    f(w);
#if TERN_ASAN
    // With use-after-return checks a frame's variables lie in a fake frame elsewhere, to which the real one points.
    if (fake_stack != nullptr) {
      void* begin = nullptr;
      void* end = nullptr;
      if (__asan_addr_is_in_fake_stack(fake_stack, reinterpret_cast<void*>(w), &begin, &end) != nullptr)
        for (auto* p = static_cast<const volatile std::uintptr_t*>(begin);
             p < static_cast<const volatile std::uintptr_t*>(end); ++p)
          f(*p);
    }
#endif
  }
}

inline void* current_fake_stack() noexcept {
#if TERN_ASAN
  return __asan_get_current_fake_stack();
#else
  return nullptr;
#endif
}

// Greys what [low, high) may point to.
inline void scan_words(mutator& m, std::uintptr_t low, std::uintptr_t high, void* fake_stack) noexcept {
  // Most words of a stack are foreign: they cost no call.
  auto f = [&m](std::uintptr_t w) noexcept {
    if (TERN_UNLIKELY(pages.map().contains(reinterpret_cast<const void*>(w)))) shade_word(m, w);
  };
  for_each_stack_word(low, high, fake_stack, f);
  state.counters.stack_scans.fetch_add(1, memory_order_relaxed);  // relaxed: a statistic
}

// The same for the stack that the caller, or an idle mutator, stands on; how long its mutator waits for that is told.
inline void scan_stack(mutator& m, std::uintptr_t low, std::uintptr_t high, void* fake_stack) noexcept {
  const os::nanoseconds begin = os::now();
  scan_words(m, low, high, fake_stack);
  raise_to(state.counters.stack_scan_max_ns, static_cast<std::uint64_t>(os::now() - begin));
}

// Stores every callee-saved register in its own frame, then calls f(sp): all that the caller and its callers hold is above sp.
template <class F>
TERN_NOINLINE void with_registers_saved(F&& f) {
  __builtin_unwind_init();
  f(stack_pointer());
  asm volatile("" ::: "memory");  // keeps the frame until f has returned
}

}  // namespace tern::inline v1::detail::gc

// The write barrier: every store of a managed pointer into managed memory or a handle, while a cycle marks, shades it.
//
// Context     Dijkstra's insertion barrier with grey stacks: what is stored is shaded, what is overwritten is not.
// Protocol    off: one load and a predicted branch. on: the slow path looks the pointer up and notes it if it is white, unless it is one
//             of some that this mutator has looked up in this cycle, or lies in the run of black cells that it allocates from: a program
//             that builds stores mostly what it has just made.
//             Null needs none; nor does the end of a slot's life. Initialising stores need one: the object may be black already.
//             Debug builds also ask whether the object's type names the slot: what it does not name is not marked.
// Rejected    A deletion barrier: C++ overwrites objects in ways that no barrier sees (memset, destructors, reuse of buffers).
//             Marking in the barrier: an atomic RMW on shared words in every mutator.
// References  Dijkstra, Lamport, Martin, Scholten, Steffens 1978.
#pragma once

#include <cstdint>
#include <cstdio>

#include <tern/base/assert.hpp>
#include <tern/gc/safepoint.hpp>
#include <tern/gc/slot.hpp>

namespace tern::inline v1::detail::gc {

// For threads that are not attached: values that cross a channel, say. Under a lock, since they take part in no handshake.
inline void shade_foreign_locked(std::uintptr_t word) noexcept {
  for_each_meaning(word, [](object_ref o) noexcept {
    if (o.where->is_marked(o.index)) return;
    bump(state.foreign_greyed);
    grey_chunk* c = take_chunk();
    c->words[c->count++] = o.address();
    state.grey.push(c);
  });
}
TERN_COLD inline void shade_foreign(std::uintptr_t word) noexcept {
  lock_scope hold{state.foreign_lock};
  if (is_barrier_on()) shade_foreign_locked(word);
}

// Apart from shade_slow(), whose usual way is short and needs no frame so. Neither is cold: while a cycle marks every store comes here.
TERN_NOINLINE inline void shade_unseen(mutator& m, std::uintptr_t word) noexcept {
  const runtime_scope in{m};
  // A safepoint, for mutators that store and never allocate: before the shading, since a cycle may end and the next begin in it.
  poll(m);
  if (!is_barrier_on()) return;
  const object_ref o = object_at_inlined(word);
  if (o && !o.where->is_marked(o.index)) note_grey(m, o);
  m.shaded.note(word);
}

TERN_NOINLINE inline void shade_slow(const void* p) noexcept {
  const std::uintptr_t word = to_word(p);
  mutator* m = current_mutator_if_any();
  if (m == nullptr) return shade_foreign(word);
  // Nothing is unmarked within a cycle. Where a signal ends that cycle between here and the store, p lies in a register (signal.hpp).
  if ((m->shaded.has(word) || m->has_just_made(word)) && !is_late(*m)) return;
  shade_unseen(*m, word);
}

// Sets a root slot on behalf of a thread that is not attached. It acks nothing, so the lock takes the handshake's place: the collector
// holds it when it sets the flag and when it judges the counts.
TERN_COLD inline void store_foreign(void*& slot, void* p) noexcept {
  lock_scope hold{state.foreign_lock};
  if (is_barrier_on()) shade_foreign_locked(to_word(p));
  slot_store(slot, p);
}

// For weak references, under their lock: no safepoint here, since the collector may wait for that lock.
inline void shade_weak(const void* p) noexcept {
  mutator* m = current_mutator_if_any();
  if (p == nullptr || !is_barrier_on()) return;
  if (m == nullptr) return shade_foreign(to_word(p));
  const runtime_scope in{*m};
  const object_ref o = object_at(to_word(p));
  if (o && !o.where->is_marked(o.index)) note_grey(*m, o);
}

// A slot of managed memory that its object's type does not name; stacks and the C++ heap are none.
TERN_COLD inline bool is_unnamed_slot(std::uintptr_t slot) noexcept {
  const span* const s = span_of(slot);
  if (s == nullptr) return false;
  const std::uint32_t i = s->index_of(slot);
  return i < s->cells && !s->kind_of->names(slot - s->cell(i));
}
[[noreturn]] TERN_COLD inline void end_at_unnamed_slot(std::uintptr_t slot) noexcept {
  const span* const s = span_of(slot);
  const std::string_view type = s->kind_of->newest_type();
  std::fprintf(stderr, "tern: gc: at byte %zu of a managed %.*s%s\n",
               static_cast<std::size_t>(slot - s->cell(s->index_of(slot))), static_cast<int>(type.size()),
               type.data(), s->kind_of->is_array ? " array" : "");
  fatal("gc: a member is used that its object's type does not name: trace() forgets it, or bytes hold it");
}
TERN_ALWAYS_INLINE void check_slot([[maybe_unused]] const void* slot) noexcept {
  if constexpr (TERN_DEBUG_LEVEL >= 1) {
    if (is_unnamed_slot(to_word(slot))) end_at_unnamed_slot(to_word(slot));
  }
}

TERN_ALWAYS_INLINE void shade([[maybe_unused]] const void* p) noexcept {
#if !TERN_GC_WITHOUT_BARRIER
  if (TERN_UNLIKELY(is_barrier_on()) && p != nullptr) shade_slow(p);
#endif
}

}  // namespace tern::inline v1::detail::gc

// What the collector knows of 64 cells, and what each of those who touch it may do: four words, off to the side of the cells.
//
// Context     span.hpp has them; everything here takes its atomics as a parameter, so that tests/model runs it under every interleaving.
// Structure   mark         reached in this cycle. Written by whoever holds the mark lock, during marking; cleared by sweep
//             born         allocated while marking, so live in this cycle and never scanned. Written by the span's holder
//             allocated    may be looked up. Written by the holder (a whole run at once) and by sweep
//             constructed  its destructor must run. Set after the constructor, cleared by the destructor's executor
//             cell states:  free         !allocated !constructed
//                           in a run     allocated, still zero     (the holder hands it out without touching the bits)
//                           live         allocated (constructed)
//                           doomed       !allocated constructed    (swept; no word finds it any more, its destructor is due)
// Protocol    holder      free_cells(), then the run is zeroed, add_born() where it allocates black, add_allocated(); the object is built,
//                         add_constructed()
//             marker      is_allocated(), mark_locked()
//             sweeper     sweep(): marking is over, and nobody looks words up
//             executor    doomed(), the destructor, end_of()
// Invariants  I1 a cell that is not free is never handed out; a doomed cell becomes free only by its destructor.
//             I2 sweep clears the allocated bit before anybody hears of the destructor, and look-ups require that bit: a stale word
//                cannot make an object live again whose destructor is about to run.
//             I3 what a look-up finds was zeroed for its present life.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail::gc {

template <class Atomics = native_atomics>
struct cell_bits {
  using word = std::uint64_t;
  typename Atomics::template atomic<word> mark;
  typename Atomics::template atomic<word> born;
  typename Atomics::template atomic<word> allocated;
  typename Atomics::template atomic<word> constructed;

  void clear() noexcept {
    // relaxed, all: published with the span.
    mark.store(0, memory_order_relaxed);
    born.store(0, memory_order_relaxed);
    allocated.store(0, memory_order_relaxed);
    constructed.store(0, memory_order_relaxed);
  }

  // ---- anybody ----

  TERN_ALWAYS_INLINE bool is_allocated(word cell) const noexcept {
    return (allocated.load(memory_order_acquire) & cell) != 0;  // pairs-with: add_allocated()
  }
  // relaxed: mark under the mark lock or as a hint (a stale clear bit greys an object twice, which costs time only); born is
  // the holder's, and everybody else reads it after a handshake or as a hint.
  TERN_ALWAYS_INLINE bool is_marked(word cell) const noexcept {
    return ((mark.load(memory_order_relaxed) | born.load(memory_order_relaxed)) & cell) != 0;
  }

  // ---- whoever holds the mark lock ----

  // False when it was marked or born before.
  TERN_ALWAYS_INLINE bool mark_locked(word cell) noexcept {
    const word marks = mark.load(memory_order_relaxed);  // relaxed: written under the mark lock only
    if (((marks | born.load(memory_order_relaxed)) & cell) != 0) return false;
    mark.store(marks | cell, memory_order_relaxed);
    return true;
  }

  // ---- the span's holder: the only writer of born and allocated until the sweep ----

  word free_cells() const noexcept {
    // relaxed: the holder's own; a constructed bit that is cleared meanwhile is seen next time.
    // acquire pairs-with: end_of(); else the cell's zeroing could precede its destructor.
    return ~(allocated.load(memory_order_relaxed) | constructed.load(memory_order_acquire));
  }
  void add_allocated(word cells) noexcept {
    // release pairs-with: is_allocated(); the run is zeroed before.
    allocated.store(allocated.load(memory_order_relaxed) | cells, memory_order_release);
  }
  void add_born(word cells) noexcept {
    born.store(born.load(memory_order_relaxed) | cells, memory_order_relaxed);  // relaxed: see is_marked()
  }
  void add_constructed(word cell) noexcept {
    // RMW: the executor clears other bits of the word. release pairs-with: doomed(); else a half-built object is destroyed.
    constructed.fetch_or(cell, memory_order_release);
  }
  // What was not handed out of a run is free again.
  void withdraw(word cells) noexcept {
    // relaxed, all: no object lives there, so it does not matter what a look-up sees.
    allocated.store(allocated.load(memory_order_relaxed) & ~cells, memory_order_relaxed);
    born.store(born.load(memory_order_relaxed) & ~cells, memory_order_relaxed);
  }

  // ---- the sweeper ----

  struct swept {
    word live;
    word dead;
    word due;  // of the dead, those with a destructor, and those that wait for it since an earlier sweep
  };
  swept sweep() noexcept {
    // relaxed, all: marking is over, the handshakes ordered every bit before this.
    const word all = allocated.load(memory_order_relaxed);
    const word live = all & (mark.load(memory_order_relaxed) | born.load(memory_order_relaxed));
    const word dead = all & ~live;
    mark.store(0, memory_order_relaxed);
    born.store(0, memory_order_relaxed);
    if (dead != 0) allocated.store(live, memory_order_relaxed);
    return {live, dead, constructed.load(memory_order_relaxed) & ~live};
  }

  // ---- the destructors' executor ----

  word doomed() const noexcept {
    // Two statements, in this order: an object that is alive has its allocated bit, set before its constructed one.
    const word built = constructed.load(memory_order_acquire);  // pairs-with: add_constructed()
    return built & ~allocated.load(memory_order_relaxed);       // relaxed: after the other one
  }
  void end_of(word cell) noexcept {
    constructed.fetch_and(~cell,
                          memory_order_release);  // pairs-with: free_cells(); the cell may be reused now
  }
};

}  // namespace tern::inline v1::detail::gc

// The managed heap as mutators see it: runs of free cells, spans that come and go, sweeping of one span.
//
// Context     make.hpp pops cells off bins inline; everything else of an allocation is here. The sweeper and lazy sweeping by
//             mutators share sweep_span().
// Structure   bin: [first .. cursor) handed out | [cursor .. limit) the rest of the run: zeroed, allocated bits set
// Protocol    refill: 1. the next run of the held span; 2. else a partial span, 3. else sweep a few, 4. else a fresh span.
//             A run is zeroed, born bits set if the mutator allocates black, then its allocated bits.
//             blacken (first round's ack): born bits over the rest of each run.
//             release (sweep's ack): the rest of each run becomes free; the span goes to `pending` if its marks are old.
//             Where pages are short (hard limit), all of 3 comes before 4, and before that the end of the sweep handshake, for which the
//             caller waits: else each cycle would add pages of which it then finds the cells free. What is between the limit and the page
//             heap's own, a 64th above it, is for shapes that have no free cell at all.
// Invariants  I1 a mutator takes only spans whose epoch is its own: between the end of marking and its ack of the sweep handshake
//                it takes fresh ones, so that no span with this cycle's born bits escapes the sweep.
//             I2 a span on `unswept` is swept exactly once, by whoever pops it.
#pragma once

#include <algorithm>
#include <cstring>
#include <new>

#include <tern/gc/state.hpp>

namespace tern::inline v1::detail::gc {

using span_list = list<span_base, &span_base::hook>;

// Requires: cursor != limit.
inline cell_run rest_of_run(const bin& b) noexcept {
  const std::uint32_t first = b.held->index_of(to_word(b.cursor));
  return {first, first + static_cast<std::uint32_t>(static_cast<std::size_t>(b.limit - b.cursor) /
                                                    b.held->cell_bytes)};
}

// Puts a span that nobody holds on its shape's list.
inline void list_span(span& s) noexcept {
  shape& k = *s.kind_of;
  bool has_free = false;
  if (!k.is_large())
    for (unsigned g = 0; g < s.used_groups() && !has_free; ++g) has_free = s.free_cells(g) != 0;
  lock_scope hold{k.lock};
  // relaxed, both: the flip of lists takes this lock after the heap's epoch changed, so old spans end up in pending either way.
  if (s.epoch.load(memory_order_relaxed) != state.epoch.load(memory_order_acquire))
    k.pending.push_back(s);
  else if (has_free)
    k.partial.push_back(s);
  else
    k.full.push_back(s);
}

inline void release_bin(bin& b) noexcept {
  if (b.held == nullptr) return;
  span& s = *b.held;
  if (b.cursor != b.limit) clear_run(s, rest_of_run(b));
  b.held = nullptr;
  b.cursor = b.limit = nullptr;
  b.next = 0;
  list_span(s);
}

// Owner or claimer.
inline void release_all_bins(mutator& m) noexcept {
  for (std::uint32_t i = 0; i < m.used_count; ++i) {
    bin& b = m.bins[m.table->used[i]];
    release_bin(b);
    b.listed = false;
  }
  m.used_count = 0;
}

inline void blacken(mutator& m) noexcept {
  for (std::uint32_t i = 0; i < m.used_count; ++i) {
    bin& b = m.bins[m.table->used[i]];
    if (b.held != nullptr && b.cursor != b.limit) set_born(*b.held, rest_of_run(b));
  }
}

// ---- destructors that are due ----

struct destroy_queue {
  spin_lock<> lock;
  span* first = nullptr;               // lock; spans with doomed cells
  span* last = nullptr;                // lock
  atomic<std::uint32_t> wake{0};       // futex: increments with each addition
  atomic<std::uint64_t> pending{0};    // spans queued or running
  atomic<std::uint32_t> idle_word{0};  // futex: increments when pending falls to 0
};
inline constinit destroy_queue doomed;

inline void enqueue_doomed(span& s) noexcept {
  bool added = false;
  {
    lock_scope hold{doomed.lock};
    if (s.destroying == destroy_state::none) {
      s.destroying = destroy_state::queued;
      s.next_doomed = nullptr;
      (doomed.last == nullptr ? doomed.first : doomed.last->next_doomed) = &s;
      doomed.last = &s;
      doomed.pending.fetch_add(1,
                               memory_order_relaxed);  // relaxed: under the lock; readers wait on idle_word
      added = true;
    } else if (s.destroying == destroy_state::running) {
      s.destroying = destroy_state::running_queued;
    }
  }
  if (added) {
    doomed.wake.fetch_add(1, memory_order_release);  // pairs-with: the executor's wait
    os::futex_wake(doomed.wake, 1);
  }
}

// ---- sweep ----

struct sweep_result {
  std::uint32_t live = 0;
  bool has_free = false;
  bool is_empty = false;  // no live cell, none doomed: the span may go
};

// Requires: the span is on no list and held by nobody; marking is over and every mutator has acked the sweep handshake.
inline sweep_result sweep_span(span& s) noexcept {
  sweep_result r;
  bool any_doomed = false;
  std::uint32_t dead_cells = 0;
  const bool poison_dead =
      testing.poison_freed.load(memory_order_relaxed);  // relaxed: set before the test's first object
  for (unsigned g = 0; g < s.used_groups(); ++g) {
    const auto [live, dead, due] = s.bits[g].sweep();
    if (due != 0) any_doomed = true;
    if (poison_dead)
      for (std::uint64_t d = dead & ~due; d != 0; d &= d - 1) {
        const std::uint32_t i = g * 64 + static_cast<std::uint32_t>(std::countr_zero(d));
        std::memset(reinterpret_cast<void*>(s.cell(i)), poison_byte, s.cell_bytes);
      }
    r.live += static_cast<std::uint32_t>(std::popcount(live));
    dead_cells += static_cast<std::uint32_t>(std::popcount(dead));
    if (s.free_cells(g) != 0) r.has_free = true;
  }
  if (dead_cells != 0) s.is_zero = false;
  if (any_doomed) enqueue_doomed(s);
  s.epoch.store(state.epoch.load(memory_order_relaxed),
                memory_order_relaxed);  // relaxed: published with the span
  state.counters.freed_bytes.fetch_add(dead_cells * s.cell_bytes,
                                       memory_order_relaxed);  // relaxed: a statistic
  if (r.live == 0 && !any_doomed) {
    // A span that the executor still walks stays.
    lock_scope hold{doomed.lock};
    r.is_empty = s.destroying == destroy_state::none;
  }
  return r;
}

// Back to the page heap. Requires: empty, on no list.
inline void free_span(span& s) noexcept { pages.free(&s); }

// Sweeps one span of the shape; false when there is none left. For the collector's thread.
inline bool sweep_one(shape& k) noexcept {
  span* s = nullptr;
  {
    lock_scope hold{k.lock};
    s = static_cast<span*>(k.unswept.pop_front());
  }
  if (s == nullptr) return false;
  const sweep_result r = sweep_span(*s);
  if (r.is_empty)
    free_span(*s);
  else
    list_span(*s);
  return true;
}

// ---- refill ----

inline span* fresh_span(mutator& m, shape& k, std::size_t bytes) noexcept {
  return pages.allocate({.pages = bytes / page_bytes, .kind = managed_kind},
                        [&](span& s) noexcept { s.init(k, m.epoch); });
}

// As the page heap takes it: 0 for none.
inline std::size_t pages_limit(std::size_t hard_limit) noexcept {
  return hard_limit > SIZE_MAX / 2 ? 0 : std::max(hard_limit + hard_limit / 64, page_bytes);
}

// Whether so many bytes more would lie beyond the hard limit.
inline bool is_short_of_pages(std::size_t bytes) noexcept {
  const std::size_t limit = state.hard_limit.load(memory_order_relaxed);  // relaxed: pacing
  return TERN_UNLIKELY(limit != SIZE_MAX) && pages.usage().in_use * page_bytes + bytes > limit;
}

// A span with free cells, or null when memory is exhausted, or will not be as soon as the sweep begins.
inline span* acquire_span(mutator& m, shape& k) noexcept {
  constexpr unsigned most_swept = 16;
  bool awaits_sweep = false;
  for (unsigned i = 0; i < most_swept || is_short_of_pages(k.span_bytes); ++i) {
    span* s = nullptr;
    bool swept = true;
    {
      lock_scope hold{k.lock};
      s = static_cast<span*>(k.partial.front());
      // relaxed: changes only while the span is on no list.
      if (s != nullptr && s->epoch.load(memory_order_relaxed) == m.epoch) {
        span_list::erase(*s);
      } else {
        s = static_cast<span*>(k.unswept.pop_front());
        swept = false;
      }
      awaits_sweep = k.pending.front() != nullptr;
    }
    if (s == nullptr) break;
    if (swept) return s;
    const sweep_result r = sweep_span(*s);
    if (r.has_free) return s;
    list_span(*s);
  }
  if (awaits_sweep && is_short_of_pages(k.span_bytes)) return nullptr;
  return fresh_span(m, k, k.span_bytes);
}

// Counts bytes that a mutator took and asks for a cycle when the trigger is passed.
inline void account(std::size_t bytes) noexcept {
  // relaxed, all: pacing.
  const std::size_t now = state.heap_bytes.fetch_add(bytes, memory_order_relaxed) + bytes;
  state.counters.allocated_bytes.fetch_add(bytes, memory_order_relaxed);
  // Not only where the trigger is crossed: a setting may lower it below what is there. One request at a time.
  if (now >= state.trigger.load(memory_order_relaxed) &&
      state.wanted.load(memory_order_relaxed) <= state.completed.load(memory_order_relaxed))
    request_cycle();
}

// Makes the bin's next run ready. False when memory is exhausted. Owner only.
inline bool refill(mutator& m, shape& k) noexcept {
  bin& b = m.bins[k.number];
  for (;;) {
    if (b.held != nullptr) {
      span& s = *b.held;
      const cell_run r = find_run(s, b.next);
      if (r.first != r.last) {
        const std::size_t bytes = (r.last - r.first) * s.cell_bytes;
        if (!s.is_zero) std::memset(reinterpret_cast<void*>(s.cell(r.first)), 0, bytes);
        if (m.allocate_black) {
          set_born(s, r);
          m.black_low = s.cell(r.first);
          m.black_bytes = bytes;
        }
        set_allocated(s, r);
        b.cursor = reinterpret_cast<char*>(s.cell(r.first));
        b.limit = b.cursor + bytes;
        b.next = r.last;
        account(bytes);
        return true;
      }
      release_bin(b);
    }
    span* s = acquire_span(m, k);
    if (s == nullptr) return false;
    b.held = s;
    b.next = 0;
    if (!b.listed) {
      b.listed = true;
      m.table->used[m.used_count++] = static_cast<std::uint16_t>(k.number);
    }
  }
}

// An object in a span of its own, zeroed; 0 when memory is exhausted. Owner only.
inline std::uintptr_t allocate_large(mutator& m, shape& k, std::size_t bytes) noexcept {
  span* s = fresh_span(m, k, round_up(bytes, page_bytes));
  if (s == nullptr) return 0;
  if (!s->is_zero) std::memset(s->memory(), 0, s->bytes());
  s->is_zero = false;
  const cell_run whole{0, 1};
  if (m.allocate_black) set_born(*s, whole);
  set_allocated(*s, whole);
  const std::uintptr_t p = s->start;
  account(s->bytes());
  list_span(*s);
  return p;
}

}  // namespace tern::inline v1::detail::gc

#pragma once

// What the allocator holds, as a struct and as text.
//
// Context     For programs and tests, and for TERN_DEBUG=allocstats=1, which prints one line at exit.
// Invariants  For each class: blocks of its spans = live + cached + central. Exact while no other thread allocates; else each
//             term is right at some moment during the call, and live is clamped at zero.
// Limits      Walks all caches and takes each class's lock for a moment: for periods, not for hot paths.

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include <tern/alloc/central.hpp>
#include <tern/alloc/huge.hpp>
#include <tern/alloc/thread_cache.hpp>

namespace tern::inline v1 {

// One size class. Blocks, unless a name says bytes.
struct class_statistics {
  std::size_t size_bytes = 0;
  std::size_t live = 0;     // handed out and not freed
  std::size_t cached = 0;   // in caches of threads and processors
  std::size_t central = 0;  // free in spans
  std::size_t spans = 0;
  std::size_t span_bytes = 0;
  std::uint64_t refills = 0;  // allocations so far that no cache could serve: they took the class's lock
};

// The whole allocator. Bytes, unless a name says otherwise.
struct allocator_statistics {
  static constexpr unsigned class_count = detail::class_count;

  class_statistics classes[class_count];
  std::size_t live = 0;         // live blocks of all classes and huge blocks, at their class's size
  std::size_t cached = 0;       // blocks in caches
  std::size_t central = 0;      // free blocks in spans
  std::size_t huge = 0;         // mappings of their own, part of live
  std::size_t huge_blocks = 0;  // count
  std::size_t caches = 0;       // count
  std::size_t reserved = 0;     // address space of the page heap
  std::size_t mapped = 0;       // its part that the heap has begun to use
  std::size_t in_use = 0;       // its part in spans
  std::size_t committed =
      0;  // pages that were used and not given back, huge blocks included: bounds resident memory
  std::size_t released = 0;  // given back to the OS since the start
  std::size_t metadata = 0;  // the allocator's own records

  // One line for each class with spans, and one with the totals, newline-terminated. Writes at most `size` bytes with the
  // final zero; returns the length of the whole text without it, as snprintf does.
  std::size_t write_text(char* buffer, std::size_t size) const noexcept {
    std::size_t length = 0;
    const auto rest = [&]() noexcept { return length < size ? size - length : 0; };
    const auto end = [&]() noexcept { return buffer + (size - rest()); };
    const auto add = [&](int n) noexcept {
      if (n > 0) length += static_cast<std::size_t>(n);
    };
    for (const class_statistics& c : classes)
      if (c.spans != 0)
        add(std::snprintf(
            end(), rest(),
            "class %zu: live %zu cached %zu central %zu spans %zu span_bytes %zu refills %llu\n",
            c.size_bytes, c.live, c.cached, c.central, c.spans, c.span_bytes,
            static_cast<unsigned long long>(c.refills)));
    add(std::snprintf(
        end(), rest(),
        "total: live %zu cached %zu central %zu huge %zu in %zu caches %zu reserved %zu mapped %zu in_use "
        "%zu "
        "committed %zu released %zu metadata %zu\n",
        live, cached, central, huge, huge_blocks, caches, reserved, mapped, in_use, committed, released,
        metadata));
    return length;
  }
};

// Reads the allocator's statistics. Thread-safe.
inline allocator_statistics allocation_statistics() noexcept {
  allocator_statistics r;
  for (unsigned c = 0; c < detail::class_count; ++c) {
    class_statistics& k = r.classes[c];
    k.size_bytes = detail::class_size(c);
    k.cached = detail::caches.shared_store.cached(c);
  }
  detail::for_each_cache([&](detail::thread_cache& cache) noexcept {
    ++r.caches;
    for (unsigned c = 0; c < detail::class_count; ++c) r.classes[c].cached += cache.cached(c);
  });
  for (unsigned c = 0; c < detail::class_count; ++c) {
    class_statistics& k = r.classes[c];
    const detail::central_statistics s = detail::central_lists[c].statistics(c);
    k.spans = s.spans;
    k.span_bytes = s.span_bytes;
    k.central = s.blocks_free;
    k.refills = s.refills;
    k.live = s.blocks_out > k.cached ? s.blocks_out - k.cached : 0;
    r.live += k.live * k.size_bytes;
    r.cached += k.cached * k.size_bytes;
    r.central += k.central * k.size_bytes;
  }
  const auto huge = detail::huge.statistics();
  r.huge = huge.bytes;
  r.huge_blocks = huge.blocks;
  r.live += huge.bytes;
  const detail::page_heap_statistics h = detail::heap.statistics();
  r.reserved = h.reserved;
  r.mapped = h.mapped;
  r.in_use = h.in_use;
  r.committed = h.dirty + huge.bytes - huge.borrowed;
  r.released = h.released;
  r.metadata = detail::metadata.used_bytes();
  return r;
}

namespace detail {

inline void print_allocation_statistics() noexcept {
  const allocator_statistics s = allocation_statistics();
  char text[256];
  const int n = std::snprintf(
      text, sizeof text,
      "tern: allocstats: live %zu cached %zu central %zu huge %zu mapped %zu in_use %zu "
      "committed %zu released %zu caches %zu\n",
      s.live, s.cached, s.central, s.huge, s.mapped, s.in_use, s.committed, s.released, s.caches);
  if (n > 0) {
    // Diagnostics: a closed stderr is no reason to fail.
    [[maybe_unused]] const ssize_t written = ::write(2, text, static_cast<std::size_t>(n));
  }
}

}  // namespace detail

}  // namespace tern::inline v1

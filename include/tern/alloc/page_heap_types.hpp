#pragma once

// What page heaps are asked, and what they tell.

#include <cstddef>
#include <cstdint>

#include <tern/alloc/size_class.hpp>
#include <tern/alloc/span.hpp>
#include <tern/base/bits.hpp>
#include <tern/os/memory.hpp>

namespace tern::inline v1::detail {

struct page_heap_options {
  // Bytes, rounded up to chunks; 0: 64 MiB (all-zero options keep the heap in .bss).
  std::size_t first_reservation = 0;
  bool single = false;  // never a second reservation: contains() is one compare
};

struct page_request {
  std::size_t pages = 1;
  span_kind kind = span_kind::object;
  std::uint8_t size_class = 0;
  std::size_t alignment = page_bytes;  // of the start, bytes; a power of two, at most chunk_bytes
  bool to_grow = false;                // where resize() will find room, if there is such a place
};

// Pages. dirty >= in_use: a page counts as dirty from the moment that it is handed out.
struct page_usage {
  std::size_t in_use = 0;
  std::size_t dirty = 0;    // as in the statistics
  std::size_t foreign = 0;  // change_foreign()
};

// Bytes.
struct page_heap_statistics {
  std::size_t reserved = 0;  // address space
  std::size_t mapped = 0;    // handed to the heap in chunks
  std::size_t in_use = 0;    // in spans in use
  std::size_t dirty = 0;     // in pages used since they last went back to the OS: bounds the resident memory
  std::size_t released = 0;  // given back to the OS, sum since the start
};

// The part of a span that covers whole OS pages, relative to its start.
inline span_base whole_os_pages(const span_base& s) noexcept {
  span_base inner;
  const std::uintptr_t first = round_up(s.start, os::page_size());
  const std::uintptr_t last = round_down(s.end(), os::page_size());
  inner.region = s.region;
  inner.start = first;
  inner.pages = last > first ? (last - first) / page_bytes : 0;
  return inner;
}

}  // namespace tern::inline v1::detail

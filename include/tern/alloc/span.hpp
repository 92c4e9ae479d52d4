#pragma once

// Spans: runs of pages that belong together, and what is written about them.
//
// Structure   span_base: what the page heap needs. span: the allocator's own, with one bit for each block.
//             A client of page_heap derives its span type from span_base and adds its fields.
//
//             free ----allocate----> in use (object, huge, or a client's kind) ----free----> free, merged with neighbours
//
// Invariants  I1 Records are type-stable (metadata.hpp).
//             I2 blocks in use = used = population count of bits[] minus the bits beyond `blocks`, which are always set.
//                Asserted at level 3 when a span goes back to the page heap.
//             I3 A set bit means "not in the span": the block is live or lies in a cache. So a block freed twice is found
//                when its second copy comes back, not before.

#include <bit>
#include <cstddef>
#include <cstdint>

#include <tern/alloc/size_class.hpp>
#include <tern/base/list.hpp>

namespace tern::inline v1::detail {

// What a page belongs to. The values are stored in page map entries; 0 is a page that no heap knows.
enum class span_kind : std::uint8_t {
  none = 0,
  free = 1,     // the page heap's
  object = 2,   // blocks of a size class; large classes have one block in a span
  huge = 3,     // above the classes
  sampled = 4,  // one block of a class, watched (sampling.hpp)
  client = 16,  // first value for other layers: they choose values from here on
};

// Written by the page heap under its lock while the span is free, and by the owner of the span while it is in use.
struct span_base {
  std::uintptr_t start = 0;  // address of the first byte
  std::size_t pages = 0;     // of page_bytes
  std::uint32_t region = 0;  // the page heap's reservation that it lies in
  span_kind kind = span_kind::none;
  std::uint8_t size_class = 0;  // of an object span, else the client's
  bool zeroed = false;          // set by allocate: the memory reads as zero
  list_hook hook;               // in use: the owner's
  span_base* pool_next = nullptr;

  std::size_t bytes() const noexcept { return pages * page_bytes; }
  std::uintptr_t end() const noexcept { return start + bytes(); }
  void* memory() const noexcept { return reinterpret_cast<void*>(start); }
};

struct span : span_base {
  std::uint32_t used = 0;        // blocks not in the span; protected by the class's central lock
  std::uint32_t first_word = 0;  // no clear bit below this word of bits; central lock
  std::uint64_t bits[max_blocks_per_span / 64] = {};  // central lock
  std::size_t mapped_bytes = 0;                       // huge: its length; sampled: where the block begins
};

}  // namespace tern::inline v1::detail

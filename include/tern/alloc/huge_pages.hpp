// Huge pages: which chunks of a page heap, and of huge blocks, are one page of the kernel's.
//
// Context     Where transparent huge pages are given to those who ask (Debian's and Ubuntu's setting), a heap of small pages pays for the walks of the page
//             table at every step that misses the cache: compare alloc/random/slots:262144 or gc/lru/entries:262144 with the kernel's setting at `madvise`
//             and at `never`.
// Protocol    A heap asks for all that it takes once it has small_heap bytes, a huge block that has grown for itself once it has as much: its
//             program fills it. One that has not grown may be touched here and there, so the chunks of a fresh one ask for small pages.
//             Before a part of a chunk is released, the chunk asks for small pages: else the kernel's own thread would fill the part again. A
//             chunk that is released whole is huge again at its next use.
// Rejected    From the first byte on: a program with little memory would have a chunk, 2 MiB, resident for its first block. For every large block:
//             stress-ng --malloc (bench/harness/real_programs.py) touches the first word of each of thousands, and had a chunk resident for each.
// Limits      The first touch of a chunk clears all of it: a program that touches a word here and there of a block that has grown has all of it
//             resident.
//             Only where pages have 4 KiB: with 64 KiB a huge one has 512 MiB.
//             Each chunk that asks otherwise than its neighbours is a mapping of its own, of which a process has 65,530: a refusal changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tern/alloc/size_class.hpp>
#include <tern/base/bits.hpp>
#include <tern/os/memory.hpp>

namespace tern::inline v1::detail::huge_pages {

// Bytes: a chunk that is hardly used adds an eighth of that at most.
inline constexpr std::size_t small_heap = std::size_t{16} << 20;

inline bool are_wanted(std::size_t mapped) noexcept {
  return mapped >= small_heap && os::page_size() == 4096;
}

// Of a fresh block at [start, end) that may stay untouched in part. What else lies in its first and last chunk has small pages, too.
inline void before_sparse_use(std::uintptr_t start, std::uintptr_t end) noexcept {
  const std::uintptr_t first = round_down(start, chunk_bytes);
  os::advise_huge_pages(reinterpret_cast<void*>(first), round_up(end, chunk_bytes) - first, false);
}

// Of [start, end), which is about to be released. What else lies in its first and last chunk stays as it is.
inline void before_release(std::uintptr_t start, std::uintptr_t end) noexcept {
  const auto advise = [](std::uintptr_t from, std::uintptr_t to, bool wanted) noexcept {
    if (from < to) os::advise_huge_pages(reinterpret_cast<void*>(from), to - from, wanted);
  };
  const std::uintptr_t first = round_down(start, chunk_bytes);
  const std::uintptr_t last = round_up(end, chunk_bytes);
  const std::uintptr_t whole = round_up(start, chunk_bytes);
  const std::uintptr_t whole_end = round_down(end, chunk_bytes);
  if (whole > whole_end) return advise(first, last, false);  // inside one chunk
  advise(first, whole, false);
  advise(whole, whole_end, true);
  advise(whole_end, last, false);
}

}  // namespace tern::inline v1::detail::huge_pages

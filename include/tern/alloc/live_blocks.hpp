#pragma once

// Live blocks: a walk over what was allocated and not freed.
//
// Context     For who looks through memory that is not its own: the collector's verifier searches it for pointers.
// Structure   Blocks in spans of the page heap, by the page map; of small classes those with a bit set. What lies in a
//             cache has its bit too: the caches' addresses are copied and sorted first, and left out. Huge blocks that
//             have a mapping of their own are on a list.
// Protocol    Threads may allocate and free meanwhile: a block is then visited or not, and may be freed under the
//             visitor's eyes. Its bytes can be read all the same, since pages of the heap stay mapped, and since who would
//             unmap a huge block waits for the visitor.
// Limits      Not visited: sampled blocks, whose bytes may lose all access; none at all while samples are taken. A cache that grows during the copy may hide some of its
//             blocks from it.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <tern/alloc/allocator.hpp>
#include <tern/os/memory.hpp>

namespace tern::inline v1::detail {

// What lies in caches, sorted.
class cached_blocks {
 public:
  cached_blocks() noexcept {
    const std::size_t expected = visit([](void*) noexcept {});
    capacity_ = expected + expected / 4 + 1024;
    words_ = static_cast<void**>(os::reserve(capacity_ * sizeof(void*)));
    if (words_ == nullptr) return;
    visit([this](void* p) noexcept {
      if (count_ < capacity_) words_[count_++] = p;
    });
    std::sort(words_, words_ + count_);
  }
  ~cached_blocks() {
    if (words_ != nullptr) os::unreserve(words_, capacity_ * sizeof(void*));
  }
  cached_blocks(const cached_blocks&) = delete;
  cached_blocks& operator=(const cached_blocks&) = delete;

  bool is_known() const noexcept { return words_ != nullptr; }
  bool contains(std::uintptr_t block) const noexcept {
    return std::binary_search(words_, words_ + count_, reinterpret_cast<void*>(block));
  }

 private:
  // How many, then.
  template <class F>
  static std::size_t visit(F&& f) noexcept {
    std::size_t n = 0;
    const auto all_of = [&](thread_cache& c) noexcept {
      for (unsigned k = 0; k < class_count; ++k)
        c.for_each_cached(k, [&](void* p) noexcept {
          ++n;
          f(p);
        });
    };
    lock_scope hold{caches.lock};
    for (thread_cache* c = caches.live.front(); c != nullptr; c = caches.live.next(*c)) all_of(*c);
    lock_scope shared{caches.shared_lock};
    all_of(caches.shared_store);
    return n;
  }

  void** words_ = nullptr;
  std::size_t count_ = 0;
  std::size_t capacity_ = 0;
};

// The blocks of one span: calls f(start, bytes). `bytes` is what can be used of a block of its class.
template <class F>
void for_each_live_block_of(span& s, const page_entry& e, const cached_blocks& cached, F& f) noexcept {
  if (e.kind() == span_kind::huge) return f(s.start, s.bytes());
  const unsigned c = e.size_class();
  if (!is_small(c)) {
    if (!cached.contains(s.start)) f(s.start, class_size(c));
    return;
  }
  std::uint64_t bits[max_blocks_per_span / 64];
  central_lists[c].copy_bits(s, bits);
  for (unsigned i = 0; i < class_table[c].blocks; ++i) {
    const std::uintptr_t block = s.start + i * class_size(c);
    if ((bits[i / 64] >> (i % 64) & 1) != 0 && !cached.contains(block)) f(block, class_size(c));
  }
}

// Calls f(std::uintptr_t start, std::size_t bytes) for each live block that can be visited. False if none can just now. f must not free.
template <class F>
bool for_each_live_block(F&& f) noexcept {
  if (samples.is_on()) return false;  // a span might get a guard under the visitor's eyes
  const cached_blocks cached;
  if (!cached.is_known()) return false;
  heap.for_each_taken([&](std::uintptr_t first, std::uintptr_t end) noexcept {
    for (std::uintptr_t a = first; a < end;) {
      const page_entry e = heap.map().find_acquire(reinterpret_cast<const void*>(a));
      span* const s = e.get<span>();
      // Of free spans only the ends have entries. What is not where the entry says is just being freed.
      if (s == nullptr || (e.kind() != span_kind::object && e.kind() != span_kind::huge) || s->start != a ||
          s->pages == 0) {
        a += page_bytes;
        continue;
      }
      const std::uintptr_t next = s->end();
      for_each_live_block_of(*s, e, cached, f);
      a = next > a ? next : a + page_bytes;
    }
  });
  huge.for_each_mapped(f);
  return true;
}

}  // namespace tern::inline v1::detail

#pragma once

// arena: memory that is handed out by bumping a pointer and freed whole.
//
// Structure   Blocks of tern::allocate in a chain: 4 KiB at first, each twice the one before up to 1 MiB, with a header each.
//             A request that a fresh block of the next size could not hold gets a block of its own behind the current one.
// Limits      Not thread-safe: one arena, one user at a time. Destructors of what lies in it do not run.

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include <tern/alloc/allocator.hpp>
#include <tern/base/bits.hpp>

namespace tern::inline v1 {

class arena {
 public:
  arena() noexcept = default;
  arena(arena&& other) noexcept { swap(other); }
  arena& operator=(arena&& other) noexcept {
    arena taken{std::move(other)};
    swap(taken);
    return *this;
  }
  ~arena() { release(); }

  void swap(arena& other) noexcept {
    std::swap(cursor_, other.cursor_);
    std::swap(end_, other.end_);
    std::swap(head_, other.head_);
    std::swap(next_bytes_, other.next_bytes_);
    std::swap(held_, other.held_);
  }

  // Never null; throws std::bad_alloc. `alignment` is a power of two. Zero bytes: some pointer. Amortised O(1).
  [[nodiscard]] TERN_ALWAYS_INLINE void* allocate(std::size_t bytes,
                                                  std::size_t alignment = alignof(std::max_align_t)) {
    TERN_ASSERT(detail::is_power_of_two(alignment), "arena: alignment is not a power of two");
    const std::uintptr_t start = detail::round_up(cursor_, alignment);
    // end_ - start wraps to a huge number only where cursor_ is near the top of the address space, where no block lies.
    if (TERN_UNLIKELY(start > end_ || bytes > end_ - start)) return allocate_slow(bytes, alignment);
    cursor_ = start + bytes;
    return reinterpret_cast<void*>(start);
  }

  // An object in the arena. Its destructor does not run, so it must have nothing to do.
  template <class T, class... Arguments>
  [[nodiscard]] T* create(Arguments&&... arguments) {
    static_assert(std::is_trivially_destructible_v<T>, "an arena runs no destructors");
    return ::new (allocate(sizeof(T), alignof(T))) T(std::forward<Arguments>(arguments)...);
  }

  // Frees everything, and the memory.
  void release() noexcept {
    block* b = head_;
    while (b != nullptr) {
      block* const next = b->next;
      tern::deallocate(b, b->bytes);
      b = next;
    }
    head_ = nullptr;
    cursor_ = nowhere;
    end_ = 0;
    next_bytes_ = first_bytes;
    held_ = 0;
  }

  // Frees everything and keeps the last and largest block for reuse.
  void reset() noexcept {
    if (head_ == nullptr) return;
    block* b = head_->next;
    while (b != nullptr) {
      block* const next = b->next;
      tern::deallocate(b, b->bytes);
      b = next;
    }
    head_->next = nullptr;
    held_ = head_->bytes;
    cursor_ = detail::to_word(head_) + sizeof(block);
    end_ = detail::to_word(head_) + head_->bytes;
  }

  // Bytes taken from the heap.
  std::size_t held_bytes() const noexcept { return held_; }

 private:
  struct alignas(std::max_align_t) block {
    block* next;
    std::size_t bytes;  // with this header
  };

  static constexpr std::size_t first_bytes = std::size_t{4} << 10;
  static constexpr std::size_t last_bytes = std::size_t{1} << 20;

  static block* make_block(std::size_t bytes) {
    auto* b = static_cast<block*>(tern::allocate(bytes));
    b->bytes = bytes;
    return b;
  }

  TERN_NOINLINE void* allocate_slow(std::size_t bytes, std::size_t alignment) {
    const std::size_t slack = alignment > alignof(block) ? alignment : 0;
    const std::size_t most = SIZE_MAX - sizeof(block) - slack;
    if (bytes > most) detail::throw_bad_alloc();
    const std::size_t needed = sizeof(block) + slack + bytes;
    if (needed > next_bytes_ / 2 && head_ != nullptr) {
      // Behind the current block, whose rest stays in use.
      block* const b = make_block(needed);
      b->next = head_->next;
      head_->next = b;
      held_ += needed;
      return reinterpret_cast<void*>(detail::round_up(detail::to_word(b) + sizeof(block), alignment));
    }
    const std::size_t size = needed > next_bytes_ ? needed : next_bytes_;
    block* const b = make_block(size);
    b->next = head_;
    head_ = b;
    held_ += size;
    if (next_bytes_ < last_bytes) next_bytes_ *= 2;
    end_ = detail::to_word(b) + size;
    const std::uintptr_t start = detail::round_up(detail::to_word(b) + sizeof(block), alignment);
    cursor_ = start + bytes;
    return reinterpret_cast<void*>(start);
  }

  // The cursor without a block: behind every end, so that zero bytes have no place there either.
  static constexpr std::uintptr_t nowhere = 1;

  std::uintptr_t cursor_ = nowhere;  // next free byte of the head block
  std::uintptr_t end_ = 0;           // its end
  block* head_ = nullptr;            // newest bump block, then all others
  std::size_t next_bytes_ = first_bytes;
  std::size_t held_ = 0;
};

}  // namespace tern::inline v1

#pragma once

// The hardened policy (TERN_HARDENED=1): what a block carries so that misuse is found at once. Without it nothing here is called.
//
// Structure   | size bytes | pattern ... | seal |     of a block of a class; the seal is its last word
//             seal of a live block: its size, mixed with its address and a secret of the process; of a free one: another mix.
// Protocol    free: the seal must be that of a live block (else: freed twice, overflow, an address inside a block), the pattern whole
//             (else: overflow); then the block is zeroed, sealed as free, and waits behind quarantine_size others before it may serve again.
//             allocate: a block that was free must still be zero (else: written after its free).
// Limits      A byte beyond the block goes unseen if what is written there is what was there. Huge blocks carry nothing. Blocks are 8
//             bytes longer; every free and allocation touches the whole block.

#include <sys/auxv.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <tern/alloc/size_class.hpp>
#include <tern/base/assert.hpp>
#include <tern/base/bits.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1::detail {

inline constexpr bool hardened_build = TERN_HARDENED != 0;

// What a request is longer by.
inline constexpr std::size_t seal_bytes = hardened_build ? sizeof(std::uint64_t) : 0;

class hardened_blocks {
 public:
  constexpr hardened_blocks() noexcept = default;

  // A block of class c is handed out for `size` bytes. May be called again for the same block, with another size.
  void seal(void* p, std::size_t size, unsigned c, bool fresh) noexcept {
    const std::size_t body = class_size(c) - seal_bytes;
    auto* bytes = static_cast<unsigned char*>(p);
    if (fresh && read(bytes + body) == free_mark(p)) {
      for (std::size_t i = 0; i < body; ++i)
        if (bytes[i] != 0) fatal("hardened: block written after its free");
    }
    std::memset(bytes + size, pattern, body - size);
    write(bytes + body, live_mark(p) + size);
  }

  // The size of the live block p of class c; anything else is fatal.
  std::size_t check(void* p, unsigned c) noexcept {
    const std::size_t body = class_size(c) - seal_bytes;
    const auto* bytes = static_cast<const unsigned char*>(p);
    const std::uint64_t word = read(bytes + body);
    if (word == free_mark(p)) fatal("hardened: block freed twice");
    const std::uint64_t size = word - live_mark(p);
    if (size > body) fatal("hardened: overflow of a block, or not the start of a live one");
    for (std::size_t i = size; i < body; ++i)
      if (bytes[i] != pattern) fatal("hardened: overflow of a block");
    return size;
  }

  struct entry {
    void* p = nullptr;
    unsigned size_class = 0;
  };

  // A block that is freed; returns the one that may serve again, if any.
  entry retire(void* p, unsigned c) noexcept {
    static_cast<void>(check(p, c));
    const std::size_t body = class_size(c) - seal_bytes;
    std::memset(p, 0, body);
    write(static_cast<unsigned char*>(p) + body, free_mark(p));
    lock_scope hold{lock_};
    entry& slot = waiting_[next_++ % quarantine_size];
    const entry out = slot;
    slot = {p, c};
    return out;
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

 private:
  static constexpr unsigned quarantine_size = 256;
  static constexpr unsigned char pattern = 0xa5;

  static std::uint64_t read(const unsigned char* at) noexcept {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    return word;
  }
  static void write(unsigned char* at, std::uint64_t word) noexcept { std::memcpy(at, &word, sizeof word); }

  // The kernel's 16 random bytes of this process.
  static std::uint64_t secret() noexcept {
    const auto* random = reinterpret_cast<const unsigned char*>(::getauxval(AT_RANDOM));
    return random != nullptr ? read(random) : 0x9e3779b97f4a7c15u;
  }
  static std::uint64_t live_mark(const void* p) noexcept {
    return (static_cast<std::uint64_t>(to_word(p)) ^ secret()) * 0x9e3779b97f4a7c15u;
  }
  static std::uint64_t free_mark(const void* p) noexcept { return ~live_mark(p) ^ 0x5a5a5a5a; }

  spin_lock<> lock_;
  // Below: protected by lock_.
  entry waiting_[quarantine_size] = {};
  std::size_t next_ = 0;
};

inline constinit hardened_blocks hardening;

}  // namespace tern::inline v1::detail

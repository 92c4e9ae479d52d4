#pragma once

// The arrays of pointers that caches' bins are.

#include <cstddef>

#include <tern/alloc/metadata.hpp>
#include <tern/base/bits.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1::detail {

// Arrays of 2^k words, k in 1..12, reused by size.
//
// A core takes a load for the echo of an earlier store whose address agrees in the low 12 bits, and repairs that late: at a
// depth where a bin's slot lies so to its top, a pair of 5 ns takes 20. So an array keeps out of its bin's place, modulo 4096,
// where it is short enough to.
class slot_arrays {
 public:
  static constexpr unsigned max_order = 12;

  constexpr slot_arrays() noexcept = default;

  // For the bin whose top is at `user`. The first word is null; nullptr when exhausted.
  void** take(unsigned order, const void* user) noexcept {
    {
      lock_scope hold{lock_};
      for (void*** link = &free_[order]; *link != nullptr; link = next_of(*link)) {
        void** a = *link;
        if (is_echo(a, order, user)) continue;
        *link = *next_of(a);
        a[0] = nullptr;
        return a;
      }
    }
    for (unsigned tries = 0;; ++tries) {
      auto** a = static_cast<void**>(metadata.allocate(sizeof(void*) << order));
      if (a == nullptr || tries == max_tries || !is_echo(a, order, user)) return a;
      give(a, order);  // fits another bin
    }
  }

  void give(void** a, unsigned order) noexcept {
    lock_scope hold{lock_};
    *next_of(a) = free_[order];
    free_[order] = a;
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

 private:
  static constexpr unsigned max_tries = 8;

  static void*** next_of(void** a) noexcept { return reinterpret_cast<void***>(a + 1); }

  // Whether a slot of the array agrees with the word at `user` in the low 12 bits, and need not.
  static bool is_echo(void** a, unsigned order, const void* user) noexcept {
    const std::size_t bytes = sizeof(void*) << order;
    return bytes <= 2048 && ((to_word(user) + top_bytes - 1 - to_word(a)) & 4095) < bytes + top_bytes - 1;
  }
  static constexpr std::size_t top_bytes = 8;

  spin_lock<> lock_;
  void** free_[max_order + 1] = {};
};

inline constinit slot_arrays slot_array_pool;

}  // namespace tern::inline v1::detail

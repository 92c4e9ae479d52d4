#pragma once

// The atomics of the library, and the policy through which tests replace them.
//
// Context     Every structure of ds/ and the idle, park and handshake protocols take `class Atomics = native_atomics`;
//             tests/model runs the same code on a policy whose operations are scheduling points. This is the only file
//             that includes <atomic>, so that no protocol escapes the checker unnoticed.
// Limits      TSan does not model stand-alone fences: the policy offers none, orderings sit on operations.

#include <sched.h>
#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <tern/base/config.hpp>
#include <tern/base/random.hpp>

namespace tern::inline v1::detail {

using std::memory_order;
using std::memory_order_acq_rel;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;
using std::memory_order_seq_cst;

// Tells the core that this is a spin-wait.
TERN_ALWAYS_INLINE void spin_pause() noexcept { TERN_CPU_PAUSE(); }

// std::atomic whose sequentially consistent store is an exchange. x86-64 has no cheaper one (compilers emit the same instruction).
// ARM64 has: STLR, ordered before a later LDAR; but QEMU up to 7.2 at least lets the load pass (tests/stress/base_store_buffering_stress.cpp: 5% of
// the rounds of the store-buffering litmus test under emulation), which loses wake-ups and work in every Dekker-like protocol.
// Programs do run under it (ARM64 images built on x86-64), and where such a store matters, a StoreLoad follows in any case.
template <class T>
class ordered_atomic : public std::atomic<T> {
 public:
  constexpr ordered_atomic() noexcept = default;
  constexpr ordered_atomic(T v) noexcept : std::atomic<T>{v} {}
  ordered_atomic(const ordered_atomic&) = delete;
  ordered_atomic& operator=(const ordered_atomic&) = delete;
  T operator=(T v) noexcept {
    store(v);
    return v;
  }

  TERN_ALWAYS_INLINE void store(T v, memory_order o = memory_order_seq_cst) noexcept {
    if (o == memory_order_seq_cst)
      (void)this->exchange(v, memory_order_seq_cst);
    else
      std::atomic<T>::store(v, o);
  }
};

// A byte with relaxed access, for tables of millions that begin as zero: a compiler that evaluates a constructor for each element of a
// constant-initialised array gives up (clang).
struct table_byte {
  std::uint8_t value;

  TERN_ALWAYS_INLINE std::uint8_t load() const noexcept { return __atomic_load_n(&value, __ATOMIC_RELAXED); }
  TERN_ALWAYS_INLINE void store(std::uint8_t v) noexcept { __atomic_store_n(&value, v, __ATOMIC_RELAXED); }
};

#if TERN_PERTURB
// One operation in 64 yields the CPU: enough to reach interleavings that a quiet machine never shows. On a busy one, where a yield may
// cost a time slice and the kernel interleaves enough by itself, a thread goes on after a yield for as long as that has taken.
TERN_NOINLINE inline void perturb() noexcept {
  struct state {
    fast_random random{0x7e57u};
    std::int64_t resume = 0;
  };
  static thread_local constinit state mine;
  if ((mine.random.next() & 63) != 0) return;
  const auto now = [] {
    timespec t;
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
  };
  const std::int64_t begin = now();
  if (begin < mine.resume) return;
  ::sched_yield();
  const std::int64_t end = now();
  mine.resume = end + (end - begin);
}

// The same with a chance of a yield before each operation.
template <class T>
class perturbed_atomic {
  // What fetch_add takes: the value itself, or a count of elements for pointers; for others it does not exist.
  using delta = typename std::conditional_t<std::is_pointer_v<T>, std::type_identity<std::ptrdiff_t>,
                                            std::type_identity<T>>::type;

 public:
  constexpr perturbed_atomic() noexcept = default;
  constexpr perturbed_atomic(T v) noexcept : value_{v} {}
  perturbed_atomic(const perturbed_atomic&) = delete;
  perturbed_atomic& operator=(const perturbed_atomic&) = delete;

  T load(memory_order o = memory_order_seq_cst) const noexcept { return perturb(), value_.load(o); }
  void store(T v, memory_order o = memory_order_seq_cst) noexcept { perturb(), value_.store(v, o); }
  T exchange(T v, memory_order o = memory_order_seq_cst) noexcept { return perturb(), value_.exchange(v, o); }
  bool compare_exchange_strong(T& e, T v, memory_order s, memory_order f) noexcept {
    return perturb(), value_.compare_exchange_strong(e, v, s, f);
  }
  bool compare_exchange_weak(T& e, T v, memory_order s, memory_order f) noexcept {
    return perturb(), value_.compare_exchange_weak(e, v, s, f);
  }
  bool compare_exchange_strong(T& e, T v, memory_order o = memory_order_seq_cst) noexcept {
    return perturb(), value_.compare_exchange_strong(e, v, o);
  }
  bool compare_exchange_weak(T& e, T v, memory_order o = memory_order_seq_cst) noexcept {
    return perturb(), value_.compare_exchange_weak(e, v, o);
  }
  T fetch_add(delta d, memory_order o = memory_order_seq_cst) noexcept {
    return perturb(), value_.fetch_add(d, o);
  }
  T fetch_sub(delta d, memory_order o = memory_order_seq_cst) noexcept {
    return perturb(), value_.fetch_sub(d, o);
  }
  T fetch_or(T v, memory_order o = memory_order_seq_cst) noexcept { return perturb(), value_.fetch_or(v, o); }
  T fetch_and(T v, memory_order o = memory_order_seq_cst) noexcept {
    return perturb(), value_.fetch_and(v, o);
  }

 private:
  ordered_atomic<T> value_{};
};
template <class T>
using atomic = perturbed_atomic<T>;
#else
template <class T>
using atomic = ordered_atomic<T>;
#endif

// What the compiler must not move across. For protocols in which another thread orders the two (os/barrier.hpp).
TERN_ALWAYS_INLINE void compiler_fence() noexcept { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

// The policy of real programs. A model-checked policy offers the same two names.
struct native_atomics {
  template <class T>
  using atomic = detail::atomic<T>;
  static void pause() noexcept { spin_pause(); }
};

// Plain store to a word that other threads may read at any time (counters, statistics): relaxed on both sides.
template <class T>
TERN_ALWAYS_INLINE void bump(atomic<T>& counter, std::type_identity_t<T> by = 1) noexcept {
  // relaxed: single writer; readers want an approximate figure only.
  counter.store(static_cast<T>(counter.load(memory_order_relaxed) + by), memory_order_relaxed);
}

}  // namespace tern::inline v1::detail

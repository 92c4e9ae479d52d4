// The atomics policy under the model checker, and its plain variables, mutex and futex. See README.md.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "checker.hpp"

namespace tern_model {

template <class T>
std::uint64_t to_bits(T v) noexcept {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  return bits;
}
template <class T>
T from_bits(std::uint64_t bits) noexcept {
  T v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

/// std::atomic's interface; each operation is a scheduling point.
template <class T>
class atomic : private location {
 public:
  using value_type = T;
  static constexpr bool is_always_lock_free = true;

  atomic() noexcept : atomic{T{}} {}
  atomic(T v) noexcept { bits = to_bits(v); }
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(memory_order o = memory_order_seq_cst, const site& s = site::current()) const {
    return from_bits<T>(active->load(where(), o, s));
  }
  void store(T v, memory_order o = memory_order_seq_cst, const site& s = site::current()) {
    active->store(*this, to_bits(v), o, s);
  }
  T exchange(T v, memory_order o = memory_order_seq_cst, const site& s = site::current()) {
    return rmw("exchange", o, s, [&](T) { return v; });
  }
  bool compare_exchange_strong(T& e, T v, memory_order success, memory_order failure,
                               const site& s = site::current()) {
    bool written = false;
    const std::uint64_t want = to_bits(e);
    const std::uint64_t old =
        active->modify(*this, success, failure, "compare_exchange", s, [&](std::uint64_t b) {
          written = b == want;
          return std::pair{written ? to_bits(v) : b, written};
        });
    if (!written) e = from_bits<T>(old);
    return written;
  }
  bool compare_exchange_strong(T& e, T v, memory_order o = memory_order_seq_cst,
                               const site& s = site::current()) {
    return compare_exchange_strong(e, v, o, failure_of(o), s);
  }
  bool compare_exchange_weak(T& e, T v, memory_order success, memory_order failure,
                             const site& s = site::current()) {
    return compare_exchange_strong(e, v, success, failure, s);
  }
  bool compare_exchange_weak(T& e, T v, memory_order o = memory_order_seq_cst,
                             const site& s = site::current()) {
    return compare_exchange_strong(e, v, o, failure_of(o), s);
  }
  using step = std::conditional_t<std::is_pointer_v<T>, std::ptrdiff_t, T>;
  template <class D>
  T fetch_add(D d, memory_order o = memory_order_seq_cst, const site& s = site::current()) {
    return rmw("fetch_add", o, s, [&](T old) { return static_cast<T>(old + static_cast<step>(d)); });
  }
  template <class D>
  T fetch_sub(D d, memory_order o = memory_order_seq_cst, const site& s = site::current()) {
    return rmw("fetch_sub", o, s, [&](T old) { return static_cast<T>(old - static_cast<step>(d)); });
  }
  T fetch_or(T v, memory_order o = memory_order_seq_cst, const site& s = site::current()) {
    return rmw("fetch_or", o, s, [&](T old) { return static_cast<T>(old | v); });
  }
  T fetch_and(T v, memory_order o = memory_order_seq_cst, const site& s = site::current()) {
    return rmw("fetch_and", o, s, [&](T old) { return static_cast<T>(old & v); });
  }
  T fetch_xor(T v, memory_order o = memory_order_seq_cst, const site& s = site::current()) {
    return rmw("fetch_xor", o, s, [&](T old) { return static_cast<T>(old ^ v); });
  }

  /// The value without a scheduling point, for a model's own checks.
  T peek() const noexcept { return from_bits<T>(bits); }

 private:
  friend struct model_futex;

  location& where() const noexcept { return const_cast<atomic&>(*this); }

  static constexpr memory_order failure_of(memory_order o) noexcept {
    return o == memory_order_acq_rel   ? memory_order_acquire
           : o == memory_order_release ? memory_order_relaxed
                                       : o;
  }
  template <class Fn>
  T rmw(const char* name, memory_order o, const site& s, Fn&& fn) {
    return from_bits<T>(active->modify(*this, o, o, name, s, [&](std::uint64_t old) {
      return std::pair{to_bits(static_cast<T>(fn(from_bits<T>(old)))), true};
    }));
  }
};

/// Plain data. Two accesses, one of them a write, that no declared order puts one after the other are reported as a race.
template <class T>
class model_var {
 public:
  model_var() : model_var{T{}} {}
  model_var(T v, const site& s = site::current()) : value_{v} { active->plain_write(history_, s); }
  model_var(const model_var&) = delete;
  model_var& operator=(const model_var&) = delete;

  T get(const site& s = site::current()) const {
    active->plain_read(history_, s);
    return value_;
  }
  void set(T v, const site& s = site::current()) {
    active->plain_write(history_, s);
    value_ = v;
  }
  operator T() const { return get(); }
  model_var& operator=(T v) {
    set(v);
    return *this;
  }

 private:
  T value_;
  mutable access_history history_{};
};

/// Lockable; blocks in the checker, hands over happens-before. For locks that are not themselves under test.
class model_mutex : private location {
 public:
  void lock(const site& s = site::current()) { active->mutex_lock(*this, s); }
  bool try_lock(const site& s = site::current()) { return active->mutex_try_lock(*this, s); }
  void unlock(const site& s = site::current()) { active->mutex_unlock(*this, s); }
};

/// The futex as the waiting policies of ds/ see it. A wake orders nothing: what a sleeper may read, an atomic must give it.
struct model_futex {
  static void wait(atomic<std::uint32_t>& word, std::uint32_t expected, const site& s = site::current()) {
    (void)active->futex_wait(word.where(), expected, /*timed=*/false, s);
  }
  /// `deadline` is not looked at: the time may pass at any moment (options::timeouts), and does when nobody else can run.
  static bool wait_until(atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t /*deadline*/,
                         const site& s = site::current()) {
    return active->futex_wait(word.where(), expected, /*timed=*/true, s);
  }
  static void nap(atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t /*ns*/,
                  const site& s = site::current()) {
    (void)active->futex_wait(word.where(), expected, /*timed=*/true, s);
  }
  static void wake(atomic<std::uint32_t>& word, int count, const site& s = site::current()) {
    active->futex_wake(word.where(), static_cast<unsigned>(count), s);
  }
};

/// Give this to code that is written as `template <class Atomics = native_atomics>`.
struct model_atomics {
  template <class T>
  using atomic = tern_model::atomic<T>;
  template <class T>
  using plain = model_var<T>;
  using waiter = model_futex;
  static void pause() { active->pause(); }
};

}  // namespace tern_model

// What the structures of ds/ take from an atomics policy besides the atomics: how to sleep on a word, and what plain data is.
//
// Context     `template <class Atomics = native_atomics>` is the one parameter of every structure here. native_atomics lives below
//             os/ and cannot name the futex, so the defaults are here; a model-checked policy names its own.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/os/futex.hpp>

namespace tern::inline v1::detail {

// Sleeping on a 32-bit word. Wake-ups may be spurious and order nothing.
struct futex_waiter {
  static void wait(atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
    (void)os::futex_wait(word, expected);
  }
  // False if the deadline (CLOCK_MONOTONIC, ns) passed.
  static bool wait_until(atomic<std::uint32_t>& word, std::uint32_t expected,
                         std::int64_t deadline) noexcept {
    return os::futex_wait(word, expected, deadline);
  }
  // Waits that long, less if the word changes on the way in.
  static void nap(atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t ns) noexcept {
    (void)os::futex_wait(word, expected, os::now() + ns);
  }
  static void wake(atomic<std::uint32_t>& word, int count) noexcept { os::futex_wake(word, count); }
};

template <class Atomics>
struct policy_traits {
  using waiter = futex_waiter;
  template <class T>
  using plain = T;
};
template <class Atomics>
  requires requires { typename Atomics::waiter; }
struct policy_traits<Atomics> {
  using waiter = typename Atomics::waiter;
  template <class T>
  using plain = typename Atomics::template plain<T>;
};

// The sleeping that belongs to a policy.
template <class Atomics>
using waiter_of = typename policy_traits<Atomics>::waiter;

// A variable that other accesses order: T itself in programs, a race-checked one under the model checker.
template <class Atomics, class T>
using plain_of = typename policy_traits<Atomics>::template plain<T>;

}  // namespace tern::inline v1::detail

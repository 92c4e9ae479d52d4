// Wait state: the word by which a parking fiber, its wakers and its deadline agree on who ends the wait and who makes the fiber ready.
//
// Context     In every waiter (park.hpp); the futex word of a plain thread. tests/model runs this code under every interleaving.
// Structure   armed --(saved)--> parked --> notified | timed_out
//               `-------------------------> notified | timed_out      (ended before the stack was saved)
// Protocol    Parking, after the stack is saved: finish(stay). A waiter with a sole waker that reaches it only through what commit
//             releases: park_single() before the commit, and no read-modify-write on either side.
//             Ending: end(how, saved). It made the transition; `saved` tells whether it also makes the fiber ready, else finish() does.
// Invariants  I1 one of end(), a refused commit, end_single() ends a wait. I2 the fiber is made ready once: by the ender that found
//                `parked`, or by the parking side that no longer found `armed`.
// Ordering    finish's release with end's acquire: an ender that finds `parked` sees the saved stack. end's release with finish's
//             acquire, and with the queue or futex otherwise: what the ender wrote before is visible after the wait.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>

namespace tern::inline v1::detail {

template <class Atomics = native_atomics>
class wait_state {
 public:
  enum value : std::uint32_t { armed, parked, notified, timed_out };

  // ---- the parking side ----

  // Requires: no waker can reach it. relaxed: commit's release publishes it.
  void rearm() noexcept { word_.store(armed, memory_order_relaxed); }

  // Before a commit of a waiter with a sole waker. relaxed: as rearm().
  void park_single() noexcept { word_.store(parked, memory_order_relaxed); }
  // The commit has refused: no waker has seen it.
  void take_back_single() noexcept { word_.store(notified, memory_order_relaxed); }

  // After the stack is saved. True: the fiber stays parked; false: the caller makes it ready.
  [[nodiscard]] bool finish(bool stay) noexcept {
    std::uint32_t expected = armed;
    // acq_rel: pairs with end(); else an ender would run a fiber whose registers it cannot see.
    return word_.compare_exchange_strong(expected, stay ? parked : notified, memory_order_acq_rel,
                                         memory_order_acquire) &&
           stay;
  }

  // After the wait: whoever ended it ordered it, so relaxed.
  bool has_timed_out() const noexcept { return word_.load(memory_order_relaxed) == timed_out; }

  // ---- the ending side ----

  // True if this call ended the wait. Then, if `saved`, the caller makes the fiber ready.
  [[nodiscard]] bool end(value how, bool& saved) noexcept {
    std::uint32_t seen = word_.load(memory_order_relaxed);  // relaxed: the CAS orders
    while (seen == armed || seen == parked) {
      // acq_rel: pairs with finish().
      if (word_.compare_exchange_weak(seen, how, memory_order_acq_rel, memory_order_relaxed)) {
        saved = seen == parked;
        return true;
      }
    }
    return false;
  }

  // For the sole waker of a waiter that went through park_single(). False: its commit has not run, use end().
  [[nodiscard]] bool end_single() noexcept {
    // relaxed: the lock through which the waker found it orders.
    if (word_.load(memory_order_relaxed) != parked) return false;
    // release: pairs with a plain thread's load; a fiber is handed over by its queue.
    word_.store(notified, memory_order_release);
    return true;
  }

  // ---- a plain thread ----

  typename Atomics::template atomic<std::uint32_t>& word() noexcept { return word_; }
  // acquire: pairs with the store or CAS of whoever ends the wait.
  bool is_parked() const noexcept { return word_.load(memory_order_acquire) == parked; }

 private:
  typename Atomics::template atomic<std::uint32_t> word_{armed};
};

}  // namespace tern::inline v1::detail

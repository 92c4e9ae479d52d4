// Poll role: which one thread of the process is inside the poller's wait, and who follows it there.
//
// Context     The kernel's readiness events go to one set for all runtimes (net/poller.hpp, installed as poller_hooks). A sleeping worker
//             waits there in place of its futex; busy processors and the monitor look in without waiting. One thread at a time, so that
//             an event is never taken by one whose sleep does not end for it.
// Structure   holder_: 0, the runtime whose sleeper waits inside, or that with bit 0 set for a look that does not wait.
//             asked_: a sleeper found the role taken by somebody who may leave it without a successor.
// Protocol    Sleep   1. enter the idle set   2. take_or_ask()   3. got it: wait in the poller, else on the futex.
//             Leave   release(). True: a sleeper of each runtime is woken, which goes to sleep again by way of 2.
// Invariants  I1 while a processor of a runtime sleeps and descriptors are watched, somebody waits inside, or looks, or is awake and will look or
//                sleep. A holder of the same runtime need not be asked: it comes out as a searcher, and the idle protocol (idle.hpp) wakes the
//                next sleeper when a searcher finds work, or makes it sleep again.
// Ordering    Sleeper: store asked_, load holder_. Leaver: store holder_, load asked_. All seq_cst, so one of the two sees the other.
//             tests/model/net_poller_model.cpp.
// Rejected    Everybody inside epoll_wait at once: an event for one sleeper is taken by a look of another thread. A thread of its own: each
//             event would be a switch between threads.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/epoll.hpp>

namespace tern::inline v1::detail {

template <class Atomics = native_atomics>
class poll_role {
 public:
  // For a look that does not wait. False: somebody is inside, who sees what there is.
  [[nodiscard]] bool try_take(const void* runtime) noexcept {
    // relaxed: spares the RMW; the CAS decides.
    if (holder_.load(memory_order_relaxed) != 0) return false;
    std::uintptr_t none = 0;
    return holder_.compare_exchange_strong(none, word(runtime) | looking, memory_order_seq_cst,
                                           memory_order_relaxed);
  }
  // For a sleeper, already in the idle set. False: it sleeps elsewhere.
  [[nodiscard]] bool take_or_ask(const void* runtime) noexcept {
    for (;;) {
      std::uintptr_t holder = 0;
      if (holder_.compare_exchange_strong(holder, word(runtime), memory_order_seq_cst, memory_order_seq_cst))
        return true;
      if (holder == word(runtime)) return false;
      // seq_cst, both: pairs with release().
      asked_.store(1, memory_order_seq_cst);
      if (holder_.load(memory_order_seq_cst) != 0) return false;
    }
  }
  // The holder's. True: the caller wakes sleepers.
  [[nodiscard]] bool release() noexcept {
    holder_.store(0, memory_order_seq_cst);
    // seq_cst: pairs with take_or_ask().
    return TERN_UNLIKELY(asked_.load(memory_order_seq_cst) != 0) &&
           asked_.exchange(0, memory_order_seq_cst) != 0;
  }

  // In a fork child, whose one thread holds nothing.
  void reset() noexcept {
    holder_.store(0, memory_order_relaxed);
    asked_.store(0, memory_order_relaxed);
  }

 private:
  static constexpr std::uintptr_t looking = 1;
  static std::uintptr_t word(const void* p) noexcept { return reinterpret_cast<std::uintptr_t>(p); }

  typename Atomics::template atomic<std::uintptr_t> holder_{0};
  typename Atomics::template atomic<std::uint32_t> asked_{0};
};

// What a layer above offers that lets fibers wait for the kernel. Installed once, when a fiber first waits so; never taken back.
struct poller_hooks {
  bool (*is_watching)() noexcept;                                     // whether there is anything to look at
  void (*wait)(os::epoll_batch&, os::nanoseconds deadline) noexcept;  // 0: only looks. The role's holder
  void (*dispatch)(const os::epoll_batch&) noexcept;  // makes the fibers ready; no lock is held, nor the role
  void (*interrupt)() noexcept;                       // ends the wait that is under way
  bool (*is_awaited)() noexcept;                      // whether a fiber waits for the kernel; O(descriptors)
};

// Without one, each place that asks is a load on a cold path.
inline constinit atomic<const poller_hooks*> installed_poller{nullptr};
inline constinit poll_role<> poller_role{};
// When somebody last looked. relaxed: a hint.
inline constinit atomic<os::nanoseconds> last_poll{0};

inline constexpr os::nanoseconds poll_period = 20'000;  // between two looks of processors that are at work

// The poller, if there is something to look at.
inline const poller_hooks* watching_poller() noexcept {
  const poller_hooks* h = installed_poller.load(memory_order_acquire);  // pairs-with: whoever installed it
  return h != nullptr && h->is_watching() ? h : nullptr;
}

// Ends the wait of whoever is inside. Requires: somebody has been.
TERN_COLD inline void interrupt_poller() noexcept {
  // Null in a fork child only, where nobody waits.
  if (const poller_hooks* h = installed_poller.load(memory_order_acquire)) h->interrupt();
}

}  // namespace tern::inline v1::detail

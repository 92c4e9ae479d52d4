// The steps of a cycle, and who says when the next one is made: nobody, or a test.
//
// Context     The collector's thread makes them (collector.hpp): one after another, or, while somebody holds it (stepper.hpp), one for each order.
// Structure   begin -> scan_roots -> mark* -> rescan -> end_marking -> barrier_off -> sweep* -> begin
//                                     ^---------'            |         back where something was greyed meanwhile
//                                     ^----------------------'
// Protocol    holder     1. takes hold; the thread answers its first order, which asks for no step, when the present step is made
//                        2. gives orders, which are numbered: the number in `done` says that it was carried out. Until the next one the thread
//                           does nothing, so what it has written may be read
//                        3. lets go: the thread goes on with the cycle as it stands
//             collector  looks before each step whether it is held
// Rejected    Steps that the test's own thread makes: what belongs to the collector's thread would have two owners, and a test that holds managed
//             pointers could not be served as a mutator while it waits for itself.
//             A second driver for tests: what it tests would not be the cycle.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/gc/state.hpp>
#include <tern/os/futex.hpp>

namespace tern::inline v1::detail::gc {

// What comes next.
enum class cycle_step : std::uint8_t {
  begin,        // no cycle runs. Barrier on
  scan_roots,   // the first round: black allocation, stacks, handles, registered ranges
  mark,         // a quantum
  rescan,       // a further round
  end_marking,  // the judgement, weak references; the verifier
  barrier_off,  // and spans that were held come back
  sweep         // one span; when there is none left, the cycle ends
};

class step_orders {
 public:
  constexpr step_orders() noexcept = default;

  // ---- the holder ----

  // False: somebody has it already. `who` is the caller.
  bool try_hold(const void* who) noexcept {
    const void* nobody = nullptr;
    // acquire pairs-with: let_go(); the last holder's orders are over.
    return holder_.compare_exchange_strong(nobody, who, memory_order_acquire, memory_order_relaxed);
  }
  bool is_held_by(const void* who) const noexcept {
    return holder_.load(memory_order_relaxed) == who;  // relaxed: true only of who has written it
  }
  void let_go() noexcept {
    holder_.store(nullptr, memory_order_release);  // pairs-with: try_hold()
    wake();
  }

  // Returns when it was carried out; the first one, when the thread stands still.
  void give(bool makes_step) noexcept {
    makes_step_.store(makes_step, memory_order_relaxed);             // relaxed: published by the number
    const std::uint32_t n = number_.load(memory_order_relaxed) + 1;  // relaxed: the holder is the only writer
    number_.store(n, memory_order_release);                          // pairs-with: serve()
    wake();
    for (;;) {
      const std::uint32_t seen =
          done_.load(memory_order_acquire);  // pairs-with: serve(); what the step wrote
      if (seen == n) return;
      os::futex_wait(done_, seen);
    }
  }

  // ---- the collector's thread ----

  // relaxed: seen before one of the next steps; a thread that sleeps is woken.
  TERN_ALWAYS_INLINE bool is_held() const noexcept { return holder_.load(memory_order_relaxed) != nullptr; }

  // Carries an order out; false when there is none.
  template <class F>
  bool serve(F&& make_step) noexcept {
    const std::uint32_t n = number_.load(memory_order_acquire);  // pairs-with: give()
    if (n == done_.load(memory_order_relaxed)) return false;     // relaxed: this thread's own
    if (makes_step_.load(memory_order_relaxed)) make_step();
    done_.store(n, memory_order_release);  // pairs-with: give()
    os::futex_wake(done_, 1);
    return true;
  }

 private:
  static void wake() noexcept {
    state.wake.fetch_add(1, memory_order_release);  // pairs-with: the thread's look before it sleeps
    os::futex_wake(state.wake, 1);
  }

  atomic<const void*> holder_{nullptr};
  atomic<bool> makes_step_{false};
  atomic<std::uint32_t> number_{0};  // of the last order
  atomic<std::uint32_t> done_{0};    // futex: of the last one that was carried out
};
inline constinit step_orders orders;

}  // namespace tern::inline v1::detail::gc

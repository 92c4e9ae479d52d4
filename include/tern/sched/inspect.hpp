// Inspection: keeps a parked fiber from being resumed while another thread reads its stack.
//
// Context     For dumps. The collector does the same with the handshake that it has anyway (gc/handshake.hpp); a dump must not wait for
//             a fiber that never gives up its processor, so it has none.
// Protocol    Inspector   1. the bit in hooks_armed   2. a barrier in every thread   3. a fiber that waits (wait_what is set): saved ->
//                         claimed   4. read   5. claimed -> saved, at the end the bit.
//             Worker      make_ready() clears wait_what, then queues the fiber; whoever takes it out of the queue reads hooks_armed while it lies
//                         there or after, then switches to it - by a CAS saved -> on_cpu where the word is set. A claimed fiber goes to the
//                         queue's tail.
// Invariants  I1 a claimed fiber is not resumed. It was seen waiting after 2: whoever resumes it later cleared wait_what later, and
//                read hooks_armed after that. If that read missed the bit, the barrier came after it in that thread, so the
//                clear, which it follows from, was visible at 3: a contradiction. tests/model/sched_inspect_model.cpp.
//             I2 so a worker may read hooks_armed before it takes a fiber out, but only from a queue that none but its own thread fills: what
//                lies there was put there, and its wait_what cleared, before the read.
// Ordering    Store the bit, barrier, load wait_what; store wait_what, load the bit: Dekker's pattern, of which the seldom side pays for both
//             (os/barrier.hpp). The claim's acquire pairs with mark_saved(); giving back is a release, for the resume's acquire.
//             A worker that read hooks_armed before the bit resumes a fiber, and lets it publish itself, by plain stores (switch_publishing).
//             Where those may pass each other the inspector could see the next wait before on_cpu, or `saved` before the context: a
//             barrier before the claim and one after it make them visible.
// Limits      Only fibers that wait: a runnable one may have been taken from its queue before the bit was seen, by a worker that the kernel
//             has stopped since. Where the kernel has no such barrier nothing is claimed.
#pragma once

#include <cstdint>

#include <tern/arch/cpu.hpp>
#include <tern/base/atomic.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/barrier.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/hooks.hpp>

namespace tern::inline v1::detail {

// The two sides without the rest of the scheduler. Fiber names the values of stack_state.
template <class Fiber>
struct inspection_protocol {
  // Inspector, after the barrier. True: nobody resumes the fiber before give_back(). settle(): a barrier in every thread where stores may pass
  // each other, else nothing; false where there is none.
  template <class State, class What, class Settle>
  static bool try_claim(State& stack_state, const What& wait_what, Settle&& settle) noexcept {
    // relaxed: what I1 rests on is the barrier; the claim's acquire makes the fiber's own words visible.
    if (wait_what.load(memory_order_relaxed) == nullptr || !settle()) return false;
    std::uint32_t saved = Fiber::saved;
    // acquire: pairs with mark_saved(); else an older context and stack are read.
    if (!stack_state.compare_exchange_strong(saved, Fiber::claimed, memory_order_acquire,
                                             memory_order_relaxed))
      return false;
    if (settle()) return true;
    give_back(stack_state);
    return false;
  }
  template <class State>
  static void give_back(State& stack_state) noexcept {
    stack_state.store(Fiber::saved, memory_order_release);  // pairs-with: try_resume(), try_claim()
  }
  // Worker that has taken the fiber out of a queue and found hooks_armed set. False: it is claimed.
  template <class State>
  static bool try_resume(State& stack_state) noexcept {
    std::uint32_t saved = Fiber::saved;
    // acquire: pairs with give_back(); the inspector has read what the fiber is about to write.
    return stack_state.compare_exchange_strong(saved, Fiber::on_cpu, memory_order_acquire,
                                               memory_order_relaxed);
  }
};

struct inspectors_state {
  spin_lock<> lock;
  std::uint32_t count = 0;  // lock
};
inline constinit inspectors_state inspectors{};

// While it lives parked fibers can be claimed. Any thread or fiber, several at once; must not park.
class inspection {
 public:
  inspection() noexcept {
    {
      lock_scope hold{inspectors.lock};
      if (inspectors.count++ == 0) hooks_armed.fetch_or(armed_inspection, memory_order_seq_cst);
    }
    may_claim_ = os::barrier_in_every_thread();
  }
  ~inspection() {
    lock_scope hold{inspectors.lock};
    if (--inspectors.count == 0) hooks_armed.fetch_and(~armed_inspection, memory_order_seq_cst);
  }
  inspection(const inspection&) = delete;
  inspection& operator=(const inspection&) = delete;

  // False too if somebody else has it for long. The holder gives it back within microseconds: its waker may be waiting for it.
  bool try_claim(fiber& f) const noexcept {
    const auto settle = []() noexcept { return stores_stay_in_order || os::barrier_in_every_thread(); };
    for (int tries = 0; may_claim_ && tries < 10'000; ++tries) {
      // relaxed, both: a hint.
      if (f.stack_state.load(memory_order_relaxed) != fiber::claimed) {
        if (inspection_protocol<fiber>::try_claim(f.stack_state, f.wait_what, settle)) return true;
        if (f.stack_state.load(memory_order_relaxed) != fiber::claimed) return false;
      }
      spin_pause();
    }
    return false;
  }
  static void give_back(fiber& f) noexcept { inspection_protocol<fiber>::give_back(f.stack_state); }

 private:
  bool may_claim_ = false;
};

}  // namespace tern::inline v1::detail

// Pin box: where a woken fiber waits that may run on one worker only, and how its waker finds the processor that this worker holds.
//
// Context     One per worker (processor.hpp). pin.hpp makes fibers pinned, workers.hpp gives a worker without a processor one.
// Structure   ready_: woken fibers.   holds_: the worker's processor, kept up to date while fibers are pinned to it.
// Protocol    Waker   post(): 1. the fiber into ready_   2. read holds_. A processor: 3. set request_pins in it, then wake it if it sleeps.
//                     None: 3. under the lock of the spare list, a worker that is a spare is put on the list of those that want one.
//             Worker  On getting a processor: hold(), then look at ready_. On losing it: leave(), then, under the lock with which it
//                     becomes a spare, look at ready_. At each visit to the worker loop: take request_pins back, then look at ready_.
//                     Going to sleep: into the idle set, then look at the request.
// Invariants  I1 a posted fiber is seen by the worker, or its waker makes the worker see it.
// Ordering    post: store ready_, load holds_. Worker: store holds_, load ready_. All seq_cst, so one of the two sees the other.
//             tests/model/sched_pin_model.cpp.
// Rejected    A thread of its own for each pinned fiber, as Go has it: every wake and park of one is a switch between threads.
#pragma once

#include <tern/base/atomic.hpp>

namespace tern::inline v1::detail {

// Queue: an inject_queue of fibers.
template <class Fiber, class Processor, class Queue, class Atomics = native_atomics>
class pin_box {
 public:
  // Any thread, the only one that knows the fiber. Where to set the request; null: the worker holds no processor, or is about to look.
  [[nodiscard]] Processor* post(Fiber& f) noexcept {
    ready_.push(&f);
    return holds_.load(memory_order_seq_cst);  // pairs-with: hold(), leave()
  }

  // The rest is for the worker.
  void hold(Processor& p) noexcept { holds_.store(&p, memory_order_seq_cst); }  // pairs-with: post()
  void leave() noexcept { holds_.store(nullptr, memory_order_seq_cst); }        // pairs-with: post()
  void put(Fiber& f) noexcept { ready_.push(&f); }                              // it looks by itself
  [[nodiscard]] Fiber* take() noexcept { return ready_.pop(); }
  [[nodiscard]] bool has_ready() const noexcept { return !ready_.is_empty(); }

 private:
  Queue ready_{};
  typename Atomics::template atomic<Processor*> holds_{nullptr};
};

}  // namespace tern::inline v1::detail

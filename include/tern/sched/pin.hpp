// Pinning: a fiber that resumes on one OS thread only, for what belongs to a thread - a GL context, a JNI environment, a pthread mutex, errno.
//
// Context     this_thread::pin(). The worker's side is in worker_loop.hpp, the waker's in ready.hpp, what they share in pin_box.hpp.
// Structure   A pinned fiber's `home` is tagged, so that the compare with which each wake begins anyway sends it the cold way; its worker is
//             in `pinned_to`, the depth of its pins in the upper half of `flags`. The worker counts the fibers that are pinned to it.
// Protocol    Running   its processor has request_pins set: whichever way it leaves, no successor is picked on its stack, and the switch goes to
//                       the worker's own stack. So nobody but the worker loop ever finishes a switch away from a pinned fiber.
//             Queued    in the worker's box, never in a ring, a run-next or the inject queue, where others would take it.
//             Waiting   as any fiber. Its worker meanwhile runs other fibers, sleeps, or is a spare; as a spare it gets a processor from
//                       the one that comes first to its worker loop (scheduler::serve_wanting).
// Invariants  I1 while a pinned fiber runs on a processor, that one's request has request_pins. I2 only the fiber itself, on its worker, changes
//                its pins and that worker's count.
// Limits      The thread is shared: a pinned fiber waits while another one computes on it, also while one pinned there is inside tern::blocking.
//             A fiber that is not pinned goes to another thread before it blocks (leave_pinned_worker); where there is no further thread it blocks here.
#pragma once

#include <cstdint>
#include <system_error>

#include <tern/base/config.hpp>
#include <tern/sched/dispatch.hpp>
#include <tern/sched/processor.hpp>

namespace tern::inline v1::detail {

// The running fiber of this worker, also inside tern::blocking.
inline void pin_fiber(worker& w, fiber& f) noexcept {
  if (f.flags >= fiber::pin_mask) fatal("a fiber was pinned 65,536 times over");
  const bool nested = f.is_pinned();
  f.flags += fiber::pin_one;
  if (nested) return;
  f.home = fiber::tagged(f.home);
  f.pinned_to = &w;
  ++w.pins;
  if (w.held == nullptr) return;  // leave_blocking() does the rest
  w.box.hold(*w.held);
  w.held->request.fetch_or(request_pins, memory_order_relaxed);  // relaxed: for this worker
}

// The request stays: the next dispatch looks for nothing and takes it back.
inline void unpin_fiber(worker& w, fiber& f) noexcept {
  f.flags -= fiber::pin_one;
  if (f.is_pinned()) return;
  f.home = &f.runtime();
  --w.pins;
}

// The running fiber and its worker; null on a plain thread.
inline fiber* pinnable(worker*& w) noexcept {
  w = current_worker();
  return w == nullptr ? nullptr : w->current;
}

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

namespace this_thread {

/// From now on the running fiber resumes on this OS thread only, until unpin() has been called as often. The thread still runs other
/// fibers while this one waits. Ends with the fiber. O(1); parks and wakes of a pinned fiber cost some ten nanoseconds more, and those from
/// another thread may cost a wake of the thread. Nothing on a plain thread, which does not move. 65,536 nested pins end the process.
/// In a task it pins the fiber that runs the task for the moment, not the task: unpin before the next co_await.
inline void pin() noexcept {
  detail::worker* w;
  if (detail::fiber* f = detail::pinnable(w)) detail::pin_fiber(*w, *f);
}

/// Takes one pin() back. Throws std::system_error(operation_not_permitted) if the fiber is not pinned. Nothing on a plain thread.
inline void unpin() {
  detail::worker* w;
  detail::fiber* f = detail::pinnable(w);
  if (f == nullptr) return;
  if (!f->is_pinned())
    throw std::system_error(std::make_error_code(std::errc::operation_not_permitted),
                            "tern::this_thread::unpin without a pin");
  detail::unpin_fiber(*w, *f);
}

/// True if the running fiber is pinned, and on a plain thread.
inline bool is_pinned() noexcept {
  detail::worker* w;
  const detail::fiber* f = detail::pinnable(w);
  return f == nullptr || f->is_pinned();
}

}  // namespace this_thread

/// pin() and unpin() as a scope, to be left by the fiber that entered it. They may nest.
class [[nodiscard]] pin_scope {
 public:
  pin_scope() noexcept { this_thread::pin(); }
  ~pin_scope() {
    detail::worker* w;
    if (detail::fiber* f = detail::pinnable(w); f != nullptr && f->is_pinned()) detail::unpin_fiber(*w, *f);
  }
  pin_scope(const pin_scope&) = delete;
  pin_scope& operator=(const pin_scope&) = delete;
};

}  // namespace tern::inline v1

// fork_join: two functions at once, at the price of two stores where nobody is idle.
//
// Context     Recursive parallelism in many small pieces, where a fiber for each would cost ten times the piece.
// Protocol    Fork   the second function's job, in the caller's frame, goes to the private part of the processor's split deque.
//             Call   the first function runs. If it parks, all private jobs are published on the way out.
//             Join   the processor is read anew. The job is its youngest private one: call the second function. Else it was
//                    published: take it out again, wherever it lies, and call; or a thief has it: wait for the thief's fiber.
// Invariants  I1 the caller's frame outlives the job: all ways out of fork_join pass the join, exceptions too.
// Rejected    To help while a thief runs the job: on this stack it would bury the frame under work of unknown length, and may
//             deadlock where that work waits for the caller. Parking costs one switch, and the worker goes on with other work.
// Limits      See fork_join().
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include <tern/sched/jobs.hpp>
#include <tern/sched/worker_loop.hpp>

namespace tern::inline v1::detail {

template <class G>
struct fork_job_of : fork_job {
  using object = std::remove_reference_t<G>;
  static void call(fork_job& j) {
    static_cast<void>(std::invoke(static_cast<G&&>(*static_cast<object*>(j.closure))));
  }
  static constexpr fork_kind kind_of{&call, sizeof(object)};

  explicit fork_job_of(object& g) noexcept {
    kind = &kind_of;
    closure = const_cast<std::remove_const_t<object>*>(std::addressof(g));
  }
};

// After a push, where the request word holds something.
TERN_COLD inline void fork_requested(processor& p) noexcept {
  // relaxed: a request is answered at the next fork at the latest; the RMW orders.
  const std::uint32_t request = p.request.load(memory_order_relaxed);
  if ((request & request_share) != 0) {
    p.request.fetch_and(~request_share, memory_order_seq_cst);
    if (p.forks.publish_oldest()) p.home->work_published();
  }
  poll_safepoint();
}

// The first private job: sleepers have seen none, so somebody must look for them.
TERN_NOINLINE inline void fork_first(processor& p, fork_job& job) noexcept {
  p.next_poll = 0;  // the fiber that leaves publishes
  if (p.home->idle_.total() == 1) {
    p.forks.push_first(job, memory_order_relaxed);
  } else {
    // seq_cst: pairs with the rescan of a processor that goes to sleep, see idle.hpp.
    p.forks.push_first(job, memory_order_seq_cst);
    if (TERN_UNLIKELY(p.home->idle_.should_wake())) publish_forks(p);
  }
  // relaxed: see fork_requested(). Here too: a fiber that never nests its forks comes by nowhere else.
  if (TERN_UNLIKELY(p.request.load(memory_order_relaxed) != 0)) fork_requested(p);
}

// Requires: try_pop() has failed. True: the job is the caller's again. False: another fiber has run it, and `error` is what left it.
TERN_NOINLINE inline bool join_forked(fork_job& job, std::exception_ptr& error) noexcept {
  if (split_deque<>::reclaim(job)) return true;
  static_cast<void>(wait_for_exit<true>(*job.thief));
  error = take_result(*job.thief);
  return false;
}

// The rest, where the join is not the fast one. Throws what the second function throws.
template <class G>
TERN_NOINLINE void join_slow(fork_job_of<G>& job) {
  std::exception_ptr error;
  if (join_forked(job, error)) return job.kind->run(job);
  if (error != nullptr) std::rethrow_exception(std::move(error));
}

// The first function has thrown: the second is called or waited for all the same.
template <class G>
TERN_COLD void join_after_throw(fork_job_of<G>& job) noexcept {
  try {
    if (current_processor()->forks.try_pop(job))
      job.kind->run(job);
    else
      join_slow(job);
  } catch (...) {  // the first one wins
  }
}

template <class F, class G>
TERN_COLD void call_in_order(F&& f, G&& g) {
  try {
    static_cast<void>(std::invoke(std::forward<F>(f)));
  } catch (...) {
    try {
      static_cast<void>(std::invoke(std::forward<G>(g)));
    } catch (...) {  // the first one wins
    }
    throw;
  }
  static_cast<void>(std::invoke(std::forward<G>(g)));
}

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// Calls `f()` and `g()`, possibly at the same time, and returns when both have ended. What they return is dropped.
///
/// `f` runs in the calling fiber; `g` does too, after it, unless an idle processor takes it meanwhile and runs it in a fiber of its
/// own. Both are always called; an exception crosses, that of `f` where both throw. Both may do whatever a fiber may: nest,
/// lock, wait, spawn; but `f` must not wait for what only `g` does, unless by a tern call that parks. From a fiber; on a plain
/// thread, and inside tern::blocking, both are called in order. A few ns beside the calls; allocates nothing; a stolen `g` costs
/// a fiber. A safepoint of the collector. Managed pointers: `g`'s own captures cross safely, what it writes through a reference
/// into the caller's frame must be kept alive otherwise, as with tern::thread. Cancellation of the caller reaches a `g` that runs in
/// its fiber, not one that was taken: a `g` that may wait for ever takes a stop token. fiber_locals are the running fiber's likewise.
template <class F, class G>
  requires(std::is_invocable_v<F> && std::is_invocable_v<G>)
TERN_ALWAYS_INLINE void fork_join(F&& f, G&& g) {
  detail::processor* p = detail::current_processor();
  if (TERN_UNLIKELY(p == nullptr)) return detail::call_in_order(std::forward<F>(f), std::forward<G>(g));
  detail::fork_job_of<G&&> job{g};
  if (TERN_UNLIKELY(!p->forks.try_push(job)))
    detail::fork_first(*p, job);
  else if (TERN_UNLIKELY(p->request.load(detail::memory_order_relaxed) !=
                         0))  // relaxed: see fork_requested()
    detail::fork_requested(*p);
  try {
    static_cast<void>(std::invoke(std::forward<F>(f)));
  } catch (...) {
    detail::join_after_throw(job);
    throw;
  }
  // `f` may have parked, and this be another worker.
  p = detail::current_processor();
  if (TERN_UNLIKELY(!p->forks.try_pop(job))) return detail::join_slow(job);
  static_cast<void>(std::invoke(std::forward<G>(g)));
}

}  // namespace tern::inline v1

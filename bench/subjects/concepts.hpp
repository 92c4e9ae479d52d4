// What an adapter of each area has to offer. Cases are written against these and nothing else.
#pragma once

#include <concepts>
#include <cstddef>
#include <optional>
#include <string>

#include "bench/harness/case.hpp"

namespace tern_bench {

/// The version of the library in this tree; what was built exactly is in the context (tern_git_sha, tern_dirty).
inline constexpr const char* tern_version = TERN_BENCH_LIBRARY_VERSION;

/// What every subject says of itself, and the world in which its workloads run: `run(params, fn)` calls fn once, with
/// whatever the subject needs around it (a runtime, a pool, an affinity), and returns when all of it is gone again.
template <class S>
concept subject_base = requires(const row_params& params) {
  { S::name } -> std::convertible_to<const char*>;
  { S::subject_role } -> std::convertible_to<role>;
  { S::version() } -> std::convertible_to<std::string>;
  S::run(params, [] {});
};

/// allocate/deallocate are the general forms (size unknown to the compiler, unsized free); the _const forms are the best
/// that the subject offers where the size is a constant. reallocate is given the old size.
template <class S>
concept allocator_subject = subject_base<S> && requires(void* p, std::size_t n) {
  { S::allocate(n) } -> std::same_as<void*>;
  { S::allocate_zeroed(n) } -> std::same_as<void*>;
  { S::deallocate(p) };
  { S::template allocate_const<64>() } -> std::same_as<void*>;
  { S::template deallocate_const<64>(p) };
  { S::reallocate(p, n, n) } -> std::same_as<void*>;
};

/// `thread` is a started task that its owner must join; everything else has its usual meaning, and blocks the task only.
/// Cases ask for more where a subject has it:
///   thread::detach()            instead of join(); or start_detached(fn)
///   start_from_outside(fn)      a detached task, started by a thread that is none of the subject's
///   either<T>                   two channels: send(0 or 1, value); receive() from whichever is ready
///   rw_mutex                    lock_shared() and unlock_shared(), too
///   event                       set(), and wait_for(ns) -> bool
///   sleep_until(ns)             a time of now_ns()
///   read(fd, to, n)             read(2), which may block in the kernel
///   pin()                       the running task stays on its OS thread from now on
///   set_processors(n)           changes how many tasks run at the same time
template <class S>
concept scheduler_subject =
    subject_base<S> && requires(typename S::thread& t, typename S::mutex& m, typename S::wait_group& w,
                                typename S::template channel<int>& c) {
      typename S::thread;
      { t.join() };
      { S::yield() };
      { m.lock() };
      { m.unlock() };
      { w.add(1) };
      { w.done() };
      { w.wait() };
      { c.send(1) };
      { c.receive() } -> std::same_as<std::optional<int>>;
      { c.close() };
    };

/// A subject that decides when objects end. A case's node type has `template <class V> void trace(V& v) const` over its
/// fields, which only a collector calls.
///   ref<T>      a local reference: on the stack, or in the workload object, which lies on it
///   field<T>    a reference inside a managed object; assignable from a ref<T> and from nullptr
///   table<T>    an array of references which keeps its objects alive: table(n), peek(i) -> T*, get(i) -> ref<T>, set(i, ref)
///   make<T>()   a new object
///   take(field) -> ref<T>   a copy of the reference in it, with whatever a copy costs
///   peek(field) -> T*       just to look at the object, without becoming an owner
///   release(ref)            the owner is done with it
///   poll()                  what a loop that does not allocate must call now and then
///   parallel(n, fn)         fn(0) ... fn(n - 1) at once, each on a thread (or fiber) that may use managed objects
template <class S, class T>
concept collector_subject =
    subject_base<S> && requires(typename S::template ref<T>& r, typename S::template field<T>& f,
                                typename S::template table<T>& t, std::size_t n, void (*fn)(std::size_t)) {
      { S::template make<T>() } -> std::same_as<typename S::template ref<T>>;
      { f = r };
      { f = nullptr };
      { S::take(f) } -> std::same_as<typename S::template ref<T>>;
      { S::peek(f) } -> std::same_as<T*>;
      { S::release(r) };
      { t.set(n, r) };
      { t.peek(n) } -> std::same_as<T*>;
      { t.get(n) } -> std::same_as<typename S::template ref<T>>;
      { S::poll() };
      { S::parallel(n, fn) };
    };

}  // namespace tern_bench

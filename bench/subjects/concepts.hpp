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
  { S::deallocate(p) };
  { S::template allocate_const<64>() } -> std::same_as<void*>;
  { S::template deallocate_const<64>(p) };
  { S::reallocate(p, n, n) } -> std::same_as<void*>;
};

/// `thread` is a started task that its owner must join; everything else has its usual meaning, and blocks the task only.
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

/// References to managed objects of type T:
///   ref<T>     a local one (a root), dereferenced with ->
///   field<T>   one inside a managed object; assignable from ref<T>, and from which a ref<T> can be made
///   make<T>(args...)  -> ref<T>
///   release(ref<T>&)  the owner is done with the object: manual subjects free it, others drop the reference
///   table<T>   a fixed array of references that keeps its objects alive: table(n), get(i), set(i, ref)
///   parallel(n, fn)   fn(0) ... fn(n - 1), each on a thread of its own kind, all at once
template <class S, class T>
concept collector_subject =
    subject_base<S> && requires(typename S::template ref<T>& r, typename S::template field<T>& f) {
      { S::template make<T>() } -> std::same_as<typename S::template ref<T>>;
      { f = r };
      { S::release(r) };
    };

}  // namespace tern_bench

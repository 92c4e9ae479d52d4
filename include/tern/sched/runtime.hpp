// tern::runtime: workers, processors and fibers of one scheduler; tern::run and tern::blocking.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include <tern/base/debug_options.hpp>
#include <tern/sched/blocking.hpp>
#include <tern/sched/cancel.hpp>
#include <tern/sched/debugger.hpp>
#include <tern/sched/fork.hpp>
#include <tern/sched/monitor.hpp>
#include <tern/sched/pin.hpp>
#include <tern/sched/processor_count.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/sigquit.hpp>
#include <tern/sched/thread.hpp>
#include <tern/sched/trace_writer.hpp>

namespace tern::inline v1::detail {
struct runtime_access;
}

namespace tern::inline v1 {

/// A scheduler: M OS threads that run any number of fibers. Several may live in one process, one after the other or at once.
///
/// Construction starts one worker and the monitor, further workers start when there is work for them. Destruction waits for every
/// fiber that still runs (detached ones too), then ends the threads.
///
/// In a child process that was forked meanwhile a runtime is dead: every use of it ends the process with a line, its destruction does
/// nothing. A child that a plain thread forked may make a new one.
class runtime {
 public:
  using options = runtime_options;

  /// Throws std::system_error (EINVAL for an impossible option, EAGAIN or ENOMEM when the system has no more) or std::bad_alloc.
  explicit runtime(const options& o = {}) : scheduler_{o} {
    if (o.dump_on_sigquit || detail::debug_option("sigquit") != 0) detail::dump_on_sigquit();
  }

  /// Runs `f` as a fiber and waits for it; returns its result or rethrows its exception. Fibers that it detached run on. From any
  /// thread, also from a fiber of another runtime, and several at once. A wait for it that is not cancelled.
  template <class F>
    requires std::is_invocable_v<F&>
  std::invoke_result_t<F&> run(F&& f) {
    using result = std::invoke_result_t<F&>;
    static constexpr detail::spawn_options o{.name = "main", .is_main = true};
    if constexpr (std::is_void_v<result>) {
      run_to_end(o, [&f] { f(); });
    } else if constexpr (std::is_reference_v<result>) {
      std::remove_reference_t<result>* out = nullptr;
      run_to_end(o, [&] {
        std::remove_reference_t<result>* p = &f();
        detail::crossing(&p, sizeof p);  // to the waiting stack
        out = p;
      });
      return static_cast<result>(*out);
    } else {
      std::optional<result> out;
      run_to_end(o, [&] {
        result r = f();
        detail::crossing(std::addressof(r), sizeof r);  // to the waiting stack
        out.emplace(std::move(r));
      });
      return std::move(*out);
    }
  }

  /// Starts a fiber of this runtime from anywhere. As the constructor of thread.
  template <class F, class... Args>
  thread spawn(F&& f, Args&&... args) {
    return detail::thread_access::make(&scheduler_, detail::default_spawn, std::forward<F>(f),
                                       std::forward<Args>(args)...);
  }
  template <class F, class... Args>
  thread spawn(const thread_attributes& a, F&& f, Args&&... args) {
    return detail::thread_access::make(
        &scheduler_, detail::spawn_options{.name = a.name, .stack_size = detail::slot_request(a)},
        std::forward<F>(f), std::forward<Args>(args)...);
  }

  /// How many fibers run at the same time: what runtime_options or the last set_processors() said.
  unsigned processors() const noexcept { return scheduler_.count(); }

  /// From now on `n` fibers run at the same time. From any thread or fiber. Returns at once: a surplus processor that runs a fiber does so
  /// until that one next parks, yields or ends, and takes no other; what it had queued goes to the others. Surplus processors
  /// keep their memory and come back by another call. O(processors) and, where one retires, O(its queued fibers and timers).
  /// Throws std::system_error(EINVAL) unless 1 <= n <= runtime_options::max_processors, std::bad_alloc; then nothing has changed.
  void set_processors(unsigned n) { scheduler_.set_count(n); }

  /// Counters per processor and their sum. O(processors); any thread.
  scheduler_statistics statistics() const { return scheduler_.statistics(); }

  /// Writes each fiber to `to`: id, name, state, what it waits for and, from one second on, for how long (at least; the monitor looks
  /// at 25,000 fibers a second), and the stack of those that wait and of the caller. How many. Any thread or fiber; the fibers run on
  /// meanwhile, so that each line is true at another moment. Some 20 us per fiber with stacks.
  std::size_t dump(std::FILE* to, dump_detail detail = dump_detail::stacks) const {
    return detail::dump_fibers(detail::dump_subject{scheduler_}, to, detail);
  }

 private:
  friend struct detail::runtime_access;

  // What runs refers to the caller's frame, so a caller that is cancelled waits for its end all the same.
  template <class F>
  void run_to_end(const detail::spawn_options& o, F&& f) {
    thread t = detail::thread_access::make(&scheduler_, o, std::forward<F>(f));
    const cancellation_shield shield;
    t.join();
  }

  detail::environment_trace_scope trace_;  // outlives the scheduler
  mutable detail::scheduler scheduler_;
};

namespace detail {

struct runtime_access {
  static scheduler& scheduler_of(runtime& rt) noexcept { return rt.scheduler_; }
};

}  // namespace detail

/// Runs `f` as the first fiber of a runtime of its own; returns its result after every fiber has ended.
template <class F>
  requires std::is_invocable_v<F&>
std::invoke_result_t<F&> run(F&& f) {
  runtime rt;
  return rt.run(f);
}
template <class F>
  requires std::is_invocable_v<F&>
std::invoke_result_t<F&> run(const runtime_options& o, F&& f) {
  runtime rt{o};
  return rt.run(f);
}

/// Calls `f`, which may block the thread in the kernel, and lets another worker run the other fibers meanwhile. Inside, no tern call
/// that parks (join, sleep, lock, send: fatal) and no access to managed objects. On a plain thread it just calls `f`. Returns
/// what `f` returns; exceptions pass. About 100 ns beside `f`. Each call that is under way holds a thread; those beyond what
/// runtime_options::max_workers allows wait their turn first, in the order in which they came.
template <class F>
  requires std::is_invocable_v<F&>
std::invoke_result_t<F&> blocking(F&& f) {
  detail::worker* w = detail::current_worker();
  if (w == nullptr || w->current == nullptr || w->held == nullptr) return f();
  return detail::run_blocking(*w->current, f);
}

}  // namespace tern::inline v1

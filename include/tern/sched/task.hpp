// task<T>: C++20 coroutines on the scheduler's processors, for parked jobs by the million at a few hundred bytes each.
//
// Context     A task is resumed by a carrier, an ordinary fiber that runs the ready tasks of its processor (jobs.hpp). So every tern call
//             that waits is defined inside a task too: it parks the carrier with the task on it, and the other tasks get another one.
// Structure   A promise holds the node (queue link, frame, runtime), who awaits the task or the join word of a spawned one, and the
//             exception or value. An awaitable's waiter lies in the frame of whoever awaits.
// Protocol    co_await t     leaves t's node in the processor's `transfer` and suspends: the carrier resumes t next, and when t ends the
//                            awaiting one. No queue, and no depth of stack, whatever the compiler.
//             spawn_task     the node goes to the ready tasks; end and joiner meet in `word`, as for fibers.
//             A wait         the coroutine is suspended before it is queued anywhere: its waiter is parked from the start, and whoever ends the
//                            wait makes the task ready, at once and on any processor.
// Invariants  I1 a node is in at most one of: a ready queue, a `transfer`, a waiter that nobody has ended, a carrier's hand.
//             I2 a frame has one owner, which frees it: the task before it starts, then the awaitable or handle, or its own end if detached.
//             I3 after the step by which others can reach it, a suspending coroutine touches nothing of its frame.
// Ordering    word: as fiber::join_word. A task is handed over by the release of the queue that it goes through.
// Rejected    A handle returned from await_suspend: GCC makes that a tail call at -O2 only; elsewhere a loop over co_await of tasks
//             that do not wait uses up a stack of 64 KiB. Waits that a cancelled nursery ends: a task is no child of one.
// Limits      Raw managed pointers in a frame, results included, are no roots for the collector: hold gc::handle there. Only tasks can await what
//             is here. this_thread, fiber_local and the owner of a mutex mean the carrier: what is kept of them does not outlive the next co_await.
#pragma once

#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <tern/alloc/allocator.hpp>
#include <tern/sched/cancel.hpp>
#include <tern/sched/jobs.hpp>
#include <tern/sched/runtime.hpp>
#include <tern/sched/spawn.hpp>
#include <tern/sched/thread.hpp>

namespace tern::inline v1 {

template <class T = void>
class task;
template <class T = void>
class task_handle;

}  // namespace tern::inline v1

namespace tern::inline v1::detail {

struct task_promise_base {
  task_node node;
  task_node* continuation = nullptr;  // who awaits it; null: it was spawned
  atomic<std::uintptr_t> word{fiber::join_running};
  std::exception_ptr error;

  static void* operator new(std::size_t size) { return allocate(size); }
  static void operator delete(void* p, std::size_t size) noexcept { deallocate(p, size); }

  std::suspend_always initial_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }

  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class P>
    TERN_NOINLINE void await_suspend(std::coroutine_handle<P> h) const noexcept {
      task_promise_base& p = h.promise();
      if (p.continuation != nullptr)
        current_processor()->transfer = p.continuation;
      else if (p.finish())
        h.destroy();
    }
    void await_resume() const noexcept {}
  };
  final_awaiter final_suspend() const noexcept { return {}; }

  // The end of a spawned task. True: the frame is the caller's to free. Else it may be gone by now.
  bool finish() noexcept {
    atomic<std::uint64_t>& finished = current_processor()->counters.tasks_finished;
    // release: pairs with live(), as in finish_exit().
    finished.store(finished.load(memory_order_relaxed) + 1, memory_order_release);
    // acq_rel: pairs with join and detach; what the task did is visible to whoever joins.
    const std::uintptr_t joiner = word.exchange(fiber::join_done, memory_order_acq_rel);
    if (joiner == fiber::join_running) return false;
    if (joiner == fiber::join_detached) {
      if (TERN_UNLIKELY(error != nullptr)) terminate();
      return true;
    }
    unpark(*reinterpret_cast<wait_core*>(joiner), wake_place::tail);
    return false;
  }
  // What the error of a task that nobody can join leads to. Called in its own catch, so that terminate handlers see it.
  [[noreturn]] TERN_COLD void terminate() const noexcept {
    std::fputs("tern: an exception left a task, which nobody joins\n", stderr);
    try {
      std::rethrow_exception(error);
    } catch (...) {
      std::terminate();
    }
  }
  void rethrow_error() {
    if (TERN_UNLIKELY(error != nullptr)) std::rethrow_exception(std::exchange(error, nullptr));
  }
};

template <class P>
concept task_like = std::derived_from<P, task_promise_base>;

template <class T>
struct task_promise : task_promise_base {
  static_assert(std::is_object_v<T> && std::is_move_constructible_v<T>,
                "a task's result is moved to who asks for it");
  std::optional<T> value;
  task<T> get_return_object() noexcept;
  template <class U = T>
    requires std::is_constructible_v<T, U>
  void return_value(U&& v) {
    value.emplace(std::forward<U>(v));
  }
  T result() {
    rethrow_error();
    return std::move(*value);
  }
};
template <class T>
struct task_promise<T&> : task_promise_base {
  T* value = nullptr;
  task<T&> get_return_object() noexcept;
  void return_value(T& v) noexcept { value = std::addressof(v); }
  T& result() {
    rethrow_error();
    return *value;
  }
};
template <>
struct task_promise<void> : task_promise_base {
  task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void result() { rethrow_error(); }
};

// Owns a coroutine that is not running.
template <class T>
class task_frame {
 public:
  using handle = std::coroutine_handle<task_promise<T>>;
  constexpr task_frame() noexcept = default;
  explicit task_frame(handle h) noexcept : handle_{h} {}
  task_frame(task_frame&& o) noexcept : handle_{std::exchange(o.handle_, nullptr)} {}
  task_frame& operator=(task_frame&& o) noexcept {
    task_frame mine{std::move(o)};
    std::swap(handle_, mine.handle_);
    return *this;
  }
  task_frame(const task_frame&) = delete;
  task_frame& operator=(const task_frame&) = delete;
  ~task_frame() {
    if (handle_) handle_.destroy();
  }

  explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
  task_promise<T>& promise() const noexcept { return handle_.promise(); }
  // Its end frees it.
  void let_go() noexcept { handle_ = nullptr; }
  task_frame take(const char* where) {
    if (!handle_) throw std::system_error(std::make_error_code(std::errc::invalid_argument), where);
    return std::move(*this);
  }

 private:
  handle handle_ = nullptr;
};

// co_await of a task.
template <class T>
class task_call {
 public:
  explicit task_call(task_frame<T> t) noexcept : frame_{std::move(t)} {}
  bool await_ready() const noexcept { return false; }
  template <task_like P>
  void await_suspend(std::coroutine_handle<P> h) const noexcept {
    task_promise<T>& callee = frame_.promise();
    callee.continuation = &h.promise().node;
    callee.node.home = h.promise().node.home;
    current_processor()->transfer = &callee.node;
  }
  T await_resume() const { return frame_.promise().result(); }

 private:
  task_frame<T> frame_;
};

// co_await of a handle.
template <class T>
class task_join {
 public:
  explicit task_join(task_frame<T> t) noexcept : frame_{std::move(t)}, me_{"task::join", &frame_.promise()} {}
  bool await_ready() const noexcept {
    // acquire: pairs with finish().
    return frame_.promise().word.load(memory_order_acquire) == fiber::join_done;
  }
  template <task_like P>
  TERN_NOINLINE bool await_suspend(std::coroutine_handle<P> h) noexcept {
    me_.suspend(h.promise().node);
    std::uintptr_t running = fiber::join_running;
    // release: pairs with finish(), which reads the waiter. acquire: it has ended meanwhile.
    return frame_.promise().word.compare_exchange_strong(running, to_word(static_cast<wait_core*>(&me_)),
                                                         memory_order_acq_rel, memory_order_acquire);
  }
  T await_resume() const { return frame_.promise().result(); }

 private:
  task_frame<T> frame_;
  task_waiter me_;
};

struct task_yield {
  bool await_ready() const noexcept { return false; }
  template <task_like P>
  TERN_NOINLINE void await_suspend(std::coroutine_handle<P> h) const noexcept {
    processor& p = *current_processor();
    // Alone it stays with its carrier, which gives way to the fibers now and then.
    if (!has_ready_tasks(p))
      p.transfer = &h.promise().node;
    else
      make_task_ready(h.promise().node, task_arrival::put_off);
  }
  void await_resume() const noexcept {}
};

class task_sleep {
 public:
  // `deadline` 0: it does not wait.
  explicit task_sleep(os::nanoseconds deadline) noexcept : deadline_{deadline} {}
  bool await_ready() const noexcept { return deadline_ == 0; }
  template <task_like P>
  TERN_NOINLINE void await_suspend(std::coroutine_handle<P> h) noexcept {
    me_.suspend(h.promise().node);
    me_.timer.deadline = deadline_;
    static_cast<void>(start_timer(me_.timer, *current_processor()));
  }
  void await_resume() const noexcept {}

 private:
  os::nanoseconds deadline_;
  task_timer me_{"task sleep"};
};

struct task_access;

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// A coroutine that has not started. It starts, once, when it is awaited by another task or given to spawn_task(); its result or its
/// exception crosses to whoever asked for it.
///
/// T is void, a reference, or a type that moves. Moves; not thread-safe. Destroyed before it has started, it is freed with its arguments
/// and runs nothing. Making one allocates its frame from tern's allocator: std::bad_alloc. Its waits are not cancelled; give it a
/// stop token. Inside, tern calls that park (join, lock, receive, blocking) do so with a whole fiber: right, but of a fiber's size.
template <class T>
class [[nodiscard]] task {
 public:
  using promise_type = detail::task_promise<T>;

  task(task&&) noexcept = default;
  task& operator=(task&&) noexcept = default;

  /// False once it has been awaited, started or moved from.
  bool valid() const noexcept { return static_cast<bool>(frame_); }

  /// `co_await std::move(t)`, from a task: runs it in the caller's place and returns its result or rethrows. O(1), a few ns beside the
  /// call. Not valid(): std::system_error(invalid_argument).
  auto operator co_await() && { return detail::task_call<T>{frame_.take("tern::task: co_await")}; }

  /// `std::move(t).get()`, from a fiber: spawn_task(std::move(t)).join(), but for a wait that is not cancelled: nobody else could take the
  /// outcome.
  T get() &&;

 private:
  friend promise_type;
  friend struct detail::task_access;
  explicit task(detail::task_frame<T> f) noexcept : frame_{std::move(f)} {}

  detail::task_frame<T> frame_;
};

/// A task that has been started, which is joined once. The handle is not thread-safe, the task is. Destroying a joinable one joins; an
/// exception found then terminates the process. A task that joins itself waits for ever.
template <class T>
class [[nodiscard]] task_handle {
 public:
  task_handle() noexcept = default;
  task_handle(task_handle&&) noexcept = default;
  task_handle& operator=(task_handle&& o) noexcept {
    if (this != &o) {
      finish();
      frame_ = std::move(o.frame_);
    }
    return *this;
  }
  ~task_handle() { finish(); }

  bool joinable() const noexcept { return static_cast<bool>(frame_); }

  /// Waits for the end, and returns the result or rethrows. Not joinable: std::system_error(invalid_argument). From fibers and plain
  /// threads; in a task it parks a whole fiber: co_await the handle there. Throws cancelled when the calling fiber is cancelled meanwhile; the
  /// handle stays joinable.
  T join() {
    detail::task_frame<T> f = frame_.take("tern::task_handle::join");
    detail::task_promise<T>& p = f.promise();
    if (!detail::wait_for_end<false>(p.word, "task::join", &p)) {
      frame_ = std::move(f);
      throw cancelled{};
    }
    return p.result();
  }

  /// Lets it run on by itself; an exception that leaves it terminates the process. Not joinable: std::system_error(invalid_argument).
  void detach() {
    detail::task_frame<T> f = frame_.take("tern::task_handle::detach");
    std::uintptr_t running = detail::fiber::join_running;
    // acq_rel: pairs with finish().
    if (f.promise().word.compare_exchange_strong(running, detail::fiber::join_detached,
                                                 detail::memory_order_acq_rel, detail::memory_order_acquire))
      return f.let_go();
    if (f.promise().error != nullptr) f.promise().terminate();
  }

  /// `co_await std::move(h)`, from a task: as join(). The waiting task holds no stack.
  auto operator co_await() && { return detail::task_join<T>{frame_.take("tern::task_handle: co_await")}; }

 private:
  friend struct detail::task_access;
  explicit task_handle(detail::task_frame<T> f) noexcept : frame_{std::move(f)} {}

  void finish() noexcept {
    if (!frame_) return;
    const detail::task_frame<T> f{std::move(frame_)};
    static_cast<void>(detail::wait_for_end<true>(f.promise().word, "task::join", &f.promise()));
    if (f.promise().error != nullptr) f.promise().terminate();
  }

  detail::task_frame<T> frame_;
};

}  // namespace tern::inline v1

namespace tern::inline v1::detail {

struct task_access {
  template <class T>
  static task_handle<T> start(scheduler* s, task<T>& t) {
    task_frame<T> f = t.frame_.take("tern::spawn_task");
    if (s == nullptr) s = &home_scheduler("tern::spawn_task outside a runtime: give it one");
    task_node& n = f.promise().node;
    n.home = s;
    if (processor* p = processor_in(*s))
      bump(p->counters.tasks_spawned);
    else
      s->external_tasks_.fetch_add(1, memory_order_relaxed);  // relaxed: a count
    task_handle<T> started{std::move(f)};
    make_task_ready(n, task_arrival::started);
    return started;
  }
};

template <class T>
task<T> task_promise<T>::get_return_object() noexcept {
  const auto h = std::coroutine_handle<task_promise>::from_promise(*this);
  node.frame = h.address();
  return task<T>{task_frame<T>{h}};
}
template <class T>
task<T&> task_promise<T&>::get_return_object() noexcept {
  const auto h = std::coroutine_handle<task_promise>::from_promise(*this);
  node.frame = h.address();
  return task<T&>{task_frame<T&>{h}};
}
inline task<void> task_promise<void>::get_return_object() noexcept {
  const auto h = std::coroutine_handle<task_promise>::from_promise(*this);
  node.frame = h.address();
  return task<void>{task_frame<void>{h}};
}

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// Starts `t` on the runtime of the running fiber or task. It runs on any processor, and the runtime's end waits for it. O(1); allocates
/// nothing. Throws std::system_error: invalid_argument where `t` is not valid, operation_not_permitted outside a runtime.
template <class T>
task_handle<T> spawn_task(task<T> t) {
  return detail::task_access::start(nullptr, t);
}
/// The same on `rt`, from anywhere.
template <class T>
task_handle<T> spawn_task(runtime& rt, task<T> t) {
  return detail::task_access::start(&detail::runtime_access::scheduler_of(rt), t);
}

template <class T>
T task<T>::get() && {
  task_handle<T> h = spawn_task(std::move(*this));
  const cancellation_shield shield;
  return h.join();
}

/// What a task asks of itself.
namespace this_task {

/// co_await it: the ready tasks of this processor run first, and fibers now and then. O(1).
[[nodiscard]] inline auto yield() noexcept { return detail::task_yield{}; }

/// co_await it: the task goes on at least `d` later and holds no stack meanwhile. Zero or less: it does not wait. O(1).
template <class Rep, class Period>
[[nodiscard]] auto sleep_for(const std::chrono::duration<Rep, Period>& d) noexcept {
  return detail::task_sleep{d > d.zero() ? this_thread::detail_sleep::deadline_in(d) : 0};
}

}  // namespace this_task

}  // namespace tern::inline v1

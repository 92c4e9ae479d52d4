// tern::nursery: fibers that end before the scope that started them, and that can be cancelled together.
//
// Structure   children_ counts; living_ lists the cancel_state of each child that has begun, which lies on the child's stack. The deadline is
//             kept by a fiber of its own, the watcher, which exists only while there is a deadline and a child.
// Protocol    Child    1. link its cancel_state, cancelled where the nursery is   2. run   3. no longer cancellable: destroy the function
//                      4. under lock_: unlink, keep the first error, count down; wake whoever waits.
//             Cancel   request_stop on the tokens, then under lock_: mark, and cancel each living child (cancel.hpp).
//             Wait     children first, then the watcher is told to end.
// Invariants  I1 after the count is zero nobody but the waiting one touches the nursery. I2 lock_ is taken before a child's own lock.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <tern/ds/spin_lock.hpp>
#include <tern/sched/cancel.hpp>
#include <tern/sched/deadline.hpp>
#include <tern/sched/spawn.hpp>
#include <tern/sched/thread.hpp>

namespace tern::inline v1 {

/// What cancelling a nursery does to its children.
enum class cancel_mode : std::uint8_t {
  interrupt,   ///< the stop token is set, and waits of the children throw cancelled
  token_only,  ///< the stop token is set; a child that waits waits on
};

/// A scope for fibers: wait() and the destructor return after all of them have ended. The first exception cancels the others and is
/// rethrown by wait(); cancel() and a deadline cancel them as well.
///
/// A cancelled child's waits throw tern::cancelled: sending, receiving and select, sleeping, joining, a condition variable, semaphore or
/// wait group, a nursery's wait (which first cancels its own children). Only a wait throws: what need not wait is done as ever, and what the wait
/// got before the cancellation it returns. Not cancelled: locking a mutex, destructors while an exception unwinds, a
/// cancellation_shield, tern::blocking. Children of children are cancelled if they are in a nursery, too.
///
/// spawn() may also be called by the children, cancel() by anybody. wait() and the destructor are for one fiber or thread at a time. A
/// pending exception that no wait() has taken terminates the process in the destructor, with the name of the fiber that it left.
class nursery {
 public:
  using clock = std::chrono::steady_clock;

  explicit nursery(cancel_mode mode = cancel_mode::interrupt) noexcept : mode_{mode} {}
  /// Cancels the children at `deadline`.
  explicit nursery(clock::time_point deadline, cancel_mode mode = cancel_mode::interrupt) noexcept
      : mode_{mode} {
    deadline_ = detail::deadline_at(deadline);
  }
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;
  ~nursery() {
    wait_for_children();
    if (error_ != nullptr) detail::terminate_named(failed_id_, failed_name_, error_);
  }

  /// Starts a child: f(std::stop_token) if it can be called so, else f(). Throws as the constructor of thread does. In a nursery that is
  /// cancelled the child runs as well, cancelled from its beginning.
  template <class F>
    requires(std::is_invocable_v<std::decay_t<F>&> || std::is_invocable_v<std::decay_t<F>&, std::stop_token>)
  void spawn(F&& f) {
    spawn(thread_attributes{}, std::forward<F>(f));
  }
  template <class F>
    requires(std::is_invocable_v<std::decay_t<F>&> || std::is_invocable_v<std::decay_t<F>&, std::stop_token>)
  void spawn(const thread_attributes& a, F&& f) {
    {
      detail::lock_scope hold{lock_};
      ++children_;
    }
    try {
      if (TERN_UNLIKELY(needs_watcher())) start_watcher();
      using function = std::optional<std::decay_t<F>>;
      detail::spawn_fiber(nullptr, child<std::decay_t<F>>{this, function{std::in_place, std::forward<F>(f)}},
                          {.name = a.name, .stack_size = detail::slot_request(a), .detached = true});
    } catch (...) {
      child_ended(nullptr, nullptr);
      throw;
    }
  }

  /// Waits for all children, also for those that are started meanwhile; then rethrows the first exception, once. The nursery may
  /// be used again; after an exception it is not cancelled any more, after cancel() or its deadline it stays cancelled. Throws cancelled if the caller is
  /// a child of another nursery that has been cancelled, after its own children have been cancelled and have ended.
  void wait() {
    const bool interrupted = !wait_for_children();
    if (std::exception_ptr e = std::exchange(error_, nullptr)) {
      std::stop_source other = detail::new_stop_source();
      {
        detail::lock_scope hold{lock_};
        stop_.swap(other);
        cancelled_ = false;
      }
      std::rethrow_exception(std::move(e));
    }
    if (interrupted) throw cancelled{};
  }

  /// Asks the children to stop, through their tokens alone.
  void request_stop() noexcept { stop_source().request_stop(); }
  std::stop_token get_stop_token() const noexcept { return stop_source().get_token(); }

  /// request_stop(), and the waits of all children throw cancelled from now on. From anywhere, any number of times. O(children).
  void cancel() noexcept {
    std::stop_source told{std::nostopstate};
    for (;;) {
      {
        detail::lock_scope hold{lock_};
        if (told == stop_) return cancel_locked();
        told = stop_;
      }
      told.request_stop();  // its callbacks are the program's, and may take as long as they like
    }
  }
  /// cancel() after `d`; replaces the deadline there is. Throws when no fiber can be started for it.
  template <class Rep, class Period>
  void cancel_after(const std::chrono::duration<Rep, Period>& d) {
    set_deadline(detail::deadline_in(d));
  }
  void cancel_at(clock::time_point t) { set_deadline(detail::deadline_at(t)); }

  /// True from cancel(), the deadline or the first exception on.
  bool is_cancelled() const noexcept {
    detail::lock_scope hold{lock_};
    return cancelled_;
  }

 private:
  // A wait() that ends may put another one in its place.
  std::stop_source stop_source() const noexcept {
    detail::lock_scope hold{lock_};
    return stop_;
  }

  using cancelling = detail::basic_cancel_state<>;

  template <class F>
  struct child {
    nursery* home;
    std::optional<F> function;
    void operator()() {
      std::exception_ptr error;
      detail::cancel_state state;
      home->child_begins(state);
      try {
        if constexpr (std::is_invocable_v<F&, std::stop_token>)
          static_cast<void>((*function)(home->get_stop_token()));
        else
          static_cast<void>((*function)());
      } catch (const cancelled&) {
        if (!home->is_cancelled()) error = std::current_exception();
      } catch (...) {
        error = std::current_exception();
      }
      // What follows runs to its end: what the function holds ends before the scope does.
      detail::fiber& self = *detail::current_fiber();
      self.flags &= ~static_cast<std::uint32_t>(detail::fiber::cancellable);
      function.reset();
      if ((self.flags & detail::fiber::has_locals) != 0) detail::destroy_locals(self);
      home->child_ended(std::move(error), &state);
    }
  };

  // ---- children ----

  void child_begins(detail::cancel_state& state) noexcept {
    if (mode_ == cancel_mode::token_only) return;
    detail::fiber& self = *detail::current_fiber();
    detail::lock_scope hold{lock_};
    living_.push_back(state);
    if (cancelled_) state.cancel();
    self.cancel = &state;
    self.flags |= detail::fiber::cancellable;
  }

  void child_ended(std::exception_ptr error, detail::cancel_state* state) noexcept {
    const bool failed = error != nullptr;
    if (failed) {
      const detail::fiber& self = *detail::current_fiber();
      detail::lock_scope hold{lock_};
      if (error_ == nullptr) {
        error_ = std::move(error);
        failed_id_ = self.id;
        std::strcpy(failed_name_, self.display_name());
      }
    }
    if (failed) cancel();
    error = nullptr;  // a later one than the first: it ends before the scope does
    detail::waiter* waiting = nullptr;
    {
      detail::lock_scope hold{lock_};
      if (state != nullptr && state->hook.is_linked()) living_.erase(*state);
      if (--children_ == 0) waiting = take_waiting_locked();
    }
    // The nursery may be gone from here on.
    if (waiting != nullptr) detail::unpark(*waiting);
  }

  void cancel_locked() noexcept {
    cancelled_ = true;
    for (cancelling* c = living_.front(); c != nullptr; c = living_.next(*c)) c->cancel();
  }

  // Whom the caller wakes once it has dropped lock_. A waiter that comes back to lock_ is woken here.
  detail::waiter* take_waiting_locked() noexcept {
    detail::waiter* w = std::exchange(waiting_, nullptr);
    if (w == nullptr || w->kind == detail::waiter_kind::single) return w;
    detail::unpark(*w);
    return nullptr;
  }

  // ---- waiting ----

  static bool drop_lock(detail::waiter&, void* self) noexcept {
    static_cast<nursery*>(self)->lock_.unlock();
    return true;
  }

  // Requires: lock_; drops it. Waits for one of the events after which the caller looks again. False: cancelled.
  bool wait_once(const char* what, bool may_cancel) noexcept {
    detail::waiter w{what, this};
    waiting_ = &w;
    if (!may_cancel || !detail::is_cancellable(w)) {
      detail::park(w, &drop_lock, this);
      return true;
    }
    const bool told =
        detail::park_cancellable(w, detail::os::never, &drop_lock, this) == detail::wake_reason::notified;
    detail::lock_scope hold{lock_};
    if (waiting_ == &w) waiting_ = nullptr;
    return told;
  }

  // False: the caller was cancelled meanwhile, and so were the children.
  bool wait_for_children() noexcept {
    bool told = true;
    for (;;) {
      lock_.lock();
      if (children_ == 0) break;
      if (wait_once(detail::nursery_wait, told) || !told) continue;
      told = false;
      cancel();
    }
    // Nobody spawns any more; the watcher may be firing.
    while (watching_) {
      watcher_ends_ = true;
      if (detail::waiter* w = std::exchange(watcher_, nullptr)) detail::unpark(*w);
      static_cast<void>(wait_once(detail::nursery_wait, false));
      lock_.lock();
    }
    watcher_ends_ = false;
    lock_.unlock();
    return told;
  }

  // ---- the deadline ----

  static constexpr detail::os::nanoseconds passed = 0;  // of deadline_: the watcher has cancelled

  bool needs_watcher() const noexcept {
    detail::lock_scope hold{lock_};
    return deadline_ != detail::os::never && deadline_ != passed && !watching_;
  }
  void set_deadline(detail::os::nanoseconds deadline) {
    bool start = false;
    {
      detail::lock_scope hold{lock_};
      deadline_ = deadline;
      start = children_ != 0 && !watching_ && deadline != detail::os::never;
      if (detail::waiter* w = std::exchange(watcher_, nullptr)) detail::unpark(*w);  // it looks again
    }
    if (start) start_watcher();
  }
  // Another child may do the same at the same time.
  void start_watcher() {
    {
      detail::lock_scope hold{lock_};
      if (std::exchange(watching_, true)) return;
    }
    try {
      detail::spawn_fiber(nullptr, [this] { watch(); }, {.name = "nursery deadline", .detached = true});
    } catch (...) {
      watcher_ended();
      throw;
    }
  }
  void watch() noexcept {
    for (;;) {
      lock_.lock();
      if (watcher_ends_ || deadline_ == detail::os::never) break;
      if (detail::os::now() >= deadline_) {
        deadline_ = passed;
        lock_.unlock();
        cancel();
        lock_.lock();
        if (deadline_ == passed) break;  // else a new one has been set
        lock_.unlock();
        continue;
      }
      detail::waiter w{"nursery deadline", this, detail::waiter_kind::multi};
      watcher_ = &w;
      static_cast<void>(detail::park_until(w, deadline_, &drop_lock, this));
      detail::lock_scope hold{lock_};
      if (watcher_ == &w) watcher_ = nullptr;
    }
    watcher_ended_locked();
  }
  void watcher_ended() noexcept {
    lock_.lock();
    watcher_ended_locked();
  }
  // Requires: lock_; drops it. In one step with the look at deadline_: whoever sets one later starts a new watcher.
  void watcher_ended_locked() noexcept {
    watching_ = false;
    detail::waiter* waiting = take_waiting_locked();
    lock_.unlock();
    // The nursery may be gone from here on.
    if (waiting != nullptr) detail::unpark(*waiting);
  }

  mutable detail::spin_lock<> lock_;
  const cancel_mode mode_;
  bool cancelled_ = false;                                // lock_
  bool watching_ = false;                                 // lock_; the watcher lives
  bool watcher_ends_ = false;                             // lock_; and is to end
  std::size_t children_ = 0;                              // lock_
  detail::waiter* waiting_ = nullptr;                     // lock_
  detail::waiter* watcher_ = nullptr;                     // lock_
  detail::os::nanoseconds deadline_ = detail::os::never;  // lock_ while children live
  detail::list<cancelling, &cancelling::hook> living_;    // lock_
  std::exception_ptr error_;                              // lock_ while children live
  std::uint64_t failed_id_ = 0;                           // the same; of the child that error_ left
  char failed_name_[detail::fiber::name_capacity] = {};   // the same
  std::stop_source stop_;                                 // lock_
};

}  // namespace tern::inline v1

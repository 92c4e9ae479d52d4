// tern::nursery: fibers that end before the scope that started them.
#pragma once

#include <exception>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <tern/ds/spin_lock.hpp>
#include <tern/sched/spawn.hpp>
#include <tern/sched/thread.hpp>

namespace tern::inline v1 {

/// A scope for fibers: wait() and the destructor return after all of them have ended. The first exception asks the others to stop
/// (through the stop token that a child may take as its argument) and is rethrown by wait().
///
/// spawn() may also be called by the children. wait() and the destructor are for one fiber or thread at a time. A pending exception
/// that no wait() has taken terminates the process in the destructor.
class nursery {
 public:
  nursery() = default;
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;
  ~nursery() {
    wait_for_children();
    if (error_ != nullptr) {
      try {
        std::rethrow_exception(error_);
      } catch (...) {
        std::terminate();
      }
    }
  }

  /// Starts a child: f(std::stop_token) if it can be called so, else f(). Throws as the constructor of thread does.
  template <class F>
    requires(std::is_invocable_v<std::decay_t<F>&> || std::is_invocable_v<std::decay_t<F>&, std::stop_token>)
  void spawn(F&& f) {
    spawn(thread_attributes{}, std::forward<F>(f));
  }
  template <class F>
    requires(std::is_invocable_v<std::decay_t<F>&> || std::is_invocable_v<std::decay_t<F>&, std::stop_token>)
  void spawn(const thread_attributes& a, F&& f) {
    detail::scheduler& s = detail::home_scheduler();
    {
      detail::lock_scope hold{lock_};
      ++children_;
    }
    try {
      using function = std::optional<std::decay_t<F>>;
      detail::spawn_fiber(s, child<std::decay_t<F>>{this, function{std::in_place, std::forward<F>(f)}},
                          {.name = a.name, .stack_size = a.stack_size, .detached = true});
    } catch (...) {
      child_ended(nullptr);
      throw;
    }
  }

  /// Waits for all children, also for those that are started meanwhile; then rethrows the first exception, once. The nursery may
  /// be used again.
  void wait() {
    wait_for_children();
    if (std::exception_ptr e = std::exchange(error_, nullptr)) {
      stop_ = std::stop_source{};
      std::rethrow_exception(std::move(e));
    }
  }

  /// Asks the children to stop.
  void request_stop() noexcept { stop_.request_stop(); }
  std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }

 private:
  template <class F>
  struct child {
    nursery* home;
    std::optional<F> function;
    void operator()() {
      std::exception_ptr error;
      try {
        if constexpr (std::is_invocable_v<F&, std::stop_token>)
          static_cast<void>((*function)(home->stop_.get_token()));
        else
          static_cast<void>((*function)());
      } catch (...) {
        error = std::current_exception();
      }
      function.reset();  // what it holds ends before the scope does
      home->child_ended(std::move(error));
    }
  };

  void child_ended(std::exception_ptr error) noexcept {
    const bool failed = error != nullptr;
    if (failed) {
      detail::lock_scope hold{lock_};
      if (error_ == nullptr) error_ = std::move(error);
    }
    if (failed) stop_.request_stop();
    error = nullptr;  // a later one than the first: it ends before the scope does
    detail::waiter* waiting = nullptr;
    {
      detail::lock_scope hold{lock_};
      if (--children_ == 0) waiting = std::exchange(waiting_, nullptr);
    }
    // The nursery may be gone from here on.
    if (waiting != nullptr) detail::unpark(*waiting);
  }

  void wait_for_children() noexcept {
    for (;;) {
      lock_.lock();
      if (children_ == 0) return lock_.unlock();
      detail::waiter w{"nursery", this};
      waiting_ = &w;
      const auto unlock = [](detail::waiter&, void* self) noexcept -> bool {
        static_cast<nursery*>(self)->lock_.unlock();
        return true;
      };
      detail::park(w, unlock, this);
    }
  }

  detail::spin_lock<> lock_;
  std::size_t children_ = 0;           // lock_
  detail::waiter* waiting_ = nullptr;  // lock_
  std::exception_ptr error_;           // lock_ while children live
  std::stop_source stop_;
};

}  // namespace tern::inline v1

#pragma once

// Fork handlers: pthread_atfork once per process, also where one thread registers them while another one forks.
//
// Context     Whoever has locks that a child must find free: the allocator, the scheduler (and for it the collector), the poller.
// Protocol    ensure() before a thread takes the first of these locks. Who registers notes its process; a child that was forked in the midst of
//             that sees another one's, does not wait for a thread that it lacks, and registers again.
// Invariants  I1 a thread that holds one of the locks holds it in a process whose handlers are registered.
// Limits      Registered twice, handlers run as often: before() locks the first time, after() unlocks the last time.

#include <pthread.h>
#include <unistd.h>

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/futex.hpp>

namespace tern::inline v1::detail::os {

class fork_handlers {
 public:
  using handler = void (*)();

  constexpr fork_handlers() noexcept = default;
  // As if a thread of this process were in the midst of ensure(). For tests.
  explicit fork_handlers(pid_t begun_by) noexcept : state_{static_cast<std::uint32_t>(begun_by)} {}

  // 0, or ENOMEM: then they are not there, and the next call tries again. Holding no lock that a handler of the process takes: older C
  // libraries have one of their own over the handlers of a fork. Thread-safe.
  int ensure(handler prepare, handler in_parent, handler in_child) noexcept {
    const std::uint32_t seen = state_.load(memory_order_acquire);  // pairs-with: register_slow()
    return TERN_LIKELY(seen == registered) ? 0 : register_slow(seen, prepare, in_parent, in_child);
  }

  // In the handlers: locks what is to be locked, and unlocks it.
  template <class F>
  void before(F&& lock) noexcept {
    const pthread_t self = ::pthread_self();
    // relaxed: it equals self only if this thread stored it.
    if (!::pthread_equal(holder_.load(memory_order_relaxed), self)) lock();
    holder_.store(self, memory_order_relaxed);
    ++depth_;
  }
  template <class F>
  void after(F&& unlock) noexcept {
    if (--depth_ != 0) return;
    holder_.store({}, memory_order_relaxed);
    unlock();
  }

 private:
  TERN_COLD int register_slow(std::uint32_t seen, handler prepare, handler in_parent,
                              handler in_child) noexcept {
    const auto process = static_cast<std::uint32_t>(::getpid());
    while (seen == process || !state_.compare_exchange_strong(seen, process, memory_order_acquire)) {
      if (seen == registered) return 0;
      static_cast<void>(futex_wait(state_, seen, now() + 20'000));
      seen = state_.load(memory_order_acquire);
    }
    const int error = ::pthread_atfork(prepare, in_parent, in_child);
    state_.store(error == 0 ? registered : 0, memory_order_release);
    return error;
  }

  static constexpr std::uint32_t registered = ~0u;
  atomic<std::uint32_t> state_{0};  // 0, the process whose thread is registering them, or `registered`
  atomic<pthread_t> holder_{};      // the thread that is inside fork
  unsigned depth_ = 0;              // its
};

}  // namespace tern::inline v1::detail::os

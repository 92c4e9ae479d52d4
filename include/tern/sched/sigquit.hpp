// SIGQUIT: every fiber on stderr, and the process goes on.
//
// Context     runtime_options::dump_on_sigquit or TERN_DEBUG=sigquit=1; the first runtime that asks installs it for the process.
// Protocol    The handler posts a word; a thread of the library wakes and writes the dump, which no handler may. It lives to the process's
//             end, asleep, and is no foreign thread to the deadlock report.
// Limits      A program's own disposition of SIGQUIT stays: a handler, or SIG_IGN as nohup sets it. In a fork child the thread
//             is missing and the signal does nothing.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include <tern/base/atomic.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/futex.hpp>
#include <tern/os/thread.hpp>
#include <tern/sched/dump.hpp>
#include <tern/sched/hooks.hpp>

namespace tern::inline v1::detail {

struct sigquit_state {
  spin_lock<> lock;
  bool installed = false;          // lock
  atomic<std::uint32_t> asked{0};  // futex word: 1, a dump is due
};
inline constinit sigquit_state the_sigquit{};

inline void handle_sigquit(int) noexcept {
  const int saved = errno;
  the_sigquit.asked.store(1, memory_order_release);  // pairs-with: serve_sigquit()
  os::futex_wake(the_sigquit.asked, 1);
  errno = saved;
}

inline void* serve_sigquit(void*) {
  for (;;) {
    while (the_sigquit.asked.exchange(0, memory_order_acquire) == 0) os::futex_wait(the_sigquit.asked, 0);
    std::fputs("tern: SIGQUIT\n", stderr);
    dump_everything(stderr, dump_detail::stacks);
    std::fflush(stderr);
  }
}

TERN_COLD inline void dump_on_sigquit() noexcept {
  lock_scope hold{the_sigquit.lock};
  if (the_sigquit.installed) return;
  struct sigaction now{};
  if (::sigaction(SIGQUIT, nullptr, &now) != 0 || (now.sa_flags & SA_SIGINFO) != 0 ||
      now.sa_handler != SIG_DFL)
    return;
  service_threads.fetch_add(1, memory_order_seq_cst);
  try {
    ::pthread_detach(os::start_thread(&serve_sigquit, nullptr, "tern-sigquit"));
  } catch (const std::system_error&) {
    service_threads.fetch_sub(1, memory_order_seq_cst);
    return;  // the default stays
  }
  struct sigaction action{};
  action.sa_handler = &handle_sigquit;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGQUIT, &action, nullptr);
  the_sigquit.installed = true;
}

}  // namespace tern::inline v1::detail

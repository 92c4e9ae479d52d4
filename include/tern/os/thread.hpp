#pragma once

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>

#include <tern/base/assert.hpp>

namespace tern::inline v1::detail::os {

inline int thread_id() noexcept { return static_cast<int>(::syscall(SYS_gettid)); }

// The CPUs in the mask that get(bytes, mask) fills as sched_getaffinity(2) does, at least 1. It refuses a mask that is smaller than the kernel's.
template <class Get>
unsigned count_cpus(Get&& get) noexcept {
  constexpr std::size_t most_words = 1024;  // of 65,536 CPUs
  std::uint64_t words[most_words];
  for (std::size_t n = 16; n <= most_words; n *= 4) {
    std::memset(words, 0, n * sizeof words[0]);
    errno = 0;
    if (get(n * sizeof words[0], words)) {
      unsigned cpus = 0;
      for (std::size_t i = 0; i < n; ++i) cpus += static_cast<unsigned>(std::popcount(words[i]));
      return cpus != 0 ? cpus : 1;
    }
    if (errno != EINVAL) break;
  }
  return 1;
}

// The CPUs that this thread may run on, at least 1.
inline unsigned usable_cpus() noexcept {
  const int saved = errno;
  const unsigned n = count_cpus([](std::size_t bytes, std::uint64_t* mask) noexcept {
    return ::sched_getaffinity(0, bytes, reinterpret_cast<cpu_set_t*>(mask)) == 0;
  });
  errno = saved;
  return n;
}

struct stack_bounds {
  std::uintptr_t low = 0;
  std::uintptr_t high = 0;
};

// The calling thread's stack as the C library knows it. Reads /proc for the main thread: some microseconds, once a thread.
inline stack_bounds thread_stack_bounds() noexcept {
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) != 0)
    fatal("cannot read the thread's stack bounds");
  void* low = nullptr;
  size_t size = 0;
  const int failed = ::pthread_attr_getstack(&attributes, &low, &size);
  ::pthread_attr_destroy(&attributes);
  if (failed != 0) fatal("cannot read the thread's stack bounds");
  const auto base = reinterpret_cast<std::uintptr_t>(low);
  return {base, base + size};
}

// The calling thread takes this signal from now on.
inline void open_signal(int number) noexcept {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, number);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

// Sends a signal to a thread of this process. One that has ended meanwhile gets none; another one that has got its id gets it instead.
inline void signal_thread(int id, int number) noexcept { ::syscall(SYS_tgkill, ::getpid(), id, number); }

// Starts a thread with all signals blocked (they belong to the program's own threads) and the given stack size (0: the
// default). Throws std::system_error when the system has no more threads.
inline pthread_t start_thread(void* (*entry)(void*), void* argument, const char* name,
                              std::size_t stack_size = 0) {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  if (stack_size != 0) ::pthread_attr_setstacksize(&attributes, stack_size);
  sigset_t all;
  sigset_t old;
  ::sigfillset(&all);
  // Synchronous faults must still reach the overflow report.
  for (const int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF}) ::sigdelset(&all, s);
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_t thread;
  const int error = ::pthread_create(&thread, &attributes, entry, argument);
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ::pthread_attr_destroy(&attributes);
  if (error != 0) throw std::system_error(error, std::generic_category(), "tern: cannot start a thread");
  if (name != nullptr) ::pthread_setname_np(thread, name);  // best effort: 15 characters at most
  return thread;
}

inline void join_thread(pthread_t thread) noexcept {
  if (::pthread_join(thread, nullptr) != 0) fatal("cannot join a thread of the runtime");
}

}  // namespace tern::inline v1::detail::os

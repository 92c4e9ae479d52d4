// Held locks: how many pthread mutexes this thread holds, and how many function-local statics it is initialising.
//
// Context     For sched/, with TERN_CHECK_HELD_LOCKS: both belong to the thread, and a fiber that waits or yields in them leaves them to whatever
//             fiber the thread runs next. Another fiber that wants them then blocks the thread, and with it, often, the one that would let go.
// Structure   Weak definitions of pthread_mutex_lock, _trylock, _unlock and of the C++ ABI's guards, which count and call the libraries' own.
//             std::mutex and its like call the former, the compiler the latter.
// Rejected    Always on in debug builds: the definitions are the whole process's, other libraries included.
// Limits      Dynamic linking only: the libraries' own are looked up by name. Timed locks, shared mutexes and pthread_once are not counted, nor are
//             statics with libc++, nor is what a library does with mutexes behind its own names. Off under the sanitizers, which have definitions of their own.
#pragma once

#include <tern/base/config.hpp>

#if TERN_CHECK_HELD_LOCKS
#include <cxxabi.h>
#include <dlfcn.h>
#include <pthread.h>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#endif

namespace tern::inline v1::detail::os {

struct held_locks {
  int mutexes = 0;
  int statics = 0;
};

#if TERN_CHECK_HELD_LOCKS

inline constinit thread_local held_locks held_by_this_thread{};

// Not inlined: a fiber asks after it may have come to another thread.
TERN_NOINLINE inline held_locks held_now() noexcept { return held_by_this_thread; }

// The next definition of `name` after this program's, looked up once for each `Tag`.
template <class F, class Tag>
F next_definition(const char* name) noexcept {
  static constinit atomic<void*> known{nullptr};
  void* p = known.load(memory_order_relaxed);  // relaxed: whoever looks it up finds the same
  if (p == nullptr) {
    p = ::dlsym(RTLD_NEXT, name);
    if (p == nullptr) fatal("TERN_CHECK_HELD_LOCKS: libc or libstdc++ is linked statically");
    known.store(p, memory_order_relaxed);
  }
  return reinterpret_cast<F>(p);
}

#else

inline held_locks held_now() noexcept { return {}; }

#endif

}  // namespace tern::inline v1::detail::os

#if TERN_CHECK_HELD_LOCKS

extern "C" [[gnu::weak, gnu::visibility("default")]] int pthread_mutex_lock(pthread_mutex_t* m) noexcept {
  namespace os = tern::detail::os;
  const int error = os::next_definition<int (*)(pthread_mutex_t*), struct lock_tag>("pthread_mutex_lock")(m);
  if (error == 0) ++os::held_by_this_thread.mutexes;
  return error;
}
extern "C" [[gnu::weak, gnu::visibility("default")]] int pthread_mutex_trylock(pthread_mutex_t* m) noexcept {
  namespace os = tern::detail::os;
  const int error =
      os::next_definition<int (*)(pthread_mutex_t*), struct trylock_tag>("pthread_mutex_trylock")(m);
  if (error == 0) ++os::held_by_this_thread.mutexes;
  return error;
}
extern "C" [[gnu::weak, gnu::visibility("default")]] int pthread_mutex_unlock(pthread_mutex_t* m) noexcept {
  namespace os = tern::detail::os;
  const int error =
      os::next_definition<int (*)(pthread_mutex_t*), struct unlock_tag>("pthread_mutex_unlock")(m);
  // Some unlock what a timed lock, which is not counted, has locked.
  if (error == 0 && os::held_by_this_thread.mutexes > 0) --os::held_by_this_thread.mutexes;
  return error;
}

#ifdef __GLIBCXX__
// As <cxxabi.h> declares them. 1: the caller initialises the variable, then calls one of the other two.
namespace __cxxabiv1 {
extern "C" [[gnu::weak, gnu::visibility("default")]] int __cxa_guard_acquire(__guard* guard) {
  namespace os = tern::detail::os;
  const int ours = os::next_definition<int (*)(__guard*), struct acquire_tag>("__cxa_guard_acquire")(guard);
  if (ours != 0) ++os::held_by_this_thread.statics;
  return ours;
}
extern "C" [[gnu::weak, gnu::visibility("default")]] void __cxa_guard_release(__guard* guard) noexcept {
  namespace os = tern::detail::os;
  --os::held_by_this_thread.statics;
  os::next_definition<void (*)(__guard*), struct release_tag>("__cxa_guard_release")(guard);
}
extern "C" [[gnu::weak, gnu::visibility("default")]] void __cxa_guard_abort(__guard* guard) noexcept {
  namespace os = tern::detail::os;
  --os::held_by_this_thread.statics;
  os::next_definition<void (*)(__guard*), struct abort_tag>("__cxa_guard_abort")(guard);
}
}  // namespace __cxxabiv1
#endif

#endif

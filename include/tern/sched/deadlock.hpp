// Deadlock report: names every fiber, with its stack, when all wait and nothing is left that could wake one.
//
// Context     The monitor looks, since it is the one thread that is awake by itself.
// Protocol    1. Every runtime is quiet (no processor awake, nothing in tern::blocking, no timer), this one has live fibers, and
//                no dispatch has happened for `patience`. No fiber of the process waits for a descriptor.
//                Tasks count as fibers do; they are not listed, only their number is.
//             2. Which threads could still do something? Those of the process, less the runtimes' own, less plain threads that
//                wait in park() for ever. None: report and end. Some: warn once, they may hold the other end.
//             3. A thread that a fiber has woken counts as waiting until it gets a CPU, which may take any time. So the process
//                ends only if the kernel says that no thread wants to run, and if nothing has moved while it was asked.
// Limits      A signal handler that wakes somebody is not known. Under an emulator the process has threads of the emulator's,
//             which count as foreign: then it warns.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <tern/os/clock.hpp>
#include <tern/sched/dump.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/trace_writer.hpp>

namespace tern::inline v1::detail {

inline constexpr os::nanoseconds deadlock_patience = 50'000'000;

// Threads of the process that are not the runtimes' own and do not wait in tern for ever.
inline int foreign_threads() noexcept {
  struct stat info{};
  if (::stat("/proc/self/task", &info) != 0) return 1;  // not known: assume one
  const int all = static_cast<int>(info.st_nlink) - 2;  // "." and ".."
  const int sanitizer = tsan_build ? 1 : 0;             // TSan's own background thread
  return all - sanitizer - schedulers.runtime_threads.load(memory_order_seq_cst) -
         service_threads.load(memory_order_seq_cst) - schedulers.parked_threads.load(memory_order_seq_cst);
}

// True if a thread beside the caller runs, or is ready to.
inline bool another_thread_runs() noexcept {
  DIR* tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return false;  // foreign_threads() has assumed the worst already
  const long self = ::gettid();
  bool found = false;
  while (const dirent* entry = found ? nullptr : ::readdir(tasks)) {
    const long id = std::strtol(entry->d_name, nullptr, 10);
    if (id == 0 || id == self) continue;
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%ld/stat", id);
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;  // it has ended
    char line[128];          // id (name of at most 15 characters) state
    const ssize_t n = ::read(file, line, sizeof line - 1);
    ::close(file);
    line[n > 0 ? n : 0] = 0;
    const char* name_end = std::strrchr(line, ')');
    found = name_end != nullptr && std::strncmp(name_end, ") R", 3) == 0;
  }
  ::closedir(tasks);
  return found;
}

inline bool every_runtime_is_stuck() noexcept {
  // A fiber that waits for the kernel is not stuck, and may wake the others.
  if (const poller_hooks* h = watching_poller(); h != nullptr && h->is_awaited()) return false;
  lock_scope hold{schedulers.lock};
  for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_)
    if (!s->is_quiet() || s->has_timers()) return false;
  return true;
}

// Changes with every fiber that runs. relaxed: compared by one thread, at moments that lie far apart.
inline std::uint64_t dispatches(scheduler& s) noexcept {
  std::uint64_t n = 0;
  for (std::uint32_t i = 0; i < s.slots(); ++i) n += s.at(i).tick.load(memory_order_relaxed);
  return n;
}

inline void scheduler::watch_deadlock(os::nanoseconds now) noexcept {
  const std::uint64_t dispatched = dispatches(*this);
  if (!is_quiet() || has_timers() || is_empty() || dispatched != quiet_dispatches_) {
    quiet_since_ = 0;
    quiet_dispatches_ = dispatched;
    deadlock_reported_ = false;
    return;
  }
  if (quiet_since_ == 0) quiet_since_ = now;
  if (deadlock_reported_ || options_.on_deadlock == deadlock_policy::ignore) return;
  if (now - quiet_since_ < deadlock_patience || !every_runtime_is_stuck()) return;
  const int foreign = foreign_threads();
  const bool end = options_.on_deadlock == deadlock_policy::fatal ||
                   (options_.on_deadlock == deadlock_policy::automatic && foreign <= 0);
  // A foreign thread that runs is for options_ to judge; one that was counted as waiting is a reason to look again later.
  if (end && foreign <= 0 && another_thread_runs()) return;
  if (!is_quiet() || dispatches(*this) != dispatched || foreign_threads() > foreign) return;
  deadlock_reported_ = true;
  if (!end && std::exchange(deadlock_warned_, true)) return;
  std::fflush(stdout);
  if (end)
    std::fprintf(stderr, "tern: deadlock in runtime '%s': every fiber waits and nothing can wake one\n",
                 options_.name);
  else
    std::fprintf(stderr,
                 "tern: warning: every fiber of runtime '%s' waits; only %d foreign thread(s) or signals "
                 "could wake one\n",
                 options_.name, foreign);
  const std::size_t n = dump_fibers(dump_subject{*this}, stderr, dump_detail::stacks);
  std::fprintf(stderr, "tern: %zu fiber(s)\n", n);
  if (const std::uint64_t tasks = live().tasks; tasks != 0)
    std::fprintf(stderr, "tern: %llu task(s), which have no stack to show\n",
                 static_cast<unsigned long long>(tasks));
  std::fflush(stderr);
  if (!end) return;
  write_environment_trace();
  ::_exit(deadlock_exit_status);
}

}  // namespace tern::inline v1::detail

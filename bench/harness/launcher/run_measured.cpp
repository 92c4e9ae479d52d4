// run_measured FD [NAME=VALUE]... -- PROGRAM [ARGUMENT]...: runs the program, with these in its environment, and writes to the descriptor what it used:
//   wall time (s), CPU time (s) and peak resident memory (KiB) of it and of all that it waited for, and its exit status, or minus the signal.
//
// A process keeps its peak over exec, and a child begins with its parent's memory: one that Python starts has never used less than Python. This one
// has next to nothing itself.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

static double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
}

static double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

int main(int count, char** arguments) {
  int at = 2;
  while (at < count && std::strcmp(arguments[at], "--") != 0) ++at;
  if (at + 1 >= count) {
    std::fputs("run_measured FD [NAME=VALUE]... -- PROGRAM [ARGUMENT]...\n", stderr);
    return 2;
  }
  const int out = std::atoi(arguments[1]);
  fcntl(out, F_SETFD, FD_CLOEXEC);
  const double begin = now();
  const pid_t child = fork();
  if (child < 0) {
    std::perror("run_measured: fork");
    return 2;
  }
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // who ends this one means the program
    for (int i = 2; i < at; ++i) putenv(arguments[i]);
    execvp(arguments[at + 1], arguments + at + 1);
    std::fprintf(stderr, "run_measured: %s: %s\n", arguments[at + 1], std::strerror(errno));
    _exit(127);
  }
  int status = 0;
  rusage used{};
  while (wait4(child, &status, 0, &used) < 0 && errno == EINTR) {
  }
  const double wall = now() - begin;
  const int written =
      dprintf(out, "%.6f %.6f %ld %d\n", wall, seconds(used.ru_utime) + seconds(used.ru_stime),
              used.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
  return written > 0 ? 0 : 2;
}

// alloc/startup
//
// One operation  the start and the end of a program that does nothing (/bin/true), with the allocator preloaded; wall time of the parent.
//                `rss_bytes` is the peak resident memory of another (cat, which copies what the kernel says of it).
// Kept equal     the same program, started by posix_spawn. `malloc` is `glibc` here.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

template <allocator_subject S>
class startup {
 public:
  explicit startup(const row_params&) {}
  static std::string unfit(const row_params&) {
    return access(program, X_OK) == 0 ? "" : "there is no /bin/true";
  }
  std::uint64_t operations() const { return 1; }
  std::uint32_t run() {
    char* argv[] = {const_cast<char*>(program), nullptr};
    pid_t child = 0;
    if (posix_spawn(&child, program, nullptr, nullptr, argv, environ) != 0) return 0;
    int status = -1;
    return waitpid(child, &status, 0) == child && status == 0 ? 1 : 0;
  }
  void finish(measurement& m) {
    // What wait4 tells would be the parent's: it is that of the address space before the exec, if larger.
    std::FILE* from = popen("exec cat /proc/self/status", "r");
    if (from == nullptr) return;
    char line[256];
    long kib = 0;
    while (std::fgets(line, sizeof line, from) != nullptr) {
      if (std::sscanf(line, "VmHWM: %ld kB", &kib) == 1)
        m.counters["rss_bytes"] = static_cast<double>(kib) * 1024;
    }
    pclose(from);
  }

 private:
  static constexpr const char* program = "/bin/true";
};

const registration<startup, subjects<malloc_subject, tern_preload, glibc, mimalloc, jemalloc, tcmalloc>>
    startup_registered{{
        .area = "alloc",
        .name = "startup",
        .smoke = {},
        .points = {{{}, tier::standard}},
    }};

}  // namespace
}  // namespace tern_bench

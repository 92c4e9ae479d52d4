// What the harness asks the OS about processes, this one first of all: memory, CPUs, threads.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace tern_bench {

/// Memory of this process as the kernel counts it.
struct memory_use {
  std::int64_t resident_bytes = 0;    ///< VmRSS + VmPTE: page tables belong to the price
  std::int64_t page_table_bytes = 0;  ///< VmPTE alone
};
[[nodiscard]] memory_use memory_now();

/// Highest VmRSS so far (VmHWM) plus VmPTE now.
[[nodiscard]] std::int64_t peak_resident_bytes();

/// A line of /proc/<process>/status, such as "Threads:", or "VmRSS:" in bytes; 0 where there is none.
[[nodiscard]] std::int64_t status_number(pid_t process, const char* key);

/// CPUs that this process may run on.
[[nodiscard]] int usable_cpus() noexcept;

/// How many OS threads one process may have at a time, by the kernel's own settings (two mappings each, pid_max, the
/// cgroup's pids.max), with a tenth left to the rest of the system.
[[nodiscard]] std::int64_t usable_threads();

/// From here on the process has had a thread: libstdc++ and glibc drop their single-threaded short cuts (shared_ptr's
/// counters become atomic, malloc locks), and do not take them again. Idempotent.
void become_threaded();

/// While it lives, the calling thread and the threads that it starts run on the first `count` usable CPUs only.
class confine {
 public:
  explicit confine(int count);
  confine(const confine&) = delete;
  confine& operator=(const confine&) = delete;
  ~confine();

 private:
  cpu_set_t before_;
};

/// Puts the calling thread on the usable CPU number `index` alone (counted from 0); false where that is refused.
bool pin_to(int index);

}  // namespace tern_bench

#include "bench/harness/process.hpp"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>

namespace tern_bench {
namespace {

// What the kernel tells about a process, line by line.
struct status_text {
  char text[8192] = {};
  explicit status_text(const char* path = "/proc/self/status") {
    std::FILE* file = std::fopen(path, "r");
    if (file == nullptr) return;
    const std::size_t got = std::fread(text, 1, sizeof text - 1, file);
    text[got] = '\0';
    std::fclose(file);
  }
  // The number of the line that begins with `key`, in bytes where it is in kB; 0 where there is none.
  std::int64_t number(const char* key) const {
    const char* line = std::strstr(text, key);
    if (line == nullptr) return 0;
    long long value = 0;
    char unit[3] = {};
    if (std::sscanf(line + std::strlen(key), " %lld%*[ ]%2s", &value, unit) < 1) return 0;
    return std::strcmp(unit, "kB") == 0 ? value * 1024 : value;
  }
};

// The number in a one-line file, or `otherwise` (also for "max").
std::int64_t number_in(const char* path, std::int64_t otherwise) {
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return otherwise;
  long long value = 0;
  const bool ok = std::fscanf(file, "%lld", &value) == 1;
  std::fclose(file);
  return ok ? value : otherwise;
}

// Made once per process, before anything is confined.
const cpu_set_t& process_cpus() {
  static const cpu_set_t set = [] {
    cpu_set_t all;
    CPU_ZERO(&all);
    if (sched_getaffinity(0, sizeof all, &all) != 0) CPU_SET(0, &all);
    return all;
  }();
  return set;
}

cpu_set_t first_cpus(int skip, int count) {
  cpu_set_t chosen;
  CPU_ZERO(&chosen);
  for (int cpu = 0; cpu < CPU_SETSIZE && count > 0; ++cpu) {
    if (!CPU_ISSET(static_cast<std::size_t>(cpu), &process_cpus())) continue;
    if (skip-- > 0) continue;
    CPU_SET(static_cast<std::size_t>(cpu), &chosen);
    --count;
  }
  return chosen;
}

}  // namespace

memory_use memory_now() {
  const status_text status;
  memory_use use;
  use.page_table_bytes = status.number("VmPTE:");
  use.resident_bytes = status.number("VmRSS:") + use.page_table_bytes;
  return use;
}

std::int64_t peak_resident_bytes() {
  const status_text status;
  return status.number("VmHWM:") + status.number("VmPTE:");
}

std::int64_t status_number(pid_t process, const char* key) {
  return status_text(("/proc/" + std::to_string(process) + "/status").c_str()).number(key);
}

int usable_cpus() noexcept { return CPU_COUNT(&process_cpus()); }

std::int64_t usable_threads() {
  const std::int64_t by_mappings = number_in("/proc/sys/vm/max_map_count", 65530) / 2;
  const std::int64_t by_threads = number_in("/proc/sys/kernel/threads-max", by_mappings);
  const std::int64_t by_ids = number_in("/proc/sys/kernel/pid_max", by_mappings);
  const std::int64_t by_group = number_in("/sys/fs/cgroup/pids.max", by_mappings);
  return std::min({by_mappings, by_threads, by_ids, by_group}) / 10 * 9;
}

void become_threaded() {
  static std::once_flag once;
  std::call_once(once, [] {
    // It stays parked until the process ends: with a single thread left glibc may go back to the short cuts.
    std::thread([] {
      for (;;) pause();
    }).detach();
  });
}

confine::confine(int count) {
  CPU_ZERO(&before_);
  sched_getaffinity(0, sizeof before_, &before_);
  if (count >= usable_cpus()) return;
  const cpu_set_t chosen = first_cpus(0, count);
  sched_setaffinity(0, sizeof chosen, &chosen);
}

confine::~confine() { sched_setaffinity(0, sizeof before_, &before_); }

bool pin_to(int index) {
  const cpu_set_t chosen = first_cpus(index, 1);
  return CPU_COUNT(&chosen) == 1 && sched_setaffinity(0, sizeof chosen, &chosen) == 0;
}

}  // namespace tern_bench

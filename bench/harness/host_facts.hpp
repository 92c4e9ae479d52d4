// What is known about the machine and the build that a result comes from.
//
// Every fact is optional: one that cannot be read is absent, never guessed. No fact names the host, a user or a path.
// Shared by the bench binaries (as string keys `tern_*` in Google Benchmark's context) and by ternbench (as JSON).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tern_bench {

struct host_facts {
  std::optional<std::string> arch;           // as the kernel names it: x86_64, aarch64
  std::optional<std::string> cpu_model;      // absent under emulation: /proc shows the emulating host's
  std::optional<std::int64_t> vcpus;         // online processors
  std::optional<std::int64_t> usable_vcpus;  // those that this process may run on
  std::optional<double>
      cpu_quota;            // processors' worth of time that the cgroup allows; absent: no limit known
  std::optional<bool> smt;  // hardware threads share cores
  std::optional<std::string> governor;       // cpufreq governor of processor 0
  std::optional<bool> turbo;                 // boost above the nominal clock is allowed
  std::optional<double> mhz;                 // clock of processor 0 when it was read
  std::optional<std::int64_t> memory_bytes;  // physical memory
  std::optional<bool> aslr;                  // on for this very process
  std::optional<std::string> kernel;         // release
  std::optional<std::string> libc;           // name and version
  std::optional<std::int64_t> os_page_size;  // bytes
  std::optional<std::string> thp;            // always, madvise, never
  std::optional<bool> virtualized;           // runs under a hypervisor
  std::optional<std::string> hypervisor;     // its name, where it tells
  std::optional<bool> emulated;              // another architecture's instructions are interpreted
  std::optional<bool> hardware_counters;  // a cycle counter of the CPU can be opened; absent under emulation
  std::optional<std::string> compiler;    // of this binary
  std::optional<std::string> flags;       // of this binary, without any that holds a path
  std::optional<std::string> build_type;  // CMake's
  std::optional<std::string> git_sha;     // of the tree when this binary was built
  std::optional<bool> dirty;              // tracked files differed from git_sha
};

/// Reads /proc, /sys and the build's own record. Never throws for an unreadable fact. About a millisecond.
/// The environment variable TERN_EMULATED=1 marks the host as emulated; nothing can mark it as real.
[[nodiscard]] host_facts collect_host_facts();

/// Whether this process is known to run under an emulator of its CPU. Asked once.
[[nodiscard]] bool is_emulated();

/// An object with one key per fact; an unknown one is null.
[[nodiscard]] nlohmann::json to_json(const host_facts& facts);

/// Pairs {"tern_<fact>", text} for benchmark::AddCustomContext. Booleans are "true" and "false"; unknown ones are absent.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> to_context(const host_facts& facts);

/// The inverse of to_context over a Google Benchmark context object: reads the string keys `tern_*` that it knows.
[[nodiscard]] host_facts from_context(const nlohmann::json& context);

}  // namespace tern_bench

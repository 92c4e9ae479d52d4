#include "doctor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace ternbench {
namespace {

using state = finding::state;

}  // namespace

live_facts collect_live_facts() {
  live_facts f;
  double value = 0;
  if (std::ifstream in("/proc/loadavg"); in >> value) f.load = value;
  if (std::ifstream in("/proc/sys/kernel/perf_event_paranoid"); in >> value)
    f.perf_paranoid = static_cast<int>(value);
  if (std::ifstream in("/proc/stat"); in) {
    std::string word;
    in >> word;  // cpu user nice system idle iowait irq softirq steal
    double total = 0;
    double steal = 0;
    for (int i = 0; i < 8 && in >> value; ++i) {
      total += value;
      steal = value;
      if (i == 7 && total > 0) f.steal = steal / total;
    }
  }
  if (std::ifstream in("/proc/meminfo"); in) {
    std::optional<double> whole;
    std::optional<double> free;
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string key;
      if (!(words >> key >> value)) continue;
      if (key == "SwapTotal:") whole = value;
      if (key == "SwapFree:") free = value;
    }
    constexpr double kib = 1024;
    if (whole && free) f.swap_used = (*whole - *free) * kib;
  }
  return f;
}

std::vector<finding> diagnose(const tern_bench::host_facts& host, const live_facts& live) {
  std::vector<finding> out;
  const auto add = [&](state is, const char* what, std::string text, const char* cure = "") {
    out.push_back({is, what, std::move(text), is == state::ok ? "" : cure});
  };
  if (!host.emulated) {
    add(state::unknown, "emulation", "cannot be told");
  } else if (*host.emulated) {
    add(state::warn, "emulation", "instructions are interpreted: times mean nothing here",
        "measure on the real architecture");
  } else {
    add(state::ok, "emulation", "none");
  }
  if (!host.virtualized) {
    add(state::unknown, "virtual machine", "cannot be told");
  } else if (*host.virtualized) {
    add(state::warn, "virtual machine", "yes: neighbours and the hypervisor share the CPU",
        "use bare metal or dedicated CPUs, or more repetitions");
  } else {
    add(state::ok, "virtual machine", "no");
  }
  if (!live.steal) {
    add(state::unknown, "steal time", "/proc/stat does not tell");
  } else {
    constexpr double noticeable = 0.005;
    add(*live.steal > noticeable ? state::warn : state::ok, "steal time",
        fmt::format("{:.2f}% of CPU time since boot went to others", 100 * *live.steal),
        "use a host with dedicated CPUs");
  }
  if (!host.governor) {
    add(state::unknown, "governor", "no cpufreq here (usual in a virtual machine)");
  } else {
    add(*host.governor == "performance" ? state::ok : state::warn, "governor", *host.governor,
        "cpupower frequency-set -g performance");
  }
  if (!host.turbo) {
    add(state::unknown, "turbo", "cannot be told");
  } else if (*host.turbo) {
    add(state::warn, "turbo", "on: the clock follows heat and load",
        "echo 0 > /sys/devices/system/cpu/cpufreq/boost (intel_pstate: echo 1 > .../intel_pstate/no_turbo)");
  } else {
    add(state::ok, "turbo", "off");
  }
  if (!host.smt) {
    add(state::unknown, "SMT", "cannot be told");
  } else if (*host.smt) {
    add(state::warn, "SMT", "on: sibling threads share a core",
        "echo off > /sys/devices/system/cpu/smt/control");
  } else {
    add(state::ok, "SMT", "off, or hidden by the hypervisor");
  }
  const auto usable = host.usable_vcpus ? host.usable_vcpus : host.vcpus;
  if (!usable) {
    add(state::unknown, "vCPUs", "cannot be told");
  } else {
    constexpr std::int64_t enough = 4;
    add(*usable < enough ? state::warn : state::ok, "vCPUs", fmt::format("{} usable", *usable),
        "contended rows compete with the system's own work; use 4 or more");
  }
  if (host.cpu_quota) {
    add(state::warn, "cgroup quota",
        fmt::format("{:.2f} CPUs: the group is stopped when it is used up", *host.cpu_quota),
        "raise or remove cpu.max of the container");
  } else {
    add(state::ok, "cgroup quota", "none found");
  }
  if (!live.load) {
    add(state::unknown, "load average", "cannot be told");
  } else {
    const double limit = 0.25 * static_cast<double>(std::max<std::int64_t>(1, usable.value_or(1)));
    add(*live.load > limit ? state::warn : state::ok, "load average", fmt::format("{:.2f}", *live.load),
        "stop other work, wait a minute, measure then");
  }
  if (!host.aslr) {
    add(state::unknown, "ASLR", "cannot be told");
  } else {
    add(*host.aslr ? state::ok : state::warn, "ASLR",
        *host.aslr ? "on: each process is a fresh layout sample" : "off: every process repeats one layout",
        "sysctl kernel.randomize_va_space=2, and no setarch -R");
  }
  if (!host.thp) {
    add(state::unknown, "huge pages", "no transparent huge pages here");
  } else {
    add(*host.thp == "always" ? state::warn : state::ok, "huge pages", "transparent_hugepage = " + *host.thp,
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
  }
  if (!live.swap_used) {
    add(state::unknown, "swap", "cannot be told");
  } else {
    add(*live.swap_used > 0 ? state::warn : state::ok, "swap", format_bytes(*live.swap_used) + " in use",
        "swapoff -a, or free memory first");
  }
  if (!host.hardware_counters) {
    add(state::unknown, "perf counters", "cannot be told");
  } else {
    add(*host.hardware_counters ? state::ok : state::warn, "perf counters",
        *host.hardware_counters
            ? "cycles can be counted"
            : fmt::format("none{}", live.perf_paranoid
                                        ? fmt::format(" (perf_event_paranoid = {})", *live.perf_paranoid)
                                        : std::string()),
        "sysctl kernel.perf_event_paranoid=1; a virtual machine may offer none at all");
  }
  return out;
}

std::string render(const std::vector<finding>& findings, const palette& colours) {
  std::string out;
  constexpr std::size_t what_width = 16;
  constexpr std::size_t state_width = 9;
  for (const finding& f : findings) {
    const std::string label = pad_right(f.is == state::ok     ? "OK"
                                        : f.is == state::warn ? "WARN"
                                                              : "unknown",
                                        state_width);
    out += (f.is == state::ok ? colours.good(label) : f.is == state::warn ? colours.warn(label) : label);
    out += pad_right(f.what, what_width) + " " + f.text + "\n";
    if (!f.cure.empty()) out += std::string(state_width + what_width + 1, ' ') + "cure: " + f.cure + "\n";
  }
  const auto warnings =
      std::count_if(findings.begin(), findings.end(), [](const finding& f) { return f.is == state::warn; });
  out += fmt::format("{} of {} checks warn.\n", warnings, findings.size());
  return out;
}

}  // namespace ternbench

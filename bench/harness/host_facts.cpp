#include "bench/harness/host_facts.hpp"

#include <linux/perf_event.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>
#include <type_traits>

#if __has_include("tern_build_facts.hpp")
#include "tern_build_facts.hpp"
#else
namespace tern_bench::build {
inline constexpr const char* flags = "";
inline constexpr const char* build_type = "";
inline constexpr const char* git_sha = "";
inline constexpr const char* dirty = "";
}  // namespace tern_bench::build
#endif

namespace tern_bench {
namespace {

using maybe_text = std::optional<std::string>;

std::string trimmed(std::string_view s) {
  const auto first = s.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  const auto last = s.find_last_not_of(" \t\r\n");
  return std::string(s.substr(first, last - first + 1));
}

/// The whole file without surrounding space; absent when unreadable or empty.
maybe_text read_text(const char* file) {
  std::ifstream in(file);
  if (!in) return std::nullopt;
  std::ostringstream out;
  out << in.rdbuf();
  std::string s = trimmed(out.str());
  if (s.empty()) return std::nullopt;
  return s;
}

template <class Number>
std::optional<Number> parse_number(std::string_view s) {
  Number value{};
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (error != std::errc{} || end != s.data() + s.size()) return std::nullopt;
  return value;
}

template <class Number>
std::optional<Number> read_number(const char* file) {
  const maybe_text s = read_text(file);
  return s ? parse_number<Number>(*s) : std::nullopt;
}

/// Value of the first line "key<space>: value".
maybe_text find_line(std::string_view body, std::string_view key) {
  while (!body.empty()) {
    const auto end = std::min(body.find('\n'), body.size());
    const std::string_view line = body.substr(0, end);
    const auto colon = line.find(':');
    if (colon != std::string_view::npos && trimmed(line.substr(0, colon)) == key) {
      std::string value = trimmed(line.substr(colon + 1));
      if (value.empty()) return std::nullopt;
      return value;
    }
    body.remove_prefix(std::min(end + 1, body.size()));
  }
  return std::nullopt;
}

bool has_word(std::string_view body, std::string_view word) {
  std::istringstream in{std::string(body)};
  for (std::string w; in >> w;) {
    if (w == word) return true;
  }
  return false;
}

maybe_text non_empty(const char* s) {
  if (*s == '\0') return std::nullopt;
  return std::string(s);
}

struct arm_part {
  std::string_view implementer;
  std::string_view part;
  std::string_view name;
};

// ARM64 kernels print numbers instead of a model name. Source: the MIDR tables of Linux' arch/arm64/include/asm/cputype.h.
constexpr std::array arm_parts{
    arm_part{"0x41", "0xd03", "Cortex-A53"},  arm_part{"0x41", "0xd08", "Cortex-A72"},
    arm_part{"0x41", "0xd0b", "Cortex-A76"},  arm_part{"0x41", "0xd0c", "Neoverse-N1"},
    arm_part{"0x41", "0xd40", "Neoverse-V1"}, arm_part{"0x41", "0xd41", "Cortex-A78"},
    arm_part{"0x41", "0xd49", "Neoverse-N2"}, arm_part{"0x41", "0xd4f", "Neoverse-V2"},
    arm_part{"0xc0", "0xac3", "Ampere-1"},    arm_part{"0xc0", "0xac4", "Ampere-1a"},
};

maybe_text cpu_model(std::string_view cpuinfo) {
  if (maybe_text model = find_line(cpuinfo, "model name")) return model;
  const maybe_text implementer = find_line(cpuinfo, "CPU implementer");
  const maybe_text part = find_line(cpuinfo, "CPU part");
  if (!implementer || !part) return std::nullopt;
  for (const arm_part& known : arm_parts) {
    if (known.implementer == *implementer && known.part == *part) return std::string(known.name);
  }
  return "ARM implementer " + *implementer + " part " + *part;
}

/// Quota of this process's cgroup in processors. Only the innermost group is looked at.
std::optional<double> cpu_quota() {
  if (const maybe_text both = read_text("/sys/fs/cgroup/cpu.max")) {  // "<quota or max> <period>"
    std::istringstream in(*both);
    double quota = 0;
    double period = 0;
    if (in >> quota >> period && period > 0) return quota / period;
    return std::nullopt;
  }
  const auto quota = read_number<double>("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const auto period = read_number<double>("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota && period && *quota > 0 && *period > 0) return *quota / *period;
  return std::nullopt;
}

std::optional<bool> turbo() {
  if (const auto off = read_number<int>("/sys/devices/system/cpu/intel_pstate/no_turbo")) return *off == 0;
  if (const auto on = read_number<int>("/sys/devices/system/cpu/cpufreq/boost")) return *on != 0;
  return std::nullopt;
}

std::optional<bool> aslr() {
  const auto mode = read_number<int>("/proc/sys/kernel/randomize_va_space");
  if (!mode) return std::nullopt;
  if (*mode == 0) return false;
  const int flags = personality(0xffffffffUL);
  if (flags == -1) return std::nullopt;
  return (flags & ADDR_NO_RANDOMIZE) == 0;
}

maybe_text thp() {
  const maybe_text s = read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  if (!s) return std::nullopt;
  const auto open = s->find('[');
  const auto close = s->find(']');
  if (open == std::string::npos || close == std::string::npos || close <= open + 1) return std::nullopt;
  return s->substr(open + 1, close - open - 1);
}

maybe_text libc() {
#ifdef _CS_GNU_LIBC_VERSION
  std::array<char, 64> buffer{};
  if (confstr(_CS_GNU_LIBC_VERSION, buffer.data(), buffer.size()) > 0) return non_empty(buffer.data());
#endif
  return std::nullopt;
}

struct virtualization {
  std::optional<bool> present;
  maybe_text name;
};

virtualization find_virtualization(std::string_view cpuinfo) {
  virtualization v;
  v.name = read_text("/sys/hypervisor/type");
  if (!v.name) {
    const maybe_text vendor = read_text("/sys/class/dmi/id/sys_vendor");
    const maybe_text product = read_text("/sys/class/dmi/id/product_name");
    for (const char* known : {"QEMU", "VMware", "Xen", "innotek", "Google", "Microsoft", "Amazon EC2"}) {
      const bool metal = product && product->find("metal") != std::string::npos;
      if (vendor && vendor->find(known) != std::string::npos && !metal) v.name = vendor;
    }
  }
  if (const maybe_text flags = find_line(cpuinfo, "flags")) {
    v.present = has_word(*flags, "hypervisor");  // x86 tells by a CPUID bit
    if (!*v.present) v.name.reset();             // such a vendor's machine without a hypervisor
  } else if (v.name) {
    v.present = true;
  }
  return v;
}

bool same_family(std::string_view a, std::string_view b) {
  const auto family = [](std::string_view m) -> std::string_view {
    if (m == "aarch64" || m == "arm64" || m == "aarch64_be" || m.substr(0, 3) == "arm") return "arm";
    if (m == "x86_64" || m == "i386" || m == "i486" || m == "i586" || m == "i686") return "x86";
    return m;
  };
  return family(a) == family(b);
}

/// User-mode emulation answers uname() itself but hands /proc through: the two then disagree. A whole emulated machine shows
/// in the CPU's own name or, on ARM64, in an implementer number of 0.
std::optional<bool> find_emulation(const maybe_text& arch, std::string_view cpuinfo) {
  if (const char* mark = std::getenv("TERN_EMULATED");
      mark != nullptr && *mark != '\0' && std::string_view(mark) != "0") {
    return true;
  }
  if (!arch) return std::nullopt;
  if (const maybe_text real = read_text("/proc/sys/kernel/arch"); real && !same_family(*real, *arch))
    return true;
  if (const maybe_text status = read_text("/proc/self/status")) {
    const maybe_text name = find_line(*status, "Name");
    if (name && name->starts_with("qemu-")) return true;
  }
  const bool x86_text = find_line(cpuinfo, "vendor_id").has_value();
  if (!cpuinfo.empty() && same_family(*arch, "aarch64") && x86_text) return true;
  if (same_family(*arch, "x86_64") && find_line(cpuinfo, "CPU implementer")) return true;
  const maybe_text model = find_line(cpuinfo, "model name");
  if (model && (model->find("QEMU TCG") != std::string::npos ||
                model->find("QEMU Virtual CPU") != std::string::npos)) {
    return true;
  }
  if (find_line(cpuinfo, "CPU implementer") == maybe_text("0x00")) return true;
  if (cpuinfo.empty()) return std::nullopt;
  return false;
}

bool can_count_cycles() {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.size = sizeof attributes;
  attributes.config = PERF_COUNT_HW_CPU_CYCLES;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  const long descriptor = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0UL);
  if (descriptor < 0) return false;
  close(static_cast<int>(descriptor));
  return true;
}

/// One list of names for every form of the facts.
template <class Facts, class Fn>
void for_each_fact(Facts& f, Fn&& fn) {
  fn("arch", f.arch);
  fn("cpu_model", f.cpu_model);
  fn("vcpus", f.vcpus);
  fn("usable_vcpus", f.usable_vcpus);
  fn("cpu_quota", f.cpu_quota);
  fn("smt", f.smt);
  fn("governor", f.governor);
  fn("turbo", f.turbo);
  fn("mhz", f.mhz);
  fn("memory_bytes", f.memory_bytes);
  fn("aslr", f.aslr);
  fn("kernel", f.kernel);
  fn("libc", f.libc);
  fn("os_page_size", f.os_page_size);
  fn("thp", f.thp);
  fn("virtualized", f.virtualized);
  fn("hypervisor", f.hypervisor);
  fn("emulated", f.emulated);
  fn("hardware_counters", f.hardware_counters);
  fn("compiler", f.compiler);
  fn("flags", f.flags);
  fn("build_type", f.build_type);
  fn("git_sha", f.git_sha);
  fn("dirty", f.dirty);
}

std::string to_text(const std::string& s) { return s; }
std::string to_text(bool b) { return b ? "true" : "false"; }
std::string to_text(std::int64_t n) { return std::to_string(n); }
std::string to_text(double d) {
  std::array<char, 32> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), d);
  return {buffer.data(), result.ptr};
}

void from_text(const std::string& s, maybe_text& out) { out = s; }
void from_text(const std::string& s, std::optional<std::int64_t>& out) {
  out = parse_number<std::int64_t>(s);
}
void from_text(const std::string& s, std::optional<double>& out) { out = parse_number<double>(s); }
void from_text(const std::string& s, std::optional<bool>& out) {
  if (s == "true" || s == "false") out = s == "true";
}

}  // namespace

bool is_emulated() {
  static const bool known = collect_host_facts().emulated.value_or(false);
  return known;
}

host_facts collect_host_facts() {
  host_facts f;
  const std::string cpuinfo = read_text("/proc/cpuinfo").value_or("");
  utsname names{};
  if (uname(&names) == 0) {
    f.arch = non_empty(names.machine);
    f.kernel = non_empty(names.release);
  }
  f.emulated = find_emulation(f.arch, cpuinfo);
  const bool cpuinfo_is_ours = f.emulated == std::optional<bool>(false);
  if (cpuinfo_is_ours) {
    f.cpu_model = cpu_model(cpuinfo);
    if (const maybe_text mhz = find_line(cpuinfo, "cpu MHz")) f.mhz = parse_number<double>(*mhz);
    const virtualization v = find_virtualization(cpuinfo);
    f.hardware_counters = can_count_cycles();
    f.virtualized = v.present;
    f.hypervisor = v.name;
  }
  if (const long n = sysconf(_SC_NPROCESSORS_ONLN); n > 0) f.vcpus = n;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) f.usable_vcpus = CPU_COUNT(&mask);
  f.cpu_quota = cpu_quota();
  if (const auto active = read_number<int>("/sys/devices/system/cpu/smt/active")) f.smt = *active != 0;
  f.governor = read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  f.turbo = turbo();
  const long pages = sysconf(_SC_PHYS_PAGES);
  if (const long size = sysconf(_SC_PAGESIZE); size > 0) {
    f.os_page_size = size;
    if (pages > 0) f.memory_bytes = static_cast<std::int64_t>(pages) * size;
  }
  f.aslr = aslr();
  f.libc = libc();
  f.thp = thp();
#if defined(__clang__)
  f.compiler = std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
  f.compiler = std::string("gcc ") + __VERSION__;
#endif
  if (f.compiler) f.compiler = trimmed(*f.compiler);
  f.flags = non_empty(build::flags);
  f.build_type = non_empty(build::build_type);
  f.git_sha = non_empty(build::git_sha);
  from_text(build::dirty, f.dirty);
  return f;
}

nlohmann::json to_json(const host_facts& facts) {
  nlohmann::json out = nlohmann::json::object();
  for_each_fact(facts, [&](const char* name, const auto& value) {
    if (value) {
      out[name] = *value;
    } else {
      out[name] = nullptr;
    }
  });
  return out;
}

std::vector<std::pair<std::string, std::string>> to_context(const host_facts& facts) {
  std::vector<std::pair<std::string, std::string>> out;
  for_each_fact(facts, [&](const char* name, const auto& value) {
    if (value) out.emplace_back(std::string("tern_") + name, to_text(*value));
  });
  return out;
}

host_facts from_context(const nlohmann::json& context) {
  host_facts facts;
  for_each_fact(facts, [&](const char* name, auto& value) {
    const auto at = context.find(std::string("tern_") + name);
    if (at != context.end() && at->is_string()) from_text(at->get_ref<const std::string&>(), value);
  });
  return facts;
}

}  // namespace tern_bench

#include "session.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <chrono>

#include "error.hpp"

namespace ternbench {
namespace {

std::tm now_in_utc() {
  return fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()));
}

}  // namespace

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", now_in_utc()); }

std::string utc_stamp() { return fmt::format("{:%Y%m%dT%H%M%SZ}", now_in_utc()); }

tern_bench::host_facts host_of(const bench_binary& binary) {
  tern_bench::host_facts host = tern_bench::collect_host_facts();
  if (!binary.arch.empty() && host.arch && binary.arch != *host.arch) {
    host = tern_bench::host_facts{};
    host.arch = binary.arch;
    host.emulated = true;
  }
  return host;
}

std::string machine_of(const std::string& asked, const tern_bench::host_facts& host) {
  if (!asked.empty()) return asked;
  return host.cpu_model.value_or(host.emulated == std::optional<bool>(true) ? "emulated" : "unknown");
}

std::filesystem::path make_directory(const std::filesystem::path& out, const tern_bench::host_facts& host,
                                     const std::string& machine, const std::string& suffix) {
  const auto directory =
      out / (utc_stamp() + "-" + slug(host.arch.value_or("unknown")) + "-" + slug(machine) + suffix);
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) throw tool_error(fmt::format("{}: cannot be made: {}", out.string(), error.message()));
  if (!std::filesystem::create_directory(directory, error)) {
    throw tool_error(fmt::format("{}: {}", directory.string(),
                                 error ? error.message() : "exists; nothing is overwritten"));
  }
  return directory;
}

std::string fact_text(const ordered_json& value) {
  return value.is_null() ? "unknown" : value.is_string() ? value.get<std::string>() : value.dump();
}

std::vector<std::string> host_changes(const ordered_json& before, const ordered_json& after) {
  constexpr std::array fixed_facts{"arch",   "cpu_model", "vcpus", "usable_vcpus",
                                   "kernel", "governor",  "thp",   "os_page_size"};
  std::vector<std::string> out;
  for (const char* key : fixed_facts) {
    if (before.at(key) != after.at(key))
      out.push_back(fmt::format("{}: {} -> {}", key, fact_text(before.at(key)), fact_text(after.at(key))));
  }
  return out;
}

std::optional<std::regex> parse_filter(const std::string& filter, const std::string& option) {
  if (filter.empty()) return std::nullopt;
  try {
    return std::regex(filter);
  } catch (const std::regex_error&) {
    throw tool_error(fmt::format("{}: \"{}\" is not a regular expression", option, filter));
  }
}

std::string slug(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    const bool capital = c >= 'A' && c <= 'Z';
    if (letter || capital) {
      out += capital ? static_cast<char>(c - 'A' + 'a') : c;
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  constexpr std::size_t longest = 40;
  if (out.size() > longest) out.resize(longest);
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out.empty() ? "unknown" : out;
}

void drop_cut_line(const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return;
  std::string text = read_file(file);
  if (text.empty() || text.back() == '\n') return;
  text.erase(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  write_file(file, text);
}

ordered_json binary_record(const bench_binary& binary, const std::string& hash, const ordered_json& context) {
  const auto facts = tern_bench::to_json(context.is_null() ? tern_bench::host_facts{}
                                                           : tern_bench::from_context(json(context)));
  ordered_json entry = {{"name", binary.name}, {"sha256", hash}};
  for (const char* key : {"git_sha", "dirty", "compiler", "flags", "build_type"}) entry[key] = facts[key];
  return entry;
}

}  // namespace ternbench

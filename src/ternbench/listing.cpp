#include "listing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <sstream>

#include "child.hpp"
#include "error.hpp"

namespace ternbench {
namespace {

namespace fs = std::filesystem;

/// The machine field of an ELF header; little-endian files only, as all of ours are.
std::string elf_arch(const fs::path& file) {
  std::array<char, 20> header{};
  std::ifstream in(file, std::ios::binary);
  if (!in.read(header.data(), header.size()) || std::string_view(header.data(), 4) !=
                                                    "\x7f"
                                                    "ELF")
    return {};
  const unsigned machine = static_cast<unsigned char>(header[18]) |
                           static_cast<unsigned>(static_cast<unsigned char>(header[19])) << 8;
  constexpr unsigned x86_64 = 62;
  constexpr unsigned aarch64 = 183;
  return machine == x86_64 ? "x86_64" : machine == aarch64 ? "aarch64" : "";
}

std::string text_of(const ordered_json& row, const char* key, const std::string& label) {
  const auto at = row.find(key);
  if (at == row.end() || !at->is_string() || at->get_ref<const std::string&>().empty()) {
    throw tool_error(fmt::format("{}: a row without the text \"{}\"", label, key));
  }
  return at->get<std::string>();
}

std::vector<listed_row> list_at(const bench_binary& binary, std::size_t index,
                                const std::vector<std::string>& launcher, int time_ms) {
  const child_result child =
      run_child({binary.file, launcher, {"--tern_list", fmt::format("--tern_time_ms={}", time_ms)}, 60});
  const std::string label = binary.name + " --tern_list";
  if (child.how == child_result::ending::interrupted) throw tool_error("interrupted", exit_code::interrupted);
  if (!child.succeeded()) {
    const std::string last = child.last_error_line();
    throw tool_error(fmt::format("{}: {}{}{}", label, child.describe(), last.empty() ? "" : ": ", last));
  }
  std::vector<listed_row> rows;
  std::set<std::string> names;
  std::istringstream lines(child.out);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    listed_row row = parse_listed_row(line, label);
    row.binary = index;
    if (!names.insert(row.name).second) throw tool_error(fmt::format("{}: lists {} twice", label, row.name));
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

ordered_json listed_row::to_json() const {
  return {{"name", name},       {"tier", tier}, {"area", area},     {"case", case_name},
          {"subject", subject}, {"role", role}, {"params", params}, {"gate", gate}};
}

listed_row parse_listed_row(const std::string& line, const std::string& label) {
  const ordered_json object = parse_json(line, label);
  if (!object.is_object()) throw tool_error(fmt::format("{}: a line that is not an object", label));
  listed_row row;
  row.name = text_of(object, "name", label);
  row.tier = text_of(object, "tier", label);
  row.area = text_of(object, "area", label);
  row.case_name = text_of(object, "case", label);
  row.subject = text_of(object, "subject", label);
  row.role = text_of(object, "role", label);
  row.params = object.value("params", ordered_json::object());
  row.gate = object.value("gate", false);
  row.turns = object.value("turns", false);
  row.fixed_ms = object.value("est_ms", 0.0);
  if (row.tier != "quick" && row.tier != "default" && row.tier != "full") {
    throw tool_error(fmt::format("{}: {} has the unknown tier \"{}\"", label, row.name, row.tier));
  }
  return row;
}

std::vector<bench_binary> find_binaries(const fs::path& folder) {
  std::vector<fs::path> places{folder};
  std::error_code error;
  if (folder.empty()) {
    const fs::path self = fs::read_symlink("/proc/self/exe", error).parent_path();
    places = {self, self / "bench", self / "../bench", self / "../../bench"};
  }
  for (const fs::path& place : places) {
    std::vector<bench_binary> found;
    for (const char* name : {"bench_sched", "bench_alloc", "bench_gc", "bench_scenario"}) {
      const fs::path file = fs::absolute(place / name, error);
      if (fs::is_regular_file(file, error)) found.push_back({name, file, elf_arch(file)});
    }
    if (!found.empty()) return found;
  }
  throw tool_error(folder.empty()
                       ? "no bench binary (bench_sched, bench_alloc, ...) beside ternbench; say --bin DIR"
                       : folder.string() + ": holds no bench binary (bench_sched, bench_alloc, ...)");
}

std::vector<listed_row> list_rows(const bench_binary& binary, std::size_t index,
                                  const std::vector<std::string>& launcher) {
  constexpr int short_ms = 100;
  constexpr int long_ms = 200;
  std::vector<listed_row> rows = list_at(binary, index, launcher, short_ms);
  const std::vector<listed_row> longer = list_at(binary, index, launcher, long_ms);
  if (rows.size() != longer.size())
    throw tool_error(binary.name + " --tern_list: two calls list different rows");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double at_short = rows[i].fixed_ms;
    rows[i].per_ms = std::max(0.0, (longer[i].fixed_ms - at_short) / (long_ms - short_ms));
    rows[i].fixed_ms = std::max(0.0, at_short - rows[i].per_ms * short_ms);
  }
  return rows;
}

}  // namespace ternbench

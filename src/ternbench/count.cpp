#include "count.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <regex>

#include "child.hpp"
#include "collect.hpp"
#include "format.hpp"
#include "gate_config.hpp"
#include "progress.hpp"
#include "schema_id.hpp"
#include "session.hpp"

namespace ternbench {
namespace {

constexpr double stable_share = 0.001;
constexpr double least_instructions = 0.5;
constexpr int counts_per_row = 2;

struct counted {
  std::int64_t operations = 0;
  double instructions = 0;
  std::string error;
};

/// The sum of "==12== Collected : 123456" over the logs in `folder`: rows of some subjects run in a process of their own. A log without
/// that line is of a process that only waited, and was ended.
std::optional<double> collected(const std::filesystem::path& folder) {
  constexpr std::string_view words = "Collected : ";
  std::optional<double> sum;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string log = read_file(entry.path());
    const auto at = log.rfind(words);
    if (at != std::string::npos)
      sum = sum.value_or(0) + std::strtod(log.c_str() + at + words.size(), nullptr);
  }
  return sum;
}

class counting {
 public:
  explicit counting(const count_options& options) : options_(options), folder_(make_folder()) {}
  ~counting() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  counting(const counting&) = delete;
  counting& operator=(const counting&) = delete;

  ordered_json context = ordered_json::object();

  /// Instructions of one operation, and how many operations stand behind it.
  counted per_operation(const bench_binary& binary, const listed_row& row, progress& bar) {
    const counted few = run(binary, row, options_.operations, bar);
    if (!few.error.empty()) return few;
    counted many = run(binary, row, 3 * options_.operations, bar);
    if (!many.error.empty()) return many;
    if (many.operations <= few.operations) {
      many.error = "skipped: its operations cannot be chosen";
      return many;
    }
    many.operations -= few.operations;
    many.instructions = (many.instructions - few.instructions) / static_cast<double>(many.operations);
    // An operation is more than this even where it is a load and a store in an unrolled loop.
    if (many.instructions < least_instructions)
      many.error =
          fmt::format("skipped: {:.2f} instructions: its work is not in what was counted", many.instructions);
    return many;
  }

 private:
  static std::filesystem::path make_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "ternbench-count-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw tool_error("cannot make a temporary folder");
    return name;
  }

  counted run(const bench_binary& binary, const listed_row& row, std::uint64_t operations, progress& bar) {
    const std::filesystem::path raw = folder_ / "raw.json";
    const std::filesystem::path logs = folder_ / "logs";
    std::error_code ignored;
    std::filesystem::remove(raw, ignored);
    std::filesystem::remove_all(logs, ignored);
    std::filesystem::create_directory(logs, ignored);
    constexpr double patience = 600;
    const child_result child = run_child(
        {binary.file,
         {"valgrind", "--tool=callgrind", "--trace-children=yes", "--callgrind-out-file=/dev/null",
          "--log-file=" + (logs / "%p").string()},
         {"--benchmark_filter=" + filter_for({row.name}), fmt::format("--tern_operations={}", operations),
          "--benchmark_out=" + raw.string(), "--benchmark_out_format=json"},
         patience},
        [&] { bar.tick(); });
    if (child.how == child_result::ending::interrupted)
      throw tool_error("interrupted", exit_code::interrupted);
    counted out;
    if (!child.succeeded()) {
      out.error = child.describe() + ": " + child.last_error_line();
      return out;
    }
    const raw_output output = read_raw(raw);
    const auto instructions = collected(logs);
    if (context.empty()) context = output.context;
    for (const ordered_json& entry : output.entries) {
      if (match_known(text_at(entry, "name"), {row.name}).empty()) continue;
      const sample s = to_sample(entry, row.name);
      out.error = s.error;
      out.operations = entry.value("iterations", std::int64_t{0});
    }
    if (out.error.empty() && out.operations == 0) out.error = "the binary did not report this row";
    if (out.error.empty() && !instructions) out.error = "callgrind did not say what it counted";
    out.instructions = instructions.value_or(0);
    return out;
  }

  const count_options& options_;
  std::filesystem::path folder_;
};

std::vector<listed_row> rows_to_count(const std::vector<bench_binary>& binaries,
                                      const count_options& options) {
  const auto filter = parse_filter(options.filter);
  std::vector<std::string> set;
  if (!filter) set = load_gate_config(options.config).set;
  std::vector<listed_row> rows;
  for (std::size_t i = 0; i < binaries.size(); ++i) {
    for (listed_row& row : list_rows(binaries[i], i, {})) {
      const bool wanted = filter ? std::regex_search(row.name, *filter)
                                 : std::find(set.begin(), set.end(), row.name) != set.end();
      if (wanted) rows.push_back(std::move(row));
    }
  }
  if (rows.empty()) throw tool_error("no row to count");
  return rows;
}

}  // namespace

exit_code count(const count_options& options) {
  catch_interrupts();
  const std::vector<bench_binary> binaries = find_binaries(options.bin);
  const std::vector<listed_row> rows = rows_to_count(binaries, options);
  if (!run_child({"valgrind", {"valgrind"}, {"--version"}, 10}).out.starts_with("valgrind-"))
    throw tool_error("valgrind is not here; it counts the instructions");
  counting work(options);
  ordered_json benchmarks = ordered_json::array();
  std::size_t failed = 0;
  std::string table = pad_right("row", 62) + pad_left("instructions", 14) + "\n";
  {
    progress bar(4.0 * static_cast<double>(rows.size()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      bar.update(static_cast<double>(i), static_cast<double>(rows.size()), rows[i].name);
      std::vector<counted> each;
      std::string error;
      for (int n = 0; n < counts_per_row && error.empty(); ++n) {
        each.push_back(work.per_operation(binaries[rows[i].binary], rows[i], bar));
        error = each.back().error;
      }
      if (error.empty()) {
        const double a = each.front().instructions;
        const double b = each.back().instructions;
        if (std::fabs(a - b) > stable_share * std::min(a, b))
          error = fmt::format("skipped: {:.1f} and {:.1f} instructions: not stable to 0.1%", a, b);
      }
      for (int n = 0; n < (error.empty() ? counts_per_row : 1); ++n) {
        ordered_json entry = {{"name", rows[i].name},    {"run_name", rows[i].name},
                              {"run_type", "iteration"}, {"repetitions", counts_per_row},
                              {"repetition_index", n},   {"threads", 1}};
        if (!error.empty()) {
          entry["error_occurred"] = true;
          entry["error_message"] = error;
        }
        entry["iterations"] = error.empty() ? each[static_cast<std::size_t>(n)].operations : 0;
        entry["real_time"] = 0.0;
        entry["cpu_time"] = 0.0;
        entry["time_unit"] = "ns";
        entry["tern_role"] = rows[i].role;
        if (error.empty()) entry["instructions_per_op"] = each[static_cast<std::size_t>(n)].instructions;
        benchmarks.push_back(std::move(entry));
      }
      if (!error.empty() && !error.starts_with("skipped:")) ++failed;
      table +=
          pad_right(rows[i].name, 62) +
          (error.empty() ? pad_left(fmt::format("{:.1f}", each.front().instructions), 14) : "  " + error) +
          "\n";
    }
  }
  ordered_json context = work.context;
  for (const char* key : {"host_name", "executable", "load_avg", "tern_order", "tern_time_ms"})
    context.erase(key);
  if (!context.contains("date")) context["date"] = utc_now();
  context["tern_schema"] = summary_schema;
  context["tern_machine"] = machine_of(options.machine, host_of(binaries.front()));
  context["tern_mode"] = "count";
  context["tern_seed"] = "0";
  write_json(options.out, {{"context", context}, {"benchmarks", benchmarks}});
  fmt::print("{}", table);
  return failed > 0 ? exit_code::rows_errored : exit_code::ok;
}

}  // namespace ternbench

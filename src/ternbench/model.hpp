// A run as the reading verbs see it: rows with one sample per process repetition, from a summary.json, a run directory or
// any Google Benchmark JSON file.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/host_facts.hpp"
#include "json_io.hpp"
#include "row_name.hpp"

namespace ternbench {

struct sample {
  std::int64_t repetition = 0;
  double real_ns = 0;
  double cpu_ns = 0;
  std::map<std::string, double> counters;
  std::string error;  // empty when the sample counts; "skipped: ..." when the row does not apply on this host

  [[nodiscard]] bool ok() const { return error.empty(); }
  [[nodiscard]] bool skipped() const { return error.starts_with("skipped:"); }
};

/// A quantity that rows are compared by: time, or one of the known counters.
struct metric {
  enum class unit { nanoseconds, bytes, count };
  std::string_view name;     // as shown
  std::string_view counter;  // empty: the time itself
  unit in;
};

/// The metrics that are shown, in order. Lower is better in each.
[[nodiscard]] const std::vector<metric>& shown_metrics();
/// The one of this counter. Requires: it is among them.
[[nodiscard]] const metric& metric_of(std::string_view counter);

struct row_data {
  std::string name;
  row_name parts;
  std::string role;  // subject, baseline or peer
  std::vector<sample> samples;

  [[nodiscard]] std::vector<double> values(const metric& m) const;  // of the samples that count and are > 0
  [[nodiscard]] bool has(const metric& m) const { return !values(m).empty(); }
  [[nodiscard]] bool all_skipped() const;
  /// The first error that is not a skip, with how many samples have one: "2 of 6 repetitions: ...". Empty when none.
  [[nodiscard]] std::string error_text() const;
  [[nodiscard]] std::string skip_reason() const;  // without "skipped:"
};

/// Values of one metric in repetitions where both rows have one, in the same order.
struct paired_values {
  std::vector<double> a;
  std::vector<double> b;
};
[[nodiscard]] paired_values pair_by_repetition(const row_data& a, const row_data& b, const metric& m);

struct run_data {
  std::string label;   // what the user called it
  std::string schema;  // "tern.summary/1", or empty for a plain Google Benchmark file
  std::string date;
  std::string machine;
  std::string mode;
  tern_bench::host_facts host;
  std::map<std::string, std::string>
      versions;                // of Google Benchmark and of the subjects, as the context has them
  std::vector<row_data> rows;  // in the order of the file

  [[nodiscard]] const row_data* find(std::string_view name) const;
};

/// Nanoseconds per Google Benchmark time unit. Throws tool_error for an unknown one.
[[nodiscard]] double nanoseconds_per(const std::string& unit, const std::string& label);

/// The baselines that a ratio across machines, or a claim, is set against.
inline constexpr std::array reference_baselines{"pthread", "malloc", "shared_ptr"};

/// What role a subject of the contract's closed list has; "baseline" for a name that is not on it.
[[nodiscard]] std::string default_role(std::string_view subject);

/// Reads a run directory, a summary.json or a Google Benchmark file. Aggregates are left out.
/// Throws tool_error: failed for anything unreadable (an older schema included), not_comparable for a newer schema.
[[nodiscard]] run_data load_run(const std::filesystem::path& path);

/// One Google Benchmark entry as a sample. Throws tool_error when it is malformed.
[[nodiscard]] sample to_sample(const ordered_json& entry, const std::string& label);

}  // namespace ternbench

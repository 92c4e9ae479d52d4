// Names of rows: <area>/<case>/<subject>[/<param>:<value>...], and Google Benchmark's suffixes behind them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ternbench {

struct row_name {
  std::string area;
  std::string case_name;
  std::string subject;  // empty when the name does not follow the grammar
  std::vector<std::pair<std::string, std::string>> params;

  [[nodiscard]] bool in_grammar() const { return !subject.empty(); }
  /// "<area>/<case>[/<param>:<value>...]": what the subjects of one comparison share. The whole name outside the grammar.
  [[nodiscard]] std::string group() const;
  /// The name of the row of another subject with the same case and parameters.
  [[nodiscard]] std::string with_subject(std::string_view other) const;
  /// "size:64 threads:2"
  [[nodiscard]] std::string params_text() const;
};

[[nodiscard]] row_name parse_row_name(std::string_view name);

/// Removes what Google Benchmark itself appends (/manual_time, /real_time, /process_time, /iterations:N, /repeats:N,
/// /min_time:N, /min_warmup_time:N). /threads:N stays: it may as well be a parameter of the row.
[[nodiscard]] std::string strip_suffixes(std::string_view name);

/// Which of `known` a name of Google Benchmark's means: equal up to its suffixes, /threads:N included. Empty when none.
[[nodiscard]] std::string match_known(std::string_view name, const std::vector<std::string>& known);

/// A POSIX extended expression for --benchmark_filter that matches exactly `names`, with any suffixes.
[[nodiscard]] std::string filter_for(const std::vector<std::string>& names);

}  // namespace ternbench

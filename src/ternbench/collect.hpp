// From the raw Google Benchmark files of a run to the entries of its summary.json.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "json_io.hpp"
#include "listing.hpp"

namespace ternbench {

/// What one process wrote. A file that was cut off gives the rows that were complete.
struct raw_output {
  ordered_json context = ordered_json::object();
  std::vector<ordered_json> entries;
  bool complete = false;  // the file was whole
};
[[nodiscard]] raw_output read_raw(const std::filesystem::path& file);

/// Collects entries and their checksums over a run.
class collector {
 public:
  explicit collector(const std::vector<listed_row>& rows);

  /// Takes over a raw entry of repetition `repetition`: known names without suffixes, times in ns, counters kept.
  /// Returns the row's index, or nothing for an aggregate or a row that was not listed.
  std::optional<std::size_t> add(const ordered_json& raw_entry, int repetition, const std::string& label);
  void add_error(std::size_t row, int repetition, const std::string& message);
  /// A process that failed although each of its rows is there.
  void add_process_error(const std::string& case_key, int repetition, const std::string& message);

  [[nodiscard]] bool has(std::size_t row, int repetition) const { return entries_[row].contains(repetition); }
  [[nodiscard]] bool empty(std::size_t row) const { return entries_[row].empty(); }
  [[nodiscard]] std::size_t errors() const { return errors_; }  // skips are none
  [[nodiscard]] const std::vector<std::string>& error_lines() const { return error_lines_; }
  /// One line per case and parameters whose checksums are not all equal.
  [[nodiscard]] std::vector<std::string> checksum_mismatches() const;
  /// The "benchmarks" array: rows in listing order, one entry per repetition, no aggregates.
  [[nodiscard]] ordered_json benchmarks(int repetitions) const;

 private:
  void note_error(const std::string& who, int repetition, const std::string& message);

  const std::vector<listed_row>& rows_;
  std::vector<std::string> names_;
  std::vector<std::map<int, ordered_json>> entries_;  // per row, by repetition
  std::size_t errors_ = 0;
  std::vector<std::string> error_lines_;
};

}  // namespace ternbench

// The bench binaries and the rows that they say they have (--tern_list).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "json_io.hpp"

namespace ternbench {

struct bench_binary {
  std::string name;  // bench_sched ...
  std::filesystem::path file;
  std::string arch;  // of the ELF header; empty when it is not one that we know
};

struct listed_row {
  std::string name;
  std::string tier;  // quick, default or full
  std::string area;
  std::string case_name;
  std::string subject;
  std::string role;
  ordered_json params;
  bool gate = false;
  bool turns = false;      // understands --tern_turns
  std::size_t binary = 0;  // index
  double fixed_ms = 0;     // one execution costs about fixed_ms + per_ms * (asked minimum time in ms)
  double per_ms = 0;

  [[nodiscard]] double cost_ms(double time_ms) const { return fixed_ms + per_ms * time_ms; }
  [[nodiscard]] std::string case_key() const { return area + "/" + case_name; }
  [[nodiscard]] ordered_json to_json() const;
};

/// Parses one line of --tern_list. `est_ms` goes to fixed_ms. Throws tool_error.
[[nodiscard]] listed_row parse_listed_row(const std::string& line, const std::string& label);

/// Those of bench_sched, bench_alloc, bench_gc and bench_scenario that exist in `folder`; when it is empty, beside this
/// program or in the build tree around it. Throws tool_error when there is none.
[[nodiscard]] std::vector<bench_binary> find_binaries(const std::filesystem::path& folder);

/// Asks a binary for its rows, at two minimum times, so that their cost is known for any. Throws tool_error.
[[nodiscard]] std::vector<listed_row> list_rows(const bench_binary& binary, std::size_t index,
                                                const std::vector<std::string>& launcher);

}  // namespace ternbench

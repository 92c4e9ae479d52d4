// results/gate.json: which rows the gate judges, what it allows, and the noise that it has learnt.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace ternbench {

struct gate_settings {
  double least_floor = 0.02;     // no change below is ever red
  double advisory_above = 0.10;  // a row with a higher floor is shown, not judged
  double least_ns = 0.1;         // the floor, in ns, of rows that take less than 1 ns
  double family_error = 0.05;    // chance that a run with no change has a flagged row
  double invalid_share = 0.2;    // more invalid rows than this: the run is invalid
  double inconclusive_share = 0.5;
  double exact_limit = 0.01;  // change of a metric that has no noise
};

/// An inventory fault that is meant: "missing", "errored", "skipped", "unmeasured", "checksum" or "renamed".
struct allowed_change {
  std::string row;
  std::string change;
  std::string reason;
};

struct waiver {
  std::string row;
  std::string metric;
  std::string arch;
  double ceiling = 1;   // the highest ratio that is let through
  std::string expires;  // YYYY-MM-DD, the last day on which it counts
  std::string reason;
  std::size_t line = 0;
};

/// What `calibrate` learnt on one architecture.
struct learnt_floors {
  std::string machine;
  std::size_t runs = 0;
  std::map<std::string, double> rows;  // 99th percentile of |A'/A - 1|, as a logarithm
};

struct gate_config {
  std::filesystem::path file;
  gate_settings settings;
  std::vector<std::string> set;
  std::map<std::string, learnt_floors> floors;  // by architecture
  std::vector<allowed_change> allowed;
  std::vector<waiver> waivers;

  [[nodiscard]] bool allows(const std::string& row, const std::string& change) const;
};

/// Reads and checks it. Throws a tool_error of one line per mistake, each with the file, its line and what is wrong there.
[[nodiscard]] gate_config load_gate_config(const std::filesystem::path& file);

/// Writes `floors` of `arch` into the file, leaving all else as it is.
void write_floors(const std::filesystem::path& file, const std::string& arch, const learnt_floors& floors);

}  // namespace ternbench

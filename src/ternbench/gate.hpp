// The verbs `gate` (a judgement, said) and `calibrate` (the floors that it rests on).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "duet.hpp"
#include "format.hpp"
#include "judge.hpp"

namespace ternbench {

struct gate_options {
  std::vector<std::filesystem::path> runs;  // a duet, or base and head
  std::filesystem::path confirm;            // a duet of the flagged rows; empty: none
  std::filesystem::path config = "results/gate.json";
  std::filesystem::path markdown;  // also written there
  bool all = false;                // rows that are ok are listed as well
};
[[nodiscard]] exit_code gate(const gate_options& options);

/// The verdict first, then the rows that are not ok, then the inventory. At most 100 columns unless a name alone is wider.
[[nodiscard]] std::string render(const judgement& j, bool all, const palette& colours);
/// For a pull request: the verdict, what changed, and the whole table folded.
[[nodiscard]] std::string render_markdown(const judgement& j);
/// "REGRESSION: 2 rows are slower": what the exit code says, in words.
[[nodiscard]] std::string headline(const judgement& j);

struct calibrate_options {
  std::vector<std::filesystem::path> duets;  // any of one machine: their A'/A is base against base
  int runs = 0;                              // make so many first, of `measure.base` against itself
  duet_options measure;
  bool write = false;  // into measure.config
};
[[nodiscard]] exit_code calibrate(const calibrate_options& options);

/// The floors that `duets` teach: per row the 99th percentile of |log A'/A|. Throws tool_error when they are of different machines.
[[nodiscard]] learnt_floors learn(const std::vector<duet_data>& duets);

}  // namespace ternbench

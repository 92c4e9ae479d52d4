// The verb `export`: a run in the forms that other tools read; and shell completion.
#pragma once

#include <string>

#include "model.hpp"

namespace ternbench {

/// One line per row, metric and repetition: row,metric,unit,repetition,value; a skip or an error has its text as the value.
[[nodiscard]] std::string to_csv(const run_data& run);
/// The same as one JSON object per line.
[[nodiscard]] std::string to_jsonl(const run_data& run);
/// "customSmallerIsBetter" of benchmark-action/github-action-benchmark: medians, with the interquartile range.
[[nodiscard]] std::string to_github_action_benchmark(const run_data& run);

}  // namespace ternbench

// The verb `rates`: how often the gate is wrong, from trials whose truth is known. bench/harness/gate_trials.py makes them.
#pragma once

#include <filesystem>
#include <string>

#include "error.hpp"

namespace ternbench {

/// Prints a Markdown table with exact binomial intervals. A line of the file is one trial: kind ("null", "slow"), primitive,
/// percent, row, found (null: the gate was red; slow: the row was) and decided (the gate gave a verdict).
[[nodiscard]] exit_code rates(const std::filesystem::path& trials);

[[nodiscard]] std::string rates_table(const std::string& lines, const std::string& label);

}  // namespace ternbench

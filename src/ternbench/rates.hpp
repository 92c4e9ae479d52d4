// The verb `rates`: how often the gate is wrong, from trials whose truth is known. bench/harness/gate_trials.py makes them.
#pragma once

#include <filesystem>
#include <string>

#include "error.hpp"

namespace ternbench {

/// Prints, in Markdown, the goals of the gate beside what the trials give, with exact binomial intervals, and the trials by what was
/// changed. A line of the file is one trial: kind ("null", "slow"), primitive, percent, row, found (null: the gate was red; slow: the
/// row was), decided (the gate gave a verdict), exit (the gate's), blocks, rows (each with B/A, its interval, its floor and its verdict
/// as `gate` prints them); build_seconds (one build and its links) and duet_seconds where they are known. Throws tool_error with the
/// line of what is not a trial.
[[nodiscard]] exit_code rates(const std::filesystem::path& trials);

[[nodiscard]] std::string rates_table(const std::string& lines, const std::string& label);

}  // namespace ternbench

// How long to measure and how often, so that a run ends within its budget; and in which order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "listing.hpp"

namespace ternbench {

enum class run_mode { quick, standard, full };

[[nodiscard]] const char* to_string(run_mode mode);
[[nodiscard]] bool tier_is_in(const std::string& tier, run_mode mode);

struct budget {
  double seconds = 0;
  int repetitions = 0;  // wanted
  int least_repetitions = 3;
  double least_time_ms = 0;  // per row and process
  double most_time_ms = 0;
};
[[nodiscard]] budget budget_of(run_mode mode);

/// The rows of one case: one process runs them, so that the subjects of a comparison run next to one another.
struct row_group {
  std::size_t binary = 0;
  std::string key;  // area/case
  std::vector<std::size_t> rows;

  [[nodiscard]] double cost_seconds(const std::vector<listed_row>& all, double time_ms) const;
};
[[nodiscard]] std::vector<row_group> group_by_case(const std::vector<listed_row>& rows);

struct plan {
  int repetitions = 0;
  int time_ms = 0;
  double seconds = 0;  // expected, all repetitions
};

/// Fits the wanted repetitions into the budget: first by the time per row, then by fewer repetitions, never below
/// least_repetitions. `fixed_repetitions` > 0 is kept whatever it costs.
[[nodiscard]] plan make_plan(const std::vector<listed_row>& rows, const std::vector<row_group>& groups,
                             const budget& b, int fixed_repetitions);

/// How many repetitions to make in all, after `done` of them took `elapsed` seconds: the planned count while that ends
/// within half over the budget, else as many as fit, never below least_repetitions.
[[nodiscard]] int adapt_repetitions(const plan& p, const budget& b, int done, double elapsed);

/// A different stream for each (repetition, group) of a run. SplitMix64.
[[nodiscard]] std::uint64_t derive_seed(std::uint64_t seed, std::uint64_t stream);

/// A permutation of 0 .. n-1, the same for the same seed on every machine. Fisher and Yates.
[[nodiscard]] std::vector<std::size_t> shuffled(std::size_t n, std::uint64_t seed);

}  // namespace ternbench

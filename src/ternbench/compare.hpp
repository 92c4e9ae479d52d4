// The verb `compare`: two runs, row by row. Nothing is dropped: what cannot be compared is named.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "format.hpp"
#include "model.hpp"

namespace ternbench {

/// One metric of one row that both runs have. The ratio is B / A.
struct compared_row {
  const row_data* a = nullptr;
  const row_data* b = nullptr;
  const metric* what = nullptr;
  interval ratio;

  enum class verdict { slower, faster, not_resolved, not_judged };
  [[nodiscard]] verdict judge() const;
};

/// A metric of a row that both runs have, with values in one of them only.
struct lone_metric {
  const row_data* row = nullptr;
  const metric* what = nullptr;
};

struct comparison {
  std::vector<compared_row> rows;
  std::vector<const row_data*> missing;      // in A only
  std::vector<const row_data*> added;        // in B only
  std::vector<lone_metric> missing_metrics;  // in A only, though B measured the row
  std::vector<lone_metric> added_metrics;    // in B only, though A measured it
  std::vector<std::pair<const row_data*, const row_data*>>
      renamed;  // likely: one gone, one new, same case and subject
  std::vector<std::pair<const row_data*, const row_data*>> errored;  // on either side
  std::vector<std::pair<const row_data*, const row_data*>> skipped;  // on either side
};

/// Why times of the two runs must not be compared; empty when they may be.
[[nodiscard]] std::string why_not_comparable(const run_data& a, const run_data& b);

/// Differences between the hosts that a reader must know: CPU model, kernel, compiler, flags.
[[nodiscard]] std::vector<std::string> host_differences(const run_data& a, const run_data& b);

[[nodiscard]] comparison compare_runs(const run_data& a, const run_data& b);

/// The table and the lists, no line wider than 100 columns unless a row's name alone is.
[[nodiscard]] std::string render(const run_data& a, const run_data& b, const comparison& c,
                                 const palette& colours);

}  // namespace ternbench

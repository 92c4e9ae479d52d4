// The verb `show`: each subject against its baselines, one run.
#pragma once

#include <string>

#include "format.hpp"
#include "model.hpp"
#include "select.hpp"

namespace ternbench {

/// The rows of one case with the same parameters: subjects first, then baselines, then peers.
struct shown_group {
  std::string name;  // area/case/params
  std::vector<const row_data*> rows;
};
/// In the order in which they are shown: that of the selection, then by area, case and parameters.
[[nodiscard]] std::vector<shown_group> group_rows(const run_data& run, const selection& selected);

/// subject / base by repetition; unbounded and empty where they have none in common.
[[nodiscard]] interval ratio_of(const row_data& subject, const row_data& base, const metric& m);

enum class table_form {
  text,
  markdown,
  compact,  ///< Markdown, with a line per subject
};

struct show_options {
  selection selected;
  table_form form = table_form::text;
};

/// Gives the rows of `run` the instructions per operation that a file of `count` has for them.
/// Throws tool_error: not_comparable for another architecture, failed where no row of the file is in the run.
void add_counts(run_data& run, const run_data& counts);

/// The table. In text form no line is wider than 100 columns; in Markdown each line is one subject against one
/// baseline, or, where it is to be compact, against all.
[[nodiscard]] std::string render(const run_data& run, const show_options& options, const palette& colours);

}  // namespace ternbench

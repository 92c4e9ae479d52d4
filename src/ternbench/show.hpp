// The verb `show`: each subject against its baselines, one run.
#pragma once

#include <string>

#include "format.hpp"
#include "model.hpp"
#include "select.hpp"

namespace ternbench {

struct show_options {
  selection selected;
  bool markdown = false;
};

/// The table. In text form no line is wider than 100 columns; in Markdown each line is one subject against one baseline.
[[nodiscard]] std::string render(const run_data& run, const show_options& options, const palette& colours);

}  // namespace ternbench

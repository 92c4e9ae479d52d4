// The verb `validate`: files, or whole run directories, against their schemas.
#pragma once

#include <filesystem>
#include <vector>

#include "error.hpp"

namespace ternbench {

/// Prints a line per file to stdout (or stderr, for a bad one).
[[nodiscard]] exit_code validate(const std::vector<std::filesystem::path>& paths);

}  // namespace ternbench

#include "validate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "claims_file.hpp"
#include "gate_config.hpp"
#include "schema_check.hpp"

namespace ternbench {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path, error)) {
    if (entry.is_regular_file(error) && entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) throw tool_error(fmt::format("{}: holds no .json file", path.string()));
  return files;
}

void validate_file(const fs::path& file) {
  const ordered_json document = read_json(file);
  const std::string name = schema_of(document, file.string());
  if (name == "gate") {
    static_cast<void>(load_gate_config(file));
  } else if (name == "claims") {
    static_cast<void>(load_claims({file}));
  } else if (const std::vector<std::string> errors = schema_errors(name, document); !errors.empty()) {
    const std::string more = errors.size() > 1 ? fmt::format(" (and {} more)", errors.size() - 1) : "";
    throw tool_error(fmt::format("{}: not a valid {} file: {}{}", file.string(), name, errors.front(), more));
  }
  fmt::print("{}: valid ({})\n", file.string(), name);
}

}  // namespace

exit_code validate(const std::vector<fs::path>& paths) {
  exit_code code = exit_code::ok;
  const auto attempt = [&](const auto& action) {
    try {
      action();
    } catch (const tool_error& e) {
      std::istringstream lines(e.what());
      for (std::string line; std::getline(lines, line);)
        fmt::print(stderr, "ternbench validate: {}\n", printable(line));
      code = exit_code::failed;
    }
  };
  for (const fs::path& path : paths) {
    attempt([&] {
      for (const fs::path& file : files_of(path)) attempt([&] { validate_file(file); });
    });
  }
  return code;
}

}  // namespace ternbench

#include "mistakes.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "error.hpp"
#include "json_io.hpp"

namespace ternbench {

void mistakes::add(const std::string& pointer, const std::string& what) {
  found_.emplace(line_of(text_, pointer), pointer + ": " + what);
}

void mistakes::add_schema_errors(const std::vector<std::string>& errors) {
  const auto place = [](const std::string& line) { return line.substr(0, line.find(": ")); };
  for (const std::string& line : errors) {
    const std::string pointer = place(line);
    const bool repeats = std::any_of(errors.begin(), errors.end(), [&](const std::string& other) {
      const std::string inner = place(other);
      return inner != pointer && (pointer == "/" || inner.starts_with(pointer + "/"));
    });
    constexpr std::string_view unknown = "Object contains a property that could not be validated";
    const std::string what = line.substr(pointer.size() + 2);
    const std::string place_here = pointer == "/" ? "" : pointer;
    if (what.starts_with(unknown)) {
      const auto open = what.find_last_of('\'', what.size() - 3);
      const std::string key =
          place_here + "/" + escape_step(what.substr(open + 1, what.rfind('\'') - open - 1));
      const bool known = std::any_of(errors.begin(), errors.end(),
                                     [&](const std::string& other) { return place(other).starts_with(key); });
      if (!known) add(key, "unknown key");
    } else if (!repeats) {
      add(place_here, what);
    }
  }
}

void mistakes::end() {
  if (found_.empty()) return;
  std::string all;
  for (const auto& [line, what] : found_)
    all += fmt::format("{}{}:{}: {}", all.empty() ? "" : "\n", label_, line, what);
  throw tool_error(all);
}

}  // namespace ternbench

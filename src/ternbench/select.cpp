#include "select.hpp"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "error.hpp"
#include "json_io.hpp"

namespace ternbench {
namespace {

bool selects(const std::string& item, const row_name& row) {
  const std::string group = row.group();
  return group.starts_with(item) && (group.size() == item.size() || group[item.size()] == '/');
}

}  // namespace

selection selection::parse(const std::string& text) {
  std::string items = text;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(text, ignored)) {
    items.clear();
    std::istringstream lines(read_file(text));
    for (std::string line; std::getline(lines, line);) items += line.substr(0, line.find('#')) + " ";
  }
  std::replace(items.begin(), items.end(), ',', ' ');
  selection out;
  std::istringstream words(items);
  for (std::string word; words >> word;) out.add(word);
  if (out.items_.empty()) throw tool_error("--select: " + text + ": selects nothing");
  return out;
}

bool selection::matches(const row_name& row) const { return items_.empty() || rank(row) < items_.size(); }

std::size_t selection::rank(const row_name& row) const {
  const auto at =
      std::find_if(items_.begin(), items_.end(), [&](const std::string& i) { return selects(i, row); });
  return static_cast<std::size_t>(at - items_.begin());
}

std::vector<std::string> selection::unmatched(const std::vector<row_name>& rows) const {
  std::vector<std::string> out;
  for (const std::string& item : items_) {
    if (std::none_of(rows.begin(), rows.end(), [&](const row_name& r) { return selects(item, r); }))
      out.push_back(item);
  }
  return out;
}

}  // namespace ternbench

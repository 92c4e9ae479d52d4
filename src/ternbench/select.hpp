// Which groups (area/case[/param:value...]) a reading verb shows.
#pragma once

#include <string>
#include <vector>

#include "row_name.hpp"

namespace ternbench {

class selection {
 public:
  /// `text` is a file with one item per line ('#' begins a comment), or items separated by commas or spaces. An item names an
  /// area, a case or a group: it selects itself and everything below it. Throws tool_error when nothing is named.
  static selection parse(const std::string& text);

  selection() = default;
  void add(std::string item) { items_.push_back(std::move(item)); }
  [[nodiscard]] bool matches(const row_name& row) const;  // an empty selection matches everything
  /// Place of the first item that selects `row`: the order in which a selection lists things.
  [[nodiscard]] std::size_t rank(const row_name& row) const;
  /// Items that select none of `rows`.
  [[nodiscard]] std::vector<std::string> unmatched(const std::vector<row_name>& rows) const;

 private:
  std::vector<std::string> items_;
};

}  // namespace ternbench

// What is wrong with a file that a user writes: every mistake at once, each with its line.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ternbench {

/// Collects the mistakes of one file. `text` is kept by reference: the line of a mistake is looked up in it.
class mistakes {
 public:
  mistakes(std::string label, std::string_view text) : label_(std::move(label)), text_(text) {}

  /// What is wrong with the value at a JSON pointer.
  void add(const std::string& pointer, const std::string& what);
  /// What the schema says, but for complaints that only repeat those about an inner value.
  void add_schema_errors(const std::vector<std::string>& errors);
  /// Throws a tool_error with a line per mistake, in their order in the file; does nothing where there is none.
  void end();

 private:
  std::string label_;
  std::string_view text_;
  std::multimap<std::size_t, std::string> found_;  // by line, then as they came
};

}  // namespace ternbench

// Exit codes of the tool, and the exception that ends a verb with one clear line.
#pragma once

#include <stdexcept>
#include <string>

namespace ternbench {

/// One meaning per number, for every verb. README.md beside this file holds the same table.
enum class exit_code : int {
  ok = 0,
  failed = 1,            // unreadable or invalid input, a usage error, or the tool could not do its work
  regression = 2,        // gate: a regression, or a fault of the inventory; it wins over 3
  inconclusive = 3,      // gate: no verdict can be given: incomplete, too noisy, or another host
  not_comparable = 4,    // both inputs were read, but their times must not be compared
  rows_errored = 5,      // run: it ended, but a row crashed, timed out or reported an error
  checksum_differs = 6,  // run: subjects or processes of one case computed different results
  interrupted = 130      // run: SIGINT or SIGTERM; what was measured is kept
};

class tool_error : public std::runtime_error {
 public:
  explicit tool_error(const std::string& line, exit_code code = exit_code::failed)
      : std::runtime_error(line), code_(code) {}
  [[nodiscard]] exit_code code() const noexcept { return code_; }

 private:
  exit_code code_;
};

}  // namespace ternbench

// results/claims.json, and files of the same form by users: published claims, what would prove each, and what that needs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ternbench {

/// One comparison: the figure of a row, or its ratio to that of another row of the same run, against a bound.
struct claim_test {
  enum class relation { below, at_most, above, at_least };
  std::string row;
  std::string metric;  // "time", another one that `show` has, or a counter of the row
  relation op = relation::at_most;
  double bound = 0;    // in ns, bytes or plain; plain with `versus`
  std::string versus;  // empty: the figure itself is compared

  [[nodiscard]] bool accepts(double v) const;
};
[[nodiscard]] const char* name_of(claim_test::relation op);

/// What the host of the run must have for the claim to be measurable on it.
struct claim_need {
  enum class kind { cpus, memory, counters, real_aarch64 };
  std::string text;  // as the file has it
  kind of = kind::cpus;
  std::int64_t least = 0;  // processors, or bytes
};

struct claim_condition {
  std::string when;
  std::vector<claim_test> tests;  // all of them
};

struct claim {
  std::string id;
  std::string area;
  std::string source;
  std::string text;
  std::string note;
  std::vector<claim_test> tests;            // all of them: `test`, then `also`
  std::vector<claim_condition> conditions;  // tried in this order where a test does not hold
  std::vector<claim_need> needs;
};

/// Reads and checks files, in order. Throws a tool_error of one line per mistake of the first file that has any, each with the
/// file, its line and what is wrong there. An id stands once over all files.
[[nodiscard]] std::vector<claim> load_claims(const std::vector<std::filesystem::path>& files);

}  // namespace ternbench

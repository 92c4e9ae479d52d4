// The verb `claims`: each published claim beside what a run measured.
//
// Verdict  follows from the claim's file and the run alone: a test is answered by the whole 95% interval of its figure. Where that
//          has the bound in it, or the run has no such row, there is no verdict, and it says so.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "claims_file.hpp"
#include "error.hpp"
#include "format.hpp"
#include "model.hpp"
#include "stats.hpp"

namespace ternbench {

struct answered_test {
  enum class answer { yes, no, open, absent };
  const claim_test* of = nullptr;
  answer is = answer::absent;
  std::optional<metric::unit> unit;  // none: a ratio
  interval value;                    // not when absent
  std::string why;                   // when absent
  std::string beside;                // the same of other subjects: "pthread 44.5 us, go 501 ns"

  /// By what factor a figure misses its bound, as |log|; 0 where it does not.
  [[nodiscard]] double miss() const;
};

struct answered_condition {
  const claim_condition* of = nullptr;
  std::vector<answered_test> tests;
};

enum class claim_verdict { holds, conditional, does_not, not_measurable, unresolved, absent };

struct answered_claim {
  const claim* of = nullptr;
  claim_verdict verdict = claim_verdict::absent;
  std::string detail;  // the condition, the need, or why there is no verdict
  std::vector<answered_test> tests;
  std::vector<answered_condition> conditions;

  [[nodiscard]] std::string text() const;  // the verdict and its detail
  /// Those that bear on the verdict: the one that holds, or all where none does; none where none was needed.
  [[nodiscard]] std::vector<const answered_condition*> told_conditions() const;
  /// That of its farthest test, where the claim does not hold, or not without a condition; else 0.
  [[nodiscard]] double surprise() const;
};

/// Throws tool_error(not_comparable) for an emulated run. `claims` must outlive the result.
[[nodiscard]] std::vector<answered_claim> answer_claims(const run_data& run,
                                                        const std::vector<claim>& claims);

/// "37 claims: holds here 4, does not hold here 2, no figure in this run 31"
[[nodiscard]] std::string summary_of(const std::vector<answered_claim>& answers);

/// "sched/yield/tern: time <= 15.0 ns"
[[nodiscard]] std::string question_of(const answered_test& test);
/// "11.0 ns (9.2 .. 12.4 ns)", or why there is none.
[[nodiscard]] std::string figure_of(const answered_test& test);

[[nodiscard]] std::string render_text(const std::vector<answered_claim>& answers, const palette& colours);
/// `brief`: of each claim only the test that is farthest from its bound, and no note.
[[nodiscard]] std::string render_markdown(const std::vector<answered_claim>& answers, bool brief = false);

inline constexpr const char* claims_file = "results/claims.json";

struct claims_options {
  std::filesystem::path run;
  std::vector<std::filesystem::path> files;  // empty: claims_file
  std::vector<std::string> areas;            // only claims of these; empty: all
  std::string ids;                           // only claims whose id matches; empty: all
  bool markdown = false;
  std::size_t surprises = 0;  // only so many: those that are farthest from what was claimed; 0: all
};
[[nodiscard]] exit_code claims(const claims_options& options);

}  // namespace ternbench

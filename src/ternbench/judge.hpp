// The verdict on a change: statistics and inventory, for a duet or for two runs.
//
// Estimate   B/A: the median of the ratios within blocks with its exact sign-test interval (a duet), or the Hodges-Lehmann
//            ratio with its Mann-Whitney interval (two runs).
// Floor      max(least_floor, what `calibrate` learnt of the row); a row below 1 ns has `least_ns` as its floor.
// Verdict    REGRESSION if the exact one-sided test of "the change is at most the floor", adjusted by Holm over the rows that
//            are judged, rejects; OK if the upper bound of the 95% interval is below the floor; else INCONCLUSIVE.
//            INVALID if the row's own A'/A (a duet) lies beyond the floor. A baseline that is flagged does not tell of a
//            change here, since none can touch it: the run is invalid.
// Exact      metrics without noise (bytes, instructions) have `exact_limit` instead of all that.
// Inventory  what is missing, renamed, errored, skipped, unmeasured or of another checksum fails unless it is allowed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compare.hpp"
#include "duet_data.hpp"
#include "error.hpp"
#include "gate_config.hpp"

namespace ternbench {

enum class verdict { regression, not_confirmed, waived, invalid, inconclusive, advisory, ok };
[[nodiscard]] const char* to_string(verdict v);

struct judged_row {
  std::string name;
  std::string role;
  const metric* what = nullptr;
  verdict is = verdict::ok;
  bool exact = false;
  interval change;                // B/A
  std::optional<interval> again;  // A'/A
  double base_value = 0;          // median
  double head_value = 0;
  double floor = 0;  // as a share: 0.02
  bool learnt = false;
  double p = 1;  // adjusted
  std::optional<double>
      detectable;  // the smallest slow-down, as a share, that this row's noise lets through to a red
  std::string note;

  [[nodiscard]] bool control() const { return role != "subject"; }
};

struct inventory_fault {
  std::string row;
  std::string change;  // as in gate.json's "allowed", or "new"
  std::string text;
  bool allowed = false;
};

struct judgement {
  std::string label;
  std::string date;
  std::string arch;
  bool paired = false;
  std::size_t blocks = 0;
  std::vector<judged_row> rows;
  std::vector<inventory_fault> faults;
  std::vector<std::string> invalid;  // why the run as a whole proves nothing
  std::vector<std::string> notes;

  [[nodiscard]] std::size_t count(verdict v) const;
  [[nodiscard]] std::vector<std::string> flagged() const;  // rows with a regression in time
  [[nodiscard]] bool failed() const;
  [[nodiscard]] exit_code code() const;
};

/// Throws tool_error: not_comparable for emulated times or different hosts, failed for an expired waiver.
[[nodiscard]] judgement judge(const duet_data& duet, const gate_config& config);
[[nodiscard]] judgement judge(const run_data& base, const run_data& head, const gate_config& config);

/// What `again`, a duet of the flagged rows with new links, makes of `first`: a regression stays one only if both have it.
void confirm(judgement& first, const judgement& again);

}  // namespace ternbench

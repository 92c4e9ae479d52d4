// The verb `cross`: machines side by side. Times of two machines are not compared; what is, is how far each subject is from the
// baseline that was measured beside it. Shown, never gated.
#pragma once

#include <string>
#include <vector>

#include "format.hpp"
#include "model.hpp"

namespace ternbench {

/// One subject against the baseline of its area on one machine.
struct crossed_ratio {
  const run_data* run = nullptr;
  interval ratio;    // subject / baseline within the run
  interval against;  // this machine's ratio / the first machine's; its count is 0 for the first
};

struct crossed_row {
  std::string name;  // area/case/params
  std::string subject;
  std::string baseline;                 // pthread, malloc or shared_ptr
  std::vector<crossed_ratio> machines;  // those that have both rows
};

/// Emulated runs are left out: their times mean nothing.
[[nodiscard]] std::vector<crossed_row> cross_runs(const std::vector<run_data>& runs);
[[nodiscard]] std::string render(const std::vector<run_data>& runs, const std::vector<crossed_row>& rows,
                                 const palette& colours);

}  // namespace ternbench

// The verb `run`: measures, and leaves a run directory.
//
// Protocol  1. every binary lists its rows; tier, --suite and --filter choose among them;
//              --claims adds what claims ask for, whatever its tier, beside the same of every subject; --only-claims leaves all else out;
//           2. the plan fits repetitions and time per row into the mode's budget;
//           3. a repetition runs every case once, in shuffled order: one fresh process per case, which measures all
//              subjects of the case in an order of its own, so that what is compared is measured side by side;
//           4. raw files are kept as they were written; manifest.json and summary.json are rewritten (each atomically)
//              after every repetition, so the directory is valid whenever the run ends;
//           5. schedule.jsonl gets a line per process when it ended, and goes when the manifest has them all. --resume goes through
//              the repetitions from the first: of a process that is recorded the raw file is read again, what is missing is measured.
// Layout    <out>/<utc>-<arch>-<machine>/ {manifest.json, summary.json, raw/r<rep>.<seq>.<area>.<case>.json,
//           raw/r<rep>.<row>.hist.json}; what a process that failed said is in raw/*.stderr.txt, and a raw file that it left
//           cut off is named *.json.partial.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "error.hpp"
#include "planner.hpp"

namespace ternbench {

struct run_options {
  run_mode mode = run_mode::standard;
  std::vector<std::string> suites;            // areas; empty: all
  std::string filter;                         // regular expression over row names
  std::vector<std::filesystem::path> claims;  // files whose claims' rows are measured, too
  bool only_claims = false;                   // and no others
  std::string machine;                        // default: the CPU model
  std::filesystem::path out = "results";
  std::filesystem::path bin;
  int repetitions = 0;  // 0: by the plan
  std::optional<std::uint64_t> seed;
  double timeout_seconds = 0;  // of one process; 0: by the plan
  std::vector<std::string> launcher;
  std::filesystem::path resume;  // a run directory to go on with; what is to be measured is read from it
};

[[nodiscard]] exit_code run(const run_options& options);

}  // namespace ternbench

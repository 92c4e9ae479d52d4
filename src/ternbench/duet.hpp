// The verb `duet`: base, base again and head, measured side by side in one run.
//
// Protocol  1. Builds list their rows; what is measured are the rows of gate.json's set (or of --filter) that both have.
//           2. Base is timed once per row for about time_ms: that gives the operations of the row, the same for all three.
//           3. A block measures every row, in shuffled order. For a row the three slots follow one another, each in a fresh
//              process with ASLR and an environment of random size, in one of the six orders; each six blocks of a row have
//              every order once. So what is compared is at most two processes apart in time.
//           4. A build may be linked several times with its objects in another order (bench/salt-*/): base takes them in turn,
//              base again the ones after, head its own.
// Files     <out>/<utc>-<arch>-<machine>-duet/ {duet.json, raw.jsonl}. raw.jsonl gets a line per process, with Google
//           Benchmark's own entry, as soon as it has ended; duet.json is replaced after each block. So the directory is valid
//           whenever the duet ends, and `--resume` goes on with it: what a row's place in a block is, is a function of the seed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "duet_data.hpp"
#include "error.hpp"

namespace ternbench {

struct duet_options {
  std::vector<std::filesystem::path> base;  // builds of one source; more than one: linked differently
  std::vector<std::filesystem::path> head;
  int blocks = 30;
  /// Short, so that most slots end before the kernel gives their CPU to another: on a busy machine the interval of a row is then
  /// two to four times narrower than with 30 ms, at a third of the time. Blocks, not long slots, are what narrows it on a quiet one.
  int time_ms = 4;
  std::string filter;  // regular expression over row names, instead of the set
  std::filesystem::path config = "results/gate.json";
  std::string machine;
  std::filesystem::path out = "results";
  std::optional<std::uint64_t> seed;
  double timeout_seconds = 60;  // of one process
  std::vector<std::string> launcher;
  std::filesystem::path resume;   // a duet that was interrupted
  std::filesystem::path confirm;  // a duet whose flagged rows are measured again
};

struct duet_result {
  exit_code code = exit_code::ok;
  std::filesystem::path directory;
};
[[nodiscard]] duet_result duet(const duet_options& options);

/// The order of the three slots of `row` in `block`.
[[nodiscard]] std::array<slot, slot_count> slot_order(std::uint64_t seed, std::size_t row, std::size_t block);

}  // namespace ternbench

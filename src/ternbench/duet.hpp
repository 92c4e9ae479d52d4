// The verb `duet`: base, base again and head, measured side by side in one run.
//
// Protocol  1. Builds list their rows; what is measured are the rows of gate.json's set (or of --filter) that both have.
//           2. Base is timed once per row for about time_ms: that gives the operations of the row, the same for all three.
//           3. A block measures every row, in shuffled order. For a row it starts three fresh processes, each with ASLR and an
//              environment of random size, that then take turns: a turn sets the row up, warms it and measures it for about
//              time_ms, while the other two wait (bench/harness/turns.hpp), and begins on the block's CPU: those of a virtual
//              machine differ. A round is a turn of each, in one of the six orders; each six rounds of a row have every
//              order once. What is compared are the turns of a round, which lie within milliseconds; the median over the
//              rounds is what the block says (duet_data.cpp).
//           4. A build may be linked several times with its objects in another order (bench/salt-*/): base takes them in turn,
//              base again the ones after, head its own.
// Files     <out>/<utc>-<arch>-<machine>-duet/ {duet.json, raw.jsonl}. raw.jsonl gets a line per process, with the times
//           of its turns and Google Benchmark's own entry of the median one, as soon as the three have ended; duet.json is
//           replaced after each block. So the directory is valid whenever the duet ends, and `--resume` goes on with it: what a
//           row's place in a block is, is a function of the seed.
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
  /// Short, so that most turns end before the kernel or the hypervisor gives their CPU to another, and that what is compared lies close
  /// together.
  int time_ms = 1;
  int turns = 31;      // of each process of a block
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

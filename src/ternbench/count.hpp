// The verb `count`: instructions per operation under callgrind, which no other work on the machine disturbs.
//
// A row is run over some operations and over three times as many: the difference has neither the start nor the warm-up in it. Each
// row is counted twice; where the two differ by more than 0.1% (threads that look for work, hash seeds) it is recorded as skipped
// with both figures. A process that the bench binary starts (Boost.Fiber's rows, preloaded allocators) is counted with it. The result
// is a summary.json whose only metric is instructions_per_op, which `gate` and `compare` read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "error.hpp"

namespace ternbench {

struct count_options {
  std::filesystem::path bin;
  std::string filter;  // regular expression; empty: the set of the configuration
  std::filesystem::path config = "results/gate.json";
  std::uint64_t operations = 200'000;  // many times the batch of a row
  std::filesystem::path out = "count.json";
  std::string machine;
};
[[nodiscard]] exit_code count(const count_options& options);

}  // namespace ternbench

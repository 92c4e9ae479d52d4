// Command line of the bench binaries: the tern flags; everything else belongs to Google Benchmark.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/harness/row.hpp"
#include "bench/harness/turns.hpp"

namespace tern_bench {

struct options {
  bool list = false;                           ///< --tern_list
  bool smoke = false;                          ///< --smoke
  bool help = false;                           ///< --help
  std::optional<std::uint64_t> order;          ///< --tern_order=<seed>
  std::optional<std::int64_t> time_ms;         ///< --tern_time_ms=<n>
  std::optional<std::uint64_t> operations;     ///< --tern_operations=<n>
  std::optional<tern_bench::tier> wanted;      ///< --tern_tier=quick|default|full
  turns turn;                                  ///< --tern_turns=FD
  std::string hist_dir;                        ///< --tern_hist_dir=DIR
  std::optional<std::string> filter;           ///< --benchmark_filter: any row may be asked for
  std::string child;                           ///< --tern_child=<request>: measure_self() started us
  bool writes_file = false;                    ///< --benchmark_out given
  std::string display_format = "console";      ///< --benchmark_format
  std::string file_format = "json";            ///< --benchmark_out_format
  std::string error;                           ///< why the command line cannot be used, or empty
  std::vector<std::string> library_arguments;  ///< for benchmark::Initialize, argv[0] (a bare name) first

  /// The time that a row should take, in ms.
  [[nodiscard]] std::int64_t row_time_ms() const;
  std::string min_time;  ///< --benchmark_min_time as given, or empty
};

[[nodiscard]] options parse_options(int argc, char** argv);

extern const char* const options_help;

}  // namespace tern_bench

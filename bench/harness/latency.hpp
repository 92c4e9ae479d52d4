// Latencies of a row: percentile counters, and the full histogram as a file.
#pragma once

#include <cstdint>
#include <string>

#include "bench/harness/row.hpp"

namespace tern_bench {

/// Keeps `h` and sets the counters p50 p90 p99 p999 p9999 max (ns), and samples.
void add_latencies(measurement& m, const histogram& h);

/// Writes `<dir>/<row with / replaced by _>.hist.json`. False if that failed.
bool write_histogram(const std::string& dir, const std::string& row_name, const histogram& h);

}  // namespace tern_bench

// Google Benchmark's reporters with three corrections, each of which every consumer would otherwise have to make.
#pragma once

#include <benchmark/benchmark.h>

#include <memory>
#include <string>

namespace tern_bench {

/// The counter in which a row hands its CPU seconds to the reporter; it never reaches a file.
inline constexpr const char* cpu_counter = "tern_cpu_seconds";

/// Wraps `inner`:
///  - cpu_time becomes that of the process (or child) which did the work over the timed part, all its threads included;
///    the library can only know that of the thread which called it;
///  - a counter that is not finite is left out: NaN and Infinity are not JSON;
///  - with `is_json`, the host's name is left out of the context: results are shared, machine names are not.
[[nodiscard]] std::unique_ptr<benchmark::BenchmarkReporter> corrected(
    std::unique_ptr<benchmark::BenchmarkReporter> inner, bool is_json);

/// A reporter for console, json or csv output to a file; null for another name.
[[nodiscard]] std::unique_ptr<benchmark::BenchmarkReporter> make_file_reporter(const std::string& format);

/// "release" or "debug": whether the linked Google Benchmark was built with NDEBUG.
[[nodiscard]] std::string library_build_type();

}  // namespace tern_bench

#include "bench/harness/options.hpp"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace tern_bench {
namespace {

template <class Int>
bool parse_number(std::string_view text, Int& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

// The value of "--name=value", or nothing.
std::optional<std::string> value_of(std::string_view argument, std::string_view name) {
  if (!argument.starts_with("--")) return std::nullopt;
  argument.remove_prefix(2);
  if (!argument.starts_with(name) || argument.size() == name.size() || argument[name.size()] != '=') {
    return std::nullopt;
  }
  return std::string(argument.substr(name.size() + 1));
}

void from_environment(const char* variable, std::string& out) {
  if (const char* value = std::getenv(variable)) out = value;
}

}  // namespace

const char* const options_help =
    "tern's own flags (all others are Google Benchmark's, below):\n"
    "  --tern_list               print one JSON object per row and end\n"
    "  --tern_tier=TIER          rows of quick, default or full; without it default, or any row that the "
    "filter asks for\n"
    "  --tern_order=SEED         shuffle the rows\n"
    "  --tern_time_ms=N          measure each row for at least N ms\n"
    "  --tern_operations=N       measure each row over at least N operations, however long they take\n"
    "  --tern_turns=FD           before each call of a row read a byte from this socket, the number of the "
    "CPU\n"
    "                            to begin on; write one when ready and after each call\n"
    "  --tern_hist_dir=DIR       full histograms of the latency rows go there\n"
    "  --smoke                   run each case once with its smallest parameters\n\n";

std::int64_t options::row_time_ms() const {
  if (time_ms) return *time_ms;
  if (!min_time.empty()) {
    const double seconds = std::strtod(min_time.c_str(), nullptr);
    if (seconds > 0 && seconds < 1e6) return static_cast<std::int64_t>(seconds * 1e3) + 1;
  }
  return 500;
}

options parse_options(int argc, char** argv) {
  options o;
  from_environment("BENCHMARK_FORMAT", o.display_format);
  from_environment("BENCHMARK_OUT_FORMAT", o.file_format);
  if (const char* filter = std::getenv("BENCHMARK_FILTER")) o.filter = filter;
  o.writes_file = std::getenv("BENCHMARK_OUT") != nullptr;
  std::string_view self = argc > 0 ? argv[0] : "bench";
  self.remove_prefix(self.rfind('/') + 1);  // npos + 1 is 0
  o.library_arguments.emplace_back(self);
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--tern_list") {
      o.list = true;
    } else if (argument == "--smoke") {
      o.smoke = true;
    } else if (const auto seed = value_of(argument, "tern_order")) {
      if (!parse_number(*seed, o.order.emplace())) o.error = "--tern_order wants an unsigned number";
    } else if (const auto time = value_of(argument, "tern_time_ms")) {
      if (!parse_number(*time, o.time_ms.emplace()) || *o.time_ms < 1) {
        o.error = "--tern_time_ms wants a number of at least 1";
      }
    } else if (const auto operations = value_of(argument, "tern_operations")) {
      if (!parse_number(*operations, o.operations.emplace()) || *o.operations < 1) {
        o.error = "--tern_operations wants a number of at least 1";
      }
    } else if (const auto socket = value_of(argument, "tern_turns")) {
      if (!o.turn.parse(*socket)) o.error = "--tern_turns wants the number of a descriptor";
    } else if (const auto name = value_of(argument, "tern_tier")) {
      for (const tier t : {tier::quick, tier::standard, tier::full}) {
        if (*name == to_string(t)) o.wanted = t;
      }
      if (!o.wanted) o.error = "--tern_tier wants quick, default or full";
    } else if (const auto dir = value_of(argument, "tern_hist_dir")) {
      o.hist_dir = *dir;
    } else if (const auto request = value_of(argument, "tern_child")) {
      o.child = *request;
    } else if (argument.starts_with("--tern_")) {
      o.error = "unknown flag " + std::string(argument);
    } else {
      if (argument == "--help") o.help = true;
      if (const auto filter = value_of(argument, "benchmark_filter")) {
        o.filter = *filter;
        continue;
      }
      if (value_of(argument, "benchmark_out")) o.writes_file = true;
      if (const auto format = value_of(argument, "benchmark_format")) o.display_format = *format;
      if (const auto format = value_of(argument, "benchmark_out_format")) o.file_format = *format;
      if (const auto least = value_of(argument, "benchmark_min_time")) o.min_time = *least;
      o.library_arguments.emplace_back(argument);
    }
  }
  // Rows are chosen here, by the names that --tern_list prints as well as by the library's longer ones.
  o.library_arguments.emplace_back("--benchmark_filter=all");
  if (o.smoke) {
    o.time_ms = 1;
    // One batch satisfies any positive time.
    o.library_arguments.emplace_back("--benchmark_min_time=0.000000001");
  } else if (o.time_ms) {
    o.library_arguments.emplace_back("--benchmark_min_time=" +
                                     std::to_string(static_cast<double>(*o.time_ms) * 1e-3));
  }
  return o;
}

}  // namespace tern_bench

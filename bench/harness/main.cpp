// The main() of every bench binary.
//
// Protocol    1. the nursery process for fresh measurements is forked while nothing else runs;
//             2. the rows that the cases registered are sorted, chosen by tier, and shuffled if asked;
//             3. each becomes a Google Benchmark with manual time: the library chooses how many operations a call does, the
//                harness times them (case.hpp), and hands the sum back as one batch;
//             4. checksums are compared across subjects; the exit status is 1 if any row failed (a skipped row has not).
// Limits      The library must not run two benchmarks at a time (it does not unless asked by ->Threads, which we never do).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "bench/harness/fresh.hpp"
#include "bench/harness/host_facts.hpp"
#include "bench/harness/keep.hpp"
#include "bench/harness/latency.hpp"
#include "bench/harness/options.hpp"
#include "bench/harness/process.hpp"
#include "bench/harness/reporter.hpp"
#include "bench/harness/row.hpp"

namespace tern_bench {
namespace {

struct program_state {
  options chosen;
  std::map<std::string, std::pair<std::uint32_t, std::string>>
      checksums;  // case and parameters -> sum, first subject
  bool failed = false;
};

const row_params& params_of(const row& r, const options& o) { return o.smoke ? r.smoke_params : r.params; }

std::int64_t estimate_ms(const row& r, const options& o) {
  const double time = static_cast<double>(o.row_time_ms());
  // Where the library looks for the length of a row it measures about half as long again on the way.
  return r.extra_ms + static_cast<std::int64_t>(std::lround(r.fixed_operations ? time : 1.6 * time + 1));
}

void print_list(const options& o) {
  for (const row& r : all_rows()) {
    nlohmann::ordered_json params = nlohmann::ordered_json::object();
    for (const auto& [key, value] : r.params.all()) {
      if (value.is_word()) {
        params[key] = value.text();
      } else {
        params[key] = value.number();
      }
    }
    const nlohmann::ordered_json line = {{"name", r.name(r.params)},
                                         {"tier", to_string(r.tier)},
                                         {"area", r.area},
                                         {"case", r.case_name},
                                         {"subject", r.subject},
                                         {"role", to_string(r.subject_role)},
                                         {"params", params},
                                         {"gate", r.gate},
                                         {"est_ms", estimate_ms(r, o)},
                                         {"turns", true}};
    std::puts(line.dump().c_str());
  }
}

// The first subject of a case with given parameters sets the checksum; all others must give the same.
void compare_checksum(program_state& program, const row& r, const row_params& params, measurement& m) {
  const auto [at, added] = program.checksums.try_emplace(r.key(params), m.checksum, r.subject);
  if (!added && at->second.first != m.checksum) {
    m.error = "checksum " + std::to_string(m.checksum) + " differs from that of " + at->second.second + ", " +
              std::to_string(at->second.first);
  }
}

// A counter under a name that the library writes itself would stand twice in the entry, which no strict reader takes.
void check_counters(measurement& m) {
  static const std::set<std::string> taken{
      "name",        "run_name",         "run_type",       "family_index",  "per_family_instance_index",
      "repetitions", "repetition_index", "threads",        "iterations",    "real_time",
      "cpu_time",    "time_unit",        "error_occurred", "error_message", "label"};
  for (const auto& [name, value] : m.counters)
    if (taken.contains(name)) m.error = "the counter " + name + " has a name of the library's";
}

void run_row(benchmark::State& state, program_state& program, std::size_t index) {
  const row& r = all_rows()[index];
  const row_params& params = params_of(r, program.chosen);
  const run_budget budget{static_cast<std::uint64_t>(state.max_iterations), !program.chosen.smoke};
  program.chosen.turn.take();
  measurement m = r.isolated ? measure_fresh(index, params, budget) : r.measure(params, budget);
  program.chosen.turn.pass();
  if (m.error.empty()) check_counters(m);
  if (m.error.empty()) compare_checksum(program, r, params, m);
  if (m.error.empty() && m.operations < budget.operations) m.error = "fewer operations than asked for";
  if (!m.error.empty()) {
    if (!m.error.starts_with("skipped:")) {
      program.failed = true;
      std::fprintf(stderr, "%s: %s\n", r.name(params).c_str(), m.error.c_str());
    }
    state.SkipWithError(m.error.c_str());
    return;
  }
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(m.operations))) {
    state.SetIterationTime(m.seconds);
  }
  for (const auto& [name, value] : m.counters) {
    if (std::isfinite(value)) state.counters[name] = value;
  }
  state.counters["checksum"] = m.checksum;
  state.counters[cpu_counter] = m.cpu_seconds;
  if (r.reports_cpu && m.operations != 0)
    state.counters["cpu_ns_per_op"] = m.cpu_seconds * 1e9 / static_cast<double>(m.operations);
  if (m.latencies && !program.chosen.hist_dir.empty() &&
      !write_histogram(program.chosen.hist_dir, r.name(params), *m.latencies)) {
    program.failed = true;
    std::fprintf(stderr, "%s: cannot write its histogram\n", r.name(params).c_str());
  }
}

std::optional<std::uint64_t> operations_of(const options& o, const row& r) {
  if (!o.operations && r.fixed_operations) return r.fixed_operations(params_of(r, o), o.row_time_ms());
  return o.operations;
}

// Google Benchmark's own filter: an extended regular expression, anything but that after a minus. It has "all" for every row.
class row_filter {
 public:
  explicit row_filter(std::string text) {
    if (text.empty() || text == "all") return;
    excludes_ = text.front() == '-';
    if (excludes_) text.erase(0, 1);
    expression_.emplace(text, std::regex::extended);
  }
  // By its name, or by that which the library gives it.
  bool takes(const options& o, const row& r) const {
    if (!expression_) return true;
    const std::string name = r.name(params_of(r, o));
    const auto operations = operations_of(o, r);
    const std::string longer =
        name + (operations ? "/iterations:" + std::to_string(*operations) : "") + "/manual_time";
    return (std::regex_search(name, *expression_) || std::regex_search(longer, *expression_)) != excludes_;
  }

 private:
  std::optional<std::regex> expression_;
  bool excludes_ = false;
};

// Throws std::regex_error.
std::vector<std::size_t> chosen_rows(const options& o) {
  std::vector<std::size_t> indexes;
  const row_filter filter(o.filter.value_or("all"));
  const tier limit = o.wanted.value_or(o.filter ? tier::full : tier::standard);
  for (std::size_t i = 0; i < all_rows().size(); ++i) {
    const row& r = all_rows()[i];
    if ((o.smoke ? r.in_smoke : r.tier <= limit) && filter.takes(o, r)) indexes.push_back(i);
  }
  if (o.order) {
    // Fisher and Yates with our own generator: the same order from the same seed with every standard library.
    sequence random(*o.order);
    for (std::size_t i = indexes.size(); i > 1; --i) std::swap(indexes[i - 1], indexes[random.below(i)]);
  }
  return indexes;
}

void register_rows(program_state& program, const std::vector<std::size_t>& indexes) {
  for (const std::size_t index : indexes) {
    const row& r = all_rows()[index];
    const row_params& params = params_of(r, program.chosen);
    auto* registered = benchmark::RegisterBenchmark(
        r.name(params).c_str(),
        [&program, index](benchmark::State& state) { run_row(state, program, index); });
    registered->UseManualTime();
    if (const auto operations = operations_of(program.chosen, r))
      registered->Iterations(static_cast<benchmark::IterationCount>(*operations));
  }
}

void add_context(const options& o) {
  for (const auto& [key, text] : to_context(collect_host_facts())) benchmark::AddCustomContext(key, text);
  if (o.order) benchmark::AddCustomContext("tern_order", std::to_string(*o.order));
  benchmark::AddCustomContext("tern_time_ms", std::to_string(o.row_time_ms()));
  std::map<std::string, std::string> versions;
  for (const row& r : all_rows()) versions.try_emplace(r.subject, r.version());
  for (const auto& [subject, version] : versions) {
    if (!version.empty()) benchmark::AddCustomContext("tern_subject_" + subject, version);
  }
  const std::string library = library_build_type();
  if (!library.empty()) benchmark::AddCustomContext("tern_benchmark_library", library);
  if (library == "debug" && !o.smoke) {
    std::fputs(
        "note: this Google Benchmark was built without NDEBUG, as distributions do. Its assertions lie "
        "outside what is\n"
        "timed: the loops and clocks are the harness's own. Its warning below can be disregarded.\n",
        stderr);
  }
}

int bench_main(int argc, char** argv) {
  static_cast<void>(usable_cpus());  // before anything is confined
  std::sort(all_rows().begin(), all_rows().end(),
            [](const row& a, const row& b) { return a.name(a.params) < b.name(b.params); });
  static program_state program;
  program.chosen = parse_options(argc, argv);
  const options& o = program.chosen;
  const auto refuse = [&](const std::string& why) {
    std::fprintf(stderr, "%s: error: %s\n", o.library_arguments.front().c_str(), why.c_str());
    return 1;
  };
  if (!o.error.empty()) return refuse(o.error);
  if (o.list) {
    print_list(o);
    return 0;
  }
  if (!o.child.empty()) return measure_as_child(o.child);
  if (o.help) std::fputs(options_help, stdout);
  // Before the library opens the file that it is to write.
  std::vector<std::size_t> indexes;
  try {
    indexes = chosen_rows(o);
  } catch (const std::regex_error&) {
    return refuse("--benchmark_filter: \"" + *o.filter + "\" is not a regular expression");
  }
  if (indexes.empty() && !o.help)
    return refuse(o.filter ? "no row matches --benchmark_filter=" + *o.filter : "no row is of that tier");
  start_fresh_processes();

  std::vector<std::string> arguments = o.library_arguments;
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 1;
  add_context(o);
  register_rows(program, indexes);

  const auto display =
      corrected(std::unique_ptr<benchmark::BenchmarkReporter>(benchmark::CreateDefaultDisplayReporter()),
                o.display_format == "json");
  std::unique_ptr<benchmark::BenchmarkReporter> file;
  if (o.writes_file) {
    auto inner = make_file_reporter(o.file_format);
    if (!inner) return refuse("--benchmark_out_format wants console, json or csv");
    file = corrected(std::move(inner), o.file_format == "json");
  }
  benchmark::RunSpecifiedBenchmarks(display.get(), file.get());
  benchmark::Shutdown();
  return program.failed ? 1 : 0;
}

}  // namespace
}  // namespace tern_bench

int main(int argc, char** argv) { return tern_bench::bench_main(argc, argv); }

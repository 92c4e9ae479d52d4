#include "run.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <utility>

#include "bench/harness/host_facts.hpp"
#include "child.hpp"
#include "claims_file.hpp"
#include "collect.hpp"
#include "format.hpp"
#include "progress.hpp"
#include "row_name.hpp"
#include "schema_check.hpp"
#include "schema_id.hpp"
#include "session.hpp"
#include "sha256.hpp"
#include "show.hpp"

namespace ternbench {
namespace {

namespace fs = std::filesystem;

/// The groups of rows (row_name::group()) that the tests of claims name.
std::set<std::string> claimed_groups(const std::vector<fs::path>& files) {
  std::set<std::string> groups;
  const auto take = [&](const std::vector<claim_test>& tests) {
    for (const claim_test& t : tests) {
      groups.insert(parse_row_name(t.row).group());
      if (!t.versus.empty()) groups.insert(parse_row_name(t.versus).group());
    }
  };
  for (const claim& c : load_claims(files)) {
    take(c.tests);
    for (const claim_condition& condition : c.conditions) take(condition.tests);
  }
  return groups;
}

std::vector<listed_row> choose_rows(const std::vector<bench_binary>& binaries, const run_options& options) {
  const std::optional<std::regex> filter = parse_filter(options.filter);
  const std::set<std::string> claimed = claimed_groups(options.claims);
  std::vector<listed_row> rows;
  std::set<std::string> areas;
  for (std::size_t i = 0; i < binaries.size(); ++i) {
    for (listed_row& row : list_rows(binaries[i], i, options.launcher)) {
      areas.insert(row.area);
      const auto& suites = options.suites;
      const bool wanted = suites.empty() || std::find(suites.begin(), suites.end(), row.area) != suites.end();
      if (!wanted) continue;
      const bool in_tier = !options.only_claims && tier_is_in(row.tier, options.mode);
      if (!in_tier && !claimed.contains(parse_row_name(row.name).group())) continue;
      if (filter && !std::regex_search(row.name, *filter)) continue;
      rows.push_back(std::move(row));
    }
  }
  for (const std::string& suite : options.suites) {
    if (!areas.contains(suite))
      throw tool_error(fmt::format("--suite: no binary has the suite \"{}\"", suite));
  }
  if (rows.empty()) {
    const std::string of = options.only_claims ? "that the claims ask for"
                                               : fmt::format("of the {} tier", to_string(options.mode));
    throw tool_error(
        fmt::format("no row {} matches{}", of, options.filter.empty() ? "" : " --filter " + options.filter));
  }
  return rows;
}

constexpr const char* journal_name = "schedule.jsonl";

/// What an interrupted run left: its manifest, and the processes that ended, by repetition and case.
struct earlier_run {
  ordered_json manifest;
  std::map<std::pair<int, std::string>, ordered_json> processes;
  int last = -1;  // repetition that has one

  void add(const ordered_json& line) {
    // What was cut off in its midst is measured again, whole.
    const std::pair key{line.at("repetition").get<int>(), line.at("case").get<std::string>()};
    last = std::max(last, key.first);
    static_cast<void>(line.at("sequence").get<std::size_t>());
    static_cast<void>(line.at("raw"));
    if (line.at("outcome") == interrupted_words) {
      processes.erase(key);
    } else {
      processes.insert_or_assign(key, line);
    }
  }
};

earlier_run read_earlier(const fs::path& directory) {
  const fs::path file = directory / "manifest.json";
  earlier_run out;
  out.manifest = read_json(file);
  const std::string label = file.string();
  if (schema_of(out.manifest, label) != "manifest") throw tool_error(label + ": is not a manifest");
  if (const auto errors = schema_errors("manifest", out.manifest); !errors.empty())
    throw tool_error(fmt::format("{}: not a valid manifest file: {}", label, errors.front()));
  if (out.manifest["status"] == "complete")
    throw tool_error(fmt::format("{}: is complete; there is nothing to go on with", label));
  for (const ordered_json& line : out.manifest["schedule"]) out.add(line);
  std::error_code ignored;
  if (!fs::exists(directory / journal_name, ignored)) return out;
  std::istringstream lines(read_file(directory / journal_name));
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    if (lines.eof()) break;  // cut off while it was written
    const std::string where = fmt::format("{}:{}", (directory / journal_name).string(), ++number);
    try {
      out.add(parse_json(line, where));
    } catch (const ordered_json::exception&) {
      throw tool_error(fmt::format("{}: is not a line of a schedule", where));
    }
  }
  return out;
}

/// The options that `manifest` was measured with, and of `given` what a session may have anew: binaries, launcher, time-out.
run_options options_of(const ordered_json& manifest, const run_options& given) {
  run_options out = given;
  for (const run_mode mode : {run_mode::quick, run_mode::standard, run_mode::full}) {
    if (manifest["mode"] == to_string(mode)) out.mode = mode;
  }
  const ordered_json& plan = manifest["plan"];
  out.suites = plan["suites"].get<std::vector<std::string>>();
  out.filter = plan["filter"].is_null() ? "" : plan["filter"].get<std::string>();
  out.claims.clear();
  for (const ordered_json& file : plan.value("claims", ordered_json::array()))
    out.claims.emplace_back(file.get<std::string>());
  out.only_claims = plan.value("only_claims", false);
  out.repetitions = plan.value("asked", ordered_json()).is_null() ? 0 : plan["asked"].get<int>();
  out.seed = manifest["seed"].get<std::uint64_t>();
  out.machine = manifest["machine"].get<std::string>();
  return out;
}

/// The rows of `manifest` as the binaries list them; throws where those are not the ones that it was measured with.
std::vector<listed_row> rows_of(const ordered_json& manifest, const std::vector<bench_binary>& binaries,
                                const run_options& options) {
  const std::string label = (options.resume / "manifest.json").string();
  const auto changed = [&](const std::string& name) {
    return tool_error(fmt::format("{}: was begun with another {}", label, name));
  };
  const ordered_json& recorded = manifest["binaries"];
  if (recorded.size() != binaries.size()) throw changed("set of binaries");
  std::map<std::string, listed_row> listed;
  for (std::size_t i = 0; i < binaries.size(); ++i) {
    if (recorded[i]["name"] != binaries[i].name ||
        recorded[i]["sha256"] != sha256(read_file(binaries[i].file)))
      throw changed(binaries[i].name);
    for (listed_row& row : list_rows(binaries[i], i, options.launcher)) listed.emplace(row.name, row);
  }
  std::vector<listed_row> rows;
  for (const ordered_json& row : manifest["rows"]) {
    const auto at = listed.find(row["name"].get<std::string>());
    if (at == listed.end()) throw changed("list of rows");  // one that depends on the host
    rows.push_back(at->second);
  }
  return rows;
}

plan plan_of(const ordered_json& manifest) {
  const ordered_json& recorded = manifest["plan"];
  return {recorded["repetitions"].get<int>(), recorded["time_ms"].get<int>(),
          recorded["expected_seconds"].get<double>()};
}

/// One run from its first process to its last file.
class session {
 public:
  session(const run_options& options, std::vector<bench_binary> binaries, std::vector<listed_row> rows,
          std::optional<earlier_run> earlier)
      : options_(options),
        binaries_(std::move(binaries)),
        rows_(std::move(rows)),
        groups_(group_by_case(rows_)),
        budget_(budget_of(options.mode)),
        earlier_(std::move(earlier)),
        plan_(earlier_ ? plan_of(earlier_->manifest)
                       : make_plan(rows_, groups_, budget_, options.repetitions)),
        seed_(options.seed.value_or(std::random_device{}())),
        collected_(rows_),
        contexts_(binaries_.size()),
        given_up_(groups_.size()) {
    for (const bench_binary& binary : binaries_) hashes_.push_back(sha256(read_file(binary.file)));
    host_ = host_of(binaries_.front());
    machine_ = machine_of(options.machine, host_);
    if (earlier_) {
      go_on();
      return;
    }
    directory_ = make_directory(options.out, host_, machine_, "");
    std::error_code error;
    fs::create_directory(directory_ / "raw", error);
    if (error) {
      throw tool_error(fmt::format("{}: cannot be made: {}", (directory_ / "raw").string(), error.message()));
    }
  }

  exit_code measure();

 private:
  /// What one process of a case gave; `last_error` is the last line of its stderr.
  struct process_end {
    bool succeeded = false;
    bool cut = false;  // by an interruption
    bool timed_out = false;
    std::string outcome;
    std::string last_error;
  };

  void go_on();
  bool replay(int repetition, std::size_t group);
  void run_group(int repetition, std::size_t sequence, std::size_t group, progress& bar);
  void take(int repetition, std::size_t group, const raw_output& output, const std::string& raw_name,
            const process_end& end);
  void check_host(const ordered_json& context) const;
  [[nodiscard]] std::string stem_of(int repetition, std::size_t sequence, std::size_t group) const;
  void keep_histograms(int repetition);
  void record_process(int repetition, std::size_t sequence, std::size_t group, std::uint64_t order,
                      const child_result& child, const std::string& raw_name);
  void take_context(std::size_t binary, const ordered_json& context);
  void write_files(const char* status) const;
  [[nodiscard]] ordered_json manifest(const char* status) const;
  [[nodiscard]] ordered_json summary() const;
  [[nodiscard]] double timeout_of(const row_group& group) const;
  exit_code conclude(bool was_interrupted);

  const run_options& options_;
  std::vector<bench_binary> binaries_;
  std::vector<std::string> hashes_;  // per binary, as they were when the run began
  std::vector<listed_row> rows_;
  std::vector<row_group> groups_;
  budget budget_;
  std::optional<earlier_run> earlier_;
  plan plan_;
  std::uint64_t seed_;
  collector collected_;
  std::vector<ordered_json> contexts_;  // per binary, of its first process that wrote one
  std::vector<std::string> given_up_;   // per group: why it is not run any more
  tern_bench::host_facts host_;
  std::string machine_;
  std::string started_ = utc_now();
  fs::path directory_;
  ordered_json schedule_ = ordered_json::array();
  ordered_json resumed_ = ordered_json::array();
  int begun_ = 0;  // repetitions
  int done_ = 0;
  double wall_before_ = 0;  // of earlier sessions
  double wall_seconds_ = 0;
};

double session::timeout_of(const row_group& group) const {
  if (options_.timeout_seconds > 0) return options_.timeout_seconds;
  constexpr double least = 60;
  constexpr double slack = 6;
  return std::max(least, slack * group.cost_seconds(rows_, plan_.time_ms));
}

void session::take_context(std::size_t binary, const ordered_json& context) {
  if (!contexts_[binary].is_null() || context.empty()) return;
  const bool first =
      std::all_of(contexts_.begin(), contexts_.end(), [](const ordered_json& c) { return c.is_null(); });
  contexts_[binary] = context;
  if (!first) return;
  const auto told = tern_bench::from_context(json(context));
  if (told.arch) host_ = told;
}

void session::keep_histograms(int repetition) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_ / "hist.tmp", error)) {
    fs::rename(entry.path(),
               directory_ / "raw" / fmt::format("r{:02}.{}", repetition, entry.path().filename().string()),
               error);
    if (error)
      throw tool_error(fmt::format("{}: cannot keep a histogram: {}", directory_.string(), error.message()));
  }
  fs::remove_all(directory_ / "hist.tmp", error);
}

void session::record_process(int repetition, std::size_t sequence, std::size_t group, std::uint64_t order,
                             const child_result& child, const std::string& raw_name) {
  const ordered_json line = {
      {"repetition", repetition},
      {"sequence", sequence},
      {"binary", binaries_[groups_[group].binary].name},
      {"case", groups_[group].key},
      {"order_seed", order},
      {"rows", groups_[group].rows.size()},
      {"wall_ms", std::lround(child.seconds * 1000)},
      {"outcome", child.succeeded() ? "ok" : child.describe()},
      {"raw", raw_name.empty() ? ordered_json(nullptr) : ordered_json("raw/" + raw_name)}};
  schedule_.push_back(line);
  std::ofstream file(directory_ / journal_name, std::ios::binary | std::ios::app);
  file << to_text(line) << '\n';
  file.flush();
  if (!file) throw tool_error(fmt::format("{}: cannot be written", (directory_ / journal_name).string()));
}

/// Takes what a process wrote into the collection, and an error for each of its rows that is not there.
void session::take(int repetition, std::size_t index, const raw_output& output, const std::string& raw_name,
                   const process_end& end) {
  const row_group& group = groups_[index];
  const std::size_t errors_before = collected_.errors();
  for (const ordered_json& entry : output.entries) collected_.add(entry, repetition, raw_name);
  if (end.cut) return;
  std::string reason = end.outcome;
  if (!end.last_error.empty() && !end.timed_out) reason += ": " + end.last_error;
  if (end.succeeded) reason = "the binary did not report this row";
  for (const std::size_t row : group.rows) {
    if (!collected_.has(row, repetition)) collected_.add_error(row, repetition, reason);
  }
  if (!end.succeeded && collected_.errors() == errors_before) {
    collected_.add_process_error(group.key, repetition, reason);
  }
  if (end.timed_out) given_up_[index] = fmt::format("its process {} before", end.outcome);
}

/// Goes on in the directory of an earlier session. Its files stay as they are until a repetition is whole again.
void session::go_on() {
  directory_ = options_.resume;
  ordered_json manifest = earlier_->manifest;
  started_ = manifest["started_utc"].get<std::string>();
  wall_before_ = wall_seconds_ = manifest["wall_seconds"].get<double>();
  resumed_ = manifest.value("resumed_utc", ordered_json::array());
  resumed_.push_back(utc_now());
  manifest["status"] = "running";
  manifest["ended_utc"] = nullptr;
  manifest["resumed_utc"] = resumed_;
  write_json(directory_ / "manifest.json", manifest);
  std::error_code ignored;
  fs::remove_all(directory_ / "hist.tmp", ignored);
  drop_cut_line(directory_ / journal_name);
}

/// Takes a process of an earlier session from its raw file; false where there was none.
bool session::replay(int repetition, std::size_t index) {
  if (!earlier_) return false;
  const auto at = earlier_->processes.find({repetition, groups_[index].key});
  if (at == earlier_->processes.end()) return false;
  const ordered_json& line = at->second;
  process_end end;
  end.outcome = line["outcome"].get<std::string>();
  end.succeeded = end.outcome == "ok";
  end.timed_out = end.outcome.starts_with(timed_out_words);
  fs::path raw;
  if (!line["raw"].is_null()) raw = directory_ / line["raw"].get<std::string>();
  const raw_output output = raw.empty() ? raw_output{} : read_raw(raw);
  if (end.succeeded && output.entries.empty()) return false;  // the file has gone
  if (!end.succeeded) {
    const fs::path said = directory_ / "raw" /
                          (stem_of(repetition, line["sequence"].get<std::size_t>(), index) + ".stderr.txt");
    std::error_code ignored;
    if (fs::exists(said, ignored)) end.last_error = last_line_of(read_file(said));
  }
  take_context(groups_[index].binary, output.context);
  take(repetition, index, output, raw.filename().string(), end);
  schedule_.push_back(line);
  return true;
}

/// All of a resumed run is of one machine, as the first binary that was heard told it.
void session::check_host(const ordered_json& context) const {
  const bool heard =
      std::any_of(contexts_.begin(), contexts_.end(), [](const ordered_json& c) { return !c.is_null(); });
  if (!earlier_ || !heard || context.empty()) return;
  const auto told = tern_bench::from_context(json(context));
  if (!told.arch) return;
  const auto changes =
      host_changes(ordered_json(tern_bench::to_json(host_)), ordered_json(tern_bench::to_json(told)));
  if (!changes.empty())
    throw tool_error(fmt::format("{}: was begun on another host ({})", directory_.string(), changes.front()),
                     exit_code::not_comparable);
}

std::string session::stem_of(int repetition, std::size_t sequence, std::size_t group) const {
  std::string stem = fmt::format("r{:02}.{:03}.{}", repetition, sequence, groups_[group].key);
  std::replace(stem.begin(), stem.end(), '/', '.');
  return stem;
}

void session::run_group(int repetition, std::size_t sequence, std::size_t index, progress& bar) {
  const row_group& group = groups_[index];
  if (!given_up_[index].empty()) {
    for (const std::size_t row : group.rows)
      collected_.add_error(row, repetition, "not run: " + given_up_[index]);
    return;
  }
  std::vector<std::string> names;
  for (const std::size_t row : group.rows) names.push_back(rows_[row].name);
  const std::string stem = stem_of(repetition, sequence, index);
  const fs::path raw = fs::absolute(directory_ / "raw" / (stem + ".json"));
  const fs::path hist = fs::absolute(directory_ / "hist.tmp");
  std::error_code error;
  for (const char* left : {".json", ".json.partial", ".stderr.txt"})  // of a process that was cut off
    fs::remove(directory_ / "raw" / (stem + left), error);
  fs::create_directory(hist, error);
  const std::uint64_t stream = static_cast<std::uint64_t>(repetition + 1) * 100003 + index;
  const std::uint64_t order = derive_seed(seed_, stream) >> 32;
  const child_command command{
      binaries_[group.binary].file,
      options_.launcher,
      {"--benchmark_filter=" + filter_for(names), fmt::format("--tern_order={}", order),
       fmt::format("--tern_time_ms={}", plan_.time_ms), "--tern_hist_dir=" + hist.string(),
       "--benchmark_out=" + raw.string(), "--benchmark_out_format=json"},
      timeout_of(group)};
  const child_result child = run_child(command, [&] { bar.tick(); });
  const raw_output output = read_raw(raw);
  check_host(output.context);
  std::string raw_name;
  if (fs::exists(raw, error)) {
    raw_name = raw.filename().string();
    if (!output.complete) {
      raw_name += ".partial";
      fs::rename(raw, directory_ / "raw" / raw_name, error);
    }
  }
  if (!child.succeeded() && !child.err.empty())
    write_file(directory_ / "raw" / (stem + ".stderr.txt"), child.err);
  take_context(group.binary, output.context);
  keep_histograms(repetition);
  using ending = child_result::ending;
  take(repetition, index, output, raw_name,
       {child.succeeded(), child.how == ending::interrupted, child.how == ending::timed_out, child.describe(),
        child.last_error_line()});
  record_process(repetition, sequence, index, order, child, raw_name);
}

exit_code session::measure() {
  fmt::print(stderr, "ternbench: {} rows of {} cases, {} repetitions at {} ms per row, about {}; seed {}\n",
             rows_.size(), groups_.size(), plan_.repetitions, plan_.time_ms, format_duration(plan_.seconds),
             seed_);
  fmt::print(stderr, "run directory: {}\n", directory_.string());
  if (!earlier_) write_files("running");
  double pass = 0;
  for (const row_group& g : groups_) pass += g.cost_seconds(rows_, plan_.time_ms);
  const int last = earlier_ ? earlier_->last : -1;
  {
    progress bar(plan_.seconds);
    int target = std::max(plan_.repetitions, last + 1);
    // What was recorded is taken even after an interruption: the files that are written then must have all of it.
    for (int repetition = 0; repetition < target && (!interrupted() || repetition <= last); ++repetition) {
      begun_ = repetition + 1;
      double spent = pass * repetition;
      bool whole = true;
      std::size_t sequence = 0;
      for (const std::size_t group :
           shuffled(groups_.size(), derive_seed(seed_, static_cast<std::uint64_t>(repetition)))) {
        bar.update(spent, pass * target, fmt::format("{}/{} {}", repetition + 1, target, groups_[group].key));
        if (!replay(repetition, group)) {
          if (!interrupted()) run_group(repetition, sequence, group, bar);
          whole = whole && !interrupted();
        }
        ++sequence;
        spent += groups_[group].cost_seconds(rows_, plan_.time_ms);
      }
      if (whole && done_ == repetition) done_ = begun_;
      wall_seconds_ = wall_before_ + bar.elapsed();
      if (repetition < last) continue;
      if (options_.repetitions <= 0) target = adapt_repetitions(plan_, budget_, done_, wall_seconds_);
      write_files("running");
    }
  }
  return conclude(interrupted());
}

exit_code session::conclude(bool was_interrupted) {
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    if (collected_.empty(row)) collected_.add_error(row, 0, "not run: interrupted before its turn");
  }
  const std::vector<std::string> mismatches = collected_.checksum_mismatches();
  write_files(was_interrupted ? "interrupted" : "complete");
  const run_data result = load_run(directory_);
  std::fputs(render(result, show_options{}, palette::for_descriptor(STDOUT_FILENO)).c_str(), stdout);
  fmt::print("\nrun directory: {}\n", directory_.string());
  std::fflush(stdout);
  constexpr std::size_t shown = 10;
  const auto& errors = collected_.error_lines();
  for (std::size_t i = 0; i < std::min(shown, errors.size()); ++i)
    fmt::print(stderr, "ternbench run: {}\n", errors[i]);
  if (errors.size() > shown)
    fmt::print(stderr, "ternbench run: and {} more errors (manifest.json)\n", errors.size() - shown);
  for (const std::string& line : mismatches) fmt::print(stderr, "ternbench run: {}\n", line);
  if (was_interrupted) {
    fmt::print(stderr, "ternbench run: interrupted; what was measured is kept, --resume {} goes on\n",
               directory_.string());
    return exit_code::interrupted;
  }
  if (!mismatches.empty()) return exit_code::checksum_differs;
  return collected_.errors() > 0 ? exit_code::rows_errored : exit_code::ok;
}

void session::write_files(const char* status) const {
  write_json(directory_ / "summary.json", summary());
  write_json(directory_ / "manifest.json", manifest(status));
  std::error_code ignored;
  fs::remove(directory_ / journal_name, ignored);
}

ordered_json session::summary() const {
  ordered_json context = ordered_json::object();
  for (const ordered_json& theirs : contexts_) {
    if (theirs.is_null()) continue;
    for (const auto& [key, value] : theirs.items()) {
      const bool dropped = key == "host_name" || key == "executable" || key == "load_avg" ||
                           key == "tern_order" || key == "tern_time_ms";
      if (!dropped && !context.contains(key)) context[key] = value;
    }
  }
  if (!context.contains("date")) context["date"] = started_;
  for (const auto& [key, text] : tern_bench::to_context(host_)) context[key] = text;
  context["tern_schema"] = summary_schema;
  context["tern_machine"] = machine_;
  context["tern_mode"] = to_string(options_.mode);
  context["tern_seed"] = std::to_string(seed_);
  context["tern_time_ms"] = std::to_string(plan_.time_ms);
  return {{"context", context}, {"benchmarks", collected_.benchmarks(std::max(begun_, 1))}};
}

ordered_json session::manifest(const char* status) const {
  ordered_json binaries = ordered_json::array();
  for (std::size_t i = 0; i < binaries_.size(); ++i) {
    binaries.push_back(binary_record(binaries_[i], hashes_[i], contexts_[i]));
  }
  ordered_json rows = ordered_json::array();
  for (const listed_row& row : rows_) rows.push_back(row.to_json());
  ordered_json claims = ordered_json::array();
  for (const fs::path& file : options_.claims) claims.push_back(file.string());
  const bool running = std::string_view(status) == "running";
  ordered_json out = {
      {"schema", manifest_schema},
      {"status", status},
      {"tool", {{"name", "ternbench"}, {"version", TERNBENCH_VERSION}}},
      {"started_utc", started_},
      {"ended_utc", running ? ordered_json(nullptr) : ordered_json(utc_now())},
      {"wall_seconds", wall_seconds_},
      {"mode", to_string(options_.mode)},
      {"machine", machine_},
      {"seed", seed_},
      {"host", ordered_json(tern_bench::to_json(host_))},
      {"binaries", binaries},
      {"plan",
       {{"budget_seconds", budget_.seconds},
        {"expected_seconds", plan_.seconds},
        {"repetitions", plan_.repetitions},
        {"asked", options_.repetitions > 0 ? ordered_json(options_.repetitions) : ordered_json(nullptr)},
        {"time_ms", plan_.time_ms},
        {"suites", options_.suites},
        {"claims", claims},
        {"only_claims", options_.only_claims},
        {"filter", options_.filter.empty() ? ordered_json(nullptr) : ordered_json(options_.filter)}}},
      {"repetitions_done", done_},
      {"rows", rows},
      {"schedule", schedule_},
      {"errors", collected_.error_lines()},
      {"checksum_mismatches", collected_.checksum_mismatches()}};
  if (!resumed_.empty()) out["resumed_utc"] = resumed_;
  return out;
}

}  // namespace

exit_code run(const run_options& options) {
  catch_interrupts();
  std::vector<bench_binary> binaries = find_binaries(options.bin);
  if (options.resume.empty()) {
    std::vector<listed_row> rows = choose_rows(binaries, options);
    return session(options, std::move(binaries), std::move(rows), std::nullopt).measure();
  }
  earlier_run earlier = read_earlier(options.resume);
  const run_options same = options_of(earlier.manifest, options);
  std::vector<listed_row> rows = rows_of(earlier.manifest, binaries, same);
  return session(same, std::move(binaries), std::move(rows), std::move(earlier)).measure();
}

}  // namespace ternbench

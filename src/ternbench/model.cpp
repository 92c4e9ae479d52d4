#include "model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "error.hpp"
#include "schema_id.hpp"

namespace ternbench {
namespace {

// Keys of an entry that Google Benchmark itself writes; every other number is a counter.
constexpr std::array own_keys{"family_index",
                              "per_family_instance_index",
                              "repetitions",
                              "repetition_index",
                              "threads",
                              "iterations",
                              "real_time",
                              "cpu_time",
                              "real_coefficient",
                              "cpu_coefficient",
                              "rms"};

double number_at(const ordered_json& object, const char* key, const std::string& label) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_number()) {
    throw tool_error(fmt::format("{}: row \"{}\" has no number \"{}\"", label, text_at(object, "name"), key));
  }
  return at->get<double>();
}

void read_context(const ordered_json& context, run_data& run, const std::string& label) {
  run.schema = text_at(context, "tern_schema");
  if (!run.schema.empty()) require_schema(run.schema, "tern.summary", label);
  run.date = text_at(context, "date");
  run.machine = text_at(context, "tern_machine");
  run.mode = text_at(context, "tern_mode");
  run.host = tern_bench::from_context(json(context));
  for (const auto& [key, value] : context.items()) {
    const bool version =
        key == "library_version" || key == "library_build_type" || key.starts_with("tern_subject_");
    if (version && value.is_string()) run.versions[key] = value.get<std::string>();
  }
}

bool is_aggregate(const ordered_json& entry) {
  return text_at(entry, "run_type") == "aggregate" || entry.contains("aggregate_name");
}

/// Of a file with aggregates alone (--benchmark_report_aggregates_only) each median, or mean where there is none, as one repetition.
std::vector<ordered_json> stand_ins(const ordered_json& entries) {
  std::vector<ordered_json> out;
  for (const char* wanted : {"median", "mean"}) {
    for (const ordered_json& entry : entries) {
      if (!entry.is_object() || text_at(entry, "aggregate_name") != wanted ||
          text_at(entry, "run_name").empty())
        continue;
      ordered_json row = entry;
      row["name"] = row["run_name"];
      row["run_type"] = "iteration";
      row.erase("aggregate_name");
      row.erase("repetition_index");
      const bool there = std::any_of(out.begin(), out.end(),
                                     [&](const ordered_json& other) { return other["name"] == row["name"]; });
      if (!there) out.push_back(std::move(row));
    }
  }
  return out;
}

/// Adds a sample to its row, and the row where it is the first; `index` has the places of the rows.
void read_entry(const ordered_json& entry, run_data& run, std::map<std::string, std::size_t>& index,
                const std::string& label) {
  if (!entry.is_object() || text_at(entry, "name").empty())
    throw tool_error(fmt::format("{}: an entry of \"benchmarks\" has no name", label));
  if (is_aggregate(entry)) return;
  const std::string name = strip_suffixes(text_at(entry, "name"));
  const auto [at, added] = index.emplace(name, run.rows.size());
  if (added) {
    row_data row{name, parse_row_name(name), text_at(entry, "tern_role"), {}};
    if (row.role.empty()) row.role = default_role(row.parts.subject);
    run.rows.push_back(std::move(row));
  }
  row_data& row = run.rows[at->second];
  sample s = to_sample(entry, label);
  if (!entry.contains("repetition_index")) s.repetition = static_cast<std::int64_t>(row.samples.size());
  const bool twice = std::any_of(row.samples.begin(), row.samples.end(),
                                 [&](const sample& other) { return other.repetition == s.repetition; });
  if (twice && !run.schema.empty())
    throw tool_error(fmt::format("{}: row \"{}\" has repetition {} twice", label, name, s.repetition));
  if (twice) s.repetition = static_cast<std::int64_t>(row.samples.size());  // two benchmarks of one name
  row.samples.push_back(std::move(s));
}

}  // namespace

const std::vector<metric>& shown_metrics() {
  static const std::vector<metric> metrics{
      {"time", "", metric::unit::nanoseconds},
      {"cpu", "cpu_ns_per_op", metric::unit::nanoseconds},
      {"p50", "p50", metric::unit::nanoseconds},
      {"p99", "p99", metric::unit::nanoseconds},
      {"bytes/op", "bytes_per_op", metric::unit::bytes},
      {"rss", "rss_bytes", metric::unit::bytes},
      {"instructions", "instructions_per_op", metric::unit::count},
  };
  return metrics;
}

const metric& metric_of(std::string_view counter) {
  const auto& all = shown_metrics();
  return *std::find_if(all.begin(), all.end(), [&](const metric& m) { return m.counter == counter; });
}

std::string default_role(std::string_view subject) {
  for (const char* ours : {"tern", "tern_tiny", "tern_task", "tern_preload"}) {
    if (subject == ours) return "subject";
  }
  for (const char* peer : {"go", "boost_fiber", "mimalloc", "jemalloc", "tcmalloc", "boehm"}) {
    if (subject == peer) return "peer";
  }
  return "baseline";
}

double nanoseconds_per(const std::string& unit, const std::string& label) {
  if (unit == "ns") return 1;
  if (unit == "us") return 1e3;
  if (unit == "ms") return 1e6;
  if (unit == "s") return 1e9;
  throw tool_error(fmt::format("{}: unknown time unit \"{}\"", label, unit));
}

sample to_sample(const ordered_json& entry, const std::string& label) {
  sample s;
  const auto repetition = entry.find("repetition_index");
  if (repetition != entry.end() && repetition->is_number_integer())
    s.repetition = repetition->get<std::int64_t>();
  const auto flag = [&](const char* key) {
    return entry.contains(key) && entry[key].is_boolean() && entry[key].get<bool>();
  };
  if (flag("error_occurred")) {
    s.error = text_at(entry, "error_message");
    if (s.error.empty()) s.error = "error without a message";
    return s;
  }
  if (flag("skipped")) {  // Google Benchmark 1.8 and later
    s.error = "skipped: " + text_at(entry, "skip_message");
    return s;
  }
  s.real_ns = number_at(entry, "real_time", label);
  s.cpu_ns = number_at(entry, "cpu_time", label);
  const double factor = nanoseconds_per(text_at(entry, "time_unit"), label);
  s.real_ns *= factor;
  s.cpu_ns *= factor;
  for (const auto& [key, value] : entry.items()) {
    const bool own = std::find(own_keys.begin(), own_keys.end(), key) != own_keys.end();
    if (!own && value.is_number()) s.counters.emplace(printable(key), value.get<double>());
  }
  return s;
}

std::vector<double> row_data::values(const metric& m) const {
  std::vector<double> out;
  for (const sample& s : samples) {
    if (!s.ok()) continue;
    double v = s.real_ns;
    if (!m.counter.empty()) {
      const auto at = s.counters.find(std::string(m.counter));
      if (at == s.counters.end()) continue;
      v = at->second;
    }
    if (std::isfinite(v) && v > 0) out.push_back(v);
  }
  return out;
}

bool row_data::all_skipped() const {
  return !samples.empty() &&
         std::all_of(samples.begin(), samples.end(), [](const sample& s) { return s.skipped(); });
}

std::string row_data::error_text() const {
  const auto is_error = [](const sample& s) { return !s.ok() && !s.skipped(); };
  const auto first = std::find_if(samples.begin(), samples.end(), is_error);
  if (first == samples.end()) return {};
  const auto count = std::count_if(samples.begin(), samples.end(), is_error);
  if (samples.size() == 1) return first->error;
  return fmt::format("{} of {} repetitions: {}", count, samples.size(), first->error);
}

std::string row_data::skip_reason() const {
  const auto first =
      std::find_if(samples.begin(), samples.end(), [](const sample& s) { return s.skipped(); });
  if (first == samples.end()) return {};
  std::string reason = first->error.substr(std::string_view("skipped:").size());
  reason.erase(0, std::min(reason.find_first_not_of(' '), reason.size()));
  return reason;
}

paired_values pair_by_repetition(const row_data& a, const row_data& b, const metric& m) {
  paired_values out;
  for (const sample& s : a.samples) {
    row_data left{a.name, a.parts, a.role, {s}};
    row_data right{b.name, b.parts, b.role, {}};
    for (const sample& t : b.samples) {
      if (t.repetition == s.repetition) right.samples = {t};
    }
    const auto x = left.values(m);
    const auto y = right.values(m);
    if (x.size() != 1 || y.size() != 1) continue;
    out.a.push_back(x.front());
    out.b.push_back(y.front());
  }
  return out;
}

const row_data* run_data::find(std::string_view name) const {
  const auto at = std::find_if(rows.begin(), rows.end(), [&](const row_data& r) { return r.name == name; });
  return at == rows.end() ? nullptr : &*at;
}

run_data load_run(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    file = path / "summary.json";
    if (!std::filesystem::exists(file, ignored)) {
      throw tool_error(fmt::format("{}: is not a run directory (it has no summary.json)", path.string()));
    }
  }
  const std::string label = file.string();
  ordered_json document = read_json(file);
  make_printable(document);
  // Files of others may have no context: Google Benchmark's own examples do not all have one.
  const bool shaped = document.is_object() && document.contains("benchmarks") &&
                      document["benchmarks"].is_array() &&
                      (!document.contains("context") || document["context"].is_object());
  if (!shaped)
    throw tool_error(fmt::format("{}: is not a Google Benchmark file (it has no \"benchmarks\")", label));
  run_data run;
  run.label = path.string();
  read_context(document.value("context", ordered_json::object()), run, label);
  std::map<std::string, std::size_t> index;
  const ordered_json& entries = document["benchmarks"];
  for (const ordered_json& entry : entries) read_entry(entry, run, index, label);
  if (run.rows.empty() && !entries.empty()) {
    for (const ordered_json& entry : stand_ins(entries)) read_entry(entry, run, index, label);
    if (run.rows.empty())
      throw tool_error(fmt::format("{}: has aggregates only, and no median or mean among them", label));
  }
  return run;
}

}  // namespace ternbench

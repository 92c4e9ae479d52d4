#include "export.hpp"

#include <fmt/format.h>

#include <cmath>

#include "stats.hpp"

namespace ternbench {
namespace {

const char* unit_text(metric::unit unit) {
  return unit == metric::unit::nanoseconds ? "ns" : unit == metric::unit::bytes ? "bytes" : "count";
}

/// RFC 4180: quoted where it has to be.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

/// Calls action(row, metric, repetition, value) for each value, and action(row, nullptr, repetition, 0) for a failed sample.
template <class Action>
void for_each_value(const run_data& run, Action action) {
  for (const row_data& row : run.rows) {
    for (const sample& s : row.samples) {
      if (!s.ok()) {
        action(row, nullptr, s, 0.0);
        continue;
      }
      for (const metric& m : shown_metrics()) {
        const auto values = row_data{row.name, row.parts, row.role, {s}}.values(m);
        if (!values.empty()) action(row, &m, s, values.front());
      }
    }
  }
}

}  // namespace

std::string to_csv(const run_data& run) {
  std::string out = "row,role,metric,unit,repetition,value\r\n";
  for_each_value(run, [&](const row_data& row, const metric* m, const sample& s, double value) {
    out += fmt::format("{},{},{},{},{},{}\r\n", csv_cell(row.name), row.role,
                       m == nullptr ? "error" : m->name, m == nullptr ? "" : unit_text(m->in), s.repetition,
                       m == nullptr ? csv_cell(s.error) : fmt::format("{}", value));
  });
  return out;
}

std::string to_jsonl(const run_data& run) {
  std::string out;
  for_each_value(run, [&](const row_data& row, const metric* m, const sample& s, double value) {
    ordered_json line = {{"row", row.name}, {"role", row.role}, {"repetition", s.repetition}};
    if (m == nullptr) {
      line["error"] = s.error;
    } else {
      line["metric"] = m->name;
      line["unit"] = unit_text(m->in);
      line["value"] = value;
    }
    out += to_text(line) + "\n";
  });
  return out;
}

std::string to_github_action_benchmark(const run_data& run) {
  ordered_json out = ordered_json::array();
  for (const row_data& row : run.rows) {
    for (const metric& m : shown_metrics()) {
      const auto values = row.values(m);
      if (values.empty()) continue;
      ordered_json entry = {{"name", m.counter.empty() ? row.name : fmt::format("{} [{}]", row.name, m.name)},
                            {"unit", unit_text(m.in)},
                            {"value", median(values)}};
      if (values.size() > 1)
        entry["range"] = fmt::format("± {:.4g}", (quantile(values, 0.75) - quantile(values, 0.25)) / 2);
      entry["extra"] = fmt::format("{} repetitions, {}", values.size(), row.role);
      out.push_back(std::move(entry));
    }
  }
  return to_text(out, 1) + "\n";
}

}  // namespace ternbench

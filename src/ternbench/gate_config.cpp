#include "gate_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "error.hpp"
#include "json_io.hpp"
#include "mistakes.hpp"
#include "schema_check.hpp"

namespace ternbench {
namespace {

/// A day of the Gregorian calendar, as YYYY-MM-DD.
bool is_day(const std::string& text) {
  int year = 0;
  int month = 0;
  int day = 0;
  if (text.size() != 10 || std::sscanf(text.c_str(), "%4d-%2d-%2d", &year, &month, &day) != 3) return false;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  const int days[] = {31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

void check_rows(const ordered_json& document, const gate_config& config, mistakes& wrong) {
  std::set<std::string> known;
  for (std::size_t i = 0; i < config.set.size(); ++i) {
    const std::string at = fmt::format("/set/{}", i);
    if (!known.insert(config.set[i]).second) wrong.add(at, fmt::format("\"{}\" stands twice", config.set[i]));
  }
  const auto check_known = [&](const std::string& at, const std::string& row) {
    if (!known.contains(row)) wrong.add(at, fmt::format("\"{}\" is not in the set", row));
  };
  for (const auto& [arch, floors] : config.floors) {
    for (const auto& [row, floor] : floors.rows) {
      check_known(fmt::format("/floors/{}/rows/{}", arch, escape_step(row)), row);
    }
  }
  for (std::size_t i = 0; i < config.allowed.size(); ++i)
    check_known(fmt::format("/allowed/{}/row", i), config.allowed[i].row);
  std::set<std::string> waived;
  for (std::size_t i = 0; i < config.waivers.size(); ++i) {
    const waiver& w = config.waivers[i];
    const std::string at = fmt::format("/waivers/{}", i);
    check_known(at + "/row", w.row);
    if (!waived.insert(w.row + " " + w.metric + " " + w.arch).second)
      wrong.add(at, fmt::format("a second waiver of {} [{}] on {}", w.row, w.metric, w.arch));
    if (!is_day(w.expires)) wrong.add(at + "/expires", fmt::format("\"{}\" is not a day", w.expires));
  }
  const gate_settings& s = config.settings;
  if (document["settings"].contains("advisory_above") && s.advisory_above < s.least_floor)
    wrong.add("/settings/advisory_above", "is below least_floor: every row would be advisory");
}

}  // namespace

bool gate_config::allows(const std::string& row, const std::string& change) const {
  return std::any_of(allowed.begin(), allowed.end(),
                     [&](const allowed_change& a) { return a.row == row && a.change == change; });
}

gate_config load_gate_config(const std::filesystem::path& file) {
  const std::string text = read_file(file);
  ordered_json document = parse_json(text, file.string());
  make_printable(document);
  if (schema_of(document, file.string()) != "gate")
    throw tool_error(fmt::format("{}: is not a gate configuration (schema tern.gate/1)", file.string()));
  mistakes wrong(file.string(), text);
  wrong.add_schema_errors(schema_errors("gate", document));
  wrong.end();

  gate_config config;
  config.file = file;
  gate_settings& s = config.settings;
  for (const auto& [name, field] : {std::pair{"least_floor", &s.least_floor},
                                    {"advisory_above", &s.advisory_above},
                                    {"least_ns", &s.least_ns},
                                    {"family_error", &s.family_error},
                                    {"invalid_share", &s.invalid_share},
                                    {"inconclusive_share", &s.inconclusive_share},
                                    {"exact_limit", &s.exact_limit}}) {
    *field = document["settings"].value(name, *field);
  }
  config.set = document["set"].get<std::vector<std::string>>();
  for (const auto& [arch, floors] : document["floors"].items()) {
    learnt_floors& learnt = config.floors[arch];
    learnt.machine = floors["machine"].get<std::string>();
    learnt.runs = floors["runs"].get<std::size_t>();
    for (const auto& [row, floor] : floors["rows"].items()) learnt.rows[row] = floor.get<double>();
  }
  for (const ordered_json& a : document["allowed"]) {
    config.allowed.push_back(
        {a["row"].get<std::string>(), a["change"].get<std::string>(), a["reason"].get<std::string>()});
  }
  for (std::size_t i = 0; i < document["waivers"].size(); ++i) {
    const ordered_json& w = document["waivers"][i];
    const auto word = [&](const char* key) { return w[key].get<std::string>(); };
    config.waivers.push_back({word("row"), word("metric"), word("arch"), w["ceiling"].get<double>(),
                              word("expires"), word("reason"), line_of(text, fmt::format("/waivers/{}", i))});
  }
  check_rows(document, config, wrong);
  wrong.end();
  return config;
}

void write_floors(const std::filesystem::path& file, const std::string& arch, const learnt_floors& floors) {
  ordered_json document = read_json(file);
  ordered_json rows = ordered_json::object();
  constexpr double steps = 1e4;
  for (const auto& [row, floor] : floors.rows) rows[row] = std::ceil(floor * steps) / steps;
  document["floors"][arch] = {{"machine", floors.machine}, {"runs", floors.runs}, {"rows", rows}};
  write_json(file, document);
}

}  // namespace ternbench

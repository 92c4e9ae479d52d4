#include "collect.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "error.hpp"
#include "model.hpp"
#include "row_name.hpp"

namespace ternbench {
namespace {

/// Google Benchmark writes entry after entry, so a cut file holds whole ones before the cut: closes the document after the
/// last of them.
std::optional<ordered_json> salvage(std::string_view text) {
  constexpr std::string_view end_of_entry = "\n    }";
  for (auto at = text.rfind(end_of_entry); at != std::string_view::npos && at > 0;
       at = text.rfind(end_of_entry, at - 1)) {
    const std::string closed = std::string(text.substr(0, at + end_of_entry.size())) + "]}";
    ordered_json value = ordered_json::parse(closed, nullptr, false);
    if (!value.is_discarded()) return value;
  }
  return std::nullopt;
}

}  // namespace

raw_output read_raw(const std::filesystem::path& file) {
  raw_output out;
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return out;
  const std::string text = read_file(file);
  std::optional<ordered_json> document;
  try {
    document = parse_json(text, file.filename().string());
    out.complete = document->is_object() && document->contains("benchmarks");
  } catch (const tool_error&) {
    document = salvage(text);
  }
  if (!document || !document->is_object()) return out;
  if (document->contains("context") && (*document)["context"].is_object())
    out.context = (*document)["context"];
  if (document->contains("benchmarks") && (*document)["benchmarks"].is_array()) {
    for (const ordered_json& entry : (*document)["benchmarks"]) out.entries.push_back(entry);
  }
  return out;
}

collector::collector(const std::vector<listed_row>& rows) : rows_(rows), entries_(rows.size()) {
  for (const listed_row& row : rows) names_.push_back(row.name);
}

std::optional<std::size_t> collector::add(const ordered_json& raw, int repetition, const std::string& label) {
  if (text_at(raw, "run_type") == "aggregate") return std::nullopt;
  const std::string name = match_known(text_at(raw, "name"), names_);
  if (name.empty()) return std::nullopt;
  const auto row = static_cast<std::size_t>(std::find(names_.begin(), names_.end(), name) - names_.begin());
  const sample s = to_sample(raw, label);
  if (!s.ok()) {
    add_error(row, repetition, s.error);
    return row;
  }
  if (!std::isfinite(s.real_ns) || s.real_ns <= 0) {
    add_error(row, repetition, "no time above zero was measured");
    return row;
  }
  ordered_json entry = {{"name", name},
                        {"run_name", name},
                        {"run_type", "iteration"},
                        {"repetitions", 0},
                        {"repetition_index", repetition},
                        {"threads", raw.value("threads", 1)},
                        {"iterations", raw.value("iterations", std::int64_t{0})},
                        {"real_time", s.real_ns},
                        {"cpu_time", s.cpu_ns},
                        {"time_unit", "ns"},
                        {"tern_role", rows_[row].role}};
  if (const std::string text = text_at(raw, "label"); !text.empty()) entry["label"] = text;
  for (const auto& [key, value] : s.counters) {
    if (entry.contains(key)) continue;
    if (key == "checksum" && value == std::floor(value) && std::fabs(value) < 0x1p53) {
      entry[key] = static_cast<std::int64_t>(value);
    } else {
      entry[key] = value;
    }
  }
  entries_[row].insert_or_assign(repetition, std::move(entry));
  return row;
}

void collector::add_error(std::size_t row, int repetition, const std::string& message) {
  const std::string& name = names_[row];
  ordered_json entry = {{"name", name},
                        {"run_name", name},
                        {"run_type", "iteration"},
                        {"repetitions", 0},
                        {"repetition_index", repetition},
                        {"threads", 1},
                        {"error_occurred", true},
                        {"error_message", message},
                        {"iterations", 0},
                        {"real_time", 0.0},
                        {"cpu_time", 0.0},
                        {"time_unit", "ns"},
                        {"tern_role", rows_[row].role}};
  entries_[row].insert_or_assign(repetition, std::move(entry));
  if (!message.starts_with("skipped:")) note_error(name, repetition, message);
}

void collector::add_process_error(const std::string& case_key, int repetition, const std::string& message) {
  note_error(case_key, repetition, message);
}

void collector::note_error(const std::string& who, int repetition, const std::string& message) {
  ++errors_;
  error_lines_.push_back(fmt::format("{} (repetition {}): {}", who, repetition, message));
}

std::vector<std::string> collector::checksum_mismatches() const {
  struct first_seen {
    double value;
    std::string who;
    bool reported = false;
  };
  std::map<std::string, first_seen> groups;
  std::vector<std::string> lines;
  for (std::size_t row = 0; row < entries_.size(); ++row) {
    const row_name parts = parse_row_name(names_[row]);
    for (const auto& [repetition, entry] : entries_[row]) {
      const auto sum = entry.find("checksum");
      if (sum == entry.end()) continue;
      const double value = sum->get<double>();
      const std::string who = fmt::format("{} {:.0f} (repetition {})", parts.subject, value, repetition);
      auto [at, added] = groups.try_emplace(parts.group(), first_seen{value, who});
      if (added || at->second.value == value || at->second.reported) continue;
      lines.push_back(fmt::format("checksums of {} differ: {}, {}", parts.group(), at->second.who, who));
      at->second.reported = true;
    }
  }
  return lines;
}

ordered_json collector::benchmarks(int repetitions) const {
  ordered_json out = ordered_json::array();
  for (std::size_t row = 0; row < entries_.size(); ++row) {
    for (const auto& [repetition, entry] : entries_[row]) {
      ordered_json copy = entry;
      copy["repetitions"] = repetitions;
      copy["family_index"] = row;
      copy["per_family_instance_index"] = 0;
      out.push_back(std::move(copy));
    }
  }
  return out;
}

}  // namespace ternbench

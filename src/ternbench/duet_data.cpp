#include "duet_data.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <sstream>

#include "error.hpp"
#include "schema_check.hpp"
#include "schema_id.hpp"
#include "session.hpp"
#include "stats.hpp"

namespace ternbench {
namespace {

constexpr std::array slot_names{"base", "again", "head"};

/// The host facts in the form that from_context() reads.
tern_bench::host_facts host_from(const ordered_json& object) {
  json context = json::object();
  for (const auto& [key, value] : object.items()) {
    if (!value.is_null()) context["tern_" + key] = value.is_string() ? json(value) : json(value.dump());
  }
  return tern_bench::from_context(context);
}

/// Salts are one build: what is told of it is what its first link's binaries say, but for the hash.
std::vector<std::string> build_differences(const ordered_json& base, const ordered_json& head) {
  std::vector<std::string> out;
  for (const ordered_json& ours : base.front()) {
    for (const ordered_json& theirs : head.front()) {
      if (ours["name"] != theirs["name"]) continue;
      for (const char* key : {"compiler", "flags", "build_type"}) {
        if (ours[key] == theirs[key] || ours[key].is_null() || theirs[key].is_null()) continue;
        out.push_back(fmt::format("{} of {}: {} -> {}", key, ours["name"].get<std::string>(),
                                  fact_text(ours[key]), fact_text(theirs[key])));
      }
    }
  }
  return out;
}

sample sample_of(const duet_line& line, const std::string& label) {
  sample s;
  s.repetition = static_cast<std::int64_t>(line.block);
  if (line.outcome != "ok" || line.entry.is_null()) {
    s.error = line.outcome == "ok" ? "the binary did not report this row" : line.outcome;
    return s;
  }
  s = to_sample(line.entry, label);
  s.repetition = static_cast<std::int64_t>(line.block);
  if (s.ok() && !(std::isfinite(s.real_ns) && s.real_ns > 0)) s.error = "no time above zero was measured";
  if (s.ok()) s.counters["iterations"] = line.entry.value("iterations", 0.0);
  return s;
}

/// A round of turns lies within milliseconds, so what is compared within a block are the turns of a round: `other` becomes base times
/// the median of those ratios.
void compare_by_turns(sample& other, const std::vector<double>& theirs, const sample& base,
                      const std::vector<double>& ours) {
  if (!base.ok() || !other.ok() || theirs.size() != ours.size() || ours.size() < 2) return;
  std::vector<double> ratios;
  for (std::size_t turn = 0; turn < ours.size(); ++turn) {
    if (!(ours[turn] > 0 && theirs[turn] > 0)) return;
    ratios.push_back(theirs[turn] / ours[turn]);
  }
  other.real_ns = base.real_ns * median(ratios);
}

}  // namespace

const char* to_string(slot s) { return slot_names[static_cast<std::size_t>(s)]; }

bool is_duet(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path / "duet.json", ignored);
}

std::vector<duet_line> read_duet_lines(const std::filesystem::path& directory,
                                       const std::vector<std::string>& rows) {
  const std::filesystem::path file = directory / "raw.jsonl";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return {};
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < rows.size(); ++i) index[rows[i]] = i;
  const std::string text = read_file(file);
  std::vector<duet_line> lines;
  std::size_t number = 0;
  for (std::size_t start = 0; start < text.size();) {
    const auto end = text.find('\n', start);
    if (end == std::string::npos) break;  // cut off while it was written
    const std::string label = fmt::format("{}:{}", file.string(), ++number);
    ordered_json object = parse_json(std::string_view(text).substr(start, end - start), label);
    make_printable(object);
    start = end + 1;
    duet_line line;
    try {
      line.block = object.at("block").get<std::size_t>();
      line.row = index.at(object.at("row").get<std::string>());
      const auto name = object.at("slot").get<std::string>();
      const auto at = std::find(slot_names.begin(), slot_names.end(), name);
      if (at == slot_names.end()) throw tool_error(fmt::format("{}: unknown slot \"{}\"", label, name));
      line.where = static_cast<slot>(at - slot_names.begin());
      line.outcome = object.at("outcome").get<std::string>();
      line.entry = object.at("entry");
      line.turns_ns = object.value("turns_ns", std::vector<double>{});
    } catch (const ordered_json::exception&) {
      throw tool_error(fmt::format("{}: is not a line of a duet", label));
    } catch (const std::out_of_range&) {
      throw tool_error(fmt::format("{}: is of a row that duet.json does not have", label));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

duet_data load_duet(const std::filesystem::path& directory) {
  const std::string label = (directory / "duet.json").string();
  ordered_json document = read_json(directory / "duet.json");
  make_printable(document);
  if (schema_of(document, label) != "duet") throw tool_error(fmt::format("{}: is not a duet", label));
  if (const auto errors = schema_errors("duet", document); !errors.empty())
    throw tool_error(fmt::format("{}: not a valid duet file: {}", label, errors.front()));
  duet_data out;
  out.label = directory.string();
  out.status = document["status"].get<std::string>();
  out.machine = document["machine"].get<std::string>();
  out.confirms = document["confirms"].is_null() ? "" : document["confirms"].get<std::string>();
  out.blocks = document["blocks"].get<std::size_t>();
  out.blocks_done = document["blocks_done"].get<std::size_t>();
  const ordered_json& sessions = document["sessions"];
  const ordered_json& last = sessions.back();
  out.date = (last["ended_utc"].is_null() ? last["started_utc"] : last["ended_utc"]).get<std::string>();
  for (const ordered_json& session : sessions) {
    for (std::string& change : host_changes(sessions.front()["host"], session["host"]))
      out.hosts.push_back(std::move(change));
  }
  out.builds = build_differences(document["base"], document["head"]);
  const auto hashes = [](const ordered_json& links) {
    std::vector<std::string> all;
    for (const ordered_json& link : links) all.push_back(link.front()["sha256"].get<std::string>());
    return all;
  };
  std::vector<std::string> links = hashes(document["base"]);
  std::sort(links.begin(), links.end());
  out.same_link = std::unique(links.begin(), links.end()) - links.begin() < 2;
  for (const ordered_json& binary : document["head"].front()) {
    const ordered_json& old = document["base"].front();
    if (std::none_of(old.begin(), old.end(),
                     [&](const ordered_json& b) { return b["name"] == binary["name"]; }))
      out.new_binaries.push_back(binary["name"].get<std::string>());
  }
  std::vector<std::string> names;
  for (const ordered_json& row : document["rows"]) names.push_back(row["name"].get<std::string>());
  struct slot_sample {
    sample value;
    std::vector<double> turns_ns;
  };
  std::vector<std::array<std::map<std::size_t, slot_sample>, slot_count>> samples(names.size());
  for (duet_line& line : read_duet_lines(directory, names)) {
    slot_sample s{sample_of(line, label), std::move(line.turns_ns)};
    samples[line.row][static_cast<std::size_t>(line.where)].insert_or_assign(line.block, std::move(s));
  }
  for (auto& slots : samples) {
    for (const auto& [block, base] : slots[0]) {
      for (const slot s : {slot::again, slot::head}) {
        auto& others = slots[static_cast<std::size_t>(s)];
        if (const auto other = others.find(block); other != others.end())
          compare_by_turns(other->second.value, other->second.turns_ns, base.value, base.turns_ns);
      }
    }
  }
  for (const ordered_json& row : document["rows"]) {
    if (!row["in_base"].get<bool>() && !row["in_head"].get<bool>())
      out.absent.push_back(row["name"].get<std::string>());
  }
  for (const slot s : {slot::base, slot::again, slot::head}) {
    run_data& run = s == slot::base ? out.base : s == slot::again ? out.again : out.head;
    run.label = fmt::format("{} ({})", out.label, to_string(s));
    run.date = out.date;
    run.machine = out.machine;
    run.host = host_from(sessions.front()["host"]);
    for (std::size_t i = 0; i < names.size(); ++i) {
      const ordered_json& listed = document["rows"][i];
      if (!listed[s == slot::head ? "in_head" : "in_base"].get<bool>()) continue;
      row_data row{names[i], parse_row_name(names[i]), listed["role"].get<std::string>(), {}};
      for (auto& [block, value] : samples[i][static_cast<std::size_t>(s)])
        row.samples.push_back(std::move(value.value));
      run.rows.push_back(std::move(row));
    }
  }
  return out;
}

}  // namespace ternbench

#include "gate.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace ternbench {
namespace {

constexpr std::size_t row_width = 45;

constexpr std::array by_urgency{verdict::regression, verdict::not_confirmed, verdict::waived,
                                verdict::invalid,    verdict::inconclusive,  verdict::advisory,
                                verdict::ok};

std::string full_name(const judged_row& row) {
  return row.what->counter.empty() ? row.name : fmt::format("{} [{}]", row.name, row.what->name);
}

std::string floor_text(const judged_row& row) {
  return format_percent(row.floor) + (row.learnt || row.exact ? "" : "?");
}

/// What is said of a row beside its figures.
std::string remark(const judged_row& row) {
  std::string text = row.note;
  if (row.is == verdict::advisory) {
    text += fmt::format("{}its noise is above the limit", text.empty() ? "" : "; ");
    text += row.detectable ? fmt::format(", a slow-down of {} would show", format_percent(*row.detectable))
                           : "; too few blocks to show any slow-down";
  }
  if (row.is == verdict::invalid && row.again)
    text += fmt::format("{}A'/A {}", text.empty() ? "" : "; ", format_ratio(row.again->estimate));
  return text;
}

std::string heading(verdict v) {
  switch (v) {
    case verdict::regression: return "REGRESSION: slower or larger than base by more than the floor";
    case verdict::not_confirmed: return "flagged once, and not by the second duet";
    case verdict::waived: return "slower, and waived";
    case verdict::invalid: return "INVALID: this run says nothing of them";
    case verdict::inconclusive: return "inconclusive: neither shown to be slower nor to be not";
    case verdict::advisory: return "advisory: too noisy here to be judged";
    case verdict::ok: break;
  }
  return "ok";
}

std::vector<const judged_row*> rows_with(const judgement& j, verdict v) {
  std::vector<const judged_row*> out;
  for (const judged_row& row : j.rows) {
    if (row.is == v) out.push_back(&row);
  }
  std::sort(out.begin(), out.end(), [](const judged_row* a, const judged_row* b) {
    return a->change.estimate != b->change.estimate ? a->change.estimate > b->change.estimate : a < b;
  });
  return out;
}

std::string rows_of_text(std::size_t count) { return fmt::format("{} row{}", count, count == 1 ? "" : "s"); }

std::string row_text(const judged_row& row) {
  std::string name = full_name(row);
  std::string out;
  if (width_of(name) > row_width) out = "  " + std::exchange(name, "") + "\n";
  out += "  " + pad_right(name, row_width) + pad_left(format_value(row.base_value, row.what->in), 9) +
         pad_left(format_value(row.head_value, row.what->in), 10) +
         pad_left(format_ratio(row.change.estimate), 8) + "  " + pad_right(format_interval(row.change), 17) +
         pad_left(floor_text(row), 6) + "\n";
  if (const std::string text = remark(row); !text.empty())
    out += "      " + wrap(text, table_width - 6, "      ") + "\n";
  return out;
}

/// What fails first, then what is allowed.
std::string faults_text(const judgement& j, const palette& colours) {
  std::string out;
  for (const bool allowed : {false, true}) {
    for (const inventory_fault& f : j.faults) {
      if (f.allowed != allowed) continue;
      const std::string line = wrap(fmt::format("{}: {}: {}{}", f.change, f.row, f.text,
                                                allowed && f.change != "new" ? " (allowed)" : ""),
                                    table_width, "  ");
      out += (allowed ? line : colours.bad(line)) + "\n";
    }
  }
  return out;
}

std::string markdown_row(const judged_row& row, bool with_verdict) {
  std::string cells =
      fmt::format("| `{}` | {} | {} | {} | {} | {} |", full_name(row),
                  format_value(row.base_value, row.what->in), format_value(row.head_value, row.what->in),
                  format_ratio(row.change.estimate), format_interval(row.change), floor_text(row));
  if (with_verdict) cells += fmt::format(" {} |", to_string(row.is));
  return cells + "\n";
}

std::size_t failing_faults(const judgement& j) {
  return static_cast<std::size_t>(
      std::count_if(j.faults.begin(), j.faults.end(), [](const inventory_fault& f) { return !f.allowed; }));
}

judgement judge_options(const gate_options& options, const gate_config& config) {
  if (options.runs.size() == 2) {
    if (!options.confirm.empty()) throw tool_error("--confirm goes with a duet, not with two runs");
    return judge(load_run(options.runs[0]), load_run(options.runs[1]), config);
  }
  if (!is_duet(options.runs[0]))
    throw tool_error(
        fmt::format("{}: is not a duet; two runs are wanted otherwise", options.runs[0].string()));
  judgement first = judge(load_duet(options.runs[0]), config);
  if (!options.confirm.empty()) {
    const duet_data second = load_duet(options.confirm);
    const std::string own = std::filesystem::absolute(options.runs[0]).lexically_normal().filename().string();
    if (second.confirms != own)
      throw tool_error(fmt::format("{}: does not confirm {}", options.confirm.string(), own),
                       exit_code::not_comparable);
    confirm(first, judge(second, config));
  }
  return first;
}

}  // namespace

std::string headline(const judgement& j) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  if (const std::size_t n = j.count(verdict::regression); n > 0) add("REGRESSION: " + rows_of_text(n));
  if (const std::size_t n = failing_faults(j); n > 0) add("INVENTORY: " + rows_of_text(n));
  if (!j.invalid.empty()) add("INCONCLUSIVE: " + j.invalid.front());
  if (text.empty()) {
    text = fmt::format("PASS: {} judged", rows_of_text(j.rows.size() - j.count(verdict::advisory)));
    for (const verdict v :
         {verdict::waived, verdict::not_confirmed, verdict::invalid, verdict::inconclusive}) {
      if (const std::size_t n = j.count(v); n > 0) text += fmt::format(", {} {}", n, to_string(v));
    }
  }
  return text;
}

std::string render(const judgement& j, bool all, const palette& colours) {
  const exit_code code = j.code();
  const std::string first = headline(j);
  std::string out = (code == exit_code::ok           ? colours.good(first)
                     : code == exit_code::regression ? colours.bad(first)
                                                     : colours.warn(first)) +
                    "\n";
  out += wrap(fmt::format("{}, {}, {} {}", j.label, j.arch, j.blocks, j.paired ? "blocks" : "repetitions"),
              table_width, "  ") +
         "\n\n";
  out += "  " + pad_right("", row_width) + pad_left("base", 9) + pad_left("head", 10) + pad_left("B/A", 8) +
         "  " + pad_right("95% interval", 17) + pad_left("floor", 6) + "\n";
  for (const verdict v : by_urgency) {
    const auto rows = rows_with(j, v);
    if (rows.empty()) continue;
    const std::string title = fmt::format("{} ({})", heading(v), rows.size());
    out += (v == verdict::regression ? colours.bad(title)
            : v == verdict::ok       ? colours.good(title)
                                     : colours.warn(title)) +
           "\n";
    if (v == verdict::ok && !all) continue;
    for (const judged_row* row : rows) out += row_text(*row);
  }
  out += faults_text(j, colours);
  for (const std::string& reason : j.invalid)
    out += colours.warn(wrap("no verdict: " + reason, table_width, "  ")) + "\n";
  for (const std::string& note : j.notes) out += wrap("note: " + note, table_width, "  ") + "\n";
  if (j.count(verdict::regression) > 0 && j.paired) {
    const bool twice = std::any_of(j.rows.begin(), j.rows.end(), [](const judged_row& row) {
      return row.is == verdict::regression && row.note.starts_with("second duet");
    });
    if (!twice) out += "flagged rows are measured again by: ternbench duet --confirm " + j.label + " ...\n";
  }
  return out;
}

std::string render_markdown(const judgement& j) {
  constexpr const char* head = "| row | base | head | B/A | 95% | floor |";
  const char* mark = j.code() == exit_code::ok ? "✅" : j.code() == exit_code::regression ? "❌" : "⚠️";
  std::string out = fmt::format("### {} {}\n\n", mark, headline(j));
  bool any = false;
  for (const verdict v : by_urgency) {
    const auto rows = rows_with(j, v);
    if (rows.empty() || v == verdict::ok || v == verdict::advisory) continue;
    any = true;
    out += fmt::format("**{}**\n\n{}\n|---|--:|--:|--:|--:|--:|\n", heading(v), head);
    for (const judged_row* row : rows) out += markdown_row(*row, false);
    out += "\n";
    for (const judged_row* row : rows) {
      if (const std::string text = remark(*row); !text.empty())
        out += fmt::format("- `{}`: {}\n", full_name(*row), text);
    }
    out += "\n";
  }
  if (!any) out += "No row changed by more than its floor.\n\n";
  for (const inventory_fault& f : j.faults)
    out += fmt::format("- **{}** `{}`: {}{}\n", f.change, f.row, f.text,
                       f.allowed && f.change != "new" ? " (allowed)" : "");
  for (const std::string& reason : j.invalid) out += "- no verdict: " + reason + "\n";
  for (const std::string& note : j.notes) out += "- " + note + "\n";
  out += fmt::format(
      "\n<details><summary>All {}, {}, {} {}</summary>\n\n{} verdict |\n|---|--:|--:|--:|--:|--:|---|\n",
      rows_of_text(j.rows.size()), j.arch, j.blocks, j.paired ? "blocks" : "repetitions", head);
  for (const verdict v : by_urgency) {
    for (const judged_row* row : rows_with(j, v)) out += markdown_row(*row, true);
  }
  return out + "\n</details>\n";
}

exit_code gate(const gate_options& options) {
  const gate_config config = load_gate_config(options.config);
  const judgement j = judge_options(options, config);
  std::fputs(render(j, options.all, palette::for_descriptor(STDOUT_FILENO)).c_str(), stdout);
  if (!options.markdown.empty()) write_file(options.markdown, render_markdown(j));
  return j.code();
}

learnt_floors learn(const std::vector<duet_data>& duets) {
  learnt_floors out;
  std::map<std::string, std::vector<double>> moves;
  for (const duet_data& duet : duets) {
    if (!duet.complete())
      throw tool_error(
          fmt::format("{}: is not complete: {} of {} blocks", duet.label, duet.blocks_done, duet.blocks));
    const duet_data& first = duets.front();
    if (duet.machine != first.machine || duet.base.host.arch != first.base.host.arch)
      throw tool_error(fmt::format("{} and {} are of different machines", first.label, duet.label),
                       exit_code::not_comparable);
    for (const row_data& row : duet.base.rows) {
      const paired_values pairs =
          pair_by_repetition(row, *duet.again.find(row.name), shown_metrics().front());
      if (!pairs.a.empty())
        moves[row.name].push_back(std::fabs(std::log(paired_ratio(pairs.a, pairs.b).estimate)));
    }
  }
  out.machine = duets.front().machine;
  out.runs = duets.size();
  constexpr double percentile = 0.99;
  for (const auto& [row, values] : moves) out.rows[row] = quantile(values, percentile);
  return out;
}

exit_code calibrate(const calibrate_options& options) {
  std::vector<std::filesystem::path> places = options.duets;
  for (int run = 0; run < options.runs; ++run) {
    duet_options again = options.measure;
    again.head = again.base;
    if (again.seed) *again.seed += static_cast<std::uint64_t>(run);
    const duet_result made = duet(again);
    if (made.code != exit_code::ok) return made.code;
    places.push_back(made.directory);
  }
  if (places.empty()) throw tool_error("name duets, or say --runs N --base BUILD");
  std::vector<duet_data> duets;
  for (const auto& place : places) duets.push_back(load_duet(place));
  const std::string arch = duets.front().base.host.arch.value_or("unknown");
  if (duets.front().base.host.emulated == std::optional<bool>(true))
    throw tool_error(fmt::format("{}: made under emulation; its times teach nothing", duets.front().label),
                     exit_code::not_comparable);
  learnt_floors floors = learn(duets);
  const gate_config config = load_gate_config(options.measure.config);
  std::erase_if(floors.rows, [&](const auto& row) {
    return std::find(config.set.begin(), config.set.end(), row.first) == config.set.end();
  });
  fmt::print("{} {}, {}: |A'/A - 1| of {} rows, 99th percentile over {} duet{}{}\n", arch, floors.machine,
             duets.front().date.substr(0, 10), floors.rows.size(), floors.runs, floors.runs == 1 ? "" : "s",
             floors.runs < 100 ? " (of fewer than 100: nearly their largest)" : "");
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [row, floor] : floors.rows) order.emplace_back(-floor, row);
  std::sort(order.begin(), order.end());
  for (const auto& [floor, row] : order) {
    const double share = std::expm1(-floor);
    fmt::print("  {}{}  {}\n", pad_right(row, row_width + 10), pad_left(format_percent(share), 6),
               share > config.settings.advisory_above ? "advisory"
               : share > config.settings.least_floor  ? "is its floor"
                                                      : "below the least floor");
  }
  if (options.write) {
    write_floors(options.measure.config, arch, floors);
    fmt::print("written to {}\n", options.measure.config.string());
  }
  return exit_code::ok;
}

}  // namespace ternbench

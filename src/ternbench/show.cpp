#include "show.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "error.hpp"
#include "stats.hpp"

namespace ternbench {
namespace {

int role_rank(const std::string& role) { return role == "subject" ? 0 : role == "baseline" ? 1 : 2; }

/// "size:64" before "size:1024": numbers by value, all else by letter.
bool natural_less(const row_name& a, const row_name& b) {
  if (a.params.size() != b.params.size()) return a.params.size() < b.params.size();
  for (std::size_t i = 0; i < a.params.size(); ++i) {
    const auto& x = a.params[i];
    const auto& y = b.params[i];
    if (x.first != y.first) return x.first < y.first;
    if (x.second == y.second) continue;
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    const bool numbers = std::all_of(x.second.begin(), x.second.end(), is_digit) &&
                         std::all_of(y.second.begin(), y.second.end(), is_digit);
    if (numbers && x.second.size() != y.second.size()) return x.second.size() < y.second.size();
    return x.second < y.second;
  }
  return false;
}

std::string subject_label(const row_data& row) {
  return row.parts.in_grammar() ? row.parts.subject : row.name;
}

/// -1 the subject is lower (better), 1 higher, 0 not resolved.
int direction(const interval& i) {
  if (!i.bounded()) return 0;
  return i.high < 1 ? -1 : i.low > 1 ? 1 : 0;
}

std::string colour_ratio(const interval& ratio, std::string_view cell, const palette& colours) {
  const int d = direction(ratio);
  return d < 0 ? colours.good(cell) : d > 0 ? colours.bad(cell) : std::string(cell);
}

std::string status_text(const row_data& row) {
  if (row.all_skipped()) return "skipped: " + row.skip_reason();
  if (const std::string error = row.error_text(); !error.empty()) return "error: " + error;
  return {};
}

constexpr std::size_t name_width = 19;
constexpr std::size_t metric_width = 13;
constexpr std::size_t value_width = 10;
constexpr std::size_t spread_width = 8;
constexpr std::size_t ratio_width = 10;

struct line {
  std::string subject;
  std::string metric_name;
  std::string value;
  std::string spread;
  std::string ratio;
  std::string bounds;
};

std::string to_text(const line& l) {
  std::string s = "  " + pad_right(l.subject, name_width) + pad_right(l.metric_name, metric_width) +
                  pad_left(l.value, value_width) + pad_left(l.spread, spread_width) +
                  pad_left(l.ratio, ratio_width);
  if (!l.bounds.empty()) s += "  " + l.bounds;
  s.erase(s.find_last_not_of(' ') + 1);
  return s + "\n";
}

/// The lines of one row: a line per metric, and the ratio of each subject to it where it is a baseline or a peer.
void print_row(std::string& out, const row_data& row, const std::vector<const row_data*>& subjects,
               const palette& colours) {
  const std::string label = subject_label(row);
  const std::string status = status_text(row);
  if (!status.empty()) {
    std::string text = wrap(status, table_width - 2 - name_width, std::string(name_width + 2, ' '));
    text = row.all_skipped() ? text : colours.warn(text);
    out += "  " + pad_right(label, name_width) +
           (width_of(label) >= name_width ? "\n" + std::string(name_width + 2, ' ') : "") + text + "\n";
  }
  std::string shown_label = status.empty() ? label : "";
  if (width_of(shown_label) >= name_width) {
    out += "  " + shown_label + "\n";
    shown_label.clear();
  }
  for (const metric& m : shown_metrics()) {
    const std::vector<double> values = row.values(m);
    if (values.empty()) continue;
    line l;
    l.subject = std::exchange(shown_label, "");
    l.metric_name = m.name;
    l.value = format_value(median(values), m.in);
    if (const auto spread = relative_spread(values)) l.spread = format_percent(*spread);
    bool printed = false;
    if (row.role != "subject") {
      for (const row_data* subject : subjects) {
        const interval ratio = ratio_of(*subject, row, m);
        if (ratio.count == 0) continue;
        l.ratio = colour_ratio(ratio, pad_left(format_ratio(ratio.estimate), ratio_width), colours);
        l.bounds = format_interval(ratio);
        if (subjects.size() > 1) l.bounds = pad_right(l.bounds, 21) + " " + subject_label(*subject);
        out += to_text(l);
        l = line{};
        printed = true;
      }
    }
    if (!printed) out += to_text(l);
  }
}

/// A row at several processors beside the same row of the same subject at one.
struct scaling {
  const row_data* at_one;
  const row_data* at_many;
  std::string processors;
};

std::vector<scaling> scalings(const std::vector<shown_group>& groups) {
  std::vector<scaling> found;
  for (const shown_group& g : groups) {
    for (const row_data* row : g.rows) {
      row_name one = row->parts;
      const auto at = std::find_if(one.params.begin(), one.params.end(),
                                   [](const auto& param) { return param.first == "processors"; });
      if (at == one.params.end() || at->second == "1") continue;
      const std::string processors = std::exchange(at->second, "1");
      for (const shown_group& h : groups) {
        if (h.name != one.group()) continue;
        for (const row_data* base : h.rows) {
          if (base->parts.subject == one.subject && ratio_of(*row, *base, shown_metrics().front()).count > 0)
            found.push_back({base, row, processors});
        }
      }
    }
  }
  return found;
}

/// `other` is what a ratio is to.
std::string footer(const std::vector<shown_group>& groups, std::string_view other) {
  std::set<std::size_t> counts;
  bool short_of_95 = false;
  for (const shown_group& g : groups) {
    for (const row_data* row : g.rows) {
      const auto n = row->values(shown_metrics().front()).size();
      if (n > 0) counts.insert(n);
      if (n > 1 && n < 6) short_of_95 = true;
    }
  }
  if (counts.empty()) return {};
  const std::string n = counts.size() == 1 ? fmt::format("{}", *counts.begin())
                                           : fmt::format("{} to {}", *counts.begin(), *counts.rbegin());
  std::string text = fmt::format(
      "Median of n = {} process repetitions; spread = interquartile range / median. Ratio = tern / {}: "
      "median of the "
      "ratios within each repetition, with its 95% order-statistic interval; below 1 tern is faster or "
      "smaller.",
      n, other);
  if (short_of_95) {
    text += " \"~\": n below 6 cannot carry 95%; the whole range is given, which covers ";
    std::string covers;
    for (const std::size_t c : counts) {
      if (c < 2 || c > 5) continue;
      std::vector<double> any(c, 1.0);
      if (!covers.empty()) covers += ", ";
      covers += fmt::format("{:.0f}% (n = {})", 100 * median_interval(any).coverage, c);
    }
    text += covers + ".";
  }
  return text;
}

std::string render_text(const run_data& run, const std::vector<shown_group>& groups, const palette& colours) {
  std::string out = wrap(describe(run), table_width, "  ") + "\n\n";
  out += to_text({"", "", "median", "spread", "tern/this", "95% interval"});
  for (const shown_group& g : groups) {
    out += colours.strong(g.name) + "\n";
    std::vector<const row_data*> subjects;
    for (const row_data* row : g.rows) {
      if (row->role == "subject") subjects.push_back(row);
    }
    for (const row_data* row : g.rows) print_row(out, *row, subjects, colours);
  }
  if (const auto pairs = scalings(groups); !pairs.empty()) {
    out += "\n" + colours.strong("own time per operation, at several processors / at one") + "\n";
    std::string last;
    for (const scaling& pair : pairs) {
      const std::string name = pair.at_many->parts.group();
      if (name != last) out += "  " + name + "\n";
      last = name;
      const interval ratio = ratio_of(*pair.at_many, *pair.at_one, shown_metrics().front());
      out += to_text({"  " + subject_label(*pair.at_many), pair.processors + " / 1", "", "",
                      colour_ratio(ratio, pad_left(format_ratio(ratio.estimate), ratio_width), colours),
                      format_interval(ratio)});
    }
  }
  if (const std::string text = footer(groups, "this row"); !text.empty())
    out += "\n" + wrap(text, table_width, "") + "\n";
  return out;
}

std::string markdown_cell(const row_data& row, const metric& m) {
  const std::vector<double> values = row.values(m);
  if (values.empty()) return "-";
  std::string s = format_value(median(values), m.in);
  if (const auto spread = relative_spread(values)) s += fmt::format(" ({})", format_percent(*spread));
  return s;
}

std::string escape_markdown(std::string_view s) {
  std::string out;
  for (const char c : s) {
    if (c == '|' || c == '*' || c == '_' || c == '<') out += '\\';
    out += c;
  }
  return out;
}

std::string ratio_cell(const row_data& subject, const row_data& base, const metric& m) {
  const interval ratio = ratio_of(subject, base, m);
  if (ratio.count == 0) return subject_label(base) + " -";
  return fmt::format("{} **{}** ({})", subject_label(base), format_ratio(ratio.estimate),
                     format_interval(ratio));
}

/// Columns "case | metric | subject | median (spread)" and what stands beside them: a line per subject, or one per pair.
std::string comparison_lines(const std::vector<shown_group>& groups, bool compact) {
  std::string out;
  for (const shown_group& g : groups) {
    for (const metric& m : shown_metrics()) {
      for (const row_data* subject : g.rows) {
        if (subject->role != "subject" || !subject->has(m)) continue;
        const auto lead = fmt::format("| {} | {} | {} | {} |", g.name, m.name, subject_label(*subject),
                                      markdown_cell(*subject, m));
        std::vector<const row_data*> others;
        for (const row_data* base : g.rows) {
          if (base->role != "subject" && base->has(m)) others.push_back(base);
        }
        if (compact) {
          std::vector<std::string> cells;
          for (const row_data* base : others) cells.push_back(ratio_cell(*subject, *base, m));
          out +=
              fmt::format("{} {} |\n", lead, cells.empty() ? "-" : fmt::format("{}", fmt::join(cells, ", ")));
          continue;
        }
        for (const row_data* base : others) {
          const interval ratio = ratio_of(*subject, *base, m);
          out += fmt::format("{} {} | {} | {} | {} |\n", lead, subject_label(*base), markdown_cell(*base, m),
                             ratio.count == 0 ? "-" : format_ratio(ratio.estimate), format_interval(ratio));
        }
        if (others.empty()) out += lead + " - | - | - | - |\n";
      }
    }
  }
  return out;
}

std::string render_markdown(const run_data& run, const std::vector<shown_group>& groups, bool compact) {
  std::string out = escape_markdown(describe(run)) + "\n\n";
  out +=
      compact
          ? "| case | metric | subject | median (spread) | ratio to each of the others, its 95% interval |\n"
            "|---|---|---|--:|---|\n"
          : "| case | metric | subject | median (spread) | against | median (spread) | ratio | 95% interval "
            "|\n"
            "|---|---|---|--:|---|--:|--:|--:|\n";
  out += comparison_lines(groups, compact);
  std::vector<std::string> notes;
  for (const shown_group& g : groups) {
    for (const row_data* row : g.rows) {
      if (const std::string status = status_text(*row); !status.empty()) {
        notes.push_back(fmt::format("`{}`: {}", row->name, escape_markdown(status)));
      }
    }
  }
  if (const auto pairs = scalings(groups); !pairs.empty()) {
    out +=
        "\n| own time per operation | subject | processors | ratio | 95% interval |\n|---|---|---|--:|--:|\n";
    for (const scaling& pair : pairs) {
      const interval ratio = ratio_of(*pair.at_many, *pair.at_one, shown_metrics().front());
      out += fmt::format("| {} | {} | {} / 1 | {} | {} |\n", pair.at_many->parts.group(),
                         subject_label(*pair.at_many), pair.processors, format_ratio(ratio.estimate),
                         format_interval(ratio));
    }
  }
  if (const std::string text = footer(groups, "the other"); !text.empty()) out += "\n" + text + "\n";
  if (!notes.empty()) {
    out += "\nNot measured:\n\n";
    for (const std::string& note : notes) out += "- " + note + "\n";
  }
  return out;
}

}  // namespace

std::vector<shown_group> group_rows(const run_data& run, const selection& selected) {
  std::vector<const row_data*> rows;
  for (const row_data& row : run.rows) {
    if (selected.matches(row.parts)) rows.push_back(&row);
  }
  const auto area_rank = [](const std::string& area) {
    const std::vector<std::string> order{"sched", "alloc", "gc", "scenario"};
    return std::find(order.begin(), order.end(), area) - order.begin();
  };
  std::sort(rows.begin(), rows.end(), [&](const row_data* a, const row_data* b) {
    const row_name& x = a->parts;
    const row_name& y = b->parts;
    if (const auto i = selected.rank(x), j = selected.rank(y); i != j) return i < j;
    if (const auto i = area_rank(x.area), j = area_rank(y.area); i != j) return i < j;
    if (x.area != y.area) return x.area < y.area;
    if (x.case_name != y.case_name) return x.case_name < y.case_name;
    if (natural_less(x, y) || natural_less(y, x)) return natural_less(x, y);
    if (const int i = role_rank(a->role), j = role_rank(b->role); i != j) return i < j;
    return a->name < b->name;
  });
  std::vector<shown_group> groups;
  for (const row_data* row : rows) {
    const std::string name = row->parts.group();
    if (groups.empty() || groups.back().name != name) groups.push_back({name, {}});
    groups.back().rows.push_back(row);
  }
  return groups;
}

interval ratio_of(const row_data& subject, const row_data& base, const metric& m) {
  const paired_values pairs = pair_by_repetition(subject, base, m);
  return pairs.a.empty() ? interval{} : paired_ratio(pairs.b, pairs.a);
}

void add_counts(run_data& run, const run_data& counts) {
  if (run.host.arch && counts.host.arch && *run.host.arch != *counts.host.arch) {
    throw tool_error(fmt::format("{} is {} and {} is {}: instructions of another architecture are not shown",
                                 run.label, *run.host.arch, counts.label, *counts.host.arch),
                     exit_code::not_comparable);
  }
  const metric& instructions = metric_of("instructions_per_op");
  bool any = false;
  for (row_data& row : run.rows) {
    const row_data* counted = counts.find(row.name);
    if (counted == nullptr || !counted->has(instructions)) continue;
    const double n = median(counted->values(instructions));
    for (sample& s : row.samples) {
      if (s.ok()) s.counters[std::string(instructions.counter)] = n;
    }
    any = true;
  }
  if (!any) {
    throw tool_error(
        fmt::format("{}: has instructions per operation of no row of {}", counts.label, run.label));
  }
}

std::string render(const run_data& run, const show_options& options, const palette& colours) {
  std::vector<row_name> names;
  for (const row_data& row : run.rows) names.push_back(row.parts);
  if (const auto missing = options.selected.unmatched(names); !missing.empty()) {
    throw tool_error(fmt::format("{}: no row of this run is in \"{}\"", run.label, missing.front()));
  }
  const std::vector<shown_group> groups = group_rows(run, options.selected);
  return options.form == table_form::text ? render_text(run, groups, colours)
                                          : render_markdown(run, groups, options.form == table_form::compact);
}

}  // namespace ternbench

#include "claims.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <regex>
#include <utility>

#include "session.hpp"
#include "show.hpp"

namespace ternbench {
namespace {

using answer = answered_test::answer;

/// A metric by the name that `show` has for it, or a counter by its own.
metric find_metric(const std::string& name) {
  for (const metric& m : shown_metrics()) {
    if (name == m.name || name == m.counter) return m;
  }
  if (name.ends_with("_bytes")) return {name, name, metric::unit::bytes};
  if (name == "max" || name == "p90" || name == "p999" || name == "p9999" || name.starts_with("hiccup_"))
    return {name, name, metric::unit::nanoseconds};
  return {name, name, metric::unit::count};
}

std::string number_text(double v, std::optional<metric::unit> in) {
  return in && *in != metric::unit::count ? format_value(v, *in) : format_ratio(v);
}

/// "9.20 .. 12.4 ns": the unit once where both have the same.
std::string range_text(const interval& i, std::optional<metric::unit> in) {
  if (!i.bounded()) return {};
  if (!in || *in == metric::unit::count) return format_interval(i);
  std::string low = number_text(i.low, in);
  const std::string high = number_text(i.high, in);
  const auto unit_of = [](const std::string& s) { return s.substr(s.find(' ')); };
  if (unit_of(low) == unit_of(high)) low.resize(low.find(' '));
  return fmt::format("{}{} .. {}", format_interval(i).starts_with('~') ? "~" : "", low, high);
}

/// The figures of a row, zero included: a counter may well be 0.
std::vector<double> figures(const row_data& row, const metric& m) {
  if (m.counter.empty()) return row.values(m);
  std::vector<double> out;
  for (const sample& s : row.samples) {
    const auto at = s.counters.find(std::string(m.counter));
    if (s.ok() && at != s.counters.end()) out.push_back(at->second);
  }
  return out;
}

/// Why a row gives no figure.
std::string absence(const run_data& run, const std::string& name, const std::string& metric_name) {
  const row_data* row = run.find(name);
  if (row == nullptr) return "no such row in this run: " + name;
  if (row->all_skipped()) return fmt::format("skipped in this run: {}: {}", name, row->skip_reason());
  if (const std::string error = row->error_text(); !error.empty())
    return fmt::format("failed in this run: {}: {}", name, error);
  return fmt::format("{} has no {} in this run", name, metric_name);
}

class examiner {
 public:
  explicit examiner(const run_data& run) : run_(run) {}

  answered_claim examine(const claim& c) const {
    answered_claim out;
    out.of = &c;
    for (const claim_test& test : c.tests) out.tests.push_back(examine(test));
    for (const claim_condition& condition : c.conditions) {
      out.conditions.push_back({&condition, {}});
      for (const claim_test& test : condition.tests) out.conditions.back().tests.push_back(examine(test));
    }
    decide(out);
    return out;
  }

 private:
  static bool all_hold(const std::vector<answered_test>& tests) {
    return std::all_of(tests.begin(), tests.end(),
                       [](const answered_test& t) { return t.is == answer::yes; });
  }
  static const answered_test* first(const std::vector<answered_test>& tests, answer wanted) {
    const auto at =
        std::find_if(tests.begin(), tests.end(), [&](const answered_test& t) { return t.is == wanted; });
    return at == tests.end() ? nullptr : &*at;
  }

  void decide(answered_claim& c) const {
    std::string unknown;  // needs of which the run does not tell
    for (const claim_need& need : c.of->needs) {
      const auto [met, has] = meets(need);
      if (met == std::optional<bool>(false)) {
        c.verdict = claim_verdict::not_measurable;
        c.detail += fmt::format("{}needs {}; {}", c.detail.empty() ? "" : "; ", need.text, has);
      } else if (!met) {
        unknown += fmt::format("; needs {}, of which this run does not tell", need.text);
      }
    }
    if (c.verdict == claim_verdict::not_measurable) return;
    const answered_test* const absent = first(c.tests, answer::absent);
    if (all_hold(c.tests)) {
      c.verdict = claim_verdict::holds;
    } else if (first(c.tests, answer::no) != nullptr) {
      const auto at = std::find_if(c.conditions.begin(), c.conditions.end(),
                                   [](const answered_condition& x) { return all_hold(x.tests); });
      c.verdict = at == c.conditions.end() ? claim_verdict::does_not : claim_verdict::conditional;
      if (at != c.conditions.end()) c.detail = at->of->when;
    } else if (absent != nullptr) {
      c.verdict = claim_verdict::absent;
      c.detail = absent->why + unknown;
    } else {
      c.verdict = claim_verdict::unresolved;
      c.detail = "the interval has the bound in it";
    }
  }

  /// Whether the run's host has it (nothing where the run does not tell), and what it has instead.
  std::pair<std::optional<bool>, std::string> meets(const claim_need& need) const {
    const tern_bench::host_facts& host = run_.host;
    const auto at_least = [&](const std::optional<std::int64_t>& has) -> std::optional<bool> {
      if (!has) return std::nullopt;
      return *has >= need.least;
    };
    switch (need.of) {
      case claim_need::kind::cpus: {
        const auto has = host.usable_vcpus ? host.usable_vcpus : host.vcpus;
        return {at_least(has), fmt::format("it has {}", has.value_or(0))};
      }
      case claim_need::kind::memory:
        return {at_least(host.memory_bytes),
                "it has " + format_bytes(static_cast<double>(host.memory_bytes.value_or(0)))};
      case claim_need::kind::counters: return {host.hardware_counters, "it has none"};
      case claim_need::kind::real_aarch64:
        if (!host.arch) return {std::nullopt, ""};
        return {*host.arch == "aarch64", "it is " + *host.arch};
    }
    return {std::nullopt, ""};
  }

  answered_test examine(const claim_test& test) const {
    answered_test out;
    out.of = &test;
    const metric m = find_metric(test.metric);
    const row_data* const row = run_.find(test.row);
    const row_data* const versus = test.versus.empty() ? nullptr : run_.find(test.versus);
    if (test.versus.empty()) out.unit = m.in;
    if (row != nullptr && test.versus.empty()) {
      if (const std::vector<double> values = figures(*row, m); !values.empty())
        out.value = median_interval(values);
    } else if (row != nullptr && versus != nullptr) {
      out.value = ratio_of(*row, *versus, m);
    }
    if (out.value.count == 0) {
      const bool versus_lacks = row != nullptr && row->has(m) && !test.versus.empty();
      out.why = absence(run_, versus_lacks ? test.versus : test.row, test.metric);
      return out;
    }
    out.is = answer_of(test, out.value);
    out.beside = beside(test, m);
    return out;
  }

  static answer answer_of(const claim_test& test, const interval& value) {
    const bool low = test.accepts(value.bounded() ? value.low : value.estimate);
    const bool high = test.accepts(value.bounded() ? value.high : value.estimate);
    return low != high ? answer::open : low ? answer::yes : answer::no;
  }

  /// tern, the baseline and Go: a ratio within one subject as that subject's ratio, all else as plain figures.
  std::string beside(const claim_test& test, const metric& m) const {
    const row_name row = parse_row_name(test.row);
    const row_name versus = parse_row_name(test.versus);
    const bool within_one = !test.versus.empty() && row.subject == versus.subject;
    std::vector<std::string> subjects;
    const auto want = [&](const std::string& subject) {
      const bool judged = subject == row.subject && (test.versus.empty() || within_one);
      if (!judged && std::find(subjects.begin(), subjects.end(), subject) == subjects.end())
        subjects.push_back(subject);
    };
    if (!test.versus.empty() && !within_one) want(row.subject);
    want("tern");
    if (!test.versus.empty() && !within_one) want(versus.subject);
    if (test.versus.empty() || within_one) want(baseline_of(row));
    want("go");
    std::string out;
    for (const std::string& subject : subjects) {
      const bool other_row = subject == versus.subject && !within_one;
      const row_data* const own = run_.find(other_row ? test.versus : row.with_subject(subject));
      if (own == nullptr || !own->has(m)) continue;
      std::string number = number_text(median(own->values(m)), m.in);
      if (within_one) {
        const row_data* const base = run_.find(versus.with_subject(subject));
        const interval ratio = base == nullptr ? interval{} : ratio_of(*own, *base, m);
        if (ratio.count == 0) continue;
        number = number_text(ratio.estimate, {});
      }
      out += fmt::format("{}{} {}", out.empty() ? "" : ", ", subject, number);
    }
    return out;
  }

  /// What the group is compared with: one of the three references, else its first baseline.
  std::string baseline_of(const row_name& row) const {
    for (const char* reference : reference_baselines) {
      if (run_.find(row.with_subject(reference)) != nullptr) return reference;
    }
    const std::string group = row.group();
    const auto at = std::find_if(run_.rows.begin(), run_.rows.end(), [&](const row_data& r) {
      return r.role == "baseline" && r.parts.group() == group;
    });
    return at == run_.rows.end() ? "" : at->parts.subject;
  }

  const run_data& run_;
};

const char* word_of(answer a) {
  switch (a) {
    case answer::yes: return "yes";
    case answer::no: return "no";
    case answer::open: return "unresolved";
    case answer::absent: break;
  }
  return "-";
}

std::string coloured(claim_verdict verdict, const std::string& text, const palette& colours) {
  switch (verdict) {
    case claim_verdict::holds: return colours.good(text);
    case claim_verdict::conditional: return colours.warn(text);
    case claim_verdict::does_not: return colours.bad(text);
    default: return text;
  }
}

std::string test_lines(const answered_test& test) {
  std::string out = "    " + wrap(question_of(test), table_width - 4, "      ") + "\n";
  constexpr std::size_t answer_width = 12;
  constexpr std::size_t value_width = 9;
  constexpr std::size_t range_width = 21;
  std::string line = "      " + pad_right(word_of(test.is), answer_width);
  if (test.is == answer::absent) {
    line += wrap(test.why, table_width - line.size(), std::string(line.size(), ' '));
  } else {
    line += pad_left(number_text(test.value.estimate, test.unit), value_width) + "  " +
            pad_right(range_text(test.value, test.unit), range_width) + "  ";
    line += wrap(test.beside, table_width - line.size(), std::string(line.size(), ' '));
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return out + line + "\n";
}

/// Whether there is a figure to show.
bool has_figures(const answered_claim& a) {
  return a.verdict != claim_verdict::absent && a.verdict != claim_verdict::not_measurable;
}

/// The test that misses its bound by most; the first where none does.
const answered_test& farthest(const answered_claim& a) {
  return *std::max_element(
      a.tests.begin(), a.tests.end(),
      [](const answered_test& x, const answered_test& y) { return x.miss() < y.miss(); });
}

/// Text in a cell of a Markdown table. "<" would begin a tag before a letter only.
std::string escape_cell(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool tag = text[i] == '<' && text.find_first_of(" =", i) != i + 1;
    if (text[i] == '|' || tag) out += '\\';
    out += text[i];
  }
  return out;
}

std::string markdown_cells(const answered_test& t) {
  return fmt::format("| {} | {} | {} |\n", escape_cell(question_of(t)), escape_cell(figure_of(t)),
                     escape_cell(t.beside));
}

}  // namespace

std::string answered_claim::text() const {
  switch (verdict) {
    case claim_verdict::holds: return "holds here";
    case claim_verdict::conditional: return "holds under a condition: " + detail;
    case claim_verdict::does_not: return "does not hold here";
    case claim_verdict::not_measurable: return "not measurable on this host: " + detail;
    case claim_verdict::unresolved: return "not resolved: " + detail;
    case claim_verdict::absent: break;
  }
  return detail;
}

std::vector<const answered_condition*> answered_claim::told_conditions() const {
  std::vector<const answered_condition*> out;
  for (const answered_condition& condition : conditions) {
    const bool wanted = verdict == claim_verdict::conditional ? condition.of->when == detail
                                                              : verdict != claim_verdict::holds;
    if (wanted) out.push_back(&condition);
  }
  return out;
}

double answered_test::miss() const {
  const bool missed = is == answer::no && value.estimate > 0 && of->bound > 0;
  return missed ? std::fabs(std::log(value.estimate / of->bound)) : 0;
}

double answered_claim::surprise() const {
  const bool missed = verdict == claim_verdict::does_not || verdict == claim_verdict::conditional;
  return missed ? farthest(*this).miss() : 0;
}

std::vector<answered_claim> answer_claims(const run_data& run, const std::vector<claim>& claims) {
  if (run.host.emulated == std::optional<bool>(true)) {
    throw tool_error(fmt::format("{}: was made under emulation: its figures answer no claim", run.label),
                     exit_code::not_comparable);
  }
  std::vector<answered_claim> out;
  for (const claim& c : claims) out.push_back(examiner(run).examine(c));
  return out;
}

std::string summary_of(const std::vector<answered_claim>& answers) {
  constexpr std::array parts{std::pair{claim_verdict::holds, "holds here"},
                             std::pair{claim_verdict::conditional, "holds under a condition"},
                             std::pair{claim_verdict::does_not, "does not hold here"},
                             std::pair{claim_verdict::not_measurable, "not measurable on this host"},
                             std::pair{claim_verdict::unresolved, "not resolved"},
                             std::pair{claim_verdict::absent, "no figure in this run"}};
  std::string out;
  for (const auto& [verdict, what] : parts) {
    const auto count = std::count_if(answers.begin(), answers.end(),
                                     [&](const answered_claim& a) { return a.verdict == verdict; });
    if (count > 0) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", what, count);
  }
  return fmt::format("{} claim{}: {}", answers.size(), answers.size() == 1 ? "" : "s", out);
}

std::string question_of(const answered_test& test) {
  const claim_test& t = *test.of;
  const std::string bound = number_text(t.bound, t.versus.empty() ? test.unit : std::nullopt);
  return fmt::format("{}{}: {} {} {}", t.row, t.versus.empty() ? "" : " / " + t.versus, t.metric,
                     name_of(t.op), bound);
}

std::string figure_of(const answered_test& test) {
  if (test.is == answer::absent) return test.why;
  const std::string range = range_text(test.value, test.unit);
  return number_text(test.value.estimate, test.unit) + (range.empty() ? "" : " (" + range + ")");
}

std::string render_text(const std::vector<answered_claim>& answers, const palette& colours) {
  const std::string indent = "  ";
  const auto told = [&](const std::string& text) {
    return indent + wrap(text, table_width - indent.size(), indent) + "\n";
  };
  const auto head = [&](const answered_claim& a) {
    return coloured(a.verdict, wrap(a.of->id + ": " + a.text(), table_width, indent), colours) + "\n" +
           told(a.of->text);
  };
  std::string out = "      answer        median  95% interval           tern, baseline, Go beside it\n";
  for (const answered_claim& a : answers) {
    if (!has_figures(a)) continue;
    out += head(a);
    for (const answered_test& t : a.tests) out += test_lines(t);
    for (const answered_condition* condition : a.told_conditions()) {
      out += told(condition->of->when + ":");
      for (const answered_test& t : condition->tests) out += test_lines(t);
    }
    if (!a.of->note.empty()) out += told("(" + a.of->note + ")");
  }
  for (const answered_claim& a : answers) {
    if (!has_figures(a)) out += head(a);
  }
  return out + "\n" +
         wrap(
             "A test is answered by the whole interval of the median (of the ratio within a repetition); "
             "\"unresolved\": the bound lies in it. A claim holds where all its tests do.",
             table_width, "") +
         "\n";
}

std::string render_markdown(const std::vector<answered_claim>& answers, bool brief) {
  std::string out = "| claim | verdict | asked | measured | beside it |\n|---|---|---|---|---|\n";
  for (const answered_claim& a : answers) {
    const std::string note = brief || a.of->note.empty() ? "" : "<br>" + escape_cell(a.of->note);
    std::string lead = fmt::format("| {} ({}){} | {} ", escape_cell(a.of->text), escape_cell(a.of->source),
                                   note, escape_cell(a.text()));
    if (brief) {
      out += lead + markdown_cells(farthest(a));
      continue;
    }
    for (const answered_test& t : a.tests) out += std::exchange(lead, "| | ") + markdown_cells(t);
    for (const answered_condition* condition : a.told_conditions()) {
      lead = fmt::format("| | {} ", escape_cell(condition->of->when));
      for (const answered_test& t : condition->tests) out += std::exchange(lead, "| | ") + markdown_cells(t);
    }
  }
  return out;
}

exit_code claims(const claims_options& options) {
  const run_data run = load_run(options.run);
  std::vector<claim> known =
      load_claims(options.files.empty() ? std::vector<std::filesystem::path>{claims_file} : options.files);
  for (const std::string& area : options.areas)
    if (std::none_of(known.begin(), known.end(), [&](const claim& c) { return c.area == area; }))
      throw tool_error(fmt::format("no claim is of the area \"{}\"", area));
  if (!options.areas.empty())
    std::erase_if(known, [&](const claim& c) {
      return std::find(options.areas.begin(), options.areas.end(), c.area) == options.areas.end();
    });
  if (const auto wanted = parse_filter(options.ids, "--id")) {
    std::erase_if(known, [&](const claim& c) { return !std::regex_search(c.id, *wanted); });
    if (known.empty()) throw tool_error(fmt::format("no claim has an id that matches \"{}\"", options.ids));
  }
  std::vector<answered_claim> answers = answer_claims(run, known);
  const std::string summary = summary_of(answers);  // of all, whatever is shown
  if (options.surprises > 0) {
    std::sort(answers.begin(), answers.end(), [](const answered_claim& a, const answered_claim& b) {
      const double first = a.surprise(), second = b.surprise();
      return first != second ? first > second : a.of < b.of;  // as they stand in the files
    });
    const auto end = std::find_if(answers.begin(), answers.end(),
                                  [](const answered_claim& a) { return a.surprise() <= 0; });
    answers.erase(end, answers.end());
    if (answers.size() > options.surprises) answers.resize(options.surprises);
  }
  if (options.markdown) {
    fmt::print("{}\n\n{}", summary, render_markdown(answers, options.surprises > 0));
  } else {
    const palette colours = palette::for_descriptor(STDOUT_FILENO);
    fmt::print("{}\n\n{}\n\n{}", wrap(describe(run), table_width, "  "),
               colours.strong(wrap(summary, table_width, "  ")), render_text(answers, colours));
  }
  return exit_code::ok;
}

}  // namespace ternbench

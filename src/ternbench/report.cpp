#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>

#include "format.hpp"
#include "show.hpp"

namespace ternbench {
namespace {

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

const metric& time_metric() { return shown_metrics().front(); }

double middle_of(const row_data& row, const metric& m) { return median(row.values(m)); }

std::string short_name(const row_data& row) { return row.parts.in_grammar() ? row.parts.subject : row.name; }

std::string run_name(const run_data& run) {
  const std::string day = run.date.substr(0, 10);
  const std::string machine = run.machine.empty() ? run.host.cpu_model.value_or("") : run.machine;
  return fmt::format("{} {} {}", day.empty() ? run.label : day, run.host.arch.value_or(""), machine);
}

/// A number in a plot: six digits are more than a pixel shows, and keep the page small.
double rounded(double v) {
  if (!(v > 0)) return v;
  const double scale = std::pow(10.0, 5 - std::floor(std::log10(v)));
  return std::round(v * scale) / scale;
}

class page_writer {
 public:
  page_writer(const std::vector<run_data>& runs, const std::vector<answered_claim>& answers)
      : runs_(runs), run_(runs.back()), answers_(answers) {}

  std::string write() {
    std::string cases;
    for (const shown_group& g : group_rows(run_, {})) cases += write_case(g);
    std::string out = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n<title>Benchmarks: {0}</title>\n<link "
        "rel=\"icon\" "
        "href=\"data:,\">\n<style>\n{1}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#cases\">Skip to "
        "the cases</a>\n"
        "<header>\n<h1>Benchmarks: {0}</h1>\n{2}</header>\n",
        escape(run_name(run_)), page::page_css, write_runs());
    out += write_form();
    out += write_claims() + "<main id=\"cases\" tabindex=\"-1\">\n" + cases +
           "</main>\n<footer>\n<ul class=\"notes\">\n";
    for (const char* note :
         {"Each figure is the median over process repetitions; spread is the interquartile range over it.",
          "A ratio is the median of the ratios within a repetition with its 95% order-statistic interval; ~ "
          "marks one that "
          "covers less.",
          "In the first plot of a case the bars right of 1 say how many times faster the first subject is; "
          "on a scale of "
          "powers of two.",
          "A line over runs is not a comparison: the machine may have drifted between them. The gate "
          "compares."})
      out += fmt::format("<li>{}</li>\n", note);
    std::string data = to_text({{"plots", plots_}});
    for (auto at = data.find('<'); at != std::string::npos; at = data.find('<', at))
      data.replace(at, 1, "\\u003c");
    out += fmt::format(
        "</ul>\n</footer>\n<script type=\"application/json\" id=\"data\">{}</script>\n<script>\n/* Chartist "
        "1.5.0\n{}*/\n"
        "{}\n</script>\n<script>\n{}</script>\n</body>\n</html>\n",
        data, page::LICENSE_chartist, page::chartist_js, page::page_js);
    return out;
  }

 private:
  std::string write_runs() const {
    std::string out = "<ul class=\"runs\">\n";
    for (const run_data& run : runs_) {
      const bool emulated = run.host.emulated == std::optional<bool>(true);
      out += fmt::format("<li{}>{}</li>\n", emulated ? " class=\"emulated\"" : "", escape(describe(run)));
    }
    return out + "</ul>\n";
  }

  std::string write_form() const {
    std::set<std::string> areas;
    for (const row_data& row : run_.rows) {
      if (row.parts.in_grammar()) areas.insert(row.parts.area);
    }
    std::string out =
        "<form role=\"search\" hidden>\n<div><label for=\"filter\">Rows that contain</label><input "
        "id=\"filter\" "
        "type=\"search\" autocomplete=\"off\"></div>\n<div><label for=\"area\">Area</label><select "
        "id=\"area\"><option "
        "value=\"\">all</option>";
    for (const std::string& area : areas) out += fmt::format("<option>{}</option>", escape(area));
    return out + "</select></div>\n<p id=\"count\" role=\"status\"></p>\n</form>\n";
  }

  std::string write_claims() const {
    if (answers_.empty()) return {};
    std::string out = fmt::format(
        "<section class=\"claims\" aria-labelledby=\"claims\">\n<h2 id=\"claims\">Published "
        "claims</h2>\n<p>{}</p>\n<table>\n<thead><tr>",
        escape(summary_of(answers_)));
    for (const char* column : {"claim", "verdict", "asked", "measured", "beside it"})
      out += fmt::format("<th scope=\"col\">{}</th>", column);
    out += "</tr></thead>\n";
    for (const answered_claim& a : answers_) out += write_claim(a);
    return out + "</table>\n</section>\n";
  }

  static std::string write_claim(const answered_claim& a) {
    const char* colour = a.verdict == claim_verdict::holds      ? " better"
                         : a.verdict == claim_verdict::does_not ? " worse"
                                                                : "";
    std::size_t lines = a.tests.size();
    for (const answered_condition* condition : a.told_conditions()) lines += condition->tests.size();
    std::string lead =
        fmt::format("<th scope=\"rowgroup\" rowspan=\"{}\">{} <small>({})</small></th>", lines,
                    escape(a.of->text), escape(a.of->source)) +
        fmt::format("<td class=\"text{}\" rowspan=\"{}\">{}</td>", colour, a.tests.size(), escape(a.text()));
    std::string out = "<tbody>\n";
    const auto add = [&](const answered_test& t) {
      out += fmt::format(
          "<tr>{}<td class=\"text\" data-label=\"asked\">{}</td><td class=\"text\" "
          "data-label=\"measured\">{}</td>"
          "<td class=\"text\" data-label=\"beside it\">{}</td></tr>\n",
          lead, escape(question_of(t)), escape(figure_of(t)), escape(t.beside));
      lead.clear();
    };
    for (const answered_test& t : a.tests) add(t);
    for (const answered_condition* condition : a.told_conditions()) {
      lead = fmt::format("<td class=\"text\" rowspan=\"{}\">{}</td>", condition->tests.size(),
                         escape(condition->of->when));
      for (const answered_test& t : condition->tests) add(t);
    }
    return out + "</tbody>\n";
  }

  std::string write_case(const shown_group& g) {
    std::string words;
    for (const row_data* row : g.rows) words += row->name + " ";
    std::transform(words.begin(), words.end(), words.begin(), [](unsigned char c) {
      return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    });
    std::string out = fmt::format(
        "<section class=\"case\" data-area=\"{}\" data-rows=\"{}\" aria-labelledby=\"h{}\">\n<h2 "
        "id=\"h{}\">{}</h2>\n",
        escape(g.rows.front()->parts.area), escape(words), cases_, cases_, escape(g.name));
    out += write_table(g);
    out += plot_speedup(g) + plot_latency(g) + plot_memory(g) + plot_history(g);
    ++cases_;
    return out + "</section>\n";
  }

  std::string write_table(const shown_group& g) const {
    std::string out = fmt::format(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
        "aria-labelledby=\"h{}\">\n<table>\n<thead><tr><th "
        "scope=\"col\">row</th><th scope=\"col\">metric</th><th scope=\"col\">median</th><th "
        "scope=\"col\">spread</th>",
        cases_);
    std::vector<const row_data*> subjects;
    for (const row_data* row : g.rows) {
      if (row->role != "subject") continue;
      subjects.push_back(row);
      out +=
          fmt::format("<th scope=\"col\">{} / row</th><th scope=\"col\">95%</th>", escape(short_name(*row)));
    }
    out += "</tr></thead>\n<tbody>\n";
    for (const row_data* row : g.rows) {
      const std::string head = fmt::format("<th scope=\"row\">{}</th>", escape(short_name(*row)));
      bool any = false;
      for (const metric& m : shown_metrics()) {
        const auto values = row->values(m);
        if (values.empty()) continue;
        any = true;
        const auto spread = relative_spread(values);
        out += fmt::format("<tr>{}<td>{}</td><td>{}</td><td>{}</td>", head, m.name,
                           format_value(median(values), m.in), spread ? format_percent(*spread) : "");
        for (const row_data* subject : subjects) {
          const interval ratio = subject == row ? interval{} : ratio_of(*subject, *row, m);
          if (ratio.count == 0) {
            out += "<td></td><td></td>";
            continue;
          }
          const char* colour = !ratio.bounded() ? ""
                               : ratio.high < 1 ? " class=\"better\""
                               : ratio.low > 1  ? " class=\"worse\""
                                                : "";
          out += fmt::format("<td{}>{}</td><td>{}</td>", colour, format_ratio(ratio.estimate),
                             format_interval(ratio));
        }
        out += "</tr>\n";
      }
      const std::string why = row->all_skipped() ? "skipped: " + row->skip_reason() : row->error_text();
      if (!any || !why.empty())
        out += fmt::format("<tr>{}<td class=\"text\" colspan=\"{}\">{}</td></tr>\n", head,
                           3 + 2 * subjects.size(), escape(why.empty() ? "nothing was measured" : why));
    }
    return out + "</tbody>\n</table>\n</div>\n";
  }

  /// A plot's place; what it says in words is in the table above it.
  std::string place(ordered_json plot, const std::string& what, const std::vector<std::string>& key = {}) {
    const std::string id = fmt::format("p{}", plots_.size());
    plot["id"] = id;
    plots_.push_back(std::move(plot));
    std::string out = fmt::format(
        "<figure><figcaption id=\"{}c\">{}</figcaption><div class=\"plot\" id=\"{}\" role=\"img\" "
        "aria-labelledby=\"h{} {}c\"></div>",
        id, what, id, cases_, id);
    if (!key.empty()) {
      out += "<ul class=\"key\">";
      for (std::size_t i = 0; i < key.size(); ++i)
        out += fmt::format("<li class=\"c{}\">{}</li>", i % 8, escape(key[i]));
      out += "</ul>";
    }
    return out + "</figure>\n";
  }

  std::string plot_speedup(const shown_group& g) {
    const row_data* subject = nullptr;
    ordered_json bars = ordered_json::array();
    for (const row_data* row : g.rows) {
      if (!row->has(time_metric())) continue;
      if (subject == nullptr && row->role == "subject") {
        subject = row;
        continue;
      }
      if (subject == nullptr) return {};
      const interval ratio = ratio_of(*subject, *row, time_metric());
      if (ratio.count == 0) continue;
      ordered_json bar = {{"name", short_name(*row)}, {"value", rounded(1 / ratio.estimate)}};
      if (ratio.bounded()) {
        bar["low"] = rounded(1 / ratio.high);
        bar["high"] = rounded(1 / ratio.low);
      }
      bar["text"] =
          fmt::format("{} takes {} of its time", short_name(*subject), format_ratio(ratio.estimate));
      bars.push_back(std::move(bar));
    }
    if (bars.empty()) return {};
    return place({{"kind", "speedup"}, {"bars", bars}},
                 fmt::format("Speed-up of {} over each", escape(short_name(*subject))));
  }

  std::string plot_latency(const shown_group& g) {
    constexpr std::array counters{"p50", "p90", "p99", "p999", "p9999", "max"};
    ordered_json series = ordered_json::array();
    std::vector<std::string> key;
    for (const row_data* row : g.rows) {
      ordered_json values = ordered_json::array();
      bool any = false;
      for (const char* counter : counters) {
        const auto found = row->values({counter, counter, metric::unit::nanoseconds});
        any = any || !found.empty();
        values.push_back(found.empty() ? ordered_json(nullptr) : ordered_json(rounded(median(found))));
      }
      if (!any) continue;
      key.push_back(short_name(*row));
      series.push_back({{"name", key.back()}, {"values", values}});
    }
    if (series.empty()) return {};
    return place({{"kind", "lines"},
                  {"labels", {"50%", "90%", "99%", "99.9%", "99.99%", "max"}},
                  {"series", series},
                  {"unit", "ns"}},
                 "Latency by percentile", key);
  }

  std::string plot_memory(const shown_group& g) {
    std::string out;
    for (const metric& m : shown_metrics()) {
      if (m.in != metric::unit::bytes) continue;
      ordered_json bars = ordered_json::array();
      for (const row_data* row : g.rows) {
        if (row->has(m)) bars.push_back({{"name", short_name(*row)}, {"value", rounded(middle_of(*row, m))}});
      }
      if (!bars.empty()) {
        out += place({{"kind", "bars"}, {"bars", bars}, {"unit", "B"}},
                     m.counter == "rss_bytes" ? "Resident memory" : "Bytes per operation");
      }
    }
    return out;
  }

  std::string plot_history(const shown_group& g) {
    if (runs_.size() < 2) return {};
    ordered_json labels = ordered_json::array();
    for (const run_data& run : runs_) labels.push_back(run_name(run));
    ordered_json series = ordered_json::array();
    std::vector<std::string> key;
    for (const row_data* row : g.rows) {
      ordered_json values = ordered_json::array();
      std::size_t points = 0;
      for (const run_data& run : runs_) {
        const row_data* then = run.host.emulated == std::optional<bool>(true) ? nullptr : run.find(row->name);
        const bool known = then != nullptr && then->has(time_metric());
        points += known ? 1 : 0;
        values.push_back(known ? ordered_json(rounded(middle_of(*then, time_metric())))
                               : ordered_json(nullptr));
      }
      if (points == 0) continue;
      key.push_back(short_name(*row));
      series.push_back({{"name", key.back()}, {"values", values}});
    }
    if (series.empty()) return {};
    return place({{"kind", "lines"}, {"labels", labels}, {"series", series}, {"unit", "ns"}},
                 "Time per operation over the runs", key);
  }

  const std::vector<run_data>& runs_;
  const run_data& run_;
  const std::vector<answered_claim>& answers_;
  std::size_t cases_ = 0;
  ordered_json plots_ = ordered_json::array();
};

}  // namespace

std::string render_html(const std::vector<run_data>& runs, const std::vector<answered_claim>& answers) {
  return page_writer(runs, answers).write();
}

exit_code report(const report_options& options) {
  std::vector<run_data> runs;
  for (const auto& path : options.runs) runs.push_back(load_run(path));
  const run_data& last = runs.back();
  std::vector<std::filesystem::path> files = options.claims;
  std::error_code ignored;
  if (files.empty() && std::filesystem::exists(claims_file, ignored)) files.emplace_back(claims_file);
  const std::vector<claim> claims = load_claims(files);
  const bool emulated = last.host.emulated == std::optional<bool>(true);
  const std::vector<answered_claim> answers =
      emulated ? std::vector<answered_claim>{} : answer_claims(last, claims);
  write_file(options.out, render_html(runs, answers));
  if (!options.markdown.empty()) {
    std::string text = fmt::format("### {}\n\n", run_name(last));
    for (const run_data& run : runs) text += "- " + describe(run) + "\n";
    text += "\n<details><summary>Each subject against its baselines</summary>\n\n" +
            render(last, show_options{{}, table_form::markdown}, palette::none()) + "\n</details>\n";
    if (!answers.empty()) {
      text += fmt::format("\n<details><summary>{}</summary>\n\n{}\n</details>\n", summary_of(answers),
                          render_markdown(answers));
    }
    write_file(options.markdown, text);
  }
  fmt::print("{}\n", options.out.string());
  return exit_code::ok;
}

}  // namespace ternbench

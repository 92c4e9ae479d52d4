#include "cross.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "show.hpp"

namespace ternbench {
namespace {

bool is_emulated(const run_data& run) { return run.host.emulated == std::optional<bool>(true); }

/// subject / baseline of each repetition.
std::vector<double> ratios_by_repetition(const row_data& subject, const row_data& baseline) {
  const paired_values pairs = pair_by_repetition(baseline, subject, shown_metrics().front());
  std::vector<double> out;
  for (std::size_t i = 0; i < pairs.a.size(); ++i) out.push_back(pairs.b[i] / pairs.a[i]);
  return out;
}

std::string machine_text(const run_data& run) {
  return run.host.arch.value_or("unknown") + " " +
         (run.machine.empty() ? run.host.cpu_model.value_or(run.label) : run.machine);
}

std::string letter(std::size_t index) {
  return index < 26 ? std::string(1, static_cast<char>('A' + index)) : fmt::format("{}", index);
}

}  // namespace

std::vector<crossed_row> cross_runs(const std::vector<run_data>& runs) {
  std::vector<crossed_row> out;
  std::vector<std::vector<double>> firsts;  // beside out
  for (const run_data& run : runs) {
    if (is_emulated(run)) continue;
    for (const shown_group& g : group_rows(run, {})) {
      for (const row_data* baseline : g.rows) {
        const std::string& reference = baseline->parts.subject;
        if (std::find(reference_baselines.begin(), reference_baselines.end(), reference) ==
            reference_baselines.end())
          continue;
        for (const row_data* subject : g.rows) {
          if (subject->role != "subject") continue;
          std::vector<double> ratios = ratios_by_repetition(*subject, *baseline);
          if (ratios.empty()) continue;
          auto at = std::find_if(out.begin(), out.end(), [&](const crossed_row& r) {
            return r.name == g.name && r.subject == subject->parts.subject && r.baseline == reference;
          });
          const bool first = at == out.end();
          if (first) {
            out.push_back({g.name, subject->parts.subject, reference, {}});
            firsts.push_back(ratios);
            at = out.end() - 1;
          }
          const auto index = static_cast<std::size_t>(at - out.begin());
          at->machines.push_back(
              {&run, median_interval(ratios), first ? interval{} : unpaired_ratio(firsts[index], ratios)});
        }
      }
    }
  }
  return out;
}

std::string render(const std::vector<run_data>& runs, const std::vector<crossed_row>& rows,
                   const palette& colours) {
  std::string out;
  for (std::size_t i = 0; i < runs.size(); ++i)
    out += wrap(fmt::format("{}  {}: {}", letter(i), runs[i].label, describe(runs[i])), table_width, "   ") +
           "\n";
  constexpr std::size_t machine_width = 38;
  out += "\n  " + pad_right("subject / baseline, on", machine_width) + pad_left("ratio", 9) + "  " +
         pad_right("95% interval", 18) + pad_left("to first", 9) + "  95% interval\n";
  for (const crossed_row& row : rows) {
    if (row.machines.size() < 2) continue;
    out += colours.strong(fmt::format("{}: {} / {}", row.name, row.subject, row.baseline)) + "\n";
    for (const crossed_ratio& m : row.machines) {
      std::string line = "  " +
                         pad_right(fmt::format("{} {}", letter(static_cast<std::size_t>(m.run - runs.data())),
                                               machine_text(*m.run))
                                       .substr(0, machine_width - 1),
                                   machine_width) +
                         pad_left(format_ratio(m.ratio.estimate), 9) + "  " +
                         pad_right(format_interval(m.ratio), 18);
      if (m.against.count > 0)
        line += pad_left(format_ratio(m.against.estimate), 9) + "  " + format_interval(m.against);
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
  }
  std::vector<std::string> lone;
  for (const crossed_row& row : rows) {
    if (row.machines.size() == 1)
      lone.push_back(fmt::format("{}: {} / {} ({})", row.name, row.subject, row.baseline,
                                 letter(static_cast<std::size_t>(row.machines.front().run - runs.data()))));
  }
  if (!lone.empty()) {
    out += colours.warn(fmt::format("on one machine only ({})", lone.size())) + "\n";
    for (const std::string& name : lone) out += "  " + name + "\n";
  }
  for (const run_data& run : runs) {
    if (!is_emulated(run)) continue;
    const auto measured = std::count_if(run.rows.begin(), run.rows.end(),
                                        [](const row_data& r) { return r.has(shown_metrics().front()); });
    out += colours.warn(wrap(fmt::format("emulated, so its times are not rated: {} ({}): {} of {} rows ran",
                                         run.label, machine_text(run), measured, run.rows.size()),
                             table_width, "  ")) +
           "\n";
  }
  out += "\n" +
         wrap(
             "Each ratio is within one run; \"to first\" sets the machine's ratio against the first "
             "machine's (Hodges-Lehmann over the repetitions): above 1, the subject does worse against its "
             "baseline here than there.",
             table_width, "") +
         "\n";
  return out;
}

}  // namespace ternbench

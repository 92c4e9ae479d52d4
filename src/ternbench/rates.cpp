#include "rates.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <sstream>
#include <tuple>
#include <vector>

#include "format.hpp"
#include "json_io.hpp"
#include "stats.hpp"

namespace ternbench {
namespace {

// The goals, as the design has them.
constexpr double most_false_red = 0.01;
constexpr std::size_t trials_for_that = 300;  // with none red of so many the rate is at most 1.2%
constexpr double most_minutes = 15;
constexpr double least_quiet_share = 0.8;
struct power_goal {
  int percent;
  double least;       // share that is found
  double most_sd;     // of log(B/A) within blocks
  double most_floor;  // of the row
};
constexpr power_goal power_goals[] = {{10, 0.99, 0.04, 0.03}, {5, 0.90, 0.02, 0.02}};

struct row_result {
  std::optional<double> sd;  // none where its blocks carry no 95%
  double floor = 0;
};

struct trial_result {
  bool null = false;
  std::string primitive;
  int percent = 0;
  std::string row;
  bool found = false;
  bool decided = false;
  bool stopped = false;  // by whatever row
  std::map<std::string, row_result> rows;
  std::optional<double> seconds;  // of both builds and the first duet
};

/// The x below which a standard normal value lies with probability p.
double normal_quantile(double p) {
  double low = -10;
  double high = 10;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < p ? low : high) = middle;
  }
  return low;
}

/// The standard deviation of log(B/A) that an interval "1.02 .. 1.07" of its median over `blocks` tells: it lies between two order
/// statistics, whose distance a normal distribution gives (Blom's positions).
std::optional<double> sd_of(const std::string& text, std::size_t blocks) {
  const auto gap = text.find(" .. ");
  if (gap == std::string::npos || text.front() == '~' || blocks < 2) return std::nullopt;
  const double low = std::strtod(text.c_str(), nullptr);
  const double high = std::strtod(text.c_str() + gap + 4, nullptr);
  if (!(low > 0) || !(high >= low)) return std::nullopt;
  std::vector<double> ranks(blocks);
  for (std::size_t i = 0; i < blocks; ++i) ranks[i] = static_cast<double>(i + 1);
  const interval between = median_interval(ranks);
  const double distance = 2 * normal_quantile((between.high - 0.375) / (static_cast<double>(blocks) + 0.25));
  return std::log(high / low) / distance;
}

trial_result read_trial(const ordered_json& trial, const std::string& where) {
  trial_result out;
  const auto kind = trial.at("kind").get<std::string>();
  if (kind != "null" && kind != "slow") throw tool_error(fmt::format("{}: unknown kind \"{}\"", where, kind));
  out.null = kind == "null";
  if (!out.null) {
    out.primitive = trial.at("primitive").get<std::string>();
    out.percent = trial.at("percent").get<int>();
    out.row = trial.at("row").get<std::string>();
  }
  out.found = trial.at("found").get<bool>();
  out.decided = trial.at("decided").get<bool>();
  out.stopped = trial.at("exit").get<int>() == static_cast<int>(exit_code::regression);
  const auto blocks = trial.at("blocks").get<std::size_t>();
  for (const auto& [row, figures] : trial.at("rows").items()) {
    const double percent = std::strtod(figures.at(2).get<std::string>().c_str(), nullptr);
    out.rows[row] = {sd_of(figures.at(1).get<std::string>(), blocks), percent / 100};
  }
  if (trial.contains("build_seconds") && trial.contains("duet_seconds"))
    out.seconds = 2 * trial["build_seconds"].get<double>() + trial["duet_seconds"].get<double>();
  return out;
}

bool quiet(const std::optional<double>& sd, double floor, const power_goal& goal) {
  constexpr double rounding = 1e-9;  // floors are printed to 0.1%
  return sd && *sd <= goal.most_sd && floor <= goal.most_floor + rounding;
}

std::string share_text(std::size_t hits, std::size_t count) {
  return count == 0 ? "-" : format_percent(static_cast<double>(hits) / static_cast<double>(count));
}

std::string interval_text(std::size_t hits, std::size_t count) {
  const proportion p = binomial_interval(hits, count);
  return count == 0 ? "-" : fmt::format("{} .. {}", format_percent(p.low), format_percent(p.high));
}

std::string false_red_line(const std::vector<trial_result>& trials) {
  std::size_t count = 0;
  std::size_t red = 0;
  for (const trial_result& t : trials) {
    count += t.null ? 1 : 0;
    red += t.null && t.found ? 1 : 0;
  }
  const double share = count > 0 ? static_cast<double>(red) / static_cast<double>(count) : 0;
  const std::string says = count == 0                                           ? "no trial yet"
                           : binomial_interval(red, count).low > most_false_red ? "missed"
                           : count < trials_for_that
                               ? fmt::format("not claimed: {} trials are needed", trials_for_that)
                           : share <= most_false_red ? "held"
                                                     : "missed";
  return fmt::format(
      "| false red, per gate run over all rows, head being base linked anew | at most {} | {} | {} | {} "
      "trials | {} |\n",
      format_percent(most_false_red), share_text(red, count), interval_text(red, count), count, says);
}

std::string power_line(const std::vector<trial_result>& trials, const power_goal& goal) {
  std::size_t count = 0;
  std::size_t found = 0;
  std::size_t others = 0;
  for (const trial_result& t : trials) {
    if (t.null || t.percent != goal.percent) continue;
    const auto at = t.rows.find(t.row);
    if (at == t.rows.end() || !quiet(at->second.sd, at->second.floor, goal)) {
      ++others;
      continue;
    }
    ++count;
    found += t.found ? 1 : 0;
  }
  const proportion p = binomial_interval(found, count);
  const std::string says = count == 0            ? "no trial on such a row yet"
                           : p.low >= goal.least ? "held"
                           : p.high < goal.least ? "missed"
                                                 : "not claimed: too few trials";
  return fmt::format(
      "| a row that is {}% slower is red, where its pair sd is at most {:.0f}% and its floor at most {:.0f}% "
      "| at least {} | {} "
      "| {} | {} trials ({} more on rows that are noisier) | {} |\n",
      goal.percent, 100 * goal.most_sd, 100 * goal.most_floor, format_percent(goal.least),
      share_text(found, count), interval_text(found, count), count, others, says);
}

std::string quiet_line(const std::vector<trial_result>& trials, const power_goal& goal) {
  std::map<std::string, std::vector<row_result>> rows;
  std::size_t nulls = 0;
  for (const trial_result& t : trials) {
    if (!t.null) continue;
    ++nulls;
    for (const auto& [name, result] : t.rows) rows[name].push_back(result);
  }
  std::size_t count = 0;
  for (const auto& [name, results] : rows) {
    std::vector<double> sds;
    double floor = 0;
    for (const row_result& r : results) {
      if (r.sd) sds.push_back(*r.sd);
      floor = std::max(floor, r.floor);
    }
    const bool known = sds.size() == results.size();
    count += known && quiet(median(sds), floor, goal) ? 1 : 0;
  }
  const double share = rows.empty() ? 0 : static_cast<double>(count) / static_cast<double>(rows.size());
  return fmt::format(
      "| rows quiet enough for the line of {}% | at least {} | {} | - | {} rows, median sd of {} null trials "
      "| {} |\n",
      goal.percent, format_percent(least_quiet_share), share_text(count, rows.size()), rows.size(), nulls,
      rows.empty()                 ? "no trial yet"
      : share >= least_quiet_share ? "held"
                                   : "missed");
}

std::string time_line(const std::vector<trial_result>& trials) {
  double longest = 0;
  std::size_t count = 0;
  for (const trial_result& t : trials) {
    if (!t.seconds) continue;
    ++count;
    longest = std::max(longest, *t.seconds);
  }
  return fmt::format(
      "| one duet of the gate's set, with both builds | at most {:.0f} min | {} | - | the longest of {} | {} "
      "|\n",
      most_minutes, count == 0 ? "-" : fmt::format("{:.1f} min", longest / 60), count,
      count == 0                     ? "no trial has its time"
      : longest <= 60 * most_minutes ? "held"
                                     : "missed");
}

std::string changes_table(const std::vector<trial_result>& trials) {
  struct tally {
    std::size_t trials = 0;
    std::size_t found = 0;
    std::size_t stopped = 0;
    std::size_t undecided = 0;
  };
  std::map<std::tuple<bool, std::string, int>, tally> groups;
  for (const trial_result& t : trials) {
    tally& sum = groups[{!t.null, t.primitive, t.percent}];
    ++sum.trials;
    sum.found += t.found ? 1 : 0;
    sum.stopped += t.stopped ? 1 : 0;
    sum.undecided += t.decided ? 0 : 1;
  }
  std::string out =
      "| what was changed | trials | gate red | no verdict | that row red | share | 95% interval |\n"
      "|---|--:|--:|--:|--:|--:|---|\n";
  for (const auto& [key, t] : groups) {
    const auto& [slow, primitive, percent] = key;
    out += fmt::format(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        slow ? fmt::format("{} made {}% slower in one row", primitive, percent) : "nothing (linked anew)",
        t.trials, t.stopped, t.undecided, slow ? std::to_string(t.found) : "-", share_text(t.found, t.trials),
        interval_text(t.found, t.trials));
  }
  return out;
}

}  // namespace

std::string rates_table(const std::string& lines, const std::string& label) {
  std::vector<trial_result> trials;
  std::istringstream in(lines);
  std::size_t number = 0;
  std::size_t not_made = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = fmt::format("{}:{}", label, ++number);
    const ordered_json trial = parse_json(line, where);
    try {
      // No wait was found that makes its row that much slower.
      if (!trial.value("made", true)) {
        ++not_made;
        continue;
      }
      trials.push_back(read_trial(trial, where));
    } catch (const ordered_json::exception&) {
      throw tool_error(fmt::format("{}: is not a trial", where));
    }
  }
  std::string out =
      "| goal | asked | measured | 95% interval | of | says |\n"
      "|---|--:|--:|--:|---|---|\n";
  out += false_red_line(trials);
  for (const power_goal& goal : power_goals) out += power_line(trials, goal);
  for (const power_goal& goal : power_goals) out += quiet_line(trials, goal);
  out += time_line(trials);
  if (!trials.empty()) out += "\n" + changes_table(trials);
  if (not_made > 0) out += fmt::format("\nNot made: {} trials, whose change was not to be had.\n", not_made);
  return out;
}

exit_code rates(const std::filesystem::path& trials) {
  std::fputs(rates_table(read_file(trials), trials.string()).c_str(), stdout);
  return exit_code::ok;
}

}  // namespace ternbench

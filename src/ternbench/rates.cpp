#include "rates.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <sstream>
#include <tuple>

#include "format.hpp"
#include "json_io.hpp"
#include "stats.hpp"

namespace ternbench {
namespace {

constexpr std::size_t trials_for_one_percent =
    300;  // with none red of so many, the bound on the rate is 1.2%

struct tally {
  std::size_t trials = 0;
  std::size_t found = 0;
  std::size_t undecided = 0;
};

}  // namespace

std::string rates_table(const std::string& lines, const std::string& label) {
  std::map<std::tuple<std::string, std::string, int>, tally> groups;
  groups[{"null", "all", 0}];
  std::istringstream in(lines);
  std::size_t number = 0;
  std::size_t not_made = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = fmt::format("{}:{}", label, ++number);
    const ordered_json trial = parse_json(line, where);
    try {
      const auto kind = trial.at("kind").get<std::string>();
      if (kind != "null" && kind != "slow")
        throw tool_error(fmt::format("{}: unknown kind \"{}\"", where, kind));
      // No wait was found that makes its row that much slower.
      if (!trial.value("made", true)) {
        ++not_made;
        continue;
      }
      tally& t = groups[{kind, kind == "null" ? "all" : trial.at("primitive").get<std::string>(),
                         kind == "null" ? 0 : trial.at("percent").get<int>()}];
      ++t.trials;
      t.found += trial.at("found").get<bool>() ? 1 : 0;
      t.undecided += trial.at("decided").get<bool>() ? 0 : 1;
    } catch (const ordered_json::exception&) {
      throw tool_error(fmt::format("{}: is not a trial", where));
    }
  }
  std::string out =
      "| what was changed | trials | red | no verdict | share red | 95% interval | is that enough |\n"
      "|---|--:|--:|--:|--:|---|---|\n";
  for (const auto& [key, t] : groups) {
    const auto& [kind, primitive, percent] = key;
    const bool null = kind == "null";
    const proportion share = binomial_interval(t.found, t.trials);
    std::string enough = "no trial yet";
    if (t.trials > 0 && null)
      enough = t.trials < trials_for_one_percent
                   ? fmt::format("no: a claim of at most 1% needs {} trials", trials_for_one_percent)
               : share.high <= 0.02 ? "yes"
                                    : "yes, and it is above 1%";
    if (t.trials > 0 && !null)
      enough = share.low >= 0.9    ? "yes: found in 90% or more"
               : share.high < 0.99 ? "yes: missed more often than 1%"
                                   : "no: the interval is too wide";
    out += fmt::format(
        "| {} | {} | {} | {} | {} | {} .. {} | {} |\n",
        null ? "nothing (linked anew)" : fmt::format("{} made {}% slower", primitive, percent), t.trials,
        t.found, t.undecided,
        t.trials > 0 ? format_percent(static_cast<double>(t.found) / static_cast<double>(t.trials)) : "-",
        format_percent(share.low), format_percent(share.high), enough);
  }
  if (not_made > 0) out += fmt::format("\nNot made: {} trials, whose change was not to be had.\n", not_made);
  return out;
}

exit_code rates(const std::filesystem::path& trials) {
  std::fputs(rates_table(read_file(trials), trials.string()).c_str(), stdout);
  return exit_code::ok;
}

}  // namespace ternbench

#include "planner.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace ternbench {
namespace {

constexpr double process_seconds = 0.03;  // start, host facts, end

double pass_seconds(const std::vector<listed_row>& rows, const std::vector<row_group>& groups,
                    double time_ms) {
  double sum = 0;
  for (const row_group& g : groups) sum += g.cost_seconds(rows, time_ms);
  return sum;
}

}  // namespace

const char* to_string(run_mode mode) {
  switch (mode) {
    case run_mode::quick: return "quick";
    case run_mode::standard: return "default";
    case run_mode::full: break;
  }
  return "full";
}

bool tier_is_in(const std::string& tier, run_mode mode) {
  return tier == "quick" || (tier == "default" && mode != run_mode::quick) || mode == run_mode::full;
}

budget budget_of(run_mode mode) {
  // Six repetitions are the fewest whose median has a 95% order-statistic interval.
  switch (mode) {
    case run_mode::quick: return {110, 6, 3, 5, 100};
    case run_mode::standard: return {580, 10, 3, 10, 250};
    case run_mode::full: break;
  }
  return {3600, 20, 6, 20, 500};
}

double row_group::cost_seconds(const std::vector<listed_row>& all, double time_ms) const {
  double ms = 0;
  for (const std::size_t row : rows) ms += all[row].cost_ms(time_ms);
  return process_seconds + ms / 1000;
}

std::vector<row_group> group_by_case(const std::vector<listed_row>& rows) {
  std::vector<row_group> groups;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string key = rows[i].case_key();
    const auto same = [&](const row_group& g) { return g.binary == rows[i].binary && g.key == key; };
    auto at = std::find_if(groups.begin(), groups.end(), same);
    if (at == groups.end()) at = groups.insert(groups.end(), {rows[i].binary, key, {}});
    at->rows.push_back(i);
  }
  return groups;
}

plan make_plan(const std::vector<listed_row>& rows, const std::vector<row_group>& groups, const budget& b,
               int fixed_repetitions) {
  plan p;
  p.repetitions = fixed_repetitions > 0 ? fixed_repetitions : b.repetitions;
  const double at_zero = pass_seconds(rows, groups, 0);
  const double per_ms = pass_seconds(rows, groups, 1) - at_zero;
  const double pass_budget = b.seconds / p.repetitions;
  const double fitting = per_ms > 0 ? (pass_budget - at_zero) / per_ms : b.most_time_ms;
  p.time_ms = static_cast<int>(std::clamp(fitting, b.least_time_ms, b.most_time_ms));
  const double pass = pass_seconds(rows, groups, p.time_ms);
  if (fixed_repetitions <= 0 && pass > 0) {
    const int affordable = static_cast<int>(std::min(b.seconds / pass, 1e6));
    p.repetitions = std::clamp(affordable, std::min(b.least_repetitions, p.repetitions), p.repetitions);
  }
  p.seconds = pass * p.repetitions;
  return p;
}

int adapt_repetitions(const plan& p, const budget& b, int done, double elapsed) {
  if (done <= 0) return p.repetitions;
  constexpr double tolerance = 1.5;
  const double each = elapsed / done;
  if (each * p.repetitions <= tolerance * b.seconds) return p.repetitions;
  const int affordable = static_cast<int>(tolerance * b.seconds / each);
  return std::clamp(affordable, std::max(done, std::min(b.least_repetitions, p.repetitions)),
                    std::max(done, p.repetitions));
}

std::uint64_t derive_seed(std::uint64_t seed, std::uint64_t stream) {
  std::uint64_t z = seed + (stream + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::vector<std::size_t> shuffled(std::size_t n, std::uint64_t seed) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[derive_seed(seed, i) % i]);
  return order;
}

}  // namespace ternbench

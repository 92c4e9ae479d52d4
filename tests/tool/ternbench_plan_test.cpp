// Plans, orders and the collection of raw entries.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "collect.hpp"
#include "error.hpp"
#include "planner.hpp"

namespace {

using namespace ternbench;

listed_row make_row(const std::string& name, double fixed_ms, double per_ms) {
  listed_row row = parse_listed_row(
      R"({"name":")" + name +
          R"(","tier":"quick","area":"a","case":"c","subject":"s","role":"subject","params":{}})",
      "test");
  row.fixed_ms = fixed_ms;
  row.per_ms = per_ms;
  return row;
}

std::vector<listed_row> make_rows(std::size_t count, double fixed_ms, double per_ms) {
  std::vector<listed_row> rows;
  for (std::size_t i = 0; i < count; ++i)
    rows.push_back(make_row("a/c/s/n:" + std::to_string(i), fixed_ms, per_ms));
  return rows;
}

TEST(plans, fit_the_budget_with_the_wanted_repetitions) {
  const auto rows = make_rows(150, 0, 1.6);
  const budget b = budget_of(run_mode::quick);
  const plan p = make_plan(rows, group_by_case(rows), b, 0);
  EXPECT_EQ(p.repetitions, 6);
  EXPECT_GE(p.time_ms, 50);
  EXPECT_LE(p.seconds, b.seconds);
  EXPECT_GT(p.seconds, 0.8 * b.seconds);
}

TEST(plans, give_up_repetitions_before_they_overrun) {
  const auto rows = make_rows(50, 500, 1.6);  // a pass costs 25 s whatever the time per row
  const budget b = budget_of(run_mode::quick);
  const plan p = make_plan(rows, group_by_case(rows), b, 0);
  EXPECT_EQ(p.time_ms, 5);
  EXPECT_EQ(p.repetitions, 4);
  EXPECT_LE(p.seconds, b.seconds);
  EXPECT_EQ(make_plan(make_rows(500, 500, 1), group_by_case(make_rows(500, 500, 1)), b, 0).repetitions,
            b.least_repetitions);
}

TEST(plans, keep_what_was_asked_for) {
  const auto rows = make_rows(500, 500, 1);
  EXPECT_EQ(make_plan(rows, group_by_case(rows), budget_of(run_mode::quick), 17).repetitions, 17);
}

TEST(plans, adapt_to_what_a_repetition_really_costs) {
  const budget b{100, 6, 3, 5, 100};
  const plan p{6, 50, 95};
  EXPECT_EQ(adapt_repetitions(p, b, 1, 16), 6);
  EXPECT_EQ(adapt_repetitions(p, b, 1, 25), 6);  // 150 s: within half over
  EXPECT_EQ(adapt_repetitions(p, b, 1, 26), 5);
  EXPECT_EQ(adapt_repetitions(p, b, 1, 90), 3);   // never below the least
  EXPECT_EQ(adapt_repetitions(p, b, 5, 200), 5);  // never below what is done
}

TEST(orders, are_permutations_that_a_seed_fixes) {
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{57}}) {
    const auto a = shuffled(n, 42);
    EXPECT_EQ(a, shuffled(n, 42));
    auto sorted = a;
    std::sort(sorted.begin(), sorted.end());
    std::vector<std::size_t> wanted(n);
    std::iota(wanted.begin(), wanted.end(), std::size_t{0});
    EXPECT_EQ(sorted, wanted);
  }
  EXPECT_NE(shuffled(57, 42), shuffled(57, 43));
}

// Each of the 6 orders of 3 things must come up about equally often: chi-squared with 5 degrees of freedom, p = 1e-6.
TEST(orders, are_balanced) {
  std::map<std::vector<std::size_t>, int> seen;
  constexpr int draws = 6000;
  for (int i = 0; i < draws; ++i) ++seen[shuffled(3, static_cast<std::uint64_t>(i))];
  ASSERT_EQ(seen.size(), 6U);
  double chi = 0;
  for (const auto& [order, count] : seen) {
    const double off = count - draws / 6.0;
    chi += off * off / (draws / 6.0);
  }
  EXPECT_LT(chi, 35.9);
}

TEST(listings, are_checked) {
  EXPECT_THROW(static_cast<void>(parse_listed_row("nonsense", "t")), tool_error);
  EXPECT_THROW(static_cast<void>(parse_listed_row("{}", "t")), tool_error);
  EXPECT_THROW(
      static_cast<void>(parse_listed_row(
          R"({"name":"a","tier":"slow","area":"a","case":"c","subject":"s","role":"subject"})", "t")),
      tool_error);
}

ordered_json raw_entry(const std::string& name, double time, const char* unit, double checksum) {
  return {{"name", name},     {"run_name", name},  {"run_type", "iteration"},
          {"threads", 1},     {"iterations", 10},  {"real_time", time},
          {"cpu_time", time}, {"time_unit", unit}, {"checksum", checksum}};
}

TEST(collections, normalise_entries) {
  const auto rows = make_rows(2, 0, 1);
  collector c(rows);
  EXPECT_EQ(c.add(raw_entry("a/c/s/n:1/iterations:10/manual_time", 2.5, "us", 7), 0, "t"),
            std::optional<std::size_t>(1));
  EXPECT_EQ(c.add(raw_entry("a/c/s/n:9", 1, "ns", 7), 0, "t"), std::nullopt);
  ordered_json aggregate = raw_entry("a/c/s/n:1_mean", 1, "ns", 7);
  aggregate["run_type"] = "aggregate";
  EXPECT_EQ(c.add(aggregate, 0, "t"), std::nullopt);
  c.add_error(0, 0, "skipped: not here");
  EXPECT_EQ(c.errors(), 0U);
  c.add_error(0, 1, "crashed");
  EXPECT_EQ(c.errors(), 1U);
  const ordered_json out = c.benchmarks(2);
  ASSERT_EQ(out.size(), 3U);
  EXPECT_EQ(out[0]["error_message"], "skipped: not here");
  EXPECT_EQ(out[2]["name"], "a/c/s/n:1");
  EXPECT_EQ(out[2]["real_time"], 2500.0);
  EXPECT_EQ(out[2]["time_unit"], "ns");
  EXPECT_EQ(out[2]["checksum"], 7.0);
  EXPECT_EQ(out[2]["repetitions"], 2);
}

TEST(collections, compare_checksums_across_subjects_and_processes) {
  std::vector<listed_row> rows{make_row("a/c/tern/n:1", 0, 1), make_row("a/c/malloc/n:1", 0, 1),
                               make_row("a/c/tern/n:2", 0, 1)};
  collector c(rows);
  c.add(raw_entry("a/c/tern/n:1", 1, "ns", 7), 0, "t");
  c.add(raw_entry("a/c/malloc/n:1", 1, "ns", 7), 0, "t");
  c.add(raw_entry("a/c/tern/n:2", 1, "ns", 8), 0, "t");  // other parameters: another sum
  EXPECT_TRUE(c.checksum_mismatches().empty());
  c.add(raw_entry("a/c/malloc/n:1", 1, "ns", 9), 1, "t");
  EXPECT_EQ(c.checksum_mismatches(),
            std::vector<std::string>{
                "checksums of a/c/n:1 differ: tern 7 (repetition 0), malloc 9 (repetition 1)"});
}

TEST(collections, salvage_the_whole_entries_of_a_cut_file) {
  const auto file = std::filesystem::path(testing::TempDir()) / "ternbench_cut.json";
  const std::string text = R"({
  "context": {
    "num_cpus": 2
  },
  "benchmarks": [
    {
      "name": "a/c/s/n:0"
    },
    {
      "name": "a/c/s/n:1"
    },
    {
      "name": "a/c/)";
  std::ofstream(file) << text;
  const raw_output out = read_raw(file);
  EXPECT_FALSE(out.complete);
  ASSERT_EQ(out.entries.size(), 2U);
  EXPECT_EQ(out.entries[1]["name"], "a/c/s/n:1");
  EXPECT_EQ(out.context["num_cpus"], 2);
  std::filesystem::remove(file);
  EXPECT_TRUE(read_raw(file).entries.empty());
}

}  // namespace

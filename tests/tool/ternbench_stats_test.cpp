// The statistics against golden vectors that Python computed another way, and their documented edges.
#include "stats.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/tool/data/golden_gate.hpp"
#include "tests/tool/data/golden_stats.hpp"

namespace {

using namespace ternbench;

constexpr double relative = 1e-12;

void expect_close(double got, double wanted) { EXPECT_NEAR(got, wanted, relative * std::max(1.0, wanted)); }

void expect_interval(const interval& got, const golden::bounds& wanted) {
  expect_close(got.estimate, wanted.estimate);
  expect_close(got.low, wanted.low);
  expect_close(got.high, wanted.high);
  expect_close(got.coverage, wanted.coverage);
}

TEST(stats, single_samples_match_golden_vectors) {
  for (const golden::one& g : golden::singles) {
    SCOPED_TRACE(g.values.size());
    expect_close(quantile(g.values, 0.25), g.q25);
    expect_close(median(g.values), g.q50);
    expect_close(quantile(g.values, 0.75), g.q75);
    expect_interval(median_interval(g.values), g.median);
    const auto spread = relative_spread(g.values);
    ASSERT_EQ(spread.has_value(), g.values.size() > 1);
    if (spread) expect_close(*spread, (g.q75 - g.q25) / g.q50);
  }
}

TEST(stats, two_samples_match_golden_vectors) {
  for (const golden::two& g : golden::pairs) {
    SCOPED_TRACE(g.a.size() * 100 + g.b.size());
    if (g.a.size() == g.b.size()) expect_interval(paired_ratio(g.a, g.b), g.paired);
    expect_interval(unpaired_ratio(g.a, g.b), g.unpaired);
  }
}

TEST(stats, coverage_reaches_95_percent_from_six_repetitions_on) {
  for (std::size_t n = 1; n <= 60; ++n) {
    std::vector<double> values(n);
    std::iota(values.begin(), values.end(), 1.0);
    const interval i = median_interval(values);
    EXPECT_EQ(i.count, n);
    EXPECT_EQ(i.coverage >= 0.95, n >= 6) << n;
    EXPECT_LE(i.low, i.estimate);
    EXPECT_GE(i.high, i.estimate);
    EXPECT_EQ(i.bounded(), n >= 2) << n;
  }
}

TEST(stats, coverage_of_large_unpaired_samples_is_close_to_95_percent) {
  std::vector<double> a(20);
  std::iota(a.begin(), a.end(), 100.0);
  const interval i = unpaired_ratio(a, a);
  EXPECT_GE(i.coverage, 0.95);
  EXPECT_LT(i.coverage, 0.96);
  EXPECT_DOUBLE_EQ(i.estimate, 1.0);
  EXPECT_NEAR(i.low * i.high, 1.0, 1e-12);  // symmetric in the logarithm
}

TEST(stats, a_ratio_and_its_inverse_mirror_each_other) {
  for (const golden::two& g : golden::pairs) {
    const interval up = unpaired_ratio(g.a, g.b);
    const interval down = unpaired_ratio(g.b, g.a);
    EXPECT_NEAR(up.estimate * down.estimate, 1.0, 1e-12);
    EXPECT_NEAR(up.low * down.high, 1.0, 1e-12);
    EXPECT_NEAR(up.high * down.low, 1.0, 1e-12);
  }
}

TEST(stats, spread_needs_a_positive_median) { EXPECT_FALSE(relative_spread({0, 0, 0}).has_value()); }

TEST(stats, tests_of_the_gate_match_golden_vectors) {
  for (const golden::sign_case& g : golden::sign_tests) {
    SCOPED_TRACE(g.values.size());
    EXPECT_NEAR(sign_test_above(g.values, g.bound), g.p, relative);
  }
  for (const golden::rank_case& g : golden::rank_tests) {
    SCOPED_TRACE(g.a.size() * 100 + g.b.size());
    EXPECT_NEAR(mann_whitney_above(g.a, g.b), g.p, relative);
  }
  for (const golden::holm_case& g : golden::holms) {
    const std::vector<double> adjusted = holm(g.p);
    ASSERT_EQ(adjusted.size(), g.adjusted.size());
    for (std::size_t i = 0; i < adjusted.size(); ++i) EXPECT_NEAR(adjusted[i], g.adjusted[i], relative);
  }
  EXPECT_TRUE(holm({}).empty());
}

TEST(stats, median_intervals_are_the_order_statistics_of_scipy) {
  for (const golden::median_case& g : golden::medians) {
    SCOPED_TRACE(g.values.size());
    const interval ours = median_interval(g.values);
    EXPECT_EQ(ours.low, g.low);
    EXPECT_EQ(ours.high, g.high);
  }
}

TEST(stats, binomial_intervals_match_golden_vectors) {
  constexpr double close = 1e-9;  // scipy inverts the beta function, this bisects the binomial sum
  for (const golden::binomial_case& g : golden::binomials) {
    SCOPED_TRACE(g.count * 10000 + g.hits);
    const proportion got = binomial_interval(g.hits, g.count, g.level);
    EXPECT_NEAR(got.low, g.low, close);
    EXPECT_NEAR(got.high, g.high, close);
  }
}

}  // namespace

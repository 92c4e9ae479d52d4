// Medians and their intervals: exact, distribution-free, the same for the same numbers on every machine.
//
// Few repetitions are the rule here (3 to 20), so nothing is resampled and nothing is assumed normal. Where so few values
// cannot carry 95%, the widest interval that they do carry is given together with its true coverage.
#pragma once

#include <optional>
#include <vector>

namespace ternbench {

/// Median; the mean of the middle two for an even count. Requires a non-empty vector.
[[nodiscard]] double median(std::vector<double> values);

/// Quantile by linear interpolation between order statistics (type 7 of Hyndman and Fan, R's default).
[[nodiscard]] double quantile(std::vector<double> values, double q);

/// Interquartile range divided by the median; absent for fewer than 2 values or a median of 0.
[[nodiscard]] std::optional<double> relative_spread(const std::vector<double>& values);

struct interval {
  double estimate = 0;
  double low = 0;
  double high = 0;
  double coverage =
      0;  // what the interval truly covers, under independence: >= 0.95 where the count allows it
  std::size_t count = 0;

  [[nodiscard]] bool bounded() const { return coverage > 0; }
};

/// Median with its order-statistic (sign-test) interval: symmetric order statistics with P >= 95% under Binomial(n, 1/2).
[[nodiscard]] interval median_interval(std::vector<double> values);

/// Median of b[i] / a[i] with the same interval: for values paired by repetition. Requires equal sizes, a[i] > 0, b[i] > 0.
[[nodiscard]] interval paired_ratio(const std::vector<double>& a, const std::vector<double>& b);

/// Ratio b / a of two independent samples: Hodges-Lehmann estimate over all pairs of logarithms, interval by inverting the
/// exact Mann-Whitney test. Requires non-empty samples of values > 0.
[[nodiscard]] interval unpaired_ratio(const std::vector<double>& a, const std::vector<double>& b);

/// P(Binomial(n, 1/2) >= k).
[[nodiscard]] double sign_test_tail(std::size_t n, std::size_t k);

/// One-sided sign test: how likely so many of `values` lie above `bound` if their median does not. Equal ones count as not above.
[[nodiscard]] double sign_test_above(const std::vector<double>& values, double bound);

/// One-sided exact Mann-Whitney test of b > a: P(U >= observed) where both are of one distribution. Ties count as not above.
[[nodiscard]] double mann_whitney_above(const std::vector<double>& a, const std::vector<double>& b);

/// Holm's step-down adjustment (1979): a hypothesis is rejected at a family-wise error of alpha if its result is at most alpha.
[[nodiscard]] std::vector<double> holm(const std::vector<double>& p);

struct proportion {
  double low = 0;
  double high = 1;
};
/// The exact interval of Clopper and Pearson (1934) for `hits` of `count`, each side with (1 - level) / 2.
[[nodiscard]] proportion binomial_interval(std::size_t hits, std::size_t count, double level = 0.95);

}  // namespace ternbench

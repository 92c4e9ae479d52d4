#include "stats.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

namespace ternbench {
namespace {

constexpr double error_allowed = 0.05;  // both sides together

/// The interval between the k-th value from below and from above, k chosen as large as the error allows. `lower_tail(k)` is
/// the chance that the true value lies below the k-th smallest (k from 1).
template <class Tail>
void bound(const std::vector<double>& sorted, interval& out, Tail lower_tail) {
  if (sorted.size() < 2) return;
  std::size_t k = 1;
  while (k + 1 <= sorted.size() / 2 && 2 * lower_tail(k + 1) <= error_allowed) ++k;
  out.low = sorted[k - 1];
  out.high = sorted[sorted.size() - k];
  out.coverage = std::max(0.0, 1 - 2 * lower_tail(k));
}

/// counts[u] = number of ways in which two samples of n and m give a Mann-Whitney statistic of u.
std::vector<double> mann_whitney_counts(std::size_t n, std::size_t m) {
  std::vector<std::vector<double>> with(
      n + 1);  // with[i]: i values of the first sample, for the m handled so far
  for (auto& row : with) {
    row.assign(n * m + 1, 0.0);
    row[0] = 1;  // with no second sample there is nothing to exceed
  }
  for (std::size_t j = 1; j <= m; ++j) {
    for (std::size_t i = 1; i <= n; ++i) {
      // N(u; i, j) = N(u - j; i - 1, j) + N(u; i, j - 1): the largest value is in the first or in the second sample
      for (std::size_t u = j; u <= n * m; ++u) with[i][u] += with[i - 1][u - j];
    }
  }
  return with[n];
}

/// P(Binomial(n, p) >= k), summed by logarithms: n may be in the thousands.
double binomial_tail(std::size_t n, std::size_t k, double p) {
  if (k == 0) return 1;
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  const auto whole = static_cast<double>(n);
  double sum = 0;
  for (std::size_t i = k; i <= n; ++i) {
    const auto hits = static_cast<double>(i);
    sum += std::exp(std::lgamma(whole + 1) - std::lgamma(hits + 1) - std::lgamma(whole - hits + 1) +
                    hits * std::log(p) + (whole - hits) * std::log1p(-p));
  }
  return std::min(1.0, sum);
}

/// The p at which `grows(p)`, which rises from 0 to 1, is `wanted`.
template <class Function>
double bisect(Function grows, double wanted) {
  double low = 0;
  double high = 1;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (grows(middle) < wanted ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

std::optional<double> relative_spread(const std::vector<double>& values) {
  if (values.size() < 2) return std::nullopt;
  const double middle = median(values);
  if (!(middle > 0)) return std::nullopt;
  return (quantile(values, 0.75) - quantile(values, 0.25)) / middle;
}

interval median_interval(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  interval out;
  out.count = values.size();
  out.estimate = median(values);
  out.low = out.high = out.estimate;
  bound(values, out, [n = values.size()](std::size_t k) { return sign_test_tail(n, n + 1 - k); });
  return out;
}

interval paired_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < a.size(); ++i) ratios.push_back(b[i] / a[i]);
  return median_interval(std::move(ratios));
}

interval unpaired_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (const double x : a) {
    for (const double y : b) ratios.push_back(std::log(y / x));
  }
  std::sort(ratios.begin(), ratios.end());
  interval out;
  out.count = std::min(a.size(), b.size());
  out.estimate = std::exp(median(ratios));
  out.low = out.high = out.estimate;
  const std::vector<double> counts = mann_whitney_counts(a.size(), b.size());
  double total = 0;
  for (const double c : counts) total += c;
  bound(ratios, out, [&](std::size_t k) {
    double sum = 0;
    for (std::size_t u = 0; u < k; ++u) sum += counts[u];  // P(U <= k - 1)
    return sum / total;
  });
  if (out.bounded()) {
    out.low = std::exp(out.low);
    out.high = std::exp(out.high);
  }
  return out;
}

double sign_test_tail(std::size_t n, std::size_t k) {
  double term = std::pow(0.5, static_cast<double>(n));
  double sum = 0;
  for (std::size_t i = 0; i + k <= n; ++i) {  // P(X >= k) = P(X <= n - k)
    sum += term;
    term *= static_cast<double>(n - i) / static_cast<double>(i + 1);
  }
  return sum;
}

double sign_test_above(const std::vector<double>& values, double bound) {
  const auto above = std::count_if(values.begin(), values.end(), [&](double v) { return v > bound; });
  return sign_test_tail(values.size(), static_cast<std::size_t>(above));
}

double mann_whitney_above(const std::vector<double>& a, const std::vector<double>& b) {
  std::size_t u = 0;
  for (const double x : a) {
    for (const double y : b) u += y > x ? 1 : 0;
  }
  const std::vector<double> counts = mann_whitney_counts(a.size(), b.size());
  double total = 0;
  double above = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    total += counts[i];
    if (i >= u) above += counts[i];
  }
  return above / total;
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return p[i] < p[j]; });
  std::vector<double> adjusted(p.size());
  double most = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    most = std::max(most, static_cast<double>(p.size() - rank) * p[order[rank]]);
    adjusted[order[rank]] = std::min(1.0, most);
  }
  return adjusted;
}

proportion binomial_interval(std::size_t hits, std::size_t count, double level) {
  const double side = (1 - level) / 2;
  proportion out;
  if (hits > 0) out.low = bisect([&](double p) { return binomial_tail(count, hits, p); }, side);
  if (hits < count) out.high = bisect([&](double p) { return binomial_tail(count, hits + 1, p); }, 1 - side);
  return out;
}

}  // namespace ternbench

// Unit tests of ds/histogram.hpp: bucket arithmetic, error bound, percentiles against a sorted vector, merging, export.
#include <tern/ds/histogram.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

namespace {

using tern::detail::histogram;
constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();

static_assert(histogram::bucket_of(0) == 0);
static_assert(histogram::bucket_of(largest) == histogram::bucket_count - 1);
static_assert(histogram::upper_edge(histogram::bucket_count - 1) == largest);

TEST(histogram, buckets_tile_the_whole_range) {
  std::int64_t next = 0;
  for (std::size_t i = 0; i < histogram::bucket_count; ++i) {
    ASSERT_EQ(histogram::lower_edge(i), next) << i;
    ASSERT_GE(histogram::upper_edge(i), histogram::lower_edge(i)) << i;
    ASSERT_EQ(histogram::bucket_of(histogram::lower_edge(i)), i);
    ASSERT_EQ(histogram::bucket_of(histogram::upper_edge(i)), i);
    if (i + 1 < histogram::bucket_count) {
      next = histogram::upper_edge(i) + 1;
    }
  }
}

TEST(histogram, bucket_midpoint_is_within_one_percent) {
  for (std::size_t i = 1; i < histogram::bucket_count; ++i) {
    const double low = static_cast<double>(histogram::lower_edge(i));
    const double high = static_cast<double>(histogram::upper_edge(i));
    ASSERT_LE((high - low) / 2, 0.0079 * low) << i;
  }
}

TEST(histogram, empty_answers_zero) {
  const auto h = std::make_unique<histogram>();
  EXPECT_TRUE(h->empty());
  EXPECT_EQ(h->count(), 0U);
  EXPECT_EQ(h->min(), 0);
  EXPECT_EQ(h->max(), 0);
  EXPECT_EQ(h->percentile(0.5), 0);
  EXPECT_EQ(h->mean(), 0.0);
  EXPECT_TRUE(h->is_valid());
}

TEST(histogram, extremes_are_exact_and_negative_counts_as_zero) {
  const auto h = std::make_unique<histogram>();
  h->record(1'000'003);
  h->record(largest);
  h->record(-5);
  EXPECT_EQ(h->count(), 3U);
  EXPECT_EQ(h->negative_count(), 1U);
  EXPECT_EQ(h->min(), 0);
  EXPECT_EQ(h->max(), largest);
  EXPECT_EQ(h->percentile(1.0), largest);
  EXPECT_EQ(h->percentile(0.0), 0);
  EXPECT_NEAR(static_cast<double>(h->percentile(0.5)), 1'000'003.0, 10'000.0);
  EXPECT_TRUE(h->is_valid());
}

TEST(histogram, small_values_have_exact_ranks) {
  const auto h = std::make_unique<histogram>();
  for (int v = 1; v <= 10; ++v) {
    h->record(v);
  }
  EXPECT_EQ(h->percentile(0.1), 1);
  EXPECT_EQ(h->percentile(0.5), 5);
  EXPECT_EQ(h->percentile(0.9), 9);
  EXPECT_EQ(h->percentile(0.91), 10);
  EXPECT_EQ(h->percentile(-1.0), 1);
  EXPECT_EQ(h->percentile(2.0), 10);
  EXPECT_EQ(h->percentile(std::numeric_limits<double>::quiet_NaN()), 1);
  EXPECT_DOUBLE_EQ(h->mean(), 5.5);
}

TEST(histogram, percentiles_follow_a_sorted_sample) {
  std::mt19937_64 random{20261121};
  std::lognormal_distribution<double> latency{7.0, 2.5};
  const auto h = std::make_unique<histogram>();
  std::vector<std::int64_t> sample;
  for (int i = 0; i < 50'000; ++i) {
    const auto v = static_cast<std::int64_t>(latency(random));
    sample.push_back(v);
    h->record(v);
  }
  std::sort(sample.begin(), sample.end());
  for (const double q : {0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999}) {
    const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(sample.size()) - 1e-6));
    const auto want = static_cast<double>(sample[rank - 1]);
    EXPECT_NEAR(static_cast<double>(h->percentile(q)), want, std::max(0.5, 0.0079 * want)) << q;
  }
  EXPECT_EQ(h->max(), sample.back());
  EXPECT_EQ(h->min(), sample.front());
}

TEST(histogram, merge_equals_recording_in_one) {
  std::mt19937_64 random{7};
  const auto a = std::make_unique<histogram>();
  const auto b = std::make_unique<histogram>();
  const auto both = std::make_unique<histogram>();
  for (int i = 0; i < 10'000; ++i) {
    const auto v = static_cast<std::int64_t>(random() >> (random() % 63 + 1));
    (i % 3 == 0 ? *a : *b).record(v);
    both->record(v);
  }
  a->merge(*b);
  EXPECT_EQ(a->count(), both->count());
  EXPECT_EQ(a->min(), both->min());
  EXPECT_EQ(a->max(), both->max());
  for (const double q : {0.01, 0.5, 0.99, 0.999}) {
    EXPECT_EQ(a->percentile(q), both->percentile(q));
  }
  EXPECT_NEAR(a->mean(), both->mean(), 1e-6 * both->mean());
  EXPECT_TRUE(a->is_valid());
  const auto empty = std::make_unique<histogram>();
  a->merge(*empty);
  EXPECT_EQ(a->min(), both->min());
}

TEST(histogram, exported_buckets_rebuild_it) {
  std::mt19937_64 random{9};
  const auto h = std::make_unique<histogram>();
  for (int i = 0; i < 5'000; ++i) {
    h->record(static_cast<std::int64_t>(random() % 5'000'000));
  }
  const auto copy = std::make_unique<histogram>();
  std::uint64_t total = 0;
  std::int64_t last = -1;
  h->for_each_bucket([&](std::int64_t low, std::int64_t high, std::uint64_t n) {
    EXPECT_GT(low, last);
    EXPECT_GT(n, 0U);
    last = high;
    total += n;
    copy->record_n(low, n);
  });
  EXPECT_EQ(total, h->count());
  EXPECT_EQ(copy->count(), h->count());
  std::vector<std::uint64_t> mine;
  std::vector<std::uint64_t> theirs;
  h->for_each_bucket([&](std::int64_t, std::int64_t, std::uint64_t n) { mine.push_back(n); });
  copy->for_each_bucket([&](std::int64_t, std::int64_t, std::uint64_t n) { theirs.push_back(n); });
  EXPECT_EQ(mine, theirs);
  h->reset();
  EXPECT_TRUE(h->empty());
  EXPECT_TRUE(h->is_valid());
}

}  // namespace

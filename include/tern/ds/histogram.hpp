// Log-linear histogram: latencies in nanoseconds at about 1% relative error in fixed memory.
//
// Context     Benchmarks and statistics record into one histogram per thread or processor and merge afterwards.
// Structure   Values below 2 * sub_count each have a bucket of their own. Above that every octave [2^e, 2^(e+1)) is cut
//             into sub_count equal buckets, so a bucket is never wider than 1/sub_count of its lower edge:
//
//               0 .. 127 | 128 .. 255 (width 2) | 256 .. 511 (width 4) | ... | 2^62 .. 2^63-1 (width 2^56)
//
// Invariants  I1 the buckets sum to count(); I2 min() <= percentile(q) <= max(); I3 the bucket of a value contains it.
// Rejected    HDR's configurable digits and auto-resize: allocation in record(). A sketch (DDSketch, t-digest): merging is
//             lossy or record() is slower than what is measured.
// Limits      No synchronisation: one writer, and readers after it has stopped. About 29 KiB: too large for the stack of a
//             fiber, so make it static or let a heap object hold it.
// References  G. Tene, HdrHistogram, 2012.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace tern::inline v1::detail {

/// Histogram of non-negative 64-bit integers. Never allocates; trivially copyable. Not thread-safe.
class histogram {
 public:
  /// Buckets per octave: a bucket's width is at most lower_edge / 64, so its midpoint is off by at most 0.79%.
  static constexpr unsigned sub_bits = 6;
  static constexpr std::size_t sub_count = std::size_t{1} << sub_bits;
  /// The last octave begins at 2^62.
  static constexpr std::size_t bucket_count = (62 - sub_bits) * sub_count + 2 * sub_count;

  /// Counts one value. A negative value counts as 0 and is reported by negative_count(). O(1).
  constexpr void record(std::int64_t value) noexcept { record_n(value, 1); }

  /// Counts `times` equal values. O(1).
  constexpr void record_n(std::int64_t value, std::uint64_t times) noexcept {
    if (times == 0) {
      return;
    }
    if (value < 0) {
      negative_count_ += times;
      value = 0;
    }
    buckets_[bucket_of(value)] += times;
    count_ += times;
    sum_ += static_cast<double>(value) * static_cast<double>(times);
    min_ = value < min_ ? value : min_;
    max_ = value > max_ ? value : max_;
  }

  /// Adds everything that `other` counted. Merging is commutative up to the rounding of mean(). O(bucket_count).
  constexpr void merge(const histogram& other) noexcept {
    for (std::size_t i = 0; i < bucket_count; ++i) {
      buckets_[i] += other.buckets_[i];
    }
    count_ += other.count_;
    negative_count_ += other.negative_count_;
    sum_ += other.sum_;
    min_ = other.min_ < min_ ? other.min_ : min_;
    max_ = other.max_ > max_ ? other.max_ : max_;
  }

  /// Forgets everything. O(bucket_count).
  constexpr void reset() noexcept { *this = histogram{}; }

  [[nodiscard]] constexpr std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] constexpr std::uint64_t negative_count() const noexcept { return negative_count_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return count_ == 0; }

  /// Smallest and largest value, exact. 0 when empty.
  [[nodiscard]] constexpr std::int64_t min() const noexcept { return empty() ? 0 : min_; }
  [[nodiscard]] constexpr std::int64_t max() const noexcept { return max_; }

  /// Mean of the recorded values (not of the buckets), to the precision of a double. 0 when empty.
  [[nodiscard]] constexpr double mean() const noexcept {
    return empty() ? 0.0 : sum_ / static_cast<double>(count_);
  }

  /// The value at `quantile` (0.5 is the median; below 0 counts as 0, above 1 as 1): the smallest recorded value v such
  /// that at least quantile * count() values are <= v, to within the bucket error. Exact at 0 and at 1. 0 when empty.
  /// O(bucket_count).
  [[nodiscard]] constexpr std::int64_t percentile(double quantile) const noexcept {
    if (empty()) {
      return 0;
    }
    if (!(quantile > 0.0)) {
      return min_;
    }
    if (quantile >= 1.0) {
      return max_;
    }
    const std::uint64_t rank = rank_of(quantile);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < bucket_count; ++i) {
      seen += buckets_[i];
      if (seen >= rank) {
        const std::int64_t middle = lower_edge(i) + (upper_edge(i) - lower_edge(i)) / 2;
        return middle < min_ ? min_ : (middle > max_ ? max_ : middle);
      }
    }
    return max_;
  }

  /// Calls fn(lower_edge, upper_edge, count) for every non-empty bucket, in rising order; both edges are inclusive.
  template <class Fn>
  constexpr void for_each_bucket(Fn&& fn) const {
    for (std::size_t i = 0; i < bucket_count; ++i) {
      if (buckets_[i] != 0) {
        fn(lower_edge(i), upper_edge(i), buckets_[i]);
      }
    }
  }

  /// The bucket that counts `value`. Requires value >= 0.
  [[nodiscard]] static constexpr std::size_t bucket_of(std::int64_t value) noexcept {
    const auto v = static_cast<std::uint64_t>(value);
    if (v < 2 * sub_count) {
      return static_cast<std::size_t>(v);
    }
    const unsigned shift = static_cast<unsigned>(std::bit_width(v)) - 1 - sub_bits;
    return shift * sub_count + static_cast<std::size_t>(v >> shift);
  }

  /// Smallest and largest value that bucket `index` counts. Requires index < bucket_count.
  [[nodiscard]] static constexpr std::int64_t lower_edge(std::size_t index) noexcept {
    const unsigned shift = shift_of(index);
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(index - shift * sub_count) << shift);
  }
  [[nodiscard]] static constexpr std::int64_t upper_edge(std::size_t index) noexcept {
    const std::uint64_t width = std::uint64_t{1} << shift_of(index);
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(lower_edge(index)) + (width - 1));
  }

  /// Level 3 check of I1. O(bucket_count).
  [[nodiscard]] constexpr bool is_valid() const noexcept {
    std::uint64_t total = 0;
    for (const std::uint64_t n : buckets_) {
      total += n;
    }
    return total == count_ && (empty() || min_ <= max_);
  }

 private:
  static constexpr unsigned shift_of(std::size_t index) noexcept {
    return index < 2 * sub_count ? 0U : static_cast<unsigned>(index / sub_count) - 1;
  }

  /// ceil(quantile * count), at least 1 and at most count. Requires 0 < quantile < 1.
  constexpr std::uint64_t rank_of(double quantile) const noexcept {
    const double exact = quantile * static_cast<double>(count_);
    auto rank = static_cast<std::uint64_t>(exact);
    // 0.9 * 10 is a hair above 9 in binary: a rank within rounding of an integer is that integer.
    if (exact - static_cast<double>(rank) > 1e-9 * exact) {
      ++rank;
    }
    return rank < 1 ? 1 : (rank > count_ ? count_ : rank);
  }

  std::array<std::uint64_t, bucket_count> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t negative_count_ = 0;
  double sum_ = 0.0;
  std::int64_t min_ = std::numeric_limits<std::int64_t>::max();
  std::int64_t max_ = 0;
};

}  // namespace tern::inline v1::detail

// What percent_sweep and memory_limit share: live objects that are replaced at random, as fast as it goes.
#pragma once

#include <algorithm>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {

template <class S>
class replacement {
 public:
  static constexpr bool evolves = true;
  static constexpr bool reports_cpu = true;

  explicit replacement(const row_params& p)
      : before_(memory_now().resident_bytes),
        count_(p.size_of("live_mb") * (1 << 20) / payload),
        live_(count_),
        random_(17) {
    for (std::size_t i = 0; i < count_; ++i) replace(i);
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    if (time_ms <= 1) return batch;
    return std::max<std::uint64_t>(p.size_of("live_mb") * 4 * (1 << 20) / payload, 16 * batch) / batch *
           batch;
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::size_t at = random_.below(count_);
      sum = fold(sum, live_.peek(at)->words[0]);
      replace(at);
    }
    return sum;
  }

 protected:
  static constexpr std::size_t payload = 64;
  static constexpr std::uint64_t batch = 16384;
  [[nodiscard]] std::int64_t peak_bytes() const { return peak_resident_bytes() - before_; }

 private:
  using node = record_node<S>;
  void replace(std::size_t at) { live_.set(at, make_record<S>(++made_)); }

  std::int64_t before_;
  std::size_t count_;
  typename S::template table<node> live_;
  sequence random_;
  std::uint64_t made_ = 0;
};

}  // namespace tern_bench

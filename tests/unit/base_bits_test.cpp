#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <set>

#include <tern/base/bits.hpp>
#include <tern/base/function_ref.hpp>
#include <tern/base/random.hpp>

namespace {

using namespace tern::detail;

TEST(Bits, RoundingAndLogarithms) {
  static_assert(round_up(0, 16) == 0 && round_up(1, 16) == 16 && round_up(16, 16) == 16);
  static_assert(round_down(31, 16) == 16);
  static_assert(log2_floor(1) == 0 && log2_floor(4095) == 11 && log2_floor(4096) == 12);
  static_assert(log2_ceil(1) == 0 && log2_ceil(4096) == 12 && log2_ceil(4097) == 13);
  std::array<int, 4> a{10, 11, 12, 13};
  EXPECT_EQ(*at_offset<int>(a.data(), 8), 12);
}

TEST(Random, SameSeedSameNumbersOtherSeedOthers) {
  fast_random a{7};
  fast_random b{7};
  fast_random c{8};
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t x = a.next();
    EXPECT_EQ(x, b.next());
    differs = differs || x != c.next();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, BelowStaysBelowAndReachesAll) {
  fast_random r{1};
  std::set<std::uint32_t> seen;
  for (int i = 0; i < 2000; ++i) {
    const std::uint32_t v = r.below(10);
    ASSERT_LT(v, 10u);
    seen.insert(v);
  }
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_EQ(r.below(1), 0u);
}

int apply(function_ref<int(int)> f) { return f(20); }

TEST(FunctionRef, CallsTheCallableItRefersTo) {
  int calls = 0;
  auto counting = [&](int x) { return ++calls, x + 1; };
  EXPECT_EQ(apply(counting), 21);
  EXPECT_EQ(apply(counting), 21);
  EXPECT_EQ(apply([](int x) { return 2 * x; }), 40);
  EXPECT_EQ(calls, 2);
}

}  // namespace

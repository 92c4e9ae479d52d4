#include <gtest/gtest.h>

#include <tern/gc/pacer.hpp>

namespace {

using tern::detail::gc::assist_account;
using tern::detail::gc::assist_cap_bytes;
using tern::detail::gc::cycle_measure;
using tern::detail::gc::pacer;

constexpr std::size_t mib = std::size_t{1} << 20;

TEST(gc_pacer, goal_grows_by_the_percentage) {
  pacer p;
  p.cycle_done({100 * mib, 0});
  EXPECT_EQ(p.goal(), 200 * mib);
  p.set({.percent = 50});
  EXPECT_EQ(p.goal(), 150 * mib);
  p.set({.percent = 400});
  EXPECT_EQ(p.goal(), 500 * mib);
}

TEST(gc_pacer, the_minimum_holds_below_it) {
  pacer p;
  p.set({.percent = 100, .minimum = 16 * mib});
  p.cycle_done({mib, 0});
  EXPECT_EQ(p.goal(), 16 * mib);
}

TEST(gc_pacer, trigger_lies_between_live_and_goal) {
  for (const std::size_t live : {std::size_t{0}, mib, 100 * mib, std::size_t{1} << 40})
    for (const std::size_t runway : {std::size_t{0}, mib, 60 * mib, std::size_t{1} << 50})
      for (const std::uint32_t percent : {0u, 1u, 20u, 100u, 1000u}) {
        pacer p;
        p.set({.percent = percent});
        p.cycle_done({live, runway});
        EXPECT_LE(p.trigger(), p.goal());
        EXPECT_GE(p.trigger(), std::min(live, p.goal()));
        EXPECT_GT(p.brake(), p.goal());
      }
}

TEST(gc_pacer, a_longer_runway_starts_earlier) {
  pacer a;
  pacer b;
  a.cycle_done({100 * mib, mib});
  b.cycle_done({100 * mib, 50 * mib});
  EXPECT_GT(a.trigger(), b.trigger());
}

TEST(gc_pacer, the_runway_falls_slowly) {
  pacer p;
  p.cycle_done({100 * mib, 40 * mib});
  const std::size_t early = p.trigger();
  p.cycle_done({100 * mib, 0});
  const std::size_t later = p.trigger();
  EXPECT_GT(later, early);
  p.cycle_done({100 * mib, 0});
  EXPECT_GT(p.trigger(), later);
}

TEST(gc_pacer, a_limit_bounds_the_goal) {
  pacer p;
  p.set({.percent = 100, .minimum = 0, .limit = 120 * mib});
  p.cycle_done({100 * mib, 0});
  EXPECT_EQ(p.goal(), 120 * mib);
  p.cycle_done({119 * mib, 0});
  EXPECT_GT(p.goal(), 119 * mib) << "a cycle must be worth something";
}

TEST(gc_pacer, huge_numbers_do_not_wrap) {
  pacer p;
  p.set({.percent = 4'000'000'000u});
  p.cycle_done({SIZE_MAX / 2, SIZE_MAX / 2});
  EXPECT_EQ(p.goal(), SIZE_MAX);
  EXPECT_LE(p.trigger(), p.goal());
  EXPECT_GT(p.assist_due(SIZE_MAX / 128, SIZE_MAX - 1, 0), 0u);
}

TEST(gc_pacer, assists_rise_as_the_goal_comes_near) {
  pacer p;
  p.cycle_done({100 * mib, 0});
  const std::size_t far = p.assist_due(mib, 110 * mib, 0);
  const std::size_t near = p.assist_due(mib, 190 * mib, 0);
  EXPECT_LT(far, near);
  EXPECT_GT(far, p.assist_due(mib, 110 * mib, 90 * mib)) << "little is left to mark";
}

TEST(gc_pacer, an_assist_is_capped_and_the_rest_is_owed) {
  assist_account a;
  EXPECT_EQ(a.charge(100), 100u);
  a.paid(100);
  EXPECT_EQ(a.charge(1'000'000), assist_cap_bytes);
  a.paid(assist_cap_bytes);
  EXPECT_EQ(a.debt(), 1'000'000 - assist_cap_bytes);
  EXPECT_EQ(a.charge(0), assist_cap_bytes);
  a.forgive();
  EXPECT_EQ(a.charge(0), 0u);
  a.paid(5);
  EXPECT_EQ(a.debt(), 0u);
}

// A program with a steady live set: marking costs time in proportion to it, allocation goes on at its own rate meanwhile.
TEST(gc_pacer, in_simulation_the_heap_stays_near_its_goal) {
  for (const double rate : {0.05, 0.3, 0.9}) {  // bytes allocated while one live byte is marked
    pacer p;
    const std::size_t live = 64 * mib;
    p.cycle_done({live, 0});
    std::size_t peak = 0;
    for (int cycle = 0; cycle < 30; ++cycle) {
      const auto during = static_cast<std::size_t>(static_cast<double>(live) * rate);
      const std::size_t end = p.trigger() + during;
      if (cycle > 3) peak = std::max(peak, end);
      p.cycle_done({live, during});
    }
    p.cycle_done({live, 0});
    EXPECT_LE(peak, p.goal() + p.goal() / 10) << rate;
  }
}

}  // namespace

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
  constexpr std::size_t plenty = 100 * mib;
  assist_account a;
  EXPECT_EQ(a.charge(100, plenty), 100u);
  a.paid(100);
  EXPECT_EQ(a.charge(1'000'000, plenty), assist_cap_bytes);
  a.paid(assist_cap_bytes);
  EXPECT_EQ(a.debt(), 1'000'000 - assist_cap_bytes);
  EXPECT_EQ(a.charge(0, plenty), assist_cap_bytes);
  a.forgive();
  EXPECT_EQ(a.charge(0, plenty), 0u);
  a.paid(5);
  EXPECT_EQ(a.debt(), 0u);
  a.charge(plenty - 10, plenty);
  a.charge(100, plenty);
  EXPECT_EQ(a.debt(), plenty) << "nobody owes more than there is to do";
  a.charge(0, 50);
  EXPECT_EQ(a.debt(), 50u);
  a.charge(SIZE_MAX, SIZE_MAX);
  EXPECT_EQ(a.debt(), SIZE_MAX);
}

TEST(gc_pacer, a_brake_is_longer_the_farther_the_heap_is_beyond_its_line) {
  pacer p;
  p.cycle_done({100 * mib, 0});
  const std::size_t step = p.goal() / 16;
  EXPECT_EQ(p.brake_ns(p.brake() - 1), 0);
  EXPECT_EQ(p.brake_ns(p.brake()), 200'000);
  EXPECT_EQ(p.brake_ns(p.brake() + 3 * step), 1'600'000);
  EXPECT_EQ(p.brake_ns(p.brake() + 9 * step), 102'400'000);
  EXPECT_EQ(p.brake_ns(SIZE_MAX), 102'400'000);
}

TEST(gc_pacer, the_soft_limit_gives_way_and_the_hard_one_does_not) {
  pacer p;
  p.set({.percent = 100, .minimum = 0, .limit = 120 * mib, .hard_limit = 150 * mib});
  p.cycle_done({100 * mib, 0});
  ASSERT_EQ(p.goal(), 120 * mib);
  EXPECT_LE(p.brake(), 120 * mib + 120 * mib / 64 + 1) << "a limit is no wish";
  p.set_gives_way(true);
  EXPECT_EQ(p.goal(), 150 * mib);
  EXPECT_GT(p.brake(), 180 * mib);
  p.set({.percent = 100, .minimum = 0, .limit = 120 * mib});
  EXPECT_EQ(p.goal(), 200 * mib) << "a setting does not bring it back";
  p.set_gives_way(false);
  EXPECT_EQ(p.goal(), 120 * mib);
}

}  // namespace

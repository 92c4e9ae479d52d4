#include <gtest/gtest.h>

#include <tern/gc/cpu_cap.hpp>

namespace {

using tern::detail::gc::cpu_cap;

constexpr std::int64_t milli = 1'000'000;

// 10 ms of two CPUs, of which the collector takes a part and the program the rest.
constexpr tern::detail::gc::cpu_window busy(std::int64_t collector) {
  return {.wall = 10 * milli, .process = 20 * milli, .collector = collector};
}

cpu_cap of_two_cpus() {
  cpu_cap cap;
  cap.set_processors(2);
  return cap;
}

TEST(gc_cpu_cap, half_may_be_taken_for_ever) {
  cpu_cap cap = of_two_cpus();
  for (int i = 0; i < 100'000; ++i) cap.add(busy(10 * milli));
  EXPECT_FALSE(cap.gives_way());
  EXPECT_EQ(cap.fill(), 0);
  EXPECT_EQ(cap.taken(), 100'000 * 10 * milli);
}

TEST(gc_cpu_cap, more_than_half_fills_it_after_a_second_of_each_cpu) {
  cpu_cap cap = of_two_cpus();
  EXPECT_EQ(cap.capacity(), 2000 * milli);
  for (int i = 0; i < 99; ++i) cap.add(busy(20 * milli));
  EXPECT_FALSE(cap.gives_way());
  cap.add(busy(20 * milli));
  EXPECT_TRUE(cap.gives_way());
  EXPECT_EQ(cap.times(), 1u);
  for (int i = 0; i < 200; ++i) cap.add(busy(20 * milli));
  EXPECT_EQ(cap.fill(), 2 * cap.capacity()) << "what is beyond that is not owed";
  EXPECT_EQ(cap.times(), 1u);
}

TEST(gc_cpu_cap, the_limit_holds_again_at_the_end_of_a_cycle_only) {
  cpu_cap cap = of_two_cpus();
  cap.set_capacity(20 * milli);
  cap.add(busy(20 * milli));
  cap.add(busy(15 * milli));
  ASSERT_TRUE(cap.gives_way());
  cap.add(busy(5 * milli));
  cap.cycle_ended();
  EXPECT_TRUE(cap.gives_way()) << "it is full still";
  cap.add(busy(9 * milli));
  EXPECT_TRUE(cap.gives_way()) << "in mid-cycle";
  cap.cycle_ended();
  EXPECT_FALSE(cap.gives_way());
  cap.add(busy(20 * milli));
  EXPECT_EQ(cap.times(), 2u);
}

TEST(gc_cpu_cap, a_brake_counts_where_it_leaves_a_cpu_idle) {
  cpu_cap cap = of_two_cpus();
  // One thread braked most of the time, the other CPU idle.
  cap.add({.wall = 10 * milli, .process = 2 * milli, .collector = milli, .held = 9 * milli});
  EXPECT_EQ(cap.fill(), 9 * milli);
  // A hundred braked threads on two CPUs that others keep busy.
  cpu_cap other = of_two_cpus();
  other.add({.wall = 10 * milli, .process = 20 * milli, .collector = 5 * milli, .held = 900 * milli});
  EXPECT_EQ(other.fill(), 0);
  EXPECT_EQ(other.taken(), 5 * milli);
}

TEST(gc_cpu_cap, idle_time_is_nobodys) {
  cpu_cap cap = of_two_cpus();
  cap.set_capacity(20 * milli);
  cap.add(busy(20 * milli));
  ASSERT_TRUE(cap.gives_way());
  cap.add({.wall = 10'000 * milli});
  cap.cycle_ended();
  EXPECT_TRUE(cap.gives_way());
}

TEST(gc_cpu_cap, clocks_that_disagree_do_no_harm) {
  cpu_cap cap = of_two_cpus();
  cap.add({.wall = milli, .process = milli, .collector = 3 * milli});
  EXPECT_EQ(cap.fill(), milli) << "at most what the process has used";
  cap.add({.wall = 0, .process = -milli, .collector = -milli, .held = -milli});
  EXPECT_EQ(cap.fill(), milli);
  cap.add({.wall = -milli, .process = 0, .collector = milli, .held = milli});
  EXPECT_EQ(cap.fill(), milli);
}

TEST(gc_cpu_cap, fewer_processors_cut_what_is_in_it) {
  cpu_cap cap = of_two_cpus();
  for (int i = 0; i < 180; ++i) cap.add(busy(20 * milli));
  EXPECT_EQ(cap.fill(), 3600 * milli);
  cap.set_processors(1);
  EXPECT_EQ(cap.fill(), 2000 * milli);
  cap.set_processors(0);
  EXPECT_EQ(cap.capacity(), 1000 * milli);
}

}  // namespace

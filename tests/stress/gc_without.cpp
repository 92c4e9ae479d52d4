// A collector without one of its parts: the workload must notice. The build defines TERN_GC_WITHOUT_BARRIER (the write barrier),
// _RESCAN (of stacks in rounds after the first), _TERMINATION_COUNTS (that end marking) or _BLACK_ALLOCATION; or _EXPOSED_FRAMES (the look at
// fibers and threads that wait for others), for which there are ways to lose an object, taken on purpose. For the others there are such ways too,
// and the workload finds some by itself.
#include <gtest/gtest.h>

#if TERN_GC_WITHOUT_EXPOSED_FRAMES

#include "tests/stress/gc_exposed_frame.hpp"
#include "tests/stress/gc_schedules.hpp"

TEST(gc_without, is_noticed) {
  EXPECT_FALSE(gc_exposed_frame::survives(false));
  EXPECT_FALSE(gc_exposed_frame::survives(true));
  EXPECT_FALSE(gc_schedules::store_into_the_frame_of_a_waiting_thread(false));
  EXPECT_FALSE(gc_schedules::store_into_the_frame_of_a_waiting_thread(true));
  EXPECT_EQ(tern::gc::read_statistics().rescued, 0u);
}

#else

#include "tests/stress/gc_schedules.hpp"
#include "tests/stress/gc_workload.hpp"

// The first test: each seed has a child of its own, and the child of a process whose collector runs has none.
TEST(gc_without, is_noticed) {
  ASSERT_EQ(tern::gc::read_statistics().handshakes, 0u);
  gc_workload::options o;
  o.assist = true;
  // One or two are the rule, 17 the most that was seen, on a machine that starved threads of their CPU.
  constexpr unsigned most = 200;
  const unsigned seeds = gc_workload::seeds_until_loss(most, o);
  RecordProperty("seeds", static_cast<int>(seeds));
  std::printf("noticed after %u seed(s)\n", seeds);
  EXPECT_NE(seeds, 0u) << most << " seeds ran without a loss";
}

TEST(gc_without, loses_an_object_by_a_schedule) {
#if TERN_GC_WITHOUT_BARRIER
  EXPECT_FALSE(gc_schedules::store_behind_the_marker());
#elif TERN_GC_WITHOUT_RESCAN
  EXPECT_FALSE(gc_schedules::load_after_the_scan(false));
  EXPECT_FALSE(gc_schedules::load_after_the_scan(true));
#elif TERN_GC_WITHOUT_TERMINATION_COUNTS
  EXPECT_FALSE(gc_schedules::hand_over_within_a_round());
#elif TERN_GC_WITHOUT_BLACK_ALLOCATION
  EXPECT_FALSE(gc_schedules::birth_after_the_last_round(true));
  EXPECT_FALSE(gc_schedules::birth_after_the_last_round(false));
#endif
}

#endif

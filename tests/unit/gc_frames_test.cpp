// Stores into the frame of another fiber, or of a plain thread: forbidden, and survived where that one waits for others.
#include <gtest/gtest.h>

#include "tests/stress/gc_exposed_frame.hpp"
#include "tests/stress/gc_schedules.hpp"

namespace {

namespace gc = tern::gc;

TEST(gc_frames, a_store_into_the_frame_of_a_fiber_that_waits_loses_nothing_and_is_told_of) {
  const std::uint64_t before = gc::read_statistics().rescued;
  EXPECT_TRUE(gc_exposed_frame::survives(false));
  EXPECT_EQ(gc::read_statistics().rescued - before, 1u);
}

// Nobody can tell then whether the object was shaded as it should have been.
TEST(gc_frames, a_fiber_that_goes_on_in_the_same_round_is_looked_at_before) {
  EXPECT_TRUE(gc_exposed_frame::survives(true));
}

TEST(gc_frames, a_store_into_the_frame_of_a_thread_that_waits_for_fibers_loses_nothing) {
  EXPECT_TRUE(gc_schedules::store_into_the_frame_of_a_waiting_thread(false));
}

TEST(gc_frames, a_thread_that_goes_on_in_the_same_round_looks_before) {
  EXPECT_TRUE(gc_schedules::store_into_the_frame_of_a_waiting_thread(true));
}

}  // namespace

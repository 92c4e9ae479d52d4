#include <gtest/gtest.h>

#include "arch_context_cases.hpp"

TEST(context, switching_is_possible_here) { EXPECT_EQ(tern::detail::context_refusal(), nullptr); }
TEST(context, values_survive) { context_cases::values_survive(40); }
TEST(context, vectors_survive) { context_cases::vectors_survive(3); }
TEST(context, frame_with_base_pointer_survives) { context_cases::based_frame_survives(72); }
TEST(context, red_zone_survives) {
  // See run_all().
  if (tern::detail::tsan_build) GTEST_SKIP() << "the switch is a call under TSan";
  context_cases::red_zone_survives();
}
TEST(context, publishing_switch) {
  if (!tern::detail::switching_function_inlines) GTEST_SKIP() << "publishing is part of an inlined switch";
  context_cases::publishing_switch();
}
TEST(context, calls_and_exceptions) { context_cases::calls_and_exceptions(); }
TEST(context, unwinder_stops_at_the_end) { context_cases::unwinder_stops(); }
TEST(context, rounding_mode_belongs_to_the_thread) { context_cases::rounding_mode_is_the_threads(); }
TEST(context, function_with_target_attribute) { context_cases::target_attribute(); }

// A collector without the counts that end marking: the workload must notice.
#define TERN_GC_WITHOUT_TERMINATION_COUNTS 1
#include <gtest/gtest.h>

#include "tests/stress/gc_workload.hpp"

TEST(gc_without_termination, is_noticed) {
  gc_workload::options o;
  o.assist = true;
  const unsigned seeds = gc_workload::seeds_until_loss(40, o);
  RecordProperty("seeds", static_cast<int>(seeds));
  std::printf("noticed after %u seed(s)\n", seeds);
  EXPECT_NE(seeds, 0u) << "40 seeds ran without a loss";
}

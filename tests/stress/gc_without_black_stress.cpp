// A collector without black allocation: the workload must notice.
#define TERN_GC_WITHOUT_BLACK_ALLOCATION 1
#include <gtest/gtest.h>

#include "tests/stress/gc_workload.hpp"

TEST(gc_without_black, is_noticed) {
  gc_workload::options o;
  o.assist = true;
  const unsigned seeds = gc_workload::seeds_until_loss(40, o);
  RecordProperty("seeds", static_cast<int>(seeds));
  std::printf("noticed after %u seed(s)\n", seeds);
  EXPECT_NE(seeds, 0u) << "40 seeds ran without a loss";
}

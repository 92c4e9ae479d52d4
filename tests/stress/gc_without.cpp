// A collector without one of its parts: the workload must notice. The build defines TERN_GC_WITHOUT_BARRIER (the write barrier),
// _RESCAN (of stacks in rounds after the first), _TERMINATION_COUNTS (that end marking) or _BLACK_ALLOCATION.
#include <gtest/gtest.h>

#include "tests/stress/gc_workload.hpp"

TEST(gc_without, is_noticed) {
  gc_workload::options o;
  o.assist = true;
  // One or two are the rule, 17 the most that was seen, on a machine that starved threads of their CPU.
  constexpr unsigned most = 200;
  const unsigned seeds = gc_workload::seeds_until_loss(most, o);
  RecordProperty("seeds", static_cast<int>(seeds));
  std::printf("noticed after %u seed(s)\n", seeds);
  EXPECT_NE(seeds, 0u) << most << " seeds ran without a loss";
}

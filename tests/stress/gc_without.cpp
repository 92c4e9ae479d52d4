// A collector without one of its parts: the workload must notice. The build defines TERN_GC_WITHOUT_BARRIER (the write barrier),
// _RESCAN (of stacks in rounds after the first), _TERMINATION_COUNTS (that end marking) or _BLACK_ALLOCATION.
#include <gtest/gtest.h>

#include "tests/stress/gc_workload.hpp"

TEST(gc_without, is_noticed) {
  gc_workload::options o;
  o.assist = true;
  const unsigned seeds = gc_workload::seeds_until_loss(o);
  RecordProperty("seeds", static_cast<int>(seeds));
  std::printf("noticed after %u seed(s)\n", seeds);
}

// Objects that move between stacks, members and a board while cycles run back to back, at 1, 2 and 4 processors.
#include <gtest/gtest.h>

#include "tests/stress/gc_workload.hpp"

namespace {

using gc_workload::options;
using gc_workload::result;

class gc_graph : public testing::TestWithParam<unsigned> {};

TEST_P(gc_graph, loses_nothing) {
  const unsigned seeds = tern_test::scale(8u);
  for (unsigned i = 0; i < seeds; ++i) {
    options o;
    o.processors = GetParam();
    o.assist = i % 2 == 1;
    o.mark_pause_us = i % 3 == 0 ? 0 : 20;
    const result r = gc_workload::run_seed(tern_test::seed() + i, o);
    EXPECT_EQ(r.bad, 0u) << "seed " << tern_test::seed() + i;
    EXPECT_EQ(r.lost, 0u) << "seed " << tern_test::seed() + i;
    EXPECT_GT(r.cycles, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(processors, gc_graph, testing::Values(1u, 2u, 4u));

}  // namespace

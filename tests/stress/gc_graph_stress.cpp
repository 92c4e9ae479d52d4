// Objects that move between stacks, members and a board while cycles run back to back, at 1, 2 and 4 processors. And as many verified
// cycles as TERN_GC_CYCLES asks for, of small heaps with seed after seed.
#include <gtest/gtest.h>

#include <cstdlib>

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

std::uint64_t cycles_asked_for() {
  const char* text = std::getenv("TERN_GC_CYCLES");
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10)
                                          : tern_test::scale(std::uint64_t{500});
}

TEST(gc_graph_cycles, lose_nothing) {
  const std::uint64_t least = cycles_asked_for();
  std::uint64_t cycles = 0;
  std::uint64_t seeds = 0;
  while (cycles < least && !testing::Test::HasFailure()) {
    const std::uint64_t seed = tern_test::seed() + seeds;
    options o;
    o.processors = 1u << (seeds % 3);
    o.assist = seeds % 2 == 1;
    o.mark_pause_us = seeds % 8 == 0 ? 20 : 0;
    o.chain = 10;
    o.hand_overs = 5;
    const result r = gc_workload::run_seed(seed, o);
    EXPECT_EQ(r.bad, 0u) << "seed " << seed;
    EXPECT_EQ(r.lost, 0u) << "seed " << seed;
    EXPECT_EQ(gc_workload::gc::read_statistics().live_objects, 0u) << "seed " << seed;
    cycles += r.cycles;
    ++seeds;
  }
  std::printf("%llu cycles, %llu seeds\n", static_cast<unsigned long long>(cycles),
              static_cast<unsigned long long>(seeds));
}

INSTANTIATE_TEST_SUITE_P(processors, gc_graph, testing::Values(1u, 2u, 4u));

}  // namespace

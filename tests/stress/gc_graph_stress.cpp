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

void print_sum(const result& sum, std::uint64_t first, std::uint64_t seeds) {
  const auto n = [](std::uint64_t v) { return static_cast<unsigned long long>(v); };
  std::printf(
      "%llu cycles, %llu verified (%llu objects), %llu seeds from %llu: %llu bad, %llu lost, %llu suspects; "
      "left at the ends: %llu objects, %llu pages\n",
      n(sum.cycles), n(sum.verified_cycles), n(sum.verified_objects), n(seeds), n(first), n(sum.bad),
      n(sum.lost), n(sum.suspects), n(sum.left_objects), n(sum.left_pages));
  std::fflush(stdout);
}

TEST(gc_graph_cycles, lose_nothing) {
  const std::uint64_t least = cycles_asked_for();
  const std::uint64_t first = tern_test::seed();
  result sum;
  std::uint64_t seeds = 0;
  while (sum.cycles < least && !testing::Test::HasFailure()) {
    const std::uint64_t seed = first + seeds;
    options o;
    o.processors = 1u << (seeds % 3);
    o.assist = seeds % 2 == 1;
    o.mark_pause_us = seeds % 8 == 0 ? 20 : 0;
    o.chain = 10;
    o.hand_overs = 5;
    const result r = gc_workload::run_seed(seed, o);
    EXPECT_EQ(r.bad, 0u) << "seed " << seed;
    EXPECT_EQ(r.lost, 0u) << "seed " << seed;
    EXPECT_EQ(r.left_objects, 0u) << "seed " << seed;
    EXPECT_EQ(r.left_pages, 0u) << "seed " << seed;
    EXPECT_EQ(r.verified_cycles, r.cycles) << "seed " << seed;
    sum.bad += r.bad;
    sum.lost += r.lost;
    sum.suspects += r.suspects;
    sum.cycles += r.cycles;
    sum.verified_cycles += r.verified_cycles;
    sum.verified_objects += r.verified_objects;
    sum.left_objects += r.left_objects;
    sum.left_pages += r.left_pages;
    ++seeds;
    // A run of hours tells how far it is, and what it had shown if it is ended.
    if (seeds % 256 == 0) print_sum(sum, first, seeds);
  }
  print_sum(sum, first, seeds);
}

INSTANTIATE_TEST_SUITE_P(processors, gc_graph, testing::Values(1u, 2u, 4u));

}  // namespace

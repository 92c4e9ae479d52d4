// The timer heap against a reference, with random insertions, removals and expiries.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/sched/timer.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace tern::detail;

TEST(SchedTimer, EmptyHeap) {
  timer_heap h;
  EXPECT_TRUE(h.is_empty());
  EXPECT_EQ(h.earliest(), os::never);
  EXPECT_EQ(h.pop_due(os::never - 1), nullptr);
  EXPECT_TRUE(h.is_valid());
}

TEST(SchedTimer, AgreesWithASortedSet) {
  fast_random random{tern_test::seed()};
  for (int round = 0; round < 50; ++round) {
    timer_heap h;
    std::vector<std::unique_ptr<timer_node>> nodes;
    for (int i = 0; i < 300; ++i) {
      nodes.push_back(std::make_unique<timer_node>());
      nodes.back()->queued = false;
    }
    std::multiset<std::pair<os::nanoseconds, timer_node*>> model;
    os::nanoseconds now = 0;
    for (int step = 0; step < 3'000; ++step) {
      timer_node& n = *nodes[random.below(300)];
      switch (random.below(4)) {
        case 0:
        case 1:
          if (!n.queued) {
            n.deadline = now + random.below(500);
            model.emplace(n.deadline, &n);
            const bool first = h.insert(n);
            EXPECT_LE(model.begin()->first, n.deadline);
            EXPECT_TRUE(!first || model.begin()->first == n.deadline);
          }
          break;
        case 2: {
          const bool was = n.queued;
          if (was) model.erase(model.find({n.deadline, &n}));
          EXPECT_EQ(h.remove(n), was);
          break;
        }
        default:
          now += random.below(40);
          while (timer_node* due = h.pop_due(now)) {
            EXPECT_FALSE(due->queued);
            ASSERT_FALSE(model.empty());
            EXPECT_EQ(due->deadline, model.begin()->first);
            const auto it = model.find({due->deadline, due});
            ASSERT_NE(it, model.end());
            model.erase(it);
          }
          EXPECT_TRUE(model.empty() || model.begin()->first > now);
      }
      ASSERT_EQ(h.size(), model.size());
      ASSERT_EQ(h.earliest(), model.empty() ? os::never : model.begin()->first);
      ASSERT_TRUE(step % 64 != 0 || h.is_valid());
    }
    ASSERT_TRUE(h.is_valid());
  }
}

// Ascending, descending and equal deadlines make the long chains of a pairing heap: no recursion may depend on their length.
TEST(SchedTimer, LongChains) {
  for (const int order : {1, -1, 0}) {
    timer_heap h;
    std::vector<timer_node> nodes(200'000);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      nodes[i].deadline = 1'000'000 + order * static_cast<os::nanoseconds>(i);
      h.insert(nodes[i]);
    }
    os::nanoseconds last = 0;
    std::size_t n = 0;
    while (timer_node* t = h.pop_due(os::never - 1)) {
      EXPECT_GE(t->deadline, last);
      last = t->deadline;
      ++n;
    }
    EXPECT_EQ(n, nodes.size());
  }
}

}  // namespace

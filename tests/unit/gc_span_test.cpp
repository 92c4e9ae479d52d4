#include <gtest/gtest.h>

#include <memory>

#include "tests/support/seed.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace internal = tern::detail::gc;
using internal::cell_run;
using internal::span;

// A record without pages: bits only.
struct bare_span {
  internal::shape kind;
  std::unique_ptr<span> s = std::make_unique<span>();
  explicit bare_span(std::uint32_t cells) {
    kind.cells = cells;
    kind.cell_bytes = 16;
    kind.reciprocal = (std::uint64_t{1} << 40) / 16;
    s->start = 0x10000;
    s->pages = 2;
    s->init(kind, 0);
  }
};

TEST(gc_span, a_fresh_span_is_one_run) {
  for (const std::uint32_t cells : {1u, 2u, 63u, 64u, 65u, 127u, 128u, 1000u, 1024u}) {
    bare_span b{cells};
    const cell_run r = internal::find_run(*b.s, 0);
    EXPECT_EQ(r.first, 0u);
    EXPECT_EQ(r.last, cells);
    internal::set_allocated(*b.s, r);
    const cell_run none = internal::find_run(*b.s, 0);
    EXPECT_EQ(none.first, none.last);
  }
}

TEST(gc_span, runs_agree_with_a_plain_array) {
  tern::detail::fast_random random{tern_test::seed()};
  for (int round = 0; round < 200; ++round) {
    const std::uint32_t cells = 1 + random.below(1024);
    bare_span b{cells};
    std::vector<bool> taken(cells, false);
    const std::uint32_t density = 1 + random.below(20);
    for (std::uint32_t i = 0; i < cells; ++i)
      if (random.below(20) < density) {
        taken[i] = true;
        internal::set_allocated(*b.s, {i, i + 1});
      }
    std::vector<bool> seen(cells, false);
    std::uint32_t from = 0;
    for (;;) {
      const cell_run r = internal::find_run(*b.s, from);
      if (r.first == r.last) break;
      ASSERT_LT(r.first, r.last);
      ASSERT_GE(r.first, from);
      for (std::uint32_t i = r.first; i < r.last; ++i) seen[i] = true;
      if (r.last < cells) {
        ASSERT_TRUE(taken[r.last]);
      }
      from = r.last;
    }
    for (std::uint32_t i = 0; i < cells; ++i) ASSERT_EQ(seen[i], !taken[i]) << i;
  }
}

TEST(gc_span, born_and_marked_cells_are_live_and_a_cleared_run_is_free) {
  bare_span b{200};
  internal::set_allocated(*b.s, {10, 150});
  internal::set_born(*b.s, {20, 30});
  EXPECT_TRUE(b.s->mark_locked(100));
  EXPECT_FALSE(b.s->mark_locked(100)) << "marked before";
  EXPECT_FALSE(b.s->mark_locked(25)) << "born";
  EXPECT_TRUE(b.s->is_marked(29));
  EXPECT_FALSE(b.s->is_marked(30));
  internal::clear_run(*b.s, {20, 25});
  EXPECT_FALSE(b.s->is_allocated(20));
  EXPECT_TRUE(b.s->is_allocated(25));
  const internal::sweep_result r = internal::sweep_span(*b.s);
  EXPECT_EQ(r.live, 5u + 1u);
  EXPECT_TRUE(r.has_free);
  EXPECT_FALSE(r.is_empty);
  EXPECT_TRUE(b.s->is_allocated(100));
  EXPECT_FALSE(b.s->is_allocated(101));
  EXPECT_FALSE(b.s->is_marked(100)) << "marks end with the cycle";
}

TEST(gc_span, an_empty_span_may_go) {
  bare_span b{64};
  internal::set_allocated(*b.s, {0, 64});
  EXPECT_TRUE(internal::sweep_span(*b.s).is_empty);
}

}  // namespace

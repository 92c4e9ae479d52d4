// The pacer and the CPU cap in simulation: what a program sees of them over seconds, on machines and under loads of many kinds.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>

#include "tests/support/seed.hpp"
#include "tests/unit/gc_pacing_simulation.hpp"

namespace {

using gc_test::pacing_simulation;
using gc_test::simulated_cycle;

constexpr std::size_t mb = std::size_t{1} << 20;
constexpr std::int64_t ms = 1'000'000;

double share(std::size_t part, std::size_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

// The highest peak over the goal of a cycle, from a number of cycles on.
double worst_peak(const pacing_simulation& s, std::size_t from) {
  double worst = 0;
  for (std::size_t i = from; i < s.cycles().size(); ++i)
    worst = std::max(worst, share(s.cycles()[i].peak, s.cycles()[i].goal));
  return worst;
}

// A thread sees that it is over the brake line, another one has seen that it is not, and takes its refill: so one for each.
std::size_t beyond_the_brake(const pacing_simulation& s) {
  return s.program.threads * (std::size_t{16} << 10);
}

TEST(gc_pacer_simulation, under_a_steady_load_the_heap_stays_near_its_goal) {
  for (const unsigned cpus : {1u, 2u, 4u})
    for (const unsigned threads : {1u, 2u, 4u})
      for (const double allocation : {0.05, 0.2, 0.4}) {
        if (allocation * std::min(cpus, threads) > 0.9) continue;  // nearly as much as the marker marks
        pacing_simulation s{{.cpus = cpus}, {.threads = threads, .allocation = allocation}};
        s.run_for(3000 * ms);
        EXPECT_GT(s.cycles().size(), 4u);
        EXPECT_LE(worst_peak(s, 4), 1.06) << cpus << " cpus, " << threads << " threads, " << allocation;
        EXPECT_EQ(s.cap().times(), 0u);
      }
}

// Cycles cost what lives, so there must not be many for what is allocated.
TEST(gc_pacer_simulation, a_cycle_comes_with_half_of_the_growth_at_least) {
  for (const unsigned threads : {1u, 2u})
    for (const std::uint32_t percent : {50u, 100u, 200u}) {
      pacing_simulation s{{.cpus = 2}, {.threads = threads, .allocation = 0.2}};
      s.set({.percent = percent});
      s.run_for(4000 * ms);
      ASSERT_GT(s.cycles().size(), 4u);
      for (std::size_t i = 4; i < s.cycles().size(); ++i) {
        const simulated_cycle& c = s.cycles()[i];
        EXPECT_GE(c.allocated, (c.goal - s.cycles()[i - 1].live) / 2) << "cycle " << i << ", " << percent;
      }
    }
}

TEST(gc_pacer_simulation, a_load_that_rises_tenfold_is_caught_by_the_brake_and_learnt) {
  pacing_simulation s{{.cpus = 2}, {.threads = 2, .allocation = 0.05}};
  s.run_for(3000 * ms);
  const std::size_t before = s.cycles().size();
  s.program.allocation = 0.5;
  s.run_for(3000 * ms);
  ASSERT_GT(s.cycles().size(), before + 6);
  for (std::size_t i = before; i < s.cycles().size(); ++i) {
    const simulated_cycle& c = s.cycles()[i];
    EXPECT_LE(c.peak, c.brake + beyond_the_brake(s)) << "cycle " << i;
  }
  EXPECT_LE(worst_peak(s, before + 4), 1.06);
  // And down again: cycles become fewer, not at once, but soon.
  const std::size_t fast = s.cycles().size();
  s.program.allocation = 0.05;
  s.run_for(6000 * ms);
  ASSERT_GT(s.cycles().size(), fast + 5);
  const simulated_cycle& last = s.cycles().back();
  EXPECT_GE(last.allocated, last.live / 2);
}

TEST(gc_pacer_simulation, a_live_set_that_grows_and_shrinks_is_followed) {
  pacing_simulation s{{.cpus = 2}, {.threads = 2, .allocation = 0.2, .live = 4 * mb}};
  for (int i = 1; i <= 64; ++i) {
    s.program.live = static_cast<std::size_t>(i) * 4 * mb;
    s.run_for(50 * ms);
  }
  EXPECT_LE(worst_peak(s, 4), 1.1);
  s.run_for(2000 * ms);
  EXPECT_GT(s.pacer().goal(), 512 * mb - 1);
  s.program.live = 4 * mb;
  s.run_for(4000 * ms);
  EXPECT_LT(s.pacer().goal(), 32 * mb) << "what is gone needs no room";
  EXPECT_LE(worst_peak(s, s.cycles().size() - 3), 1.1);
}

TEST(gc_pacer_simulation, a_burst_costs_early_cycles_for_a_while_only) {
  pacing_simulation s{{.cpus = 2}, {.threads = 1, .allocation = 0.05}};
  s.run_for(5000 * ms);
  const std::size_t calm = s.pacer().trigger();
  s.program.allocation = 5;
  s.run_for(60 * ms);
  s.program.allocation = 0.05;
  const std::size_t burst = s.cycles().size();
  s.run_for(4000 * ms);
  EXPECT_LT(s.pacer().trigger(), calm) << "it may come again";
  s.run_for(20'000 * ms);
  EXPECT_GT(s.cycles().size(), burst + 8);
  EXPECT_GE(s.pacer().trigger(), calm - mb);
}

// By the brake's doubling, not by when the marker is done.
TEST(gc_pacer_simulation, a_starved_marker_is_not_outrun_without_bound) {
  for (const double of_its_share : {0.1, 0.01, 0.003}) {
    pacing_simulation s{{.cpus = 2, .marker_share = of_its_share},
                        {.threads = 4, .allocation = 1, .live = 8 * mb}};
    s.run_for(10'000 * ms);
    EXPECT_GE(s.cycles().size(), 2u) << of_its_share;
    for (std::size_t i = 1; i < s.cycles().size(); ++i) {
      const simulated_cycle& c = s.cycles()[i];
      EXPECT_LE(c.peak, c.brake + c.goal * 10 / 16 + mb) << of_its_share;
    }
  }
}

TEST(gc_pacer_simulation, debts_are_bounded_by_the_work_and_paid_in_pieces) {
  for (const double allocation : {0.2, 1.0, 8.0}) {
    pacing_simulation s{{.cpus = 2}, {.threads = 4, .allocation = allocation}};
    s.run_for(2000 * ms);
    ASSERT_GT(s.cycles().size(), 4u);
    EXPECT_LE(s.most_paid_at_once(), tern::detail::gc::assist_cap_bytes);
    for (std::size_t i = 1; i < s.cycles().size(); ++i)
      EXPECT_LE(s.cycles()[i].most_debt, s.cycles()[i - 1].live + mb) << "cycle " << i;
  }
}

// ---- limits ----

TEST(gc_pacer_simulation, the_soft_limit_is_kept_where_there_is_room) {
  for (const unsigned cpus : {1u, 2u, 4u})
    for (const unsigned threads : {1u, 2u, 4u}) {
      pacing_simulation s{{.cpus = cpus}, {.threads = threads, .allocation = 0.1 / threads}};
      s.set({.limit = 64 * mb * 3 / 2});
      s.run_for(5000 * ms);
      EXPECT_LE(s.take_peak(), 64 * mb * 3 / 2 * 65 / 64 + beyond_the_brake(s)) << cpus << " " << threads;
      EXPECT_EQ(s.cap().times(), 0u);
      EXPECT_LT(s.collector_ns(), s.program_ns() / 2);
    }
}

TEST(gc_pacer_simulation, a_limit_that_comes_while_it_runs_is_kept_from_the_next_cycle_on) {
  pacing_simulation s{{.cpus = 2}, {.threads = 1, .allocation = 0.1}};
  s.run_for(3000 * ms);
  s.take_peak();
  const std::size_t before = s.cycles().size();
  s.set({.limit = 96 * mb});
  while (s.cycles().size() < before + 2) s.run_for(ms);
  s.take_peak();
  s.run_for(3000 * ms);
  EXPECT_LE(s.take_peak(), 98 * mb);
  s.set({});
  s.run_for(3000 * ms);
  EXPECT_GT(s.take_peak(), 120 * mb) << "and it goes again";
}

// A program that would need all of the CPU for its collector.
struct hopeless {
  unsigned cpus;
  unsigned threads;
  double allocation;
  std::size_t limit;
};
constexpr hopeless hopeless_ones[] = {{1, 1, 0.3, 64 * mb}, {1, 2, 0.3, 32 * mb}, {2, 1, 0.5, 64 * mb},
                                      {2, 2, 0.4, 70 * mb}, {2, 4, 0.3, 1 * mb},  {4, 1, 1.0, 64 * mb},
                                      {4, 4, 0.4, 64 * mb}, {4, 8, 0.2, 66 * mb}};

TEST(gc_pacer_simulation, where_there_is_no_room_the_collector_has_half_of_the_cpu_at_most) {
  for (const hopeless& h : hopeless_ones) {
    pacing_simulation s{{.cpus = h.cpus}, {.threads = h.threads, .allocation = h.allocation}};
    s.set({.limit = h.limit});
    for (int second = 1; second <= 12; ++second) {
      s.run_for(1000 * ms);
      EXPECT_LE(s.collector_ns(), s.program_ns() + 2 * s.cap().capacity()) << h.cpus << " " << h.threads;
    }
    EXPECT_GE(s.cap().times(), 1u);
    // Half for good: what comes on top of it is the burst, not a share of the time.
    const std::int64_t excess = s.collector_ns() - s.program_ns();
    s.run_for(12'000 * ms);
    EXPECT_LE(s.collector_ns() - s.program_ns() - excess, s.cap().capacity() / 4)
        << h.cpus << " " << h.threads;
  }
}

// What the cap is for, as the difference that it makes.
TEST(gc_pacer_simulation, without_the_cap_such_a_program_hardly_runs) {
  for (const hopeless& h : hopeless_ones) {
    if (h.allocation * h.threads < 0.5) continue;
    pacing_simulation with{{.cpus = h.cpus}, {.threads = h.threads, .allocation = h.allocation}};
    pacing_simulation without = with;
    without.with_cap = false;
    for (pacing_simulation* s : {&with, &without}) {
      s->set({.limit = h.limit});
      s->run_for(10'000 * ms);
    }
    EXPECT_GT(without.collector_ns(), without.program_ns() + 2 * without.cap().capacity());
    EXPECT_GT(with.allocated(), without.allocated() + without.allocated() / 4) << h.cpus << " " << h.threads;
  }
}

TEST(gc_pacer_simulation, the_limit_holds_again_once_there_is_room) {
  pacing_simulation s{{.cpus = 2}, {.threads = 2, .allocation = 0.4}};
  s.set({.limit = 64 * mb});
  s.run_for(8000 * ms);
  EXPECT_GE(s.cap().times(), 1u);
  s.program.live = 16 * mb;
  s.program.allocation = 0.1;
  s.run_for(10'000 * ms);
  EXPECT_FALSE(s.pacer().gives_way());
  s.take_peak();
  const std::uint64_t times = s.cap().times();
  s.run_for(3000 * ms);
  EXPECT_LE(s.take_peak(), 65 * mb);
  EXPECT_EQ(s.cap().times(), times);
}

TEST(gc_pacer_simulation, the_goal_never_passes_the_hard_limit) {
  pacing_simulation s{{.cpus = 2}, {.threads = 2, .allocation = 0.4}};
  s.set({.limit = 66 * mb, .hard_limit = 80 * mb});
  s.run_for(8000 * ms);
  EXPECT_GE(s.cap().times(), 1u) << "it has given way";
  for (const simulated_cycle& c : s.cycles()) EXPECT_LE(c.goal, 80 * mb);
}

// ---- at random ----

struct scenario {
  std::mt19937_64 random;
  double between(double a, double b) { return std::uniform_real_distribution<>{a, b}(random); }
  // As likely between 1 and 10 as between 10 and 100.
  double of_scale(double a, double b) { return std::exp(between(std::log(a), std::log(b))); }
  std::size_t bytes(double a, double b) { return static_cast<std::size_t>(of_scale(a, b)); }
};

TEST(gc_pacer_simulation, whatever_a_program_does_the_bounds_hold) {
  for (std::uint64_t i = 0, all = tern_test::scale(std::uint64_t{100}); i < all; ++i) {
    const std::uint64_t seed = tern_test::seed() + i;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    scenario r{std::mt19937_64{seed}};
    const auto cpus = 1 + static_cast<unsigned>(r.between(0, 4));
    const auto threads = 1 + static_cast<unsigned>(r.between(0, 6));
    pacing_simulation s{{.cpus = cpus, .marking = r.of_scale(0.5, 2)},
                        {.threads = threads, .allocation = r.of_scale(0.01, 4), .live = r.bytes(1e5, 1e8)},
                        seed};
    std::size_t first = 0;
    for (int part = 0; part < 6; ++part) {
      // A setting or a load of another kind; what was under way then may pass bounds that it did not know of.
      tern::detail::gc::pacer_settings now;
      now.percent = static_cast<std::uint32_t>(r.between(20, 400));
      if (r.between(0, 1) < 0.5) now.limit = r.bytes(1e5, 3e8);
      if (r.between(0, 1) < 0.2) now.minimum = r.bytes(1e5, 3e7);
      s.set(now);
      if (r.between(0, 1) < 0.7) s.program.allocation = r.of_scale(0.01, 4);
      if (r.between(0, 1) < 0.7) s.program.live = r.bytes(1e5, 1e8);
      first = s.cycles().size() + 2;
      s.run_for(static_cast<std::int64_t>(r.between(50, 500)) * ms);

      EXPECT_LE(s.pacer().trigger(), s.pacer().goal());
      EXPECT_LE(s.most_paid_at_once(), tern::detail::gc::assist_cap_bytes);
      for (std::size_t c = first; c < s.cycles().size(); ++c) {
        const simulated_cycle& of = s.cycles()[c];
        const simulated_cycle& last = s.cycles()[c - 1];
        SCOPED_TRACE(testing::Message() << "part " << part << ", cycle " << c);
        // A brake that went up or down in mid-cycle, since the limit gave way, is another matter.
        if (!of.gave_way) {
          EXPECT_LE(of.peak, of.brake + beyond_the_brake(s));
        }
        EXPECT_LE(of.most_debt, last.live + mb);
        // A goal is a sixteenth above what lives, or by what is asked for, and a cycle begins a twentieth of the way, both at least.
        EXPECT_GE(of.goal, last.live + last.live / 20);
        if (!of.gave_way) {
          EXPECT_GE(of.allocated - of.while_marking, (of.goal - last.live) / 20);
        }
        EXPECT_GE(of.peak, of.live);
        const bool has_room = now.limit > last.live + last.live / 16 + mb;
        if (has_room && !of.gave_way) {
          EXPECT_LE(of.goal, now.limit);
        }
      }
    }
  }
}

}  // namespace

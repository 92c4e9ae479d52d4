#include <gtest/gtest.h>

#include <tern/gc/handshake.hpp>

namespace {

using namespace tern::detail::gc;
using tern::detail::atomic;

struct states {
  enum : std::uint32_t { free, on_cpu, saved, claimed };
};
using scan = fiber_scan<states, atomic<std::uint32_t>, atomic<std::uint64_t>>;

struct bare_fiber {
  atomic<std::uint32_t> state{states::saved};
  atomic<std::uint64_t> word{0};
  int scans = 0;
  bool resume(std::uint64_t acked, std::uint64_t first) {
    return scan{state, word}.resume_checked(acked, first, [&] { ++scans; });
  }
  void round(std::uint64_t r, std::uint64_t first) {
    scan{state, word}.scan_saved(r, first, [&] { ++scans; });
  }
  void park() { state = states::saved; }
};

TEST(gc_handshake, only_an_idle_port_is_claimed) {
  mutator_port<> p;
  EXPECT_FALSE(p.try_claim());
  p.release();
  EXPECT_TRUE(p.try_claim());
  EXPECT_FALSE(p.try_acquire()) << "the collector acts";
  p.unclaim();
  EXPECT_TRUE(p.try_acquire());
  EXPECT_TRUE(p.is_running());
  EXPECT_FALSE(p.try_claim());
}

TEST(gc_handshake, a_saved_fiber_is_scanned_once_while_it_does_not_run) {
  bare_fiber f;
  f.round(5, 5);
  EXPECT_EQ(f.scans, 1);
  f.round(6, 5);
  f.round(7, 5);
  EXPECT_EQ(f.scans, 1) << "clean: it did not run";
  EXPECT_TRUE(f.resume(7, 5));
  EXPECT_EQ(f.scans, 1) << "clean at its resume";
  EXPECT_EQ(f.state.load(), states::on_cpu);
  f.park();
  f.round(7, 5);
  EXPECT_EQ(f.scans, 1) << "known clean in round 7";
  f.round(8, 5);
  EXPECT_EQ(f.scans, 2);
}

TEST(gc_handshake, a_new_cycle_scans_again) {
  bare_fiber f;
  f.round(5, 5);
  f.round(9, 9);
  EXPECT_EQ(f.scans, 2);
}

TEST(gc_handshake, a_fiber_that_ran_is_scanned_before_it_runs_on_an_acked_processor) {
  bare_fiber f;
  f.round(5, 5);
  EXPECT_TRUE(f.resume(5, 5));
  f.park();
  EXPECT_TRUE(f.resume(6, 5));
  EXPECT_EQ(f.scans, 2);
  f.park();
  EXPECT_TRUE(f.resume(6, 5));
  EXPECT_EQ(f.scans, 2) << "stamped in round 6";
}

TEST(gc_handshake, a_processor_that_has_not_acked_resumes_freely) {
  bare_fiber f;
  f.round(6, 5);
  f.word = scan_stamp{5, true}.encode();
  EXPECT_TRUE(f.resume(5, 5));
  EXPECT_EQ(f.scans, 1);
  f.park();
  EXPECT_TRUE(f.resume(4, 5)) << "before the cycle's first round";
  EXPECT_EQ(f.scans, 1);
  f.park();
  f.round(6, 5);
  EXPECT_EQ(f.scans, 2) << "it ran since";
}

TEST(gc_handshake, a_claimed_fiber_is_not_resumed) {
  bare_fiber f;
  f.state = states::claimed;
  EXPECT_FALSE(f.resume(6, 5));
  EXPECT_EQ(f.scans, 0);
}

TEST(gc_handshake, a_free_slot_is_passed_by) {
  bare_fiber f;
  f.state = states::free;
  f.round(6, 5);
  EXPECT_EQ(f.scans, 0);
}

TEST(gc_handshake, a_round_ends_marking_only_if_nothing_was_greyed) {
  round_rule r;
  r.begin(100);
  EXPECT_TRUE(r.may_end(100, true));
  EXPECT_FALSE(r.may_end(100, false));
  EXPECT_FALSE(r.may_end(101, true));
}

}  // namespace

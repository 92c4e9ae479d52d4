// The cycle, step by step: the stepper itself, and what mutators do between two steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/stress/gc_schedules.hpp"
#include "tests/support/error_of.hpp"
#include "tests/support/managed_list.hpp"
#include "tests/unit/gc_support.hpp"

// A name of its own: the files of a test program are compiled together.
namespace gc_step_test {
namespace {

namespace gc = tern::gc;
namespace internal = tern::detail::gc;
using gc::testing::step;
using gc::testing::stepper;
using gc_schedules::good;
using gc_test::actor;
using gc_test::as_mutator;
using gc_test::is_list;
using gc_test::is_marked;
using gc_test::make_list;
using gc_test::verified;
using gc_test::word_of;

// On a thread that is attached to nothing: what it knows of objects keeps none.
template <class F>
void on_stage(F&& f) {
  std::thread t{[&f] {
    stepper s;
    f(s);
  }};
  t.join();
}

// ---- the stepper ----

TEST(gc_step, a_cycle_is_made_of_its_steps) {
  on_stage([](stepper& s) {
    gc::handle<gc_schedules::node> root;
    gc::weak<gc_schedules::node> dead;
    as_mutator([&] {
      root = gc_schedules::make_good();
      dead = gc_schedules::make_good();
    });
    const std::uintptr_t word = word_of(root.get());
    const std::uint64_t cycles = gc::read_statistics().cycles;
    EXPECT_EQ(s.next(), step::begin);
    EXPECT_FALSE(internal::is_barrier_on());
    s.begin();
    EXPECT_TRUE(internal::is_barrier_on());
    EXPECT_FALSE(is_marked(word));
    s.scan_roots();
    EXPECT_FALSE(is_marked(word));
    while (s.mark()) {
    }
    EXPECT_TRUE(is_marked(word));
    while (!s.rescan())
      while (s.mark()) {
      }
    EXPECT_TRUE(s.end_marking());
    EXPECT_TRUE(internal::is_barrier_on());
    s.barrier_off();
    EXPECT_FALSE(internal::is_barrier_on());
    EXPECT_TRUE(is_marked(word)) << "not swept yet";
    EXPECT_EQ(gc::read_statistics().cycles, cycles);
    int spans = 0;
    while (s.sweep()) ++spans;
    EXPECT_GT(spans, 0);
    EXPECT_FALSE(is_marked(word));
    EXPECT_EQ(s.next(), step::begin);
    EXPECT_EQ(gc::read_statistics().cycles, cycles + 1);
    as_mutator([&] { EXPECT_EQ(dead.lock(), nullptr); });
    EXPECT_EQ(root->value, good);
  });
}

TEST(gc_step, a_step_out_of_order_is_refused_and_changes_nothing) {
  on_stage([](stepper& s) {
    const auto refused = [](auto&& f) {
      return tern_test::error_of(f) == std::errc::operation_not_permitted;
    };
    EXPECT_TRUE(refused([&] { s.scan_roots(); }));
    EXPECT_TRUE(refused([&] { s.sweep(); }));
    EXPECT_EQ(s.next(), step::begin);
    EXPECT_FALSE(internal::is_barrier_on());
    s.begin();
    EXPECT_TRUE(refused([&] { s.begin(); }));
    EXPECT_TRUE(refused([&] { s.mark(); }));
    EXPECT_TRUE(refused([&] { s.barrier_off(); }));
    s.run_to(step::sweep);
    EXPECT_TRUE(refused([&] { s.begin(); })) << "the next cycle waits for the end of the sweep";
    s.finish();
    EXPECT_EQ(s.next(), step::begin);
  });
}

TEST(gc_step, there_is_one_stepper_at_a_time) {
  const auto another = [] { return tern_test::error_of([] { stepper t; }); };
  on_stage([&](stepper&) {
    EXPECT_EQ(another(), std::errc::device_or_resource_busy);
    std::error_code elsewhere;
    gc_test::on_thread([&] { elsewhere = another(); });
    EXPECT_EQ(elsewhere, std::errc::device_or_resource_busy);
  });
  EXPECT_EQ(another(), std::error_code{});
}

TEST(gc_step, a_collection_of_the_holder_makes_the_steps) {
  on_stage([](stepper& s) {
    gc::weak<gc_schedules::node> dead;
    as_mutator([&] { dead = gc_schedules::make_good(); });
    const std::uint64_t cycles = gc::read_statistics().cycles;
    s.run_to(step::barrier_off);
    gc::collect();
    EXPECT_EQ(s.next(), step::begin);
    EXPECT_EQ(gc::read_statistics().cycles, cycles + 2) << "the one that ran, and a whole one";
    as_mutator([&] { EXPECT_EQ(dead.lock(), nullptr); });
  });
}

TEST(gc_step, a_collection_of_somebody_else_waits_for_the_holder) {
  std::atomic<bool> collected{false};
  std::thread other;
  on_stage([&](stepper& s) {
    s.run_to(step::mark);
    other = std::thread{[&] {
      gc::collect();
      collected = true;
    }};
    while (internal::state.wanted.load() <= internal::state.started.load()) std::this_thread::yield();
    s.run_to(step::sweep);
    EXPECT_FALSE(collected);
    EXPECT_EQ(s.next(), step::sweep);
  });
  // Nobody holds the collector: it ends that cycle, and makes the one that was asked for.
  other.join();
  EXPECT_TRUE(collected);
}

TEST(gc_step, an_attached_holder_is_a_mutator_that_waits) {
  gc_test::on_thread([] {
    gc_schedules::node* mine = gc_schedules::make_good();
    mine->next = gc_schedules::make_good();
    verified v;
    {
      stepper s;
      s.run_to(step::mark);
      gc_schedules::node* child = mine->next;
      mine->next = nullptr;
      s.run_to(step::end_marking);
      EXPECT_TRUE(is_marked(word_of(child)));
      s.finish();
      EXPECT_EQ(child->value, good);
    }
    EXPECT_EQ(mine->value, good);
    EXPECT_EQ(v.lost(), 0u);
  });
}

TEST(gc_step, a_fiber_may_hold_the_collector) {
  tern::runtime rt{{.processors = 2}};
  rt.run([] {
    gc_schedules::node* mine = gc_schedules::make_good();
    stepper s;
    s.run_to(step::sweep);
    gc::collect();
    EXPECT_EQ(s.next(), step::begin);
    EXPECT_EQ(mine->value, good);
  });
}

// ---- mutators between steps ----

TEST(gc_step, a_store_behind_the_marker_is_seen) { EXPECT_TRUE(gc_schedules::store_behind_the_marker()); }

TEST(gc_step, a_store_of_what_was_black_in_the_cycle_before_is_seen) {
  EXPECT_TRUE(gc_schedules::store_of_what_was_black_before());
}

TEST(gc_step, what_is_born_after_the_last_round_lives) {
  EXPECT_TRUE(gc_schedules::birth_after_the_last_round(true)) << "in a cell that was there";
  EXPECT_TRUE(gc_schedules::birth_after_the_last_round(false)) << "in a cell of a refill";
}

TEST(gc_step, a_fiber_that_ran_between_the_scan_and_the_end_is_looked_at_again) {
  EXPECT_TRUE(gc_schedules::load_after_the_scan(false)) << "while it is parked";
  EXPECT_TRUE(gc_schedules::load_after_the_scan(true)) << "by who resumes it";
}

TEST(gc_step, a_hand_over_within_a_round_does_not_end_marking) {
  EXPECT_TRUE(gc_schedules::hand_over_within_a_round());
}

TEST(gc_step, allocation_is_black_from_the_first_round_to_the_end_and_garbage_goes_one_cycle_later) {
  on_stage([](stepper& s) {
    actor<gc_schedules::node> mutator;
    using frame = actor<gc_schedules::node>::frame;
    mutator.does([](frame&) { gc::make<gc_schedules::node>(); });
    std::vector<std::uintptr_t> born;  // no root
    const auto make = [&] {
      mutator.does([&](frame&) { born.push_back(word_of(gc_schedules::make_good())); });
      return is_marked(born.back());
    };
    EXPECT_FALSE(make());
    s.begin();
    EXPECT_FALSE(make()) << "before the first round";
    s.scan_roots();
    EXPECT_TRUE(make());
    s.run_to(step::barrier_off);
    EXPECT_TRUE(make());
    s.barrier_off();
    s.finish();
    for (std::size_t i = 2; i < born.size(); ++i) EXPECT_TRUE(internal::object_at(born[i])) << i;
    s.begin();
    s.finish();
    for (std::size_t i = 0; i < born.size(); ++i) EXPECT_FALSE(internal::object_at(born[i])) << i;
  });
}

TEST(gc_step, a_weak_reference_gives_out_what_then_lives_or_nothing) {
  on_stage([](stepper& s) {
    gc::testing::poison_freed(true);
    gc::weak<gc_schedules::node> before;
    gc::weak<gc_schedules::node> after;
    as_mutator([&] {
      before = gc_schedules::make_good();
      after = gc_schedules::make_good();
    });
    actor<gc_schedules::node> mutator;
    using frame = actor<gc_schedules::node>::frame;
    s.run_to(step::end_marking);
    mutator.does([&](frame& f) { f.first = before.lock(); });
    EXPECT_FALSE(s.end_marking()) << "it was greyed since the round";
    s.run_to(step::barrier_off);
    mutator.does([&](frame& f) { f.second = after.lock(); });
    s.finish();
    mutator.does([&](frame& f) {
      EXPECT_EQ(f.second, nullptr);
      ASSERT_NE(f.first, nullptr);
      EXPECT_EQ(f.first->value, good);
      EXPECT_EQ(before.lock(), f.first);
      f.first = nullptr;
    });
    s.begin();
    s.finish();
    mutator.does([&](frame&) { EXPECT_EQ(before.lock(), nullptr); });
    gc::testing::poison_freed(false);
  });
}

// ---- sweep ----

// Its cells have a size that nothing else has.
template <int Test>
struct sized {
  gc::member<sized> next;
  long value = 0;
  char room[200 + 16 * Test] = {};
};

template <class T>
std::vector<const internal::span*> spans_of(const T* list) {
  std::vector<const internal::span*> spans;
  for (; list != nullptr; list = list->next)
    if (const internal::span* s = internal::span_of(word_of(list)); spans.empty() || spans.back() != s)
      spans.push_back(s);
  return spans;
}
template <class T>
bool has_none_of(const T* list, const std::vector<const internal::span*>& old) {
  const auto now = spans_of(list);
  return std::none_of(now.begin(), now.end(), [&](const internal::span* s) {
    return std::find(old.begin(), old.end(), s) != old.end();
  });
}

// One mutator has not heard of the end of marking: it holds a span from before, and takes more. The other one has, and must not yet take
// spans that are due for the sweep, nor those of the first one, whose cells are black.
TEST(gc_step, a_mutator_that_is_late_for_the_end_of_marking) {
  using node = sized<0>;
  constexpr long n = 200;
  on_stage([&](stepper& s) {
    gc::testing::poison_freed(true);
    std::vector<const internal::span*> old;
    as_mutator([&] {
      old = spans_of(make_list<node>(n, good));
    });  // dead, with free cells among them after the sweep
    actor<node> late;
    actor<node> prompt;
    using frame = actor<node>::frame;
    late.does([](frame& f) { f.first = make_list<node>(1, good); });
    s.run_to(step::barrier_off);
    late.is_silent(true);
    std::thread end{[&] { s.barrier_off(); }};
    while (internal::is_barrier_on()) std::this_thread::yield();
    // It has been asked and answered when its epoch is the heap's.
    bool has_heard = false;
    while (!has_heard)
      prompt.does([&](frame&) {
        has_heard = internal::current_mutator_if_any()->epoch == internal::state.epoch.load();
      });
    late.does([&](frame& f) {
      EXPECT_NE(internal::current_mutator_if_any()->epoch, internal::state.epoch.load());
      f.second = make_list<node>(1, good);  // from what it holds: no look at what the collector asks
      EXPECT_TRUE(is_marked(word_of(f.second)));
    });
    prompt.does([&](frame& f) {
      f.first = make_list<node>(n, good);
      EXPECT_TRUE(has_none_of(f.first, old));
    });
    EXPECT_EQ(s.next(), step::barrier_off) << "it waits for the late one";
    late.acknowledges();
    end.join();
    late.is_silent(false);
    s.finish();
    // No black cell is left from then: what they lead to from now on must be found through them.
    const auto grow = [](frame& f) {
      (f.second != nullptr ? f.second : f.first)->next = make_list<node>(5, good);
    };
    late.does(grow);
    {
      const verified v;
      s.begin();
      s.finish();
      EXPECT_EQ(v.lost(), 0u);
    }
    late.does([](frame& f) {
      EXPECT_TRUE(is_list(f.first, 1, good));
      EXPECT_TRUE(is_list(f.second, 6, good));
    });
    prompt.does([&](frame& f) { EXPECT_TRUE(is_list(f.first, n, good)); });
    gc::testing::poison_freed(false);
  });
}

// Beside the collector's thread, which has swept none yet.
TEST(gc_step, a_mutator_sweeps_the_span_that_it_takes_and_nobody_sweeps_it_again) {
  using node = sized<1>;
  constexpr long n = 400;
  constexpr long kept = n / 10;
  on_stage([&](stepper& s) {
    gc::collect();
    gc::testing::poison_freed(true);
    gc::handle<node> root;
    std::vector<const internal::span*> old;
    as_mutator([&] {
      node* all = make_list<node>(n, good);
      old = spans_of(all);
      root = all;
      // Every tenth stays.
      for (node* x = all; x != nullptr; x = x->next) {
        node* to = x->next;
        for (int i = 1; i < 10 && to != nullptr; ++i) to = to->next;
        x->next = to;
      }
    });
    const std::size_t cell = old.front()->cell_bytes;
    const std::uint64_t freed = gc::read_statistics().freed_bytes;
    s.run_to(step::sweep);
    EXPECT_EQ(gc::read_statistics().freed_bytes, freed);
    actor<node> mutator;
    using frame = actor<node>::frame;
    mutator.does([&](frame& f) {
      f.first = gc::make<node>();
      internal::span* const taken = internal::span_of(word_of(f.first));
      EXPECT_NE(std::find(old.begin(), old.end(), taken), old.end()) << "there was room in an old span";
      EXPECT_EQ(taken->epoch.load(), internal::state.epoch.load());
      EXPECT_EQ(f.first->next.get(), nullptr);
      EXPECT_EQ(f.first->value, 0);
      f.first->value = good;
      f.second = make_list<node>(n / 2, good);
    });
    EXPECT_GT(gc::read_statistics().freed_bytes, freed) << "by the mutator";
    s.finish();
    EXPECT_EQ(gc::read_statistics().freed_bytes - freed, (n - kept) * cell);
    EXPECT_TRUE(is_list(root.get(), kept, good));
    mutator.does([&](frame& f) {
      EXPECT_TRUE(is_list(f.first, 1, good));
      EXPECT_TRUE(is_list(f.second, n / 2, good));
    });
    gc::testing::poison_freed(false);
  });
}

TEST(gc_step, all_is_swept_before_the_next_cycle_begins) {
  using node = sized<2>;
  static std::atomic<int> unswept;
  unswept = -1;
  std::thread other;
  on_stage([&](stepper& s) {
    gc::handle<node> root;
    as_mutator([&] { root = make_list<node>(1000, good); });
    s.run_to(step::sweep);
    EXPECT_TRUE(s.sweep());
    internal::testing.at = [](internal::test_point p) noexcept {
      if (p != internal::test_point::barrier_on || unswept >= 0) return;
      int n = 0;
      internal::shapes.for_each([&n](internal::shape& k) noexcept {
        const tern::detail::lock_scope hold{k.lock};
        if (k.unswept.front() != nullptr || k.pending.front() != nullptr) ++n;
      });
      unswept = n;
    };
    other = std::thread{[] { gc::collect(); }};
    while (internal::state.wanted.load() <= internal::state.started.load()) std::this_thread::yield();
  });
  other.join();
  internal::testing.at = nullptr;
  EXPECT_EQ(unswept, 0);
}

}  // namespace
}  // namespace gc_step_test

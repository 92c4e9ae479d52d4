// The real inspection protocol under every interleaving: a fiber that an inspector reads is not resumed meanwhile.
#include <tern/base/config.hpp>
#include <tern/sched/inspect.hpp>

#include "barrier.hpp"
#include "expect.hpp"

namespace {

using namespace tern_model;

struct fiber_states {
  enum : std::uint32_t { free, on_cpu, saved, claimed };
};
using protocol = tern::detail::inspection_protocol<fiber_states>;

enum class broken {
  nothing,
  no_barrier,
  barrier_before_the_bit,
  plain_resume,
  claims_any,
  looks_before_it_takes,
  does_not_settle_before,
  does_not_settle_after
};

// A parked fiber, its waker, which or a thief then runs it and parks it again, and an inspector. `stack` is
// odd while the fiber is suspended. Whoever finds the bit not set lets the fiber publish itself, as switch_publishing() does. It is an atomic, since a worker that finds the bit gone again has no happens-before with the
// inspector: its stores depend on that read, which the hardware keeps in order.
template <broken Mutant, bool Thief = false>
struct inspect_model {
  static constexpr bool by_a_thief() { return Thief; }

  atomic<std::uint32_t> armed{0};
  atomic<std::uint32_t> stack_state{fiber_states::saved};
  atomic<const char*> wait_what{"a wait"};
  atomic<std::uint32_t> queued{0};
  atomic<int> stack{1};

  void threads(thread_list& list) {
    list.add("inspector", [this] {
      if constexpr (Mutant == broken::barrier_before_the_bit) barrier_in_every_thread();
      armed.fetch_or(1, memory_order_seq_cst);
      if constexpr (Mutant != broken::no_barrier && Mutant != broken::barrier_before_the_bit)
        barrier_in_every_thread();
      bool mine = false;
      if constexpr (Mutant == broken::claims_any) {
        std::uint32_t saved = fiber_states::saved;
        mine = stack_state.compare_exchange_strong(saved, fiber_states::claimed);
      } else {
        mine = protocol::try_claim(stack_state, wait_what, [calls = 0]() mutable {
          if (Mutant != (calls++ == 0 ? broken::does_not_settle_before : broken::does_not_settle_after))
            barrier_in_every_thread();
          return true;
        });
      }
      if (mine) {
        const int first = stack.load(memory_order_relaxed);
        const int second = stack.load(memory_order_relaxed);
        require(first % 2 == 1 && first == second, "the stack stands still while it is claimed");
        protocol::give_back(stack_state);
      }
      armed.fetch_and(~1U, memory_order_seq_cst);
    });
    list.add("waker", [this] {
      wait_what.store(nullptr, memory_order_relaxed);
      if (by_a_thief())
        queued.store(1, memory_order_release);
      else
        run_again(is_armed());  // from its own queue, with no read-modify-write in between
    });
    if (by_a_thief())
      list.add("thief", [this] {
        const bool early = Mutant == broken::looks_before_it_takes && is_armed();
        while (queued.exchange(0, memory_order_acquire) == 0) model_atomics::pause();
        run_again(Mutant == broken::looks_before_it_takes ? early : is_armed());
      });
  }

  bool is_armed() { return Mutant != broken::plain_resume && armed.load(memory_order_relaxed) != 0; }

  void run_again(bool with_care) {
    if (with_care) {
      while (!protocol::try_resume(stack_state)) model_atomics::pause();
    } else {
      stack_state.store(fiber_states::on_cpu, memory_order_relaxed);
    }
    stack.store(2, memory_order_relaxed);
    const bool publishes_itself = !is_armed();
    wait_what.store("another wait", memory_order_relaxed);
    stack.store(3, memory_order_relaxed);
    stack_state.store(fiber_states::saved, publishes_itself ? memory_order_relaxed : memory_order_release);
  }

  void finally() {
    require(stack_state.peek() == fiber_states::saved && stack.peek() == 3, "the fiber ran and waits again");
  }
};

const options bound{.preemptions = 4, .store_delays = 2};
const options passing{.preemptions = 3, .store_delays = 1, .store_passes = 2};

TEST(SchedInspectModel, AClaimedFiberStandsStill) {
  expect_holds<inspect_model<broken::nothing>>(bound);
  expect_holds<inspect_model<broken::nothing, true>>({.preemptions = 3, .store_delays = 1});
}

TEST(SchedInspectModel, AlsoWhereStoresPassEachOther) {
  expect_holds<inspect_model<broken::nothing>>(passing);
  expect_holds<inspect_model<broken::nothing, true>>(passing);
  expect_caught<inspect_model<broken::does_not_settle_before>>(passing, "stands still");
  expect_caught<inspect_model<broken::does_not_settle_after>>(passing, "stands still");
  // Needless where they do not.
  expect_holds<inspect_model<broken::does_not_settle_before>>(bound);
  expect_holds<inspect_model<broken::does_not_settle_after>>(bound);
}

TEST(SchedInspectModel, WithoutAStepItDoesNot) {
  expect_caught<inspect_model<broken::no_barrier>>(bound, "stands still");
  expect_caught<inspect_model<broken::barrier_before_the_bit>>(bound, "stands still");
  expect_caught<inspect_model<broken::plain_resume>>(bound, "stands still");
  expect_caught<inspect_model<broken::claims_any>>(bound, "stands still");
  expect_caught<inspect_model<broken::looks_before_it_takes, true>>(bound, "stands still");
}

TEST(SchedInspectModel, MutantsAreCaught) {
  if (tern::detail::asan_build) GTEST_SKIP() << "mutants test the model";
  expect_mutants_caught<inspect_model<broken::nothing>, inspect_model<broken::nothing, true>>(
      {.preemptions = 3, .store_delays = 1}, "inspect.hpp", [](const mutant& m) {
        // Orders for the fiber's own words, which are no part of this model: the collector's fiber_scan has the same edges, with plain
        // words, in gc_handshake_model.cpp.
        if (m.kind == change::weaken) return true;
        // A claim that always fails is sound: the dump then has no stacks, which the unit test would see.
        return m.kind == change::drop && m.text.find("Fiber::claimed") != std::string::npos;
      });
}

}  // namespace

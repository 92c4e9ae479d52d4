// The blocking gate under every interleaving: never more than the limit inside, everybody gets in, in the order of the queue.
#include <tern/sched/blocking_gate.hpp>

#include "expect.hpp"

namespace {

using namespace tern_model;

// A model thread that waits, in the place of fibers.
struct model_parking {
  struct waiter {
    waiter(const char*, const void*) {}
    tern::detail::list_hook hook{};
    atomic<std::uint32_t> state{0};
  };
  template <class Lock>
  static void park(waiter& w, Lock& held) {
    held.unlock();
    while (w.state.load(tern::detail::memory_order_acquire) == 0) model_futex::wait(w.state, 0);
  }
  static void unpark(waiter& w) {
    w.state.store(1, tern::detail::memory_order_release);
    model_futex::wake(w.state, 1);
  }
};

using gate = tern::detail::blocking_gate<model_atomics, model_parking, model_mutex>;

template <std::uint32_t Limit, int Callers, int Rounds>
struct gate_model {
  gate g;
  atomic<std::uint32_t> inside{0};
  model_var<int> note{0};  // of whoever is inside, where only one may be
  int passed = 0;

  gate_model() { g.set_limit(Limit); }
  void threads(thread_list& list) {
    for (int i = 0; i < Callers; ++i)
      list.add("caller" + std::to_string(i), [this] {
        for (int k = 0; k < Rounds; ++k) {
          if (!g.try_enter()) g.enter_slow();
          require(inside.fetch_add(1, memory_order_relaxed) < Limit, "no more than the limit are inside");
          if (Limit == 1) note = note + 1;  // a race unless the one before is seen to have left
          inside.fetch_sub(1, memory_order_relaxed);
          g.leave();
          ++passed;
        }
      });
  }
  void finally() {
    require(passed == Callers * Rounds, "everybody came through");
    require(g.count() == 0, "nobody is left");
    if (Limit == 1) require(note == Callers * Rounds, "each saw the one before");
    for (std::uint32_t i = 0; i < Limit; ++i) require(g.try_enter(), "no place was lost");
    require(!g.try_enter(), "no place was doubled");
  }
};

TEST(gate_model, bounds_and_lets_everybody_in) {
  expect_holds<gate_model<1, 2, 2>>({.preemptions = 4}, "two, twice");
  expect_holds<gate_model<1, 3, 1>>({.preemptions = 3}, "three");
  expect_holds<gate_model<2, 3, 2>>({.preemptions = 2}, "three at two places, twice");
}

TEST(gate_model, mutants) {
  expect_mutants_caught<gate_model<1, 2, 2>, gate_model<1, 3, 1>, gate_model<2, 3, 1>>(
      {.preemptions = 3, .max_schedules = 60'000}, "blocking_gate.hpp", [](const mutant& m) {
        // The checker reorders no read-modify-writes and no loads; count() is for is_quiet(), which is not in this model.
        return m.kind == change::weaken_seq_cst || m.text.find("count() const") != std::string::npos;
      });
}

}  // namespace

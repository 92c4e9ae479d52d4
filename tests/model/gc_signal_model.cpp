// Acknowledgements by signal under every interleaving: a handler may run between any two steps of a fiber, in the scheduler too.
#include <tern/ds/run_queue.hpp>
#include <tern/gc/handshake.hpp>

#include "expect.hpp"

namespace {

using namespace tern_model;
using tern::detail::gc::fiber_scan;
using tern::detail::gc::handshake_kind;
using tern::detail::gc::handshake_request;
using tern::detail::gc::mutator_port;
using tern::detail::gc::scan_stamp;

// A signal that is under way, and where it is delivered: the code of the interrupted thread calls here between its steps, as often as it takes for
// the handler to have come anywhere.
class late_signal {
 public:
  void send() { pending_.exchange(1, memory_order_seq_cst); }  // a system call
  template <class Handler>
  void here(Handler&& handler) {
    if (pending_.load(memory_order_relaxed) != 0 && pending_.exchange(0, memory_order_acquire) != 0)
      handler();
  }

 private:
  atomic<int> pending_{0};
};

struct fiber_model {
  enum : std::uint32_t { free, on_cpu, saved, claimed };
  atomic<std::uint32_t> state{saved};
  atomic<std::uint64_t> stamp{scan_stamp{0, true}.encode()};
  model_var<int> stack{1};  // a white object
  atomic<int> scanned{0};
};

// --- a worker that leaves one fiber for another ---------------------------------------------------------------------------

enum class rule { kept, no_mark, mark_after_the_pop, any_stack };

// The ring's rotation and the resume are the real code. A fiber yields to another one before the collector has armed the hooks or after;
// signals come at any moment of that.
template <rule Rule>
struct leaving_model {
  using scan = fiber_scan<fiber_model, atomic<std::uint32_t>, atomic<std::uint64_t>, model_atomics>;
  static constexpr std::uint64_t round = 1;

  atomic<std::uint32_t> armed{0};
  handshake_request<model_atomics> request;
  mutator_port<model_atomics> port;
  late_signal signal;
  tern::detail::run_queue<fiber_model, 4, model_atomics> ring;
  fiber_model self;
  fiber_model other;

  // The worker's own fields.
  fiber_model* current = &self;
  fiber_model* left = nullptr;
  fiber_model* stands_on = &self;  // where its stack pointer is
  std::uint64_t acked_round = 0;

  leaving_model() {
    self.state.store(fiber_model::on_cpu, memory_order_relaxed);
    static_cast<void>(ring.try_push(&other));
  }

  void scan_running() {
    if (stands_on->stack != 0) stands_on->scanned.store(1, memory_order_relaxed);
  }
  void acknowledge() {
    const std::uint64_t done = port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (request.kind() == handshake_kind::round) {
      scan_running();
      scan{current->state, current->stamp}.stamp_running(round);
      acked_round = round;
    }
    port.set_acked(n);
  }
  void handler() {
    if (Rule != rule::any_stack && stands_on != current) return;
    if (left == current) return;
    acknowledge();
  }
  void step() {
    signal.here([this] { handler(); });
  }

  void yield() {
    step();
    if (Rule == rule::kept || Rule == rule::any_stack) left = current;
    fiber_model* next = nullptr;
    fiber_model* const me = current;
    if (armed.load(memory_order_relaxed) == 0) {
      step();
      const auto turn = ring.rotate(me);
      next = turn.oldest;
      if (Rule == rule::mark_after_the_pop) {
        step();
        left = me;
      }
      step();
      if (next == nullptr) return;
      next->state.store(fiber_model::on_cpu, memory_order_relaxed);
      current = next;
      step();
      me->state.store(fiber_model::saved, memory_order_release);
      turn.word->store(turn.value, memory_order_release);
    } else {
      step();
      next = ring.pop();
      if (next == nullptr) return;
      const auto scan_it = [&] {
        if (next->stack != 0) next->scanned.store(1, memory_order_relaxed);
      };
      if (!scan{next->state, next->stamp}.resume_checked(acked_round, round, scan_it)) {
        static_cast<void>(ring.try_push(next));
        left = nullptr;
        return;
      }
      step();
      current = next;
      step();
      me->state.store(fiber_model::saved, memory_order_release);
    }
    stands_on = next;
    step();
    next->stack = 2;  // it runs: its frames are written
    require(next->state.load(memory_order_relaxed) == fiber_model::on_cpu, "a fiber that runs is on_cpu");
    step();
  }

  void threads(thread_list& list) {
    list.add("worker", [this] {
      yield();
      left = nullptr;
      // The end of its computing: safepoints.
      while (port.acked() != 2) {
        acknowledge();
        model_atomics::pause();
      }
      current->state.store(fiber_model::saved, memory_order_release);  // it parks
    });
    list.add("collector", [this] {
      armed.store(1, memory_order_seq_cst);
      for (const handshake_kind k : {handshake_kind::barrier_on, handshake_kind::round}) {
        const std::uint64_t n = request.post(k);
        signal.send();
        while (port.acked() != n) model_atomics::pause();
      }
      for (fiber_model* f : {&self, &other})
        scan{f->state, f->stamp}.scan_saved(round, round, [&] {
          if (f->stack != 0) f->scanned.store(1, memory_order_relaxed);
        });
      require(self.scanned.load(memory_order_relaxed) != 0 && other.scanned.load(memory_order_relaxed) != 0,
              "both stacks were scanned");
    });
  }
};
TEST(gc_signal_model, a_worker_is_left_alone_while_a_fiber_leaves) {
  expect_holds<leaving_model<rule::kept>>({.preemptions = 3, .store_delays = 1});
}
TEST(gc_signal_model, breakages_of_leaving_are_caught) {
  expect_caught<leaving_model<rule::no_mark>>({.preemptions = 3});
  expect_caught<leaving_model<rule::mark_after_the_pop>>({.preemptions = 3});
  expect_caught<leaving_model<rule::any_stack>>({.preemptions = 3});
}

// --- a reference that a fiber takes out of the heap and gives away ---------------------------------------------------------

enum class order { shades_before, shades_after, registers_are_not_scanned };

// After its first round a fiber takes the only reference to a white object W out of a grey one, and stores it where the collector has looked
// already: into a black object, by the barrier; into a parked fiber's frame, by a crossing. Then it drops it.
template <order Order>
struct giving_model {
  atomic<std::uint32_t> flag{0};
  handshake_request<model_atomics> request;
  mutator_port<model_atomics> port;
  late_signal signal;
  atomic<int> from{1};
  atomic<int> to{0};
  atomic<std::uint64_t> greyed{0};
  int own = 0;  // the fiber's register

  void shade(int word) {
    if (word != 0) greyed.store(greyed.load(memory_order_relaxed) + 1, memory_order_relaxed);
  }
  void acknowledge(bool by_signal) {
    const std::uint64_t done = port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (!by_signal || Order != order::registers_are_not_scanned) shade(own);
    port.set_acked(n);
  }
  void step() {
    signal.here([this] { acknowledge(true); });
  }
  void look_and_shade() {
    const bool on = flag.load(memory_order_relaxed) != 0;
    step();
    if (on) shade(1);
  }

  void threads(thread_list& list) {
    list.add("fiber", [this] {
      step();
      step();
      own = from.load(memory_order_relaxed);
      step();
      from.store(0, memory_order_relaxed);
      step();
      if (Order != order::shades_after) look_and_shade();
      step();
      to.store(own, memory_order_release);
      own = 0;
      step();
      if (Order == order::shades_after) look_and_shade();
      while (port.acked() != 3) {
        acknowledge(false);
        model_atomics::pause();
      }
    });
    list.add("collector", [this] {
      flag.store(1, memory_order_seq_cst);
      const auto handshake = [this](handshake_kind k) {
        const std::uint64_t n = request.post(k);
        signal.send();
        while (port.acked() != n) model_atomics::pause();
      };
      handshake(handshake_kind::barrier_on);
      handshake(handshake_kind::round);
      bool found = to.load(memory_order_acquire) != 0;
      found = from.load(memory_order_acquire) != 0 || found;
      handshake(handshake_kind::round);
      require(found || greyed.load(memory_order_relaxed) != 0,
              "marking ends, and what was given away is white");
    });
  }
};
TEST(gc_signal_model, what_is_given_away_is_shaded_wherever_the_signal_comes) {
  expect_holds<giving_model<order::shades_before>>({.preemptions = 4, .store_delays = 1});
}
TEST(gc_signal_model, breakages_of_giving_away_are_caught) {
  expect_caught<giving_model<order::shades_after>>({.preemptions = 3}, "white");
  expect_caught<giving_model<order::registers_are_not_scanned>>({.preemptions = 3}, "white");
}

// --- a fiber that is being made -------------------------------------------------------------------------------------------

// The closure is the only one to know of a white object; the slot is nobody's until it is published. `Follows`: an acknowledgement by signal scans
// slots to which the spawner's registers lead.
template <bool Follows>
struct spawn_model {
  using scan = fiber_scan<fiber_model, atomic<std::uint32_t>, atomic<std::uint64_t>, model_atomics>;
  static constexpr std::uint64_t round = 1;

  atomic<std::uint32_t> armed{0};
  handshake_request<model_atomics> request;
  mutator_port<model_atomics> port;
  late_signal signal;
  fiber_model slot;
  atomic<std::uint64_t> greyed{0};
  int own = 1;
  bool has_slot = false;  // its address is in a register
  bool found = false;

  spawn_model() {
    slot.state.store(fiber_model::free, memory_order_relaxed);
    slot.stack = 0;
  }
  void shade(int word) {
    if (word != 0) greyed.store(greyed.load(memory_order_relaxed) + 1, memory_order_relaxed);
  }
  void acknowledge(bool by_signal) {
    const std::uint64_t done = port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (by_signal || request.kind() == handshake_kind::round) {
      shade(own);
      if (Follows && by_signal && has_slot && slot.state.load(memory_order_relaxed) == fiber_model::free)
        shade(slot.stack);
    }
    port.set_acked(n);
  }
  void step() {
    signal.here([this] { acknowledge(true); });
  }
  void threads(thread_list& list) {
    list.add("spawner", [this] {
      has_slot = true;
      step();
      slot.stack = 1;
      own = 0;
      step();
      slot.stamp.store(0, memory_order_relaxed);
      if (armed.load(memory_order_relaxed) != 0) {
        step();
        shade(slot.stack);
      }
      step();
      slot.state.store(fiber_model::saved, memory_order_release);
      has_slot = false;
      step();
      while (port.acked() != 2) {
        acknowledge(false);
        model_atomics::pause();
      }
    });
    list.add("collector", [this] {
      armed.store(1, memory_order_seq_cst);
      for (const handshake_kind k : {handshake_kind::barrier_on, handshake_kind::round}) {
        const std::uint64_t n = request.post(k);
        signal.send();
        while (port.acked() != n) model_atomics::pause();
      }
      scan{slot.state, slot.stamp}.scan_saved(round, round, [this] { found = slot.stack != 0; });
      require(found || greyed.load(memory_order_relaxed) != 0,
              "marking ends, and what the new fiber captured is white");
    });
  }
};
TEST(gc_signal_model, a_closure_is_found_before_its_fiber_is) {
  expect_holds<spawn_model<true>>({.preemptions = 4, .store_delays = 1});
}
TEST(gc_signal_model, a_closure_that_nobody_looks_for_is_lost) {
  expect_caught<spawn_model<false>>({.preemptions = 3}, "white");
}

}  // namespace

// The cancellation handshake under every interleaving, with the real wait_state: the wait ends, what was given is kept, and nobody touches a
// waiter whose frame is gone.
#include <tern/sched/cancel.hpp>

#include "expect.hpp"

namespace {

using namespace tern_model;
using state = tern::detail::wait_state<model_atomics>;

// A waiter on the stack of a thread of the checker. `frame` is written at the end of its life: a touch from then on is a race.
struct model_waiter {
  state wait;
  model_var<int> frame{0};
  int ready = 0;

  void end(state::value how) {
    require(frame == 1, "the frame of the waiter lives");
    bool saved = false;
    if (wait.end(how, saved) && saved) model_futex::wake(wait.word(), 1);
  }
  void park() {
    if (!wait.finish(true)) return;
    while (wait.is_parked()) model_futex::wait(wait.word(), state::parked);
  }
};
struct model_cancelling {
  using waiter = model_waiter;
  static void end(waiter& w) { w.end(state::timed_out); }
};
using cancel_state = tern::detail::basic_cancel_state<model_atomics, model_cancelling, model_mutex>;

// A primitive with one place to wait in, as those of sync/ have it: a timed waiter is ended under the lock.
template <int Givers, int Cancellers>
struct list_model {
  model_mutex guard;
  model_waiter* queued = nullptr;  // guard
  int values = 0;                  // guard
  bool granted = false;            // guard
  cancel_state cancel;
  model_waiter w;
  bool got = false, gave_up = false;

  void threads(thread_list& list) {
    list.add("fiber", [this] {
      w.frame = 1;
      guard.lock();
      if (values > 0) {
        --values;
        got = true;
        guard.unlock();
      } else {
        queued = &w;
        if (!cancel.arm(w)) w.end(state::timed_out);
        guard.unlock();
        w.park();
        cancel.disarm();
        guard.lock();
        if (!granted) queued = nullptr;
        got = granted;
        guard.unlock();
        if (!got) {
          require(cancel.is_requested(), "a wait ends with a value or because it is cancelled");
          gave_up = true;
        }
      }
      w.frame = 2;
    });
    for (int i = 0; i < Givers; ++i)
      list.add("giver" + std::to_string(i), [this] {
        guard.lock();
        if (model_waiter* first = std::exchange(queued, nullptr)) {
          granted = true;
          first->end(state::notified);
        } else {
          ++values;
        }
        guard.unlock();
      });
    for (int i = 0; i < Cancellers; ++i)
      list.add("canceller" + std::to_string(i), [this] { cancel.cancel(); });
  }
  void finally() {
    require(got != gave_up, "one outcome");
    require(values + (got ? 1 : 0) == Givers, "no value is lost or doubled");
  }
};

// A join: whoever takes the waiter out of the word is its sole waker. The waiter is published by the commit.
struct join_model {
  static constexpr std::uintptr_t running = 0, done = 1, waiting = 2;
  atomic<std::uintptr_t> word{running};
  cancel_state cancel;
  model_waiter w;
  model_var<int> result{0};
  bool joined = false;

  static bool withdraw(model_waiter&, void* self) noexcept {
    std::uintptr_t mine = waiting;
    return static_cast<join_model*>(self)->word.compare_exchange_strong(mine, running, memory_order_acq_rel,
                                                                        memory_order_relaxed);
  }
  void threads(thread_list& list) {
    list.add("joiner", [this] {
      w.frame = 1;
      std::uintptr_t expected = running;
      bool stay = word.compare_exchange_strong(expected, waiting, memory_order_acq_rel, memory_order_acquire);
      if (stay) stay = cancel.arm(w, &withdraw, this) || !withdraw(w, this);
      if (w.wait.finish(stay))
        while (w.wait.is_parked()) model_futex::wait(w.wait.word(), state::parked);
      cancel.disarm();
      joined = word.load(memory_order_acquire) == done;
      if (joined) require(result == 7, "what the fiber did is visible");
      if (!joined) require(cancel.is_requested(), "a join ends with the fiber or because it is cancelled");
      w.frame = 2;
    });
    list.add("target", [this] {
      result = 7;
      if (word.exchange(done, memory_order_acq_rel) == waiting) w.end(state::notified);
    });
    list.add("canceller", [this] { cancel.cancel(); });
  }
  void finally() { require(word.peek() == done, "the fiber has ended"); }
};

TEST(cancel_model, a_wait_in_a_list) {
  expect_holds<list_model<1, 0>>({.preemptions = 4}, "never cancelled");
  expect_holds<list_model<0, 1>>({.preemptions = 4}, "cancelled");
  expect_holds<list_model<1, 1>>({.preemptions = 4}, "both");
  expect_holds<list_model<1, 2>>({.preemptions = 3}, "cancelled twice");
}

TEST(cancel_model, a_join) { expect_holds<join_model>({.preemptions = 5}); }

// What the lock and the order of the steps are for.
struct without_disarm : list_model<0, 1> {
  void threads(thread_list& list) {
    list.add("fiber", [this] {
      w.frame = 1;
      if (!cancel.arm(w)) w.end(state::timed_out);
      w.frame = 2;  // gone without a disarm
    });
    list.add("canceller", [this] { cancel.cancel(); });
  }
  void finally() {}
};
struct published_before_the_word : join_model {
  void threads(thread_list& list) {
    list.add("joiner", [this] {
      w.frame = 1;
      if (!cancel.arm(w, &withdraw, this)) return;
      std::uintptr_t expected = running;
      const bool stay =
          word.compare_exchange_strong(expected, waiting, memory_order_acq_rel, memory_order_acquire);
      if (w.wait.finish(stay))
        while (w.wait.is_parked()) model_futex::wait(w.wait.word(), state::parked);
      cancel.disarm();
    });
    list.add("canceller", [this] { cancel.cancel(); });
  }
  void finally() {}
};

TEST(cancel_model, each_step_is_needed) {
  expect_caught<without_disarm>({.preemptions = 3});
  expect_caught<published_before_the_word>({.preemptions = 3});
}

}  // namespace

// The real wait_state under every interleaving: one end per wait, a fiber made ready once and never before its stack is saved.
#include <tern/base/config.hpp>
#include <tern/sched/wait_state.hpp>

#include "expect.hpp"

namespace {

using namespace tern_model;
using state = tern::detail::wait_state<model_atomics>;

// A fiber that parks, what makes it ready, and the thread that runs it next.
struct fiber_model {
  state wait;
  model_var<int> stack{0};    // 1: saved
  model_var<int> message{0};  // what the ender leaves for the fiber
  atomic<std::uint32_t> runnable{0};
  atomic<int> ended{0};

  void make_ready() {
    require(stack == 1, "a fiber becomes ready after its stack is saved");
    require(runnable.exchange(1, memory_order_acq_rel) == 0, "a fiber is made ready once");
    model_futex::wake(runnable, 1);
  }
  void run_again() {
    while (runnable.load(memory_order_acquire) == 0) model_futex::wait(runnable, 0);
    require(stack == 1, "its stack is whole");
  }
  void end(state::value how) {
    bool saved = false;
    if (!wait.end(how, saved)) return;
    ended.fetch_add(1, memory_order_relaxed);
    if (saved) make_ready();
  }
};

// Two wakers and a deadline reach the waiter before, while and after it parks; commit may take the park back.
template <bool Stay>
struct multi_model : fiber_model {
  void threads(thread_list& list) {
    list.add("parker", [this] {
      stack = 1;
      if (!wait.finish(Stay)) make_ready();
    });
    list.add("waker", [this] { end(state::notified); });
    list.add("timer", [this] { end(state::timed_out); });
    list.add("fiber", [this] { run_again(); });
  }
  void finally() {
    const int ends = ended.peek();
    require(Stay ? ends == 1 : ends <= 1, "one of unpark, the deadline and a refused commit ends the wait");
    require(runnable.peek() == 1, "the fiber was made ready");
  }
};

// A waker that gives a value and a parking side that finds itself ended already: it must see the value.
struct value_model : fiber_model {
  void threads(thread_list& list) {
    list.add("parker", [this] {
      stack = 1;
      if (wait.finish(true)) return;
      require(message == 7, "what the waker wrote is visible to the parking side");
      make_ready();
    });
    list.add("waker", [this] {
      message = 7;
      end(state::notified);
    });
    list.add("fiber", [this] { run_again(); });
  }
  void finally() { require(runnable.peek() == 1, "the fiber was made ready"); }
};

// One waker, which reaches the waiter through a lock that commit drops: no read-modify-write on either side. `Task`: a coroutine, which
// is suspended before the lock is taken; its waker ends the wait as any other one, and must find it parked.
template <bool Task>
struct single_model : fiber_model {
  model_mutex lock;
  model_var<bool> queued{false};
  model_var<bool> given{false};
  bool waited = false;

  void threads(thread_list& list) {
    list.add("parker", [this] {
      lock.lock();
      if (given) return lock.unlock();
      queued = true;
      waited = true;
      stack = 1;
      wait.park_single();
      lock.unlock();  // commit
    });
    list.add("waker", [this] {
      lock.lock();
      const bool has_waiter = queued;
      queued = false;
      given = true;
      message = 7;
      lock.unlock();
      if (has_waiter) {
        bool saved = true;
        require(Task ? wait.end(state::notified, saved) : wait.end_single(), "its commit has run");
        require(saved, "the waker makes it ready");
        ended.fetch_add(1, memory_order_relaxed);
        make_ready();
      } else {
        runnable.store(2, memory_order_release);
        model_futex::wake(runnable, 1);
      }
    });
    list.add("fiber", [this] {
      while (runnable.load(memory_order_acquire) == 0) model_futex::wait(runnable, 0);
      if (runnable.load(memory_order_relaxed) == 2) return;
      run_again();
      require(message == 7, "the value that the waker left is there");
    });
  }
  void finally() { require(ended.peek() == (waited ? 1 : 0), "one wake per wait"); }
};

// The same with a plain thread: nothing but the word tells it.
struct single_thread_model : fiber_model {
  model_mutex lock;
  model_var<bool> queued{false};
  model_var<bool> given{false};

  void threads(thread_list& list) {
    list.add("thread", [this] {
      lock.lock();
      if (given) return lock.unlock();
      queued = true;
      wait.park_single();
      lock.unlock();
      while (wait.is_parked()) model_futex::wait(wait.word(), state::parked);
      require(message == 7, "the value that the waker left is there");
    });
    list.add("waker", [this] {
      lock.lock();
      const bool has_waiter = queued;
      given = true;
      lock.unlock();
      if (!has_waiter) return;
      message = 7;
      require(wait.end_single(), "its commit has run");
      model_futex::wake(wait.word(), 1);
    });
  }
  void finally() {}
};

// A plain thread sleeps on the word itself.
struct thread_model : fiber_model {
  void threads(thread_list& list) {
    list.add("thread", [this] {
      if (!wait.finish(true)) return;
      while (wait.is_parked()) model_futex::wait(wait.word(), state::parked);
      require(message == 7, "the value that the waker left is there");
    });
    list.add("waker", [this] {
      message = 7;
      bool saved = false;
      require(wait.end(state::notified, saved), "the only waker ends the wait");
      if (saved) model_futex::wake(wait.word(), 1);
    });
  }
  void finally() { require(!wait.has_timed_out(), "notified"); }
};

TEST(wait_state_model, many_enders) {
  expect_holds<multi_model<true>>({.preemptions = 4, .store_delays = 1}, "stays");
  expect_holds<multi_model<false>>({.preemptions = 4, .store_delays = 1}, "taken back");
}
TEST(wait_state_model, a_value_comes_along) {
  expect_holds<value_model>({.preemptions = 4, .store_delays = 1});
}
TEST(wait_state_model, a_sole_waker) {
  expect_holds<single_model<false>>({.preemptions = 4, .store_delays = 1, .spurious_wakes = 1});
}
TEST(wait_state_model, a_task) {
  expect_holds<single_model<true>>({.preemptions = 4, .store_delays = 1, .spurious_wakes = 1});
}
TEST(wait_state_model, a_plain_thread) {
  expect_holds<thread_model>({.preemptions = 4, .store_delays = 1, .spurious_wakes = 1});
  expect_holds<single_thread_model>({.preemptions = 4, .store_delays = 1, .spurious_wakes = 1}, "single");
}

TEST(wait_state_model, mutants) {
  expect_mutants_caught<single_model<false>, single_model<true>, single_thread_model, thread_model,
                        value_model, multi_model<true>, multi_model<false>>(
      {.preemptions = 3, .store_delays = 1, .max_schedules = 60'000}, "wait_state.hpp",
      [](const mutant&) { return false; });
}

}  // namespace

// Park and unpark under every interleaving: a fiber is made ready exactly once, never before its stack is saved.
//
// The protocol of sched/park.hpp. Its functions (finish_park, end_wait, unpark of sched/dispatch.hpp) work on the waiter of real fibers
// and take no atomics policy, so their steps are written out here over model atomics, with the same orders. Keep the two alike.
#include <tern/base/config.hpp>

#include "expect.hpp"

namespace {

using namespace tern_model;

enum class breakage {
  none,
  publish_before_saved,  // the waiter can be met before the stack is saved
  store_for_cas,         // the end of a park overwrites a wake that came before it
  wake_without_cas,      // two wakers both believe that they were first
  relaxed_cas,           // the waker does not see the saved stack
  ready_although_armed,  // the waker makes a fiber ready whose park has not ended
  forget_refused_commit  // a commit that returns false leaves the waiter armed for wakers
};

struct waiter {
  enum : std::uint32_t { armed, parked, notified, timed_out };
  atomic<std::uint32_t> state{armed};
  bool single = false;
};

// A fiber, and the thread that runs it next.
template <breakage Breakage>
struct park_model {
  waiter x;
  model_var<int> stack{0};  // 1: saved
  atomic<std::uint32_t> runnable{0};
  atomic<int> ended{0};  // wakes that returned true

  void make_ready() {
    require(stack == 1, "a fiber becomes ready after its stack is saved");
    // The queue that it goes through: release, and acquire by whoever takes it.
    require(runnable.exchange(1, memory_order_acq_rel) == 0, "a fiber is made ready once");
    model_futex::wake(runnable, 1);
  }
  void run_again() {
    while (runnable.load(memory_order_acquire) == 0) model_futex::wait(runnable, 0);
    require(stack == 1, "its stack is whole");
    const std::uint32_t s = x.state.load(memory_order_relaxed);
    require(s == waiter::notified || s == waiter::timed_out, "the wait has ended");
  }

  template <class Commit>
  void finish_park(Commit&& commit) {
    if (Breakage != breakage::publish_before_saved) stack = 1;
    if (x.single) {
      x.state.store(waiter::parked, memory_order_relaxed);
      const bool stay = commit();
      if (Breakage == breakage::publish_before_saved) stack = 1;
      if (stay) return;
      x.state.store(waiter::notified, memory_order_relaxed);
      return make_ready();
    }
    const bool stay = commit();
    if (Breakage == breakage::store_for_cas) {
      x.state.store(stay ? waiter::parked : waiter::notified, memory_order_release);
      if (stay) return;
      return make_ready();
    }
    if (Breakage == breakage::forget_refused_commit && !stay) return make_ready();
    std::uint32_t s = waiter::armed;
    const bool relaxed = Breakage == breakage::relaxed_cas;
    const bool swapped = x.state.compare_exchange_strong(
        s, stay ? waiter::parked : waiter::notified, relaxed ? memory_order_relaxed : memory_order_acq_rel,
        relaxed ? memory_order_relaxed : memory_order_acquire);
    if (Breakage == breakage::publish_before_saved) stack = 1;
    if (swapped && stay) return;
    make_ready();
  }
  bool end_wait(std::uint32_t how, bool& saved) {
    std::uint32_t s = x.state.load(memory_order_relaxed);
    while (s == waiter::armed || s == waiter::parked) {
      if (Breakage == breakage::wake_without_cas) {
        x.state.store(how, memory_order_release);
        saved = s == waiter::parked;
        return true;
      }
      if (x.state.compare_exchange_weak(s, how, memory_order_acq_rel, memory_order_relaxed)) {
        saved = s == waiter::parked || Breakage == breakage::ready_although_armed;
        return true;
      }
    }
    return false;
  }
  bool unpark(std::uint32_t how = waiter::notified) {
    bool saved = true;
    if (x.single && x.state.load(memory_order_relaxed) == waiter::parked) {
      x.state.store(waiter::notified, memory_order_release);
    } else if (!end_wait(how, saved)) {
      return false;
    }
    ended.fetch_add(1, memory_order_relaxed);
    if (saved) make_ready();
    return true;
  }
};

// A primitive's lock, list and value: the waiter is reached only through what commit releases, and has one waker.
template <breakage Breakage = breakage::none>
struct single_model : park_model<Breakage> {
  model_mutex lock;
  model_var<bool> queued{false};
  model_var<bool> given{false};
  model_var<int> value{0};
  bool waited = false;
  single_model() { this->x.single = true; }
  void threads(thread_list& list) {
    list.add("parker", [this] {
      lock.lock();
      if (given) return lock.unlock();
      queued = true;
      waited = true;
      this->finish_park([this] {
        lock.unlock();
        return true;
      });
    });
    list.add("waker", [this] {
      lock.lock();
      const bool has_waiter = queued;
      queued = false;
      given = true;
      value = 7;
      lock.unlock();
      if (has_waiter)
        require(this->unpark(), "the only waker ends the wait");
      else
        this->runnable.store(2, memory_order_release), model_futex::wake(this->runnable, 1);
    });
    list.add("fiber", [this] {
      while (this->runnable.load(memory_order_acquire) == 0) model_futex::wait(this->runnable, 0);
      if (this->runnable.load(memory_order_relaxed) == 2) return;
      this->run_again();
      require(value == 7, "the value that the waker left is there");
    });
  }
  void finally() { require(this->ended.peek() == (waited ? 1 : 0), "one wake per wait"); }
};

// Two wakers and a timer reach the waiter before, while and after it parks. Commit may take the park back.
template <bool Stay, breakage Breakage = breakage::none>
struct multi_model : park_model<Breakage> {
  void threads(thread_list& list) {
    list.add("parker", [this] { this->finish_park([] { return Stay; }); });
    list.add("waker", [this] { (void)this->unpark(); });
    list.add("timer", [this] { (void)this->unpark(waiter::timed_out); });
    list.add("fiber", [this] { this->run_again(); });
  }
  void finally() {
    const int wakes = this->ended.peek();
    require(Stay ? wakes == 1 : wakes <= 1, "one of unpark, the timeout and a refused commit ends the wait");
    require(this->runnable.peek() == 1, "the fiber was made ready");
  }
};

TEST(park_model, one_waker_through_the_lock) {
  expect_holds<single_model<>>({.preemptions = 4, .store_delays = 1, .spurious_wakes = 1});
}
TEST(park_model, many_wakers) {
  expect_holds<multi_model<true>>({.preemptions = 4, .store_delays = 1});
  expect_holds<multi_model<false>>({.preemptions = 4, .store_delays = 1});
}

TEST(park_model, a_missing_step_is_caught) {
  const options o{.preemptions = 3, .store_delays = 1};
  expect_caught<single_model<breakage::publish_before_saved>>(o);
  expect_caught<multi_model<true, breakage::publish_before_saved>>(o);
  expect_caught<multi_model<true, breakage::store_for_cas>>(o);
  expect_caught<multi_model<true, breakage::wake_without_cas>>(o);
  expect_caught<multi_model<true, breakage::relaxed_cas>>(o, "data race");
  expect_caught<multi_model<true, breakage::ready_although_armed>>(o);
  expect_caught<multi_model<false, breakage::forget_refused_commit>>(o);
}

}  // namespace

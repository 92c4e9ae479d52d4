// The poll role under every interleaving: while a processor sleeps, the kernel's next event wakes one.
//
// The real poll_role, idle_set and inject queue; the loop of a worker is the skeleton of sched/worker_loop.hpp (find_work, look_into_poller,
// sleep_with, sleep_in_poller), its signal that of sched/scheduler.hpp. The kernel is a word of pending edges: the interrupt, and one for each
// item, which stands for a fiber that waits for a descriptor. An event that nobody takes shows as a deadlock.
#include <tern/ds/inject_queue.hpp>
#include <tern/sched/idle.hpp>
#include <tern/sched/poll_role.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;
using tern::detail::idle_member;
using tern::detail::idle_set;
using tern::detail::inject_queue;
using tern::detail::poll_role;

enum class breakage {
  none,
  never_asks,    // a sleeper that finds the role taken just sleeps elsewhere
  wakes_nobody,  // who leaves the role does not look whether somebody has asked
  bare_signal,   // a signal that is a futex wake, wherever the sleeper is
  signal_unseen  // the sleeper goes into the poller without saying so
};

struct item {
  item* next = nullptr;
  std::size_t home = 0;
  atomic<std::uint32_t> done{0};
};

template <std::size_t Processors, std::size_t Runtimes, breakage Breakage>
struct poller_model {
  struct runtime {
    idle_set<model_atomics, model_mutex> idle;
    inject_queue<item, &item::next, model_atomics, model_mutex> inject;
  };
  struct processor {
    std::size_t home = 0;
    idle_member idle;
    atomic<std::uint32_t> signal{0};
  };

  poll_role<model_atomics> role;
  std::array<runtime, Runtimes> runtimes;
  std::array<processor, Processors> processors;
  std::array<item, 2> items;
  atomic<std::uint32_t> kernel{0};  // bit 0: interrupted; bit 1 + i: items[i]
  model_var<int> visits{0};         // a race unless one thread at a time is inside
  atomic<std::uint32_t> stopping{0};
  atomic<std::uint32_t> open{0};

  void edge(std::uint32_t bit) {
    kernel.fetch_or(bit, memory_order_seq_cst);
    model_futex::wake(kernel, 1);
  }
  void event(std::size_t i) { edge(2U << i); }

  // --- scheduler.hpp ---------------------------------------------------------------------------------------------------

  void signal(processor& p) {
    if (p.signal.exchange(1, memory_order_acq_rel) == 2 && Breakage != breakage::bare_signal) return edge(1);
    model_futex::wake(p.signal, 1);
  }
  void wait_for_signal(processor& p) {
    while (p.signal.exchange(0, memory_order_acq_rel) == 0) model_futex::wait(p.signal, 0);
  }
  void start(const idle_member* m) {
    for (processor& p : processors) {
      if (&p.idle == m) signal(p);
    }
  }
  void work_published(runtime& r) {
    if (!r.idle.should_wake()) return;
    if (const idle_member* m = r.idle.wake_one()) start(m);
  }
  void leave_role() {
    if (!role.release() || Breakage == breakage::wakes_nobody) return;
    for (runtime& r : runtimes) {
      if (const idle_member* m = r.idle.wake_any()) start(m);
    }
  }
  void dispatch(std::uint32_t edges) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      if ((edges & (2U << i)) == 0) continue;
      runtime& r = runtimes[items[i].home];
      r.inject.push(&items[i]);
      work_published(r);
    }
  }

  // --- worker_loop.hpp -------------------------------------------------------------------------------------------------

  void look(runtime& r) {
    if (!role.try_take(&r)) return;
    visits = visits + 1;
    const std::uint32_t found = kernel.exchange(0, memory_order_seq_cst);
    leave_role();
    dispatch(found);
  }
  void sleep_in_poller(runtime& r, processor& p) {
    std::uint32_t none = 0;
    std::uint32_t found = 0;
    visits = visits + 1;
    if (Breakage == breakage::signal_unseen ||
        p.signal.compare_exchange_strong(none, 2, memory_order_acq_rel, memory_order_acquire))
      while ((found = kernel.exchange(0, memory_order_seq_cst)) == 0) model_futex::wait(kernel, 0);
    const bool signalled = p.signal.exchange(0, memory_order_acq_rel) == 1;
    if (!signalled && !r.idle.rouse(p.idle)) wait_for_signal(p);
    leave_role();
    dispatch(found);
  }
  bool takes_role(runtime& r) {
    return Breakage == breakage::never_asks ? role.try_take(&r) : role.take_or_ask(&r);
  }
  void sleep_with(runtime& r, processor& p, bool searching) {
    const bool rescan = r.idle.sleep(p.idle, searching);
    if (rescan && !r.inject.is_empty() && r.idle.rouse(p.idle)) return;
    if (takes_role(r)) return sleep_in_poller(r, p);
    wait_for_signal(p);
  }
  item* find_work(processor& p, bool searching) {
    runtime& r = runtimes[p.home];
    for (;;) {
      item* it = r.inject.pop();
      if (it == nullptr) {
        look(r);
        it = r.inject.pop();
      }
      if (it == nullptr && !searching) searching = r.idle.begin_search();
      if (it != nullptr) {
        if (searching && r.idle.end_search()) work_published(r);
        return it;
      }
      sleep_with(r, p, searching);
      if (stopping.load(memory_order_acquire) != 0) return nullptr;
      searching = true;
    }
  }

  // --- the fibers ------------------------------------------------------------------------------------------------------

  void wait_done(item& it) {
    while (it.done.load(memory_order_acquire) == 0) model_futex::wait(it.done, 0);
  }
  void finish(item& it) {
    it.done.store(1, memory_order_release);
    model_futex::wake(it.done, 1);
    if (open.fetch_sub(1, memory_order_acq_rel) != 1) return;
    stopping.store(1, memory_order_seq_cst);
    for (processor& p : processors) signal(p);
  }
  void work(std::size_t i) {
    bool searching = true;
    while (item* it = find_work(processors[i], searching)) {
      searching = false;
      // The first is a hog, which waits for the second.
      if (it == &items[0] && open.load(memory_order_acquire) == 2) {
        event(1);
        wait_done(items[1]);
      }
      finish(*it);
    }
  }
  void finally() { require(open.peek() == 0, "every item was run"); }
};

// One runtime: its processors fall asleep while the event comes; the fiber hogs its processor until the other's event has been served.
template <std::size_t Items, breakage Breakage = breakage::none>
struct one_runtime : poller_model<2, 1, Breakage> {
  one_runtime() {
    this->open.store(Items);
    for (auto& p : this->processors) this->runtimes[0].idle.add_awake(p.idle);
  }
  void threads(thread_list& list) {
    list.add("device", [this] { this->event(0); });
    for (std::size_t i = 0; i < 2; ++i) list.add("worker" + std::to_string(i), [this, i] { this->work(i); });
  }
};

// Two runtimes: the fiber of one hogs its processor until that of the other has had its event.
template <breakage Breakage = breakage::none>
struct two_runtimes : poller_model<2, 2, Breakage> {
  two_runtimes() {
    this->open.store(2);
    for (std::size_t i = 0; i < 2; ++i) {
      this->processors[i].home = this->items[i].home = i;
      this->runtimes[i].idle.add_awake(this->processors[i].idle);
    }
  }
  void threads(thread_list& list) {
    list.add("device", [this] { this->event(0); });
    for (std::size_t i = 0; i < 2; ++i) list.add("worker" + std::to_string(i), [this, i] { this->work(i); });
  }
};

// A processor that is at work looks in while the other one falls asleep; then it is not seen again.
template <breakage Breakage = breakage::none>
struct busy_looker : poller_model<2, 1, Breakage> {
  busy_looker() {
    this->open.store(1);
    for (auto& p : this->processors) this->runtimes[0].idle.add_awake(p.idle);
    (void)this->runtimes[0].idle.end_search();
  }
  void threads(thread_list& list) {
    list.add("hog", [this] {
      this->look(this->runtimes[0]);
      this->event(0);
      this->wait_done(this->items[0]);
    });
    list.add("worker", [this] {
      bool searching = true;
      while (item* it = this->find_work(this->processors[1], searching)) {
        searching = false;
        this->finish(*it);
      }
    });
  }
};

TEST(poller_model, an_event_wakes_a_sleeper) {
  expect_holds<one_runtime<1>>({.preemptions = 2, .store_delays = 1}, "two processors");
  expect_holds<one_runtime<2>>({.preemptions = 2}, "a hog");
  expect_holds<two_runtimes<>>({.preemptions = 2, .store_delays = 1}, "two runtimes");
  expect_holds<busy_looker<>>({.preemptions = 3, .store_delays = 1}, "a look by the way");
}

TEST(poller_model, a_missing_step_is_caught) {
  const options o{.preemptions = 3, .store_delays = 1};
  expect_caught<busy_looker<breakage::never_asks>>(o, "deadlock");
  expect_caught<busy_looker<breakage::wakes_nobody>>(o, "deadlock");
  expect_caught<two_runtimes<breakage::wakes_nobody>>(o, "deadlock");
  expect_caught<one_runtime<1, breakage::bare_signal>>(o, "deadlock");
  expect_caught<one_runtime<1, breakage::signal_unseen>>(o, "deadlock");
}

TEST(poller_model, mutants) {
  expect_mutants_caught<busy_looker<>, two_runtimes<>>(
      {.preemptions = 3, .store_delays = 1, .max_schedules = 20'000}, "poll_role.hpp", [](const mutant& m) {
        const auto in = [&m](const char* text) { return m.text.find(text) != std::string::npos; };
        // The checker reorders no loads and no read-modify-writes.
        if (m.kind == change::weaken_seq_cst && !in(".store(")) return true;
        if (m.kind == change::weaken && in(".load(")) return true;
        // A request that is taken back late wakes a sleeper once more; a look that is left out is made up for by the sleep.
        return in("asked_.exchange") || (m.kind == change::drop && in("| looking"));
      });
}

}  // namespace

// Waking a pinned fiber under every interleaving: its worker runs it, whether that one sleeps, loses its processor, gets one, or is a spare.
//
// The real pin_box and idle_set; the worker's loop is the skeleton of sched/worker_loop.hpp and sched/workers.hpp. A lost wake-up shows as a
// deadlock, since the workers end when the fiber has run.
#include <tern/ds/inject_queue.hpp>
#include <tern/sched/idle.hpp>
#include <tern/sched/pin_box.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;
using tern::detail::idle_member;
using tern::detail::idle_set;
using tern::detail::inject_queue;
using tern::detail::pin_box;

enum class breakage {
  none,
  blind_sleep,   // goes to sleep without a look at the request
  blind_rest,    // becomes a spare without a look at its box
  late_leave,    // holds its processor, for wakers, until it is a spare
  no_hold,       // does not say that it has a processor
  early_request  // the waker sets the request, then posts
};

struct item {
  item* next = nullptr;
};
struct processor {
  idle_member idle;
  atomic<std::uint32_t> request{0};
  model_var<int> runner{-1};
};

template <breakage Breakage>
struct pin_model {
  enum class place { busy, spare, wanting };
  struct worker {
    pin_box<item, processor, inject_queue<item, &item::next, model_atomics, model_mutex>, model_atomics> box;
    atomic<std::uint32_t> signal{0};
    model_var<processor*> assigned{nullptr};
    processor* held = nullptr;
    model_var<place> where{place::busy};
  };

  idle_set<model_atomics, model_mutex> idle;
  model_mutex workers_lock;
  std::array<processor, 2> processors;
  std::array<worker, 2> workers;
  std::size_t in_use = 1;  // processors
  atomic<std::uint32_t> wanting{0};
  atomic<std::uint32_t> stopping{0};
  item fiber;
  int ran_by = -1;

  processor& of(idle_member& m) { return &m == &processors[0].idle ? processors[0] : processors[1]; }
  int number(const worker& w) const { return &w == &workers[0] ? 0 : 1; }

  void signal(worker& w) {
    w.signal.store(1, memory_order_release);
    model_futex::wake(w.signal, 1);
  }
  void wait_for_signal(worker& w) {
    while (w.signal.exchange(0, memory_order_acq_rel) == 0) model_futex::wait(w.signal, 0);
  }

  // --- workers.hpp -----------------------------------------------------------------------------------------------------

  worker* take(place from) {
    for (worker& w : workers)
      if (w.where == from) {
        w.where = place::busy;
        return &w;
      }
    return nullptr;
  }
  worker* take_worker() {
    workers_lock.lock();
    worker* w = take(place::wanting);
    if (w != nullptr)
      wanting.fetch_sub(1, memory_order_seq_cst);
    else
      w = take(place::spare);
    workers_lock.unlock();
    return w;
  }
  void start(processor& p) {
    if (p.runner < 0) {
      worker* w = take_worker();
      if (w == nullptr)
        return static_cast<void>(idle.sleep(p.idle, true));  // its worker is on the way to its rest
      w->assigned = &p;
      p.runner = number(*w);
    }
    signal(workers[static_cast<std::size_t>(static_cast<int>(p.runner))]);
  }
  void serve() {
    for (std::size_t i = 0; i < in_use; ++i) processors[i].request.fetch_or(1, memory_order_seq_cst);
    if (idle_member* m = idle.wake_any()) start(of(*m));
  }
  void want(worker& w) {
    workers_lock.lock();
    const bool spare = w.where == place::spare;
    if (spare) {
      w.where = place::wanting;
      wanting.fetch_add(1, memory_order_seq_cst);
    }
    workers_lock.unlock();
    if (spare) serve();
  }
  bool rest(worker& w) {
    workers_lock.lock();
    const bool wants = Breakage != breakage::blind_rest && w.box.has_ready();
    w.where = wants ? place::wanting : place::spare;
    if (wants) wanting.fetch_add(1, memory_order_seq_cst);
    workers_lock.unlock();
    if (Breakage == breakage::late_leave) w.box.leave();
    return wants;
  }

  // --- worker_loop.hpp -------------------------------------------------------------------------------------------------

  void attach(worker& w, processor& p) {
    w.held = &p;
    p.runner = number(w);
    if (Breakage != breakage::no_hold) w.box.hold(p);
  }
  void detach(worker& w) {
    w.held = nullptr;
    if (Breakage != breakage::late_leave) w.box.leave();
  }
  bool hand_over(worker& from) {
    workers_lock.lock();
    worker* to = take(place::wanting);
    if (to != nullptr) wanting.fetch_sub(1, memory_order_seq_cst);
    workers_lock.unlock();
    if (to == nullptr) return false;
    processor& p = *from.held;
    detach(from);
    p.runner = number(*to);
    to->assigned = &p;
    signal(*to);
    return true;
  }
  void finish(worker& w) {
    ran_by = number(w);
    stopping.store(1, memory_order_seq_cst);
    for (worker& x : workers) signal(x);
  }
  void sleep_with(worker& w) {
    processor& p = *w.held;
    static_cast<void>(idle.sleep(p.idle, true));
    const bool again = Breakage != breakage::blind_sleep && p.request.load(memory_order_seq_cst) != 0;
    if (!(again && idle.rouse(p.idle))) wait_for_signal(w);
  }
  // `retires`: after its first look it gives its processor up, which sleeps on without it.
  void run(worker& w, bool& retires) {
    while (w.held != nullptr && stopping.load(memory_order_acquire) == 0) {
      processor& p = *w.held;
      if (p.request.load(memory_order_relaxed) != 0) p.request.fetch_and(0, memory_order_seq_cst);
      const bool ready = w.box.has_ready();
      if (!ready && wanting.load(memory_order_seq_cst) != 0 && hand_over(w)) return;
      if (ready && w.box.take() != nullptr) return finish(w);
      if (retires) {
        retires = false;
        detach(w);
        p.runner = -1;
        static_cast<void>(idle.sleep(p.idle, true));
        return;
      }
      sleep_with(w);
    }
  }
  void loop(worker& w, bool retires = false) {
    while (stopping.load(memory_order_acquire) == 0) {
      if (w.held != nullptr) run(w, retires);
      if (stopping.load(memory_order_acquire) != 0) return;
      if (rest(w)) serve();
      wait_for_signal(w);
      if (stopping.load(memory_order_acquire) != 0) return;
      if (processor* p = w.assigned) {
        w.assigned = nullptr;
        attach(w, *p);
      }
    }
  }

  // --- ready.hpp -------------------------------------------------------------------------------------------------------

  void wake(worker& w) {
    if (Breakage == breakage::early_request) processors[0].request.fetch_or(1, memory_order_seq_cst);
    processor* at = w.box.post(fiber);
    if (at == nullptr) return want(w);
    if (Breakage != breakage::early_request) at->request.fetch_or(1, memory_order_seq_cst);
    if (idle.rouse(at->idle)) start(*at);
  }
  void finally() { require(ran_by == 0, "the fiber was run by its worker"); }
};

// Its worker holds the only processor and goes to sleep, or gives it up first. The other one is a spare.
template <breakage Breakage, bool Retires>
struct sleeper_model : pin_model<Breakage> {
  sleeper_model() {
    this->idle.add_awake(this->processors[0].idle);
    this->attach(this->workers[0], this->processors[0]);
  }
  void threads(thread_list& list) {
    list.add("waker", [this] { this->wake(this->workers[0]); });
    list.add("worker0", [this] { this->loop(this->workers[0], Retires); });
  }
};

// Its worker has none, the other one holds a processor and goes to sleep.
template <breakage Breakage = breakage::none>
struct spare_model : pin_model<Breakage> {
  spare_model() {
    this->idle.add_awake(this->processors[0].idle);
    this->attach(this->workers[1], this->processors[0]);
  }
  void threads(thread_list& list) {
    list.add("waker", [this] { this->wake(this->workers[0]); });
    for (std::size_t i = 0; i < 2; ++i)
      list.add("worker" + std::to_string(i), [this, i] { this->loop(this->workers[i]); });
  }
};

// Its worker is being given a processor while the fiber is woken.
template <breakage Breakage = breakage::none>
struct start_model : pin_model<Breakage> {
  start_model() { this->idle.add(this->processors[0].idle); }
  void threads(thread_list& list) {
    list.add("waker", [this] { this->wake(this->workers[0]); });
    list.add("worker0", [this] { this->loop(this->workers[0]); });
    list.add("submitter", [this] {
      this->workers_lock.lock();
      const bool spare = this->workers[0].where != pin_model<Breakage>::place::busy;
      this->workers_lock.unlock();
      if (!spare) return;
      if (idle_member* m = this->idle.wake_one()) this->start(this->of(*m));
    });
  }
};

TEST(pin_model, the_fiber_is_run) {
  expect_holds<sleeper_model<breakage::none, false>>({.preemptions = 4, .store_delays = 1}, "sleeps");
  expect_holds<sleeper_model<breakage::none, true>>({.preemptions = 3, .store_delays = 1},
                                                    "gives its processor up");
  expect_holds<spare_model<>>({.preemptions = 2, .store_delays = 1}, "spare");
  expect_holds<start_model<>>({.preemptions = 2, .store_delays = 1}, "starts");
}

TEST(pin_model, a_missing_step_is_caught) {
  const options o{.preemptions = 3, .store_delays = 1};
  expect_caught<sleeper_model<breakage::blind_sleep, false>>(o, "deadlock");
  expect_caught<sleeper_model<breakage::early_request, false>>(o, "deadlock");
  expect_caught<sleeper_model<breakage::no_hold, false>>(o, "deadlock");
  expect_caught<sleeper_model<breakage::blind_rest, true>>(o, "deadlock");
  expect_caught<sleeper_model<breakage::late_leave, true>>(o, "deadlock");
}

// Loads are not reordered by the checker, so the order of the one in post() cannot matter to it. After leave() its worker takes the lock of the
// spare list, an RMW, which no store passes in the checker.
bool orders_enough_without(const mutant& m) {
  return m.text.find(".load(") != std::string::npos ||
         (m.text.find("void leave()") != std::string::npos &&
          (m.kind == change::weaken || m.kind == change::weaken_seq_cst));
}

TEST(pin_model, mutants) {
  expect_mutants_caught<sleeper_model<breakage::none, false>, sleeper_model<breakage::none, true>,
                        spare_model<>, start_model<>>(
      {.preemptions = 3, .store_delays = 1, .max_schedules = 60'000}, "pin_box.hpp", orders_enough_without);
}

}  // namespace

// The idle protocol under every interleaving: work that is published while a processor goes to sleep is always run.
//
// The real idle_set, run queues and inject queue; the worker's loop is the skeleton of sched/worker_loop.hpp (search, sleep_with,
// find_work), its signal that of sched/scheduler.hpp. A lost wake-up shows as a deadlock, since the publisher of an item
// waits for the item, as a fiber does that runs for ever.
#include <tern/ds/inject_queue.hpp>
#include <tern/ds/run_queue.hpp>
#include <tern/sched/idle.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;
using tern::detail::idle_member;
using tern::detail::idle_set;
using tern::detail::inject_queue;
using tern::detail::run_queue;

enum class breakage {
  none,
  no_rescan,              // the last searcher goes to sleep without another look
  rescan_before_sleep,    // it looks, and leaves the searchers afterwards
  no_wake_after_finding,  // the last searcher that finds work wakes nobody
  weak_publish,           // a push with release only
  check_before_publish,   // the idle word is read first, the item pushed afterwards
  no_signal_count,        // a signal that is a bare futex wake
  trusts_early,           // one that may not doze relies on the dozer without another look
  endless_doze,           // a dozer sleeps until it is signalled
  doze_goes_on            // it is taken for a dozer when it sleeps for good
};

struct item {
  item* next = nullptr;
  model_var<int> payload{0};
  atomic<std::uint32_t> done{0};
};

template <std::size_t Processors, breakage Breakage>
struct idle_model {
  struct processor {
    run_queue<item, 2, model_atomics> ring;
    idle_member idle;
    atomic<std::uint32_t> signal{0};
  };

  idle_set<model_atomics, model_mutex> idle;
  inject_queue<item, &item::next, model_atomics, model_mutex> inject;
  std::array<processor, Processors> processors;
  std::array<item, 2> items;
  atomic<std::uint32_t> stopping{0};
  atomic<std::uint32_t> open{0};  // items that nobody has run yet
  int moving_searches = 0;        // so many searches find that the rings move, and leave them alone

  // --- scheduler.hpp ---------------------------------------------------------------------------------------------------

  void signal(processor& p) {
    if (Breakage != breakage::no_signal_count) p.signal.store(1, memory_order_release);
    model_futex::wake(p.signal, 1);
  }
  bool wait_for_signal(processor& p, bool timed = false) {
    for (;;) {
      if (p.signal.exchange(0, memory_order_acq_rel) != 0) return true;
      if (timed) {
        if (!model_futex::wait_until(p.signal, 0, 1)) return p.signal.exchange(0, memory_order_acq_rel) != 0;
      } else {
        model_futex::wait(p.signal, 0);
      }
      if (Breakage == breakage::no_signal_count) return true;
    }
  }
  void work_published() {
    if (idle.should_wake()) wake();
  }
  void wake() {
    idle_member* const m = idle.wake_one();
    if (m == nullptr) return;
    for (processor& p : processors) {
      if (&p.idle == m) signal(p);
    }
  }
  bool any_work() {
    if (!inject.is_empty()) return true;
    for (processor& p : processors) {
      if (!p.ring.is_empty()) return true;
    }
    return false;
  }

  // --- worker_loop.hpp -------------------------------------------------------------------------------------------------

  item* search(processor& p, bool& moving) {
    if (item* it = inject.pop()) return it;
    moving = moving_searches != 0;
    if (moving) return --moving_searches, nullptr;
    for (processor& victim : processors) {
      if (&victim == &p) continue;
      if (item* it = victim.ring.steal_into(p.ring)) return it;
    }
    return nullptr;
  }
  void sleep_with(processor& p, bool searching, bool moving) {
    const bool dozes = moving && idle.begin_doze();
    bool early = false;
    if (Breakage == breakage::rescan_before_sleep) early = any_work();
    bool rescan = idle.sleep(p.idle, searching);
    if (Breakage == breakage::no_rescan) rescan = false;
    if (Breakage == breakage::rescan_before_sleep) rescan = rescan && early;
    const bool work = Breakage == breakage::rescan_before_sleep
                          ? early
                          : rescan && (moving && (Breakage == breakage::trusts_early || idle.is_dozing())
                                           ? !inject.is_empty()
                                           : any_work());
    if (!(rescan && work && idle.rouse(p.idle))) {
      if (!wait_for_signal(p, dozes && Breakage != breakage::endless_doze) && !idle.rouse(p.idle))
        wait_for_signal(p);
    }
    if (dozes && Breakage != breakage::doze_goes_on) idle.end_doze();
  }
  item* find_work(processor& p, bool searching) {
    for (;;) {
      bool moving = false;
      item* it = p.ring.pop();
      if (it == nullptr) it = inject.pop();
      if (it == nullptr && (searching || (searching = idle.begin_search()))) it = search(p, moving);
      if (it != nullptr) {
        if (searching && idle.end_search() && Breakage != breakage::no_wake_after_finding) work_published();
        return it;
      }
      if (!p.ring.is_empty()) continue;
      sleep_with(p, searching, moving);
      if (stopping.load(memory_order_acquire) != 0) return nullptr;
      searching = true;
    }
  }

  // --- the fibers ------------------------------------------------------------------------------------------------------

  void wait_done(item& it) {
    while (it.done.load(memory_order_acquire) == 0) model_futex::wait(it.done, 0);
  }
  void finish(item& it) {
    require(it.payload == 7, "the runner sees what was written before the publication");
    it.done.store(1, memory_order_release);
    model_futex::wake(it.done, 1);
    if (open.fetch_sub(1, memory_order_acq_rel) != 1) return;
    stopping.store(1, memory_order_seq_cst);
    for (processor& p : processors) signal(p);
  }
  void push(processor& p, item& it) {
    it.payload = 7;
    if (Breakage == breakage::check_before_publish) work_published();
    require(p.ring.try_push(&it,
                            Breakage == breakage::weak_publish ? memory_order_release : memory_order_seq_cst),
            "there is room");
    if (Breakage != breakage::check_before_publish) work_published();
  }
  // For an item that another one has woken.
  void push_woken(processor& p, item& it) {
    it.payload = 7;
    require(p.ring.try_push(&it, memory_order_seq_cst), "there is room");
    if (idle.should_wake_soon()) wake();
  }
  void submit(item& it) {
    it.payload = 7;
    if (Breakage == breakage::check_before_publish) work_published();
    inject.push(&it);
    if (Breakage != breakage::check_before_publish) work_published();
  }
  void finally() {
    require(open.peek() == 0, "every item was run");
    for (const item& it : items) require(it.done.peek() <= 1, "done is a flag");
  }
};

// A processor that runs a fiber pushes an item and hogs its CPU until that is done. The other one is just going to sleep.
template <breakage Breakage = breakage::none, std::size_t Processors = 2>
struct hog_model : idle_model<Processors, Breakage> {
  hog_model() {
    this->open.store(1);
    for (auto& p : this->processors) this->idle.add_awake(p.idle);
    (void)this->idle.end_search();  // the hog has found its fiber
  }
  void threads(thread_list& list) {
    list.add("hog", [this] {
      this->push(this->processors[0], this->items[0]);
      this->wait_done(this->items[0]);
    });
    for (std::size_t i = 1; i < Processors; ++i) {
      list.add("worker" + std::to_string(i), [this, i] {
        bool searching = true;
        while (item* it = this->find_work(this->processors[i], searching)) {
          searching = false;
          this->finish(*it);
        }
      });
    }
  }
};

TEST(idle_model, work_of_a_hog_is_stolen) {
  expect_holds<hog_model<>>({.preemptions = 3, .store_delays = 1});
  expect_holds<hog_model<breakage::none, 3>>({.preemptions = 2}, "three processors");
}

// A plain thread submits two items; whoever runs the first waits for the second: both processors must come to work.
template <breakage Breakage = breakage::none>
struct burst_model : idle_model<2, Breakage> {
  burst_model() {
    this->open.store(2);
    this->idle.add_awake(this->processors[0].idle);
    this->idle.add(this->processors[1].idle);
  }
  void threads(thread_list& list) {
    list.add("submitter", [this] {
      this->submit(this->items[0]);
      this->submit(this->items[1]);
    });
    for (std::size_t i = 0; i < 2; ++i) {
      list.add("worker" + std::to_string(i), [this, i] {
        auto& p = this->processors[i];
        bool searching = true;
        if (i == 1) {
          this->wait_for_signal(p);
          if (this->stopping.load(memory_order_acquire) != 0) return;
        }
        while (item* it = this->find_work(p, searching)) {
          searching = false;
          if (it == &this->items[0]) this->wait_done(this->items[1]);
          this->finish(*it);
        }
      });
    }
  }
};

TEST(idle_model, a_burst_wakes_as_many_as_it_needs) {
  expect_holds<burst_model<>>({.preemptions = 2, .store_delays = 1});
}

// Three processors: a hog's item goes to one searcher while the other falls asleep; that item is a hog as well, and its
// own item must wake the sleeper. The counts of the idle word must be right for that.
// Where Rested, the first worker has just finished a fiber and asks to search, while the other falls asleep.
template <bool Rested>
struct chain_model : idle_model<3, breakage::none> {
  chain_model() {
    open.store(2);
    for (auto& p : processors) idle.add_awake(p.idle);
    (void)idle.end_search();
    if (Rested) (void)idle.end_search();
  }
  void threads(thread_list& list) {
    list.add("hog", [this] {
      push(processors[0], items[0]);
      wait_done(items[0]);
    });
    for (std::size_t i = 1; i < 3; ++i) {
      list.add("worker" + std::to_string(i), [this, i] {
        bool searching = !Rested || i == 2;
        while (item* it = find_work(processors[i], searching)) {
          searching = false;
          if (it == &items[0]) {
            push(processors[i], items[1]);
            wait_done(items[1]);
          }
          finish(*it);
        }
      });
    }
  }
};

TEST(idle_model, a_chain_of_hogs_wakes_everybody) {
  expect_holds<chain_model<false>>({.preemptions = 2});
  expect_holds<chain_model<true>>({.preemptions = 2});
}

// A fiber wakes two others, one after the other, and hogs its CPU until both are done. The other processors have seen the ring move, and doze or
// leave it to the one that dozes; then they sleep for good.
template <breakage Breakage = breakage::none, std::size_t Processors = 2>
struct doze_model : idle_model<Processors, Breakage> {
  doze_model() {
    this->open.store(2);
    this->moving_searches = static_cast<int>(Processors) - 1;
    for (auto& p : this->processors) this->idle.add_awake(p.idle);
    (void)this->idle.end_search();
  }
  void threads(thread_list& list) {
    list.add("hog", [this] {
      for (item& it : this->items) {
        this->push_woken(this->processors[0], it);
        this->wait_done(it);
      }
    });
    for (std::size_t i = 1; i < Processors; ++i) {
      list.add("worker" + std::to_string(i), [this, i] {
        bool searching = true;
        while (item* it = this->find_work(this->processors[i], searching)) {
          searching = false;
          this->finish(*it);
        }
      });
    }
  }
};

TEST(idle_model, a_dozer_comes_by_again) {
  expect_holds<doze_model<>>({.preemptions = 2, .store_delays = 1, .timeouts = 1});
  expect_holds<doze_model<breakage::none, 3>>({.preemptions = 1, .timeouts = 1}, "three processors");
}

TEST(idle_model, a_missing_step_is_caught) {
  const options o{.preemptions = 3, .store_delays = 1};
  expect_caught<doze_model<breakage::endless_doze>>(o, "deadlock");
  expect_caught<doze_model<breakage::doze_goes_on>>(o, "deadlock");
  expect_caught<doze_model<breakage::trusts_early, 3>>({.preemptions = 1, .timeouts = 1}, "deadlock");
  expect_caught<hog_model<breakage::no_rescan>>(o, "deadlock");
  expect_caught<hog_model<breakage::rescan_before_sleep>>(o, "deadlock");
  expect_caught<hog_model<breakage::weak_publish>>(o, "deadlock");
  expect_caught<hog_model<breakage::check_before_publish>>(o, "deadlock");
  expect_caught<burst_model<breakage::no_wake_after_finding>>(o, "deadlock");
  expect_caught<burst_model<breakage::no_signal_count>>(o, "deadlock");
}

// A thread submits while one processor asks to search and the other sleeps; the item is a hog, whose own item needs the second
// processor: the waker and the searcher change the counts at the same time.
struct submit_model : idle_model<2, breakage::none> {
  submit_model() {
    open.store(2);
    idle.add_awake(processors[0].idle);
    (void)idle.end_search();
    idle.add(processors[1].idle);
  }
  void threads(thread_list& list) {
    list.add("submitter", [this] { submit(items[0]); });
    for (std::size_t i = 0; i < 2; ++i) {
      list.add("worker" + std::to_string(i), [this, i] {
        if (i == 1) {
          wait_for_signal(processors[i]);
          if (stopping.load(memory_order_acquire) != 0) return;
        }
        bool searching = i == 1;
        while (item* it = find_work(processors[i], searching)) {
          searching = false;
          if (it == &items[0]) {
            push(processors[i], items[1]);
            wait_done(items[1]);
          }
          finish(*it);
        }
      });
    }
  }
};

// A refused searcher must rescan as well if it leaves no searcher: the one that had it refused may have found work, seen that nobody
// sleeps yet, and pushed more before the refused one was counted out.
TEST(idle_model, a_submit_meets_a_beginning_search) { expect_holds<submit_model>({.preemptions = 3}); }

// The checker holds back stores, not read-modify-writes, and reorders no loads: orders of the word's read-modify-writes and of its load
// survive, while the torn and the dropped ones must not. Two dozers at once, or none, only cost time: begin_doze() may fail or be torn. All enter before the threads start, and how
// many there are is a hint, which begin_search() takes.
bool orders_the_word(const mutant& m) {
  return m.kind == change::weaken || m.kind == change::weaken_seq_cst ||
         m.text.find("dozing_.compare_exchange") != std::string::npos ||
         m.text.find("total_.store(") != std::string::npos ||
         (m.kind == change::tear && m.text.find("word_.fetch_add(entry,") != std::string::npos);
}

TEST(idle_model, mutants) {
  expect_mutants_caught<hog_model<>, chain_model<true>, burst_model<>, chain_model<false>, doze_model<>>(
      {.preemptions = 2, .max_schedules = 60'000}, "idle.hpp", orders_the_word);
}

}  // namespace

// The split deque under every interleaving: an owner that publishes, thieves, and a fiber that takes its job back from elsewhere.
#include <tern/ds/split_deque.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;
using tern::detail::split_item;

using deque = tern::detail::split_deque<model_atomics, model_mutex>;

struct job : split_item {
  model_var<int> payload{0};
  int taken = 0;
};

template <std::size_t Jobs>
struct split_model {
  deque queue;
  std::array<job, Jobs> jobs{};

  void consume(job& j) {
    require(j.payload == 7, "the taker sees what was written before the fork");
    require(++j.taken == 1, "no job runs twice");
  }
  void fork(std::size_t i) {
    jobs[i].payload = 7;
    if (!queue.try_push(jobs[i])) queue.push_first(jobs[i], memory_order_seq_cst);
  }
  // As fork_join() does it. A job that a thief has taken is the thief's to run.
  void join(std::size_t i) {
    if (queue.try_pop(jobs[i]) || deque::reclaim(jobs[i])) consume(jobs[i]);
  }
  void steal() {
    if (split_item* item = queue.steal([](split_item&) { return true; })) consume(static_cast<job&>(*item));
  }
  void finally() {
    require(!queue.has_private() && !queue.has_public(), "nothing is left behind");
    for (const job& j : jobs) require(j.taken == 1, "no job is lost");
  }
};

// Nested forks, the oldest of them published on demand, two thieves.
struct demand_model : split_model<3> {
  void threads(thread_list& list) {
    list.add("owner", [this] {
      fork(0);
      fork(1);
      require(queue.publish_oldest(), "there is one");
      fork(2);
      join(2);
      join(1);
      join(0);
    });
    for (const char* name : {"thief", "other"}) list.add(name, [this] { steal(); });
  }
};
TEST(split_deque_model, published_on_demand) {
  expect_holds<demand_model>({.preemptions = 3, .store_delays = 1});
}

// The forking fiber leaves its processor: all is published, another worker goes on with it, and the processor runs another fiber that
// forks. The word is the hand-over of the fiber.
struct migration_model : split_model<3> {
  atomic<std::uint32_t> saved{0};
  void threads(thread_list& list) {
    list.add("owner", [this] {
      fork(0);
      fork(1);
      require(queue.publish_all() == 2, "both");
      saved.store(1, memory_order_release);
      model_futex::wake(saved, 1);
      fork(2);
      join(2);
    });
    list.add("moved", [this] {
      while (saved.load(memory_order_acquire) == 0) model_futex::wait(saved, 0);
      if (deque::reclaim(jobs[1])) consume(jobs[1]);
      if (deque::reclaim(jobs[0])) consume(jobs[0]);
    });
    list.add("thief", [this] { steal(); });
  }
};
TEST(split_deque_model, the_parent_moves) {
  expect_holds<migration_model>({.preemptions = 3, .store_delays = 1});
}

// The order of thieves is that of age, and a refusal leaves the job where it is.
struct order_model : split_model<2> {
  atomic<std::uint32_t> refused{0};
  void threads(thread_list& list) {
    list.add("owner", [this] {
      fork(0);
      fork(1);
      require(queue.publish_all() == 2, "both");
    });
    list.add("thief", [this] {
      if (queue.steal([](split_item&) { return false; }) != nullptr) require(false, "refused");
      split_item* first = queue.steal([](split_item&) { return true; });
      if (first == nullptr) return;
      require(first == &jobs[0], "the oldest first");
      consume(jobs[0]);
    });
  }
  void finally() {
    for (job* j : {&jobs[0], &jobs[1]})
      if (j->taken == 0) {
        require(deque::reclaim(*j), "nobody else has it");
        consume(*j);
      }
    split_model<2>::finally();
  }
};
TEST(split_deque_model, oldest_first) { expect_holds<order_model>({.preemptions = 3, .store_delays = 1}); }

// Fork, then look for sleepers; go to sleep, then look for forks: one sees the other.
template <bool Weak>
struct sleeper_model : split_model<1> {
  atomic<std::uint32_t> asleep{0};
  bool owner_saw = false;
  bool sleeper_saw = false;
  void threads(thread_list& list) {
    list.add("owner", [this] {
      jobs[0].payload = 7;
      require(!queue.try_push(jobs[0]), "it is the first");
      queue.push_first(jobs[0], Weak ? memory_order_relaxed : memory_order_seq_cst);
      owner_saw = asleep.load(memory_order_seq_cst) != 0;
    });
    list.add("sleeper", [this] {
      asleep.exchange(1, memory_order_seq_cst);
      sleeper_saw = queue.has_private();
    });
  }
  void finally() {
    require(owner_saw || sleeper_saw, "a fork that nobody announces");
    join(0);
    split_model<1>::finally();
  }
};
template <bool Weak>
struct public_sleeper_model : split_model<1> {
  atomic<std::uint32_t> asleep{0};
  bool owner_saw = false;
  bool sleeper_saw = false;
  void threads(thread_list& list) {
    list.add("owner", [this] {
      fork(0);
      require(queue.publish_oldest(), "it is there");
      owner_saw = asleep.load(memory_order_seq_cst) != 0;
    });
    list.add("sleeper", [this] {
      asleep.exchange(1, memory_order_seq_cst);
      sleeper_saw = queue.has_public();
    });
  }
  void finally() {
    require(owner_saw || sleeper_saw, "a published fork that nobody announces");
    join(0);
    split_model<1>::finally();
  }
};
TEST(split_deque_model, a_sleeper_or_its_waker_sees_the_other) {
  expect_holds<sleeper_model<false>>({.preemptions = 3, .store_delays = 1});
  expect_holds<public_sleeper_model<false>>({.preemptions = 3, .store_delays = 1});
  expect_caught<sleeper_model<true>>({.preemptions = 3, .store_delays = 1}, "nobody announces");
}

// A reclaim without the lock, written out: the checker must see the duplicate.
struct no_lock_model {
  atomic<std::uint32_t> taken{0};
  int runs = 0;
  void threads(thread_list& list) {
    for (const char* name : {"parent", "thief"})
      list.add(name, [this] {
        if (taken.load() != 0) return;
        taken.store(1);
        require(++runs == 1, "no job runs twice");
      });
  }
};
TEST(split_deque_model, a_reclaim_without_the_lock_is_caught) {
  expect_caught<no_lock_model>({.preemptions = 2}, "runs twice");
}

// The checker reorders no loads: the orders of loads survive. Its mutex writes out held-back stores when it is dropped, which a spin lock
// on ARM64 does not: the order of the count survives too.
bool is_load_or_count(const mutant& m) {
  const bool order = m.kind == change::weaken || m.kind == change::weaken_seq_cst;
  return order &&
         (std::string{m.operation} == "load" || m.text.find("public_count_.store") != std::string::npos);
}

TEST(split_deque_model, mutants) {
  expect_mutants_caught<sleeper_model<false>, public_sleeper_model<false>, order_model, demand_model,
                        migration_model>({.preemptions = 2, .store_delays = 1, .max_seconds = 1.0},
                                         "split_deque.hpp", is_load_or_count);
}

}  // namespace

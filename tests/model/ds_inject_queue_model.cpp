// The inject queue and the spin lock under every interleaving, with their real lock and with the checker's own.
#include <tern/ds/inject_queue.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;

struct item {
  item* next = nullptr;
  model_var<int> payload{0};
  int taken = 0;
};

// --- the lock ----------------------------------------------------------------------------------------------------------

template <unsigned SpinLimit, int Threads>
struct lock_model {
  tern::detail::spin_lock<model_atomics, SpinLimit> lock;
  model_var<int> count{0};
  void threads(thread_list& list) {
    for (int i = 0; i < Threads; ++i) {
      list.add("t" + std::to_string(i), [this] {
        lock.lock();
        count = count + 1;
        lock.unlock();
      });
    }
    list.add("try", [this] {
      if (!lock.try_lock()) return;
      count = count + 1;
      count = count - 1;
      lock.unlock();
    });
  }
  void finally() {
    require(count == Threads, "every section ran alone");
    require(!lock.is_locked(), "the lock is free in the end");
  }
};

TEST(spin_lock_model, excludes_and_wakes) {
  expect_holds<lock_model<0, 2>>({.preemptions = 4, .store_delays = 1});
  expect_holds<lock_model<0, 3>>({.preemptions = 2, .store_delays = 1});
  expect_holds<lock_model<1, 2>>({.preemptions = 3, .store_delays = 1, .spurious_wakes = 1});
}

// A lock that is free can be had at once, also by try_lock.
struct free_lock_model {
  tern::detail::spin_lock<model_atomics, 0> lock;
  void threads(thread_list& list) {
    list.add("alone", [this] {
      for (int i = 0; i < 2; ++i) {
        require(lock.try_lock(), "try_lock takes a free lock");
        require(!lock.try_lock(), "and not a held one");
        lock.unlock();
      }
    });
  }
};

TEST(spin_lock_model, mutants) {
  expect_mutants_caught<free_lock_model, lock_model<0, 2>, lock_model<1, 2>, lock_model<0, 3>>(
      {.preemptions = 3, .store_delays = 1, .max_seconds = 2.0}, "spin_lock.hpp",
      [](const mutant&) { return false; });
}

// --- the queue ---------------------------------------------------------------------------------------------------------

template <class Lock>
struct queue_model {
  tern::detail::inject_queue<item, &item::next, model_atomics, Lock> queue;
  std::array<item, 4> items{};
  int last = 0;

  void consume(item* it) {
    if (it == nullptr) return;
    require(it->payload == static_cast<int>(it - items.data()) + 1,
            "the taker sees what was written before the push");
    require(++it->taken == 1, "no item is taken twice");
  }
  void threads(thread_list& list) {
    list.add("batcher", [this] {
      typename decltype(queue)::batch batch;
      for (std::size_t i = 0; i < 2; ++i) {
        items[i].payload = static_cast<int>(i) + 1;
        batch.push_back(&items[i]);
      }
      queue.push(batch);
      require(batch.is_empty(), "a pushed batch is empty");
    });
    list.add("pusher", [this] {
      for (std::size_t i = 2; i < 4; ++i) {
        items[i].payload = static_cast<int>(i) + 1;
        queue.push(&items[i]);
      }
    });
    list.add("taker", [this] {
      consume(queue.pop());
      typename decltype(queue)::batch batch;
      const std::size_t n = queue.pop(batch, 2);
      require(n == batch.size() && n <= 2, "as many as it says");
      while (item* it = batch.pop_front()) {
        // Each pusher's items keep their order.
        if (it < &items[2]) {
          require(last < it->payload, "first in, first out");
          last = it->payload;
        }
        consume(it);
      }
    });
  }
  void finally() {
    std::size_t left = queue.size();
    while (item* it = queue.pop()) {
      consume(it);
      --left;
    }
    require(left == 0 && queue.is_empty(), "the size is the length");
    for (const item& it : items) require(it.taken == 1, "no item is lost");
  }
};

TEST(inject_queue_model, loses_and_doubles_nothing) {
  expect_holds<queue_model<model_mutex>>({.preemptions = 3, .store_delays = 1});
  expect_holds<queue_model<tern::detail::spin_lock<model_atomics, 0>>>({.preemptions = 2, .store_delays = 1});
}

// A submit against a rescan, through a word as the idle protocol has it.
struct publish_model {
  tern::detail::inject_queue<item, &item::next, model_atomics, model_mutex> queue;
  item one{};
  atomic<int> asleep{0};
  bool seen_by_submit = false;
  bool seen_by_rescan = false;
  void threads(thread_list& list) {
    list.add("submit", [this] {
      queue.push(&one);
      seen_by_submit = asleep.load(memory_order_seq_cst) == 1;
    });
    list.add("sleeper", [this] {
      asleep.store(1, memory_order_seq_cst);
      seen_by_rescan = !queue.is_empty();
    });
  }
  void finally() { require(seen_by_submit || seen_by_rescan, "work and sleeper cannot miss each other"); }
};

TEST(inject_queue_model, publication_is_never_missed) {
  expect_holds<publish_model>({.preemptions = 4, .store_delays = 1});
}

TEST(inject_queue_model, mutants) {
  // Orders of size_ only: to pop it is a hint, and against the rescan the checker takes the unlock that follows (a releasing
  // read-modify-write) for a StoreLoad, which C++ and ARM64 do not promise. A dropped store is caught.
  expect_mutants_caught<publish_model, queue_model<model_mutex>>(
      {.preemptions = 2, .store_delays = 1, .max_seconds = 2.0}, "inject_queue.hpp",
      [](const mutant& m) { return m.kind == change::weaken_seq_cst || m.kind == change::weaken; });
}

}  // namespace

// The MPSC queue under every interleaving: two producers cut each other's links, one consumer; and its mutants.
#include <tern/ds/mpsc_queue.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;

struct item : tern::detail::mpsc_node<model_atomics> {
  model_var<int> payload{0};
  int taken = 0;
};

struct queue_model {
  tern::detail::mpsc_queue<item, model_atomics> queue;
  std::array<item, 3> items{};
  int last_of_first = 0;

  void produce(std::size_t i) {
    items[i].payload = static_cast<int>(i) + 1;
    queue.push(&items[i]);
  }
  void consume(item* it) {
    if (it == nullptr) return;
    const int value = it->payload;
    require(value == static_cast<int>(it - items.data()) + 1,
            "the consumer sees what was written before the push");
    require(++it->taken == 1, "no item is taken twice");
    if (value <= 2) {
      require(value > last_of_first, "one producer's items keep their order");
      last_of_first = value;
    }
  }
  void finally() {
    while (item* it = queue.pop()) consume(it);
    require(queue.is_empty(), "an emptied queue is empty");
    for (const item& it : items) require(it.taken == 1, "no item is lost");
  }
};

struct two_producers_model : queue_model {
  void threads(thread_list& list) {
    list.add("first", [this] {
      produce(0);
      produce(1);
    });
    list.add("second", [this] { produce(2); });
    list.add("consumer", [this] {
      for (int i = 0; i < 3; ++i) consume(queue.pop());
    });
  }
};
TEST(mpsc_queue_model, two_producers) {
  expect_holds<two_producers_model>({.preemptions = 4, .store_delays = 1});
}

// A node is popped and pushed again at once, while the producer behind it may still be linking.
struct recycle_model : queue_model {
  int rounds = 0;
  void threads(thread_list& list) {
    list.add("first", [this] { produce(0); });
    list.add("second", [this] { produce(2); });
    list.add("consumer", [this] {
      for (int i = 0; i < 3; ++i) {
        item* const it = queue.pop();
        if (it == &items[0] && rounds++ == 0) {
          require(it->payload == 1, "the consumer sees what was written before the push");
          items[1].payload = 2;
          last_of_first = 0;
          queue.push(it);
          queue.push(&items[1]);
        } else {
          consume(it);
        }
      }
    });
  }
  void finally() {
    if (rounds == 0) produce(1);
    queue_model::finally();
  }
};
TEST(mpsc_queue_model, recycled_nodes) { expect_holds<recycle_model>({.preemptions = 3, .store_delays = 1}); }

// The consumer sleeps after it has found the queue empty; a producer wakes it after its push.
struct sleep_model : queue_model {
  atomic<std::uint32_t> asleep{0};
  void threads(thread_list& list) {
    for (const std::size_t i : {std::size_t{0}, std::size_t{2}}) {
      list.add("producer" + std::to_string(i), [this, i] {
        produce(i);
        if (asleep.load(memory_order_seq_cst) == 1 && asleep.exchange(0, memory_order_seq_cst) == 1) {
          model_futex::wake(asleep, 1);
        }
      });
    }
    list.add("consumer", [this] {
      for (int got = 0; got < 2;) {
        if (item* it = queue.pop()) {
          consume(it);
          ++got;
          continue;
        }
        asleep.store(1, memory_order_seq_cst);
        if (queue.is_empty()) {
          model_futex::wait(asleep, 1);
        } else {
          model_atomics::pause();
        }
        asleep.store(0, memory_order_seq_cst);
      }
    });
  }
  void finally() {
    produce(1);
    queue_model::finally();
  }
};
TEST(mpsc_queue_model, consumer_sleeps_and_is_woken) {
  expect_holds<sleep_model>({.preemptions = 3, .store_delays = 1});
}

TEST(mpsc_queue_model, mutants) {
  // is_empty's load: its StoreLoad partner is a seq_cst read-modify-write, which the checker never holds back.
  // The exchange as acq_rel: likewise.
  expect_mutants_caught<two_producers_model, sleep_model, recycle_model>(
      {.preemptions = 2, .store_delays = 1, .max_seconds = 2.0}, "mpsc_queue.hpp", [](const mutant& m) {
        return m.text.find("seq_cst") != std::string::npos &&
               (m.kind == change::weaken_seq_cst || std::string{m.operation} == "load");
      });
}

}  // namespace

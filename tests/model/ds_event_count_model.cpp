// The event count under every interleaving: no lost wake-up, no sleeper left behind; and the protocols that lack a step.
#include <tern/ds/event_count.hpp>

#include "expect.hpp"

namespace {

using namespace tern_model;
using event = tern::detail::event_count<model_atomics>;

enum class step { whole, no_recheck, recheck_before_prepare, notify_before_publish };
enum class style { exchange, published };

// Producers put tokens in, consumers wait for one each. `Step` is what is done wrong.
template <int Producers, int Consumers, style Style = style::exchange, step Step = step::whole>
struct token_model {
  event ready;
  atomic<int> tokens{0};
  model_var<int> payload{0};

  bool try_take() {
    int n = tokens.load(Style == style::published ? memory_order_seq_cst : memory_order_acquire);
    while (n > 0) {
      if (tokens.compare_exchange_strong(n, n - 1, memory_order_acquire, memory_order_acquire)) return true;
    }
    return false;
  }
  void publish() {
    if (Producers == 1) payload = 7;
    if (Style == style::published)
      tokens.store(Consumers, memory_order_seq_cst);
    else if (Producers == 1)
      tokens.store(Consumers, memory_order_release);
    else
      tokens.fetch_add(1, memory_order_release);
  }
  void notify() {
    if (Style == style::published)
      ready.notify_all_published();
    else if (Producers == 1 && Consumers > 1)
      ready.notify_all();
    else
      ready.notify_one();
  }
  void consume() {
    for (;;) {
      if (try_take()) break;
      const bool early = Step == step::recheck_before_prepare && try_take();
      if (early) break;
      const auto key = ready.prepare_wait();
      if (Step == step::whole || Step == step::notify_before_publish) {
        if (try_take()) {
          ready.cancel_wait();
          break;
        }
      }
      ready.wait(key);
    }
    if (Producers == 1) require(payload == 7, "what was written before the notify is visible");
  }
  void threads(thread_list& list) {
    for (int i = 0; i < Producers; ++i) {
      list.add("producer" + std::to_string(i), [this] {
        if (Step == step::notify_before_publish) notify();
        publish();
        if (Step != step::notify_before_publish) notify();
      });
    }
    for (int i = 0; i < Consumers; ++i) list.add("consumer" + std::to_string(i), [this] { consume(); });
  }
  void finally() {
    const int left = Producers > Consumers ? Producers - Consumers : 0;
    require(tokens.peek() == left, "every consumer took one token");
    require(ready.waiters() == 0, "nobody is counted in the end");
  }
};

TEST(event_count_model, no_lost_wake_up) {
  expect_holds<token_model<1, 1>>({.preemptions = 5, .store_delays = 1, .spurious_wakes = 1});
  expect_holds<token_model<1, 2>>({.preemptions = 3, .store_delays = 1});
  expect_holds<token_model<2, 2>>({.preemptions = 2, .store_delays = 1});
  expect_holds<token_model<2, 1>>({.preemptions = 2, .store_delays = 1});
}

TEST(event_count_model, no_lost_wake_up_when_published_by_seq_cst) {
  expect_holds<token_model<1, 1, style::published>>({.preemptions = 5, .store_delays = 1});
  expect_holds<token_model<1, 2, style::published>>({.preemptions = 3, .store_delays = 1});
}

TEST(event_count_model, a_wait_without_the_second_test_is_caught) {
  expect_caught<token_model<1, 1, style::exchange, step::no_recheck>>({.preemptions = 2}, "deadlock");
  expect_caught<token_model<1, 1, style::exchange, step::recheck_before_prepare>>({.preemptions = 2},
                                                                                  "deadlock");
}
TEST(event_count_model, a_notify_before_the_change_is_caught) {
  expect_caught<token_model<1, 1, style::exchange, step::notify_before_publish>>({.preemptions = 2},
                                                                                 "deadlock");
}

// The reading notify with a change that is only a release: the store is still in the buffer while the waiter tests.
struct unpublished_model {
  event ready;
  atomic<int> flag{0};
  void threads(thread_list& list) {
    list.add("producer", [this] {
      flag.store(1, memory_order_release);
      ready.notify_one_published();
    });
    list.add("consumer", [this] {
      while (flag.load(memory_order_seq_cst) == 0) {
        const auto key = ready.prepare_wait();
        if (flag.load(memory_order_seq_cst) == 1)
          ready.cancel_wait();
        else
          ready.wait(key);
      }
    });
  }
};
TEST(event_count_model, the_reading_notify_needs_a_seq_cst_change) {
  expect_caught<unpublished_model>({.preemptions = 2, .store_delays = 1}, "deadlock");
}

// A timed wait: true exactly if a notify came; the count is right in the end.
struct timed_model {
  event ready;
  atomic<int> flag{0};
  model_var<int> payload{0};
  void threads(thread_list& list) {
    list.add("producer", [this] {
      payload = 7;
      flag.store(1, memory_order_release);
      ready.notify_one();
    });
    list.add("consumer", [this] {
      const auto key = ready.prepare_wait();
      if (flag.load(memory_order_acquire) == 1) return ready.cancel_wait();
      if (ready.wait_until(key, 1)) require(payload == 7, "what was written before the notify is visible");
    });
  }
  void finally() { require(ready.waiters() == 0, "nobody is counted in the end"); }
};
TEST(event_count_model, timed_wait) {
  expect_holds<timed_model>({.preemptions = 4, .store_delays = 1, .timeouts = 1, .spurious_wakes = 1});
}

// What was written before notify is visible after wait, by the event count alone.
struct visible_model {
  event ready;
  model_var<int> payload{0};
  atomic<int> prepared{0};
  void threads(thread_list& list) {
    list.add("producer", [this] {
      while (prepared.load(memory_order_relaxed) == 0) model_atomics::pause();
      payload = 7;
      ready.notify_one();
    });
    list.add("consumer", [this] {
      const auto key = ready.prepare_wait();
      prepared.store(1, memory_order_relaxed);
      ready.wait(key);
      require(payload == 7, "what was written before the notify is visible");
    });
  }
};
TEST(event_count_model, notify_orders_before_wait_returns) {
  expect_holds<visible_model>({.preemptions = 4, .store_delays = 1});
}

// One consumer, several rounds, three notifiers: the epoch must never come back to an earlier value.
struct rounds_model {
  event ready;
  atomic<int> tokens{0};
  void threads(thread_list& list) {
    for (int i = 0; i < 3; ++i) {
      list.add("producer" + std::to_string(i), [this] {
        tokens.fetch_add(1, memory_order_release);
        ready.notify_one();
      });
    }
    list.add("consumer", [this] {
      for (int seen = 0; seen < 3;) {
        const auto key = ready.prepare_wait();
        const int now = tokens.load(memory_order_acquire);
        if (now > seen) {
          seen = now;
          ready.cancel_wait();
        } else {
          ready.wait(key);
        }
      }
    });
  }
};
TEST(event_count_model, rounds) { expect_holds<rounds_model>({.preemptions = 3}); }

// The checker neither reorders loads nor holds back a read-modify-write: what only orders a later load survives.
bool orders_later_loads(const mutant& m) {
  const bool weaker = m.kind == change::weaken_seq_cst || m.kind == change::weaken;
  return weaker &&
         (m.text.find("seq_cst") != std::string::npos || m.text.find("return key") != std::string::npos);
}

TEST(event_count_model, mutants) {
  expect_mutants_caught<visible_model, token_model<1, 1>, timed_model, token_model<1, 1, style::published>,
                        token_model<1, 2>, token_model<1, 2, style::published>, rounds_model>(
      {.preemptions = 3, .store_delays = 1, .max_seconds = 5.0}, "event_count.hpp", orders_later_loads);
}

}  // namespace

// The checker checked: it finds the textbook bugs, accepts the textbook repairs, counts schedules right, and replays.
#include <tern/base/assert.hpp>

#include <set>
#include <string>
#include <vector>

#include "expect.hpp"

namespace {

using namespace tern_model;

// --- sequential consistency, preemption bound ------------------------------------------------------------------------

template <bool Atomic>
struct counter_model {
  atomic<int> count{0};
  void threads(thread_list& list) {
    for (int i = 0; i < 3; ++i) {
      list.add("t" + std::to_string(i), [this] {
        for (int k = 0; k < 2; ++k) {
          if (Atomic)
            count.fetch_add(1);
          else
            count.store(count.load() + 1);
        }
      });
    }
  }
  void finally() { require(count.peek() == 6, "no increment is lost"); }
};

TEST(checker, read_modify_write_loses_nothing) { expect_holds<counter_model<true>>({.preemptions = 4}); }
TEST(checker, load_then_store_loses_an_increment) {
  expect_caught<counter_model<false>>({.preemptions = 1}, "no increment is lost");
  // It takes one preemption: none finds nothing.
  EXPECT_FALSE(check<counter_model<false>>({.preemptions = 0}).failed);
}

// Two threads of n operations each have C(2n, n) interleavings; with a large bound all of them must be run, each once.
struct interleavings_model {
  static inline std::multiset<std::string> orders;
  atomic<int> x{0};
  std::string order;
  void threads(thread_list& list) {
    for (const char name : {'a', 'b'}) {
      list.add(std::string{name}, [this, name] {
        for (int k = 0; k < 3; ++k) {
          x.fetch_add(1);
          order += name;
        }
      });
    }
  }
  void finally() { orders.insert(order); }
};

TEST(checker, runs_every_interleaving) {
  std::set<std::string> distinct;
  interleavings_model::orders.clear();
  const result r = check<interleavings_model>({.preemptions = 6});
  EXPECT_TRUE(r.complete);
  distinct.insert(interleavings_model::orders.begin(), interleavings_model::orders.end());
  EXPECT_EQ(distinct.size(), 20U);
}

// --- weak stores: Dekker ---------------------------------------------------------------------------------------------

template <memory_order Store, memory_order Load>
struct dekker_model {
  atomic<int> a{0};
  atomic<int> b{0};
  int saw_a = 1;
  int saw_b = 1;
  void threads(thread_list& list) {
    list.add("A", [this] {
      a.store(1, Store);
      saw_b = b.load(Load);
    });
    list.add("B", [this] {
      b.store(1, Store);
      saw_a = a.load(Load);
    });
  }
  void finally() { require(saw_a == 1 || saw_b == 1, "one of the two sees the other"); }
};

TEST(checker, dekker_needs_seq_cst_stores) {
  expect_holds<dekker_model<memory_order_seq_cst, memory_order_seq_cst>>(
      {.preemptions = 3, .store_delays = 2});
  expect_caught<dekker_model<memory_order_release, memory_order_seq_cst>>(
      {.preemptions = 2, .store_delays = 1}, "one of the two");
}

// --- relaxed stores that pass each other ------------------------------------------------------------------------------

template <memory_order Second>
struct two_stores_model {
  atomic<int> first{0};
  atomic<int> second{0};
  void threads(thread_list& list) {
    list.add("writer", [this] {
      first.store(1, memory_order_relaxed);
      second.store(1, Second);
    });
    list.add("reader", [this] {
      if (second.load(memory_order_acquire) == 1)
        require(first.load(memory_order_relaxed) == 1, "the first one is there");
    });
  }
};

TEST(checker, relaxed_stores_pass_each_other_where_they_may) {
  expect_holds<two_stores_model<memory_order_relaxed>>({.preemptions = 3, .store_delays = 2});
  expect_holds<two_stores_model<memory_order_release>>(
      {.preemptions = 3, .store_delays = 2, .store_passes = 2});
  expect_caught<two_stores_model<memory_order_relaxed>>(
      {.preemptions = 2, .store_delays = 1, .store_passes = 1}, "the first one");
}

// --- happens-before: message passing ---------------------------------------------------------------------------------

template <memory_order Store, memory_order Load>
struct message_model {
  model_var<int> data{0};
  atomic<int> flag{0};
  void threads(thread_list& list) {
    list.add("writer", [this] {
      data = 1;
      flag.store(1, Store);
    });
    list.add("reader", [this] {
      while (flag.load(Load) == 0) model_atomics::pause();
      require(data == 1, "the reader sees the data");
    });
  }
};

TEST(checker, message_passing_needs_release_and_acquire) {
  expect_holds<message_model<memory_order_release, memory_order_acquire>>(
      {.preemptions = 3, .store_delays = 1});
  expect_caught<message_model<memory_order_relaxed, memory_order_acquire>>({}, "data race");
  expect_caught<message_model<memory_order_release, memory_order_relaxed>>({}, "data race");
}

// A relaxed read-modify-write continues the release sequence; a relaxed store ends it.
template <bool Rmw>
struct release_sequence_model {
  model_var<int> data{0};
  atomic<int> flag{0};
  void threads(thread_list& list) {
    list.add("writer", [this] {
      data = 1;
      flag.store(1, memory_order_release);
      if (Rmw)
        flag.fetch_add(1, memory_order_relaxed);
      else
        flag.store(2, memory_order_relaxed);
    });
    list.add("reader", [this] {
      if (flag.load(memory_order_acquire) == 2) require(data == 1, "the reader sees the data");
    });
  }
};

TEST(checker, release_sequences) {
  expect_holds<release_sequence_model<true>>({.preemptions = 3});
  expect_caught<release_sequence_model<false>>({}, "data race");
}

// --- blocking --------------------------------------------------------------------------------------------------------

template <bool Compare>
struct futex_model {
  atomic<std::uint32_t> word{0};
  void threads(thread_list& list) {
    list.add("waker", [this] {
      word.store(1);
      model_futex::wake(word, 1);
    });
    list.add("sleeper", [this] {
      if (Compare) {
        while (word.load() == 0) model_futex::wait(word, 0);
      } else if (word.load() == 0) {
        model_futex::wait(word, word.load());  // the classical bug: sleeps on whatever is there now
      }
    });
  }
};

TEST(checker, futex_compares_before_it_sleeps) {
  expect_holds<futex_model<true>>({.preemptions = 3});
  expect_holds<futex_model<true>>({.preemptions = 2, .spurious_wakes = 2});
  expect_caught<futex_model<false>>({}, "deadlock");
}

struct abba_model {
  model_mutex a;
  model_mutex b;
  model_var<int> x{0};
  void threads(thread_list& list) {
    list.add("ab", [this] { both(a, b); });
    list.add("ba", [this] { both(b, a); });
  }
  void both(model_mutex& first, model_mutex& second) {
    first.lock();
    second.lock();
    x = x + 1;
    second.unlock();
    first.unlock();
  }
};

TEST(checker, finds_a_lock_order_deadlock) { expect_caught<abba_model>({}, "deadlock"); }

struct one_mutex_model {
  model_mutex m;
  model_var<int> x{0};
  void threads(thread_list& list) {
    for (int i = 0; i < 3; ++i) {
      list.add("t" + std::to_string(i), [this] {
        m.lock();
        x = x + 1;
        m.unlock();
      });
    }
  }
  void finally() { require(x == 3, "every section ran alone"); }
};

TEST(checker, mutex_excludes_and_orders) { expect_holds<one_mutex_model>({.preemptions = 4}); }

// A timed wait gives up when nobody can wake it, and only then unless a budget allows it earlier.
template <bool Wake>
struct timeout_model {
  atomic<std::uint32_t> word{0};
  bool in_time = false;
  void threads(thread_list& list) {
    list.add("sleeper", [this] {
      in_time = true;
      while (word.load() == 0 && in_time) in_time = model_futex::wait_until(word, 0, 1);
    });
    if (Wake) {
      list.add("waker", [this] {
        word.store(1);
        model_futex::wake(word, 1);
      });
    }
  }
  void finally() { require(in_time == Wake, "woken in time"); }
};

TEST(checker, time_passes_only_when_it_must) {
  expect_holds<timeout_model<false>>({});
  expect_holds<timeout_model<true>>({.preemptions = 3});
  expect_caught<timeout_model<true>>({.preemptions = 2, .timeouts = 1}, "woken in time");
}

struct livelock_model {
  atomic<int> x{0};
  void threads(thread_list& list) {
    list.add("spinner", [this] {
      while (x.load() == 0) model_atomics::pause();
    });
  }
};

TEST(checker, reports_a_spin_without_end) { expect_caught<livelock_model>({}, "livelock"); }

// --- misuse of the code under test, misuse of the checker ------------------------------------------------------------

struct fatal_model {
  atomic<int> x{0};
  void threads(thread_list& list) {
    list.add("a", [this] { x.store(1); });
    list.add("b", [this] {
      if (x.load() == 1) tern::detail::fatal("model test: this line is expected");
    });
  }
};

TEST(checker, a_fatal_of_the_code_under_test_is_a_failure) { expect_caught<fatal_model>({}, "abort"); }

struct moody_model {
  static inline int runs = 0;
  atomic<int> x{0};
  void threads(thread_list& list) {
    ++runs;
    for (int i = 0; i < 2; ++i) {
      list.add("t" + std::to_string(i), [this] {
        for (int k = 0; k < (runs % 2 == 0 ? 1 : 3); ++k) x.fetch_add(1);
      });
    }
  }
};

TEST(checker, notices_a_model_that_is_not_deterministic) {
  const result r = check<moody_model>({.preemptions = 3});
  EXPECT_TRUE(r.failed);
  EXPECT_NE(r.message.find("not deterministic"), std::string::npos) << r.message;
}

// --- mutation --------------------------------------------------------------------------------------------------------

TEST(checker, mutation_breaks_each_site) {
  const auto all = mutate<message_model<memory_order_release, memory_order_acquire>>({}, "checker_model.cpp");
  EXPECT_EQ(all.size(), 3U);  // store: weaken, drop; load: weaken
  EXPECT_EQ(unexplained(all, [](const mutant&) { return false; }), "");
  const auto torn = mutate<counter_model<true>>({}, "checker_model.cpp");
  EXPECT_EQ(torn.size(), 4U);  // fetch_add: weaken, weaken_seq_cst, tear, drop
  for (const mutant& m : torn)
    EXPECT_EQ(m.caught, m.kind == change::tear || m.kind == change::drop) << report({m});
}

}  // namespace

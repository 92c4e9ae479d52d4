// The run queue under every interleaving: owner's push, pop and overflow against thieves; no item lost, none twice, none unwritten.
#include <tern/ds/run_queue.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;
using tern::detail::run_queue;

struct item {
  model_var<int> payload{0};  // written before the push, read after the pop: the queue must order the two
  int taken = 0;
};

using ring = run_queue<item, 4, model_atomics>;

constexpr std::uint32_t near_wrap = 0xffff'fffeu;  // the indices wrap in mid-model

// What owner and thieves do with an item that they got.
template <std::size_t Items>
struct ring_model {
  std::array<item, Items> items{};
  int overflowed = 0;

  void produce(std::size_t i) { items[i].payload = static_cast<int>(i) + 1; }
  void consume(item* it) {
    if (it == nullptr) return;
    require(it->payload == static_cast<int>(it - items.data()) + 1,
            "the taker sees what was written before the push");
    require(++it->taken == 1, "no item is taken twice");
  }
  template <class... Rings>
  void drain(Rings&... rings) {
    const auto all = [this](auto& r) {
      while (item* it = r.pop()) consume(it);
      require(r.is_empty() && r.size() == 0, "an emptied ring is empty");
    };
    (all(rings), ...);
    for (const item& it : items) require(it.taken == 1, "no item is lost");
  }
};

// Owner pushes and pops; one thief takes halves into its own ring, another single items.
struct steal_model : ring_model<4> {
  ring queue{near_wrap};
  ring mine{near_wrap - 1};
  void threads(thread_list& list) {
    list.add("owner", [this] {
      for (std::size_t i = 0; i < 4; ++i) {
        produce(i);
        require(queue.try_push(&items[i]), "there is room");
        if (i == 2) consume(queue.pop());
      }
      consume(queue.pop());
    });
    list.add("thief", [this] {
      consume(queue.steal_into(mine));
      consume(mine.pop());
    });
    list.add("monitor", [this] { consume(queue.steal_one()); });
  }
  void finally() { drain(queue, mine); }
};

TEST(run_queue_model, push_and_pop_against_two_thieves) {
  expect_holds<steal_model>({.preemptions = 3, .store_delays = 1});
}

// An owner whose turns take the oldest and publish another by the caller's store, at a full ring: the slot that becomes free is written at once.
struct rotate_model : ring_model<6> {
  ring queue{near_wrap};
  ring mine{};
  rotate_model() {
    for (std::size_t i = 0; i < 4; ++i) {
      produce(i);
      require(queue.try_push(&items[i]), "there is room");
    }
  }
  void threads(thread_list& list) {
    list.add("owner", [this] {
      for (std::size_t i = 4; i < 6; ++i) {
        produce(i);
        const auto turn = queue.rotate(&items[i]);
        if (turn.oldest == nullptr) {
          require(queue.try_push(&items[i]), "a thief was quicker, so there is room");
          continue;
        }
        consume(turn.oldest);
        turn.word->store(turn.value, memory_order_release);
      }
    });
    list.add("thief", [this] { consume(queue.steal_into(mine)); });
    list.add("other", [this] { consume(queue.steal_one()); });
  }
  void finally() { drain(queue, mine); }
};

TEST(run_queue_model, rotation_against_two_thieves) {
  expect_holds<rotate_model>({.preemptions = 3, .store_delays = 1});
}

// A full ring: slots are reused while thieves read them, half overflows.
struct overflow_model : ring_model<7> {
  ring queue{near_wrap};
  ring mine{};
  overflow_model() {
    for (std::size_t i = 0; i < 4; ++i) {
      produce(i);
      require(queue.try_push(&items[i]), "there is room");
    }
  }
  void threads(thread_list& list) {
    list.add("owner", [this] {
      for (std::size_t i = 4; i < 7; ++i) {
        produce(i);
        queue.push(&items[i], [this](item* it) {
          ++overflowed;
          consume(it);
        });
      }
    });
    list.add("thief", [this] { consume(queue.steal_into(mine)); });
    list.add("other", [this] { consume(queue.steal_one()); });
  }
  void finally() {
    require(overflowed == 0 || overflowed == 3, "an overflow is half of the ring and the new item");
    drain(queue, mine);
  }
};

TEST(run_queue_model, overflow_and_slot_reuse_against_two_thieves) {
  expect_holds<overflow_model>({.preemptions = 3, .store_delays = 1});
}

// From empty into an overflow: head passes what thieves may see of tail, unless the overflow publishes both in order.
struct fresh_overflow_model : ring_model<5> {
  ring queue{};
  void threads(thread_list& list) {
    list.add("owner", [this] {
      for (std::size_t i = 0; i < 5; ++i) {
        produce(i);
        queue.push(&items[i], [this](item* it) { consume(it); });
      }
    });
    list.add("monitor", [this] { consume(queue.steal_one()); });
  }
  void finally() { drain(queue); }
};

TEST(run_queue_model, overflow_of_a_fresh_ring) {
  expect_holds<fresh_overflow_model>({.preemptions = 3, .store_delays = 1});
}

// Two processors steal from each other, a third from what one of them stole.
struct chain_model : ring_model<4> {
  ring a{};
  ring b{near_wrap};
  ring c{};
  void threads(thread_list& list) {
    list.add("A", [this] {
      for (std::size_t i = 0; i < 4; ++i) {
        produce(i);
        require(a.try_push(&items[i]), "there is room");
      }
      consume(b.steal_into(a));
    });
    list.add("B", [this] { consume(a.steal_into(b)); });
    list.add("C", [this] { consume(b.steal_into(c)); });
  }
  void finally() { drain(a, b, c); }
};

TEST(run_queue_model, chains_of_thieves) { expect_holds<chain_model>({.preemptions = 2, .store_delays = 1}); }

// FIFO: what the owner pops alone comes in the order of its pushes, and a thief's loot keeps its order.
struct order_model : ring_model<4> {
  ring queue{};
  ring mine{};
  int last_stolen = 0;
  int last_popped = 0;
  void threads(thread_list& list) {
    list.add("owner", [this] {
      for (std::size_t i = 0; i < 4; ++i) {
        produce(i);
        require(queue.try_push(&items[i]), "there is room");
      }
      for (int k = 0; k < 2; ++k) {
        item* it = queue.pop();
        if (it == nullptr) break;
        require(it->payload > last_popped, "the owner pops in order");
        last_popped = it->payload;
        consume(it);
      }
    });
    list.add("thief", [this] {
      item* const run_now = queue.steal_into(mine);
      while (item* it = mine.pop()) {
        require(it->payload > last_stolen, "the loot keeps its order");
        last_stolen = it->payload;
        consume(it);
      }
      if (run_now != nullptr)
        require(run_now->payload > last_stolen, "the item to run now is the youngest of the loot");
      consume(run_now);
    });
  }
  void finally() { drain(queue, mine); }
};

TEST(run_queue_model, order) { expect_holds<order_model>({.preemptions = 3}); }

// is_empty: never true while an item lies in the ring throughout.
struct empty_check_model : ring_model<3> {
  ring queue{near_wrap};
  empty_check_model() {
    for (std::size_t i = 0; i < 2; ++i) {
      produce(i);
      require(queue.try_push(&items[i]), "there is room");
    }
  }
  void threads(thread_list& list) {
    list.add("owner", [this] {
      produce(2);
      require(queue.try_push(&items[2]), "there is room");
      consume(queue.pop());
      consume(queue.pop());
    });
    list.add("looker", [this] { require(!queue.is_empty(), "it was never empty"); });
  }
  void finally() { drain(queue); }
};

TEST(run_queue_model, empty_means_empty) {
  expect_holds<empty_check_model>({.preemptions = 3, .store_delays = 1});
}

// Push published by seq_cst against a sleeper's rescan, through a word as the idle protocol has it.
template <memory_order Publish>
struct publish_model : ring_model<1> {
  ring queue{};
  atomic<int> asleep{0};
  bool seen_by_submit = false;
  bool seen_by_rescan = false;
  void threads(thread_list& list) {
    list.add("submit", [this] {
      produce(0);
      require(queue.try_push(&items[0], Publish), "there is room");
      seen_by_submit = asleep.load(memory_order_seq_cst) == 1;
    });
    list.add("sleeper", [this] {
      asleep.store(1, memory_order_seq_cst);
      seen_by_rescan = !queue.is_empty();
    });
  }
  void finally() { require(seen_by_submit || seen_by_rescan, "work and sleeper cannot miss each other"); }
};

TEST(run_queue_model, seq_cst_publication_is_never_missed) {
  expect_holds<publish_model<memory_order_seq_cst>>({.preemptions = 3, .store_delays = 1});
  expect_caught<publish_model<memory_order_release>>({.preemptions = 2, .store_delays = 1},
                                                     "cannot miss each other");
}

// --- mutants -----------------------------------------------------------------------------------------------------------

// A thief that takes first and copies afterwards: the owner may have written the slots again.
template <bool PublishFirst>
struct late_copy_model : ring_model<6> {
  struct open_ring {
    atomic<std::uint32_t> head{0};
    atomic<std::uint32_t> tail{0};
    std::array<atomic<item*>, 2> slots{};
    bool push(item* it) {
      const std::uint32_t t = tail.load(memory_order_relaxed);
      if (t - head.load(memory_order_acquire) >= 2) return false;
      slots[t & 1].store(it, memory_order_relaxed);
      tail.store(t + 1, memory_order_release);
      return true;
    }
    item* steal() {
      std::uint32_t h = head.load(memory_order_acquire);
      if (h == tail.load(memory_order_acquire)) return nullptr;
      item* it = PublishFirst ? nullptr : slots[h & 1].load(memory_order_relaxed);
      if (!head.compare_exchange_strong(h, h + 1, memory_order_release, memory_order_relaxed)) return nullptr;
      return PublishFirst ? slots[h & 1].load(memory_order_relaxed) : it;
    }
  } queue;
  void threads(thread_list& list) {
    list.add("owner", [this] {
      for (std::size_t i = 0; i < 4; ++i) {
        produce(i);
        (void)queue.push(&items[i]);
      }
    });
    list.add("thief", [this] { consume(queue.steal()); });
    list.add("other", [this] { consume(queue.steal()); });
  }
};

TEST(run_queue_model, taking_before_copying_is_caught) {
  expect_holds<late_copy_model<false>>({.preemptions = 2});
  expect_caught<late_copy_model<true>>({.preemptions = 2});
}

// head's acquires and the releases of its CASes keep a taker's slot loads before the slot's reuse. Slots are atomics, so no race is
// reported, and the checker does not let loads sink: those orders show on ARM64 only, under the stress test.
bool orders_slot_reuse(const mutant& m) {
  return m.kind == change::weaken && m.text.find("head_") != std::string::npos &&
         m.text.find("seq_cst") == std::string::npos;
}

// is_empty reads nothing but the indices, and its StoreLoad partner is a seq_cst store, which the checker never holds back.
bool orders_loads_of_is_empty(const mutant& m) {
  return m.kind != change::drop && std::string{m.operation} == "load" &&
         m.text.find("seq_cst") != std::string::npos;
}

TEST(run_queue_model, mutants) {
  expect_mutants_caught<publish_model<memory_order_seq_cst>, order_model, empty_check_model,
                        fresh_overflow_model, steal_model, chain_model, overflow_model, rotate_model>(
      {.preemptions = 2, .store_delays = 1, .max_seconds = 1.0}, "run_queue.hpp",
      [](const mutant& m) { return orders_slot_reuse(m) || orders_loads_of_is_empty(m); });
}

}  // namespace

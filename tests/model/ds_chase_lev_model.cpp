// The Chase-Lev deque under every interleaving: the race for the last item, reuse of slots, and its mutants.
#include <tern/ds/chase_lev_deque.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;

struct item {
  model_var<int> payload{0};
  int taken = 0;
};

using deque = tern::detail::chase_lev_deque<item, 2, model_atomics>;

template <std::size_t Items>
struct deque_model {
  deque queue;
  std::array<item, Items> items{};

  bool push(std::size_t i) {
    items[i].payload = static_cast<int>(i) + 1;
    return queue.try_push(&items[i]);
  }
  void consume(item* it) {
    if (it == nullptr) return;
    require(it->payload == static_cast<int>(it - items.data()) + 1,
            "the taker sees what was written before the push");
    require(++it->taken == 1, "no item is taken twice");
  }
  void steal() {
    const auto r = queue.steal();
    require((r.item != nullptr) == (r.what == deque::outcome::taken),
            "an item comes with `taken` and only then");
    consume(r.item);
  }
  void finally() {
    while (item* it = queue.take()) consume(it);
    require(queue.is_empty() && queue.size() == 0, "an emptied deque is empty");
    for (const item& it : items) require(it.taken == 1, "no item is lost");
  }
};

// One item, its owner and two thieves.
struct last_item_model : deque_model<1> {
  void threads(thread_list& list) {
    list.add("owner", [this] {
      require(push(0), "there is room");
      consume(queue.take());
    });
    for (const char* name : {"thief", "other"}) list.add(name, [this] { steal(); });
  }
};
TEST(chase_lev_model, last_item) { expect_holds<last_item_model>({.preemptions = 4, .store_delays = 1}); }

// Two items: the owner's take without a CAS against two thieves that together come down to the same item.
struct two_items_model : deque_model<2> {
  void threads(thread_list& list) {
    list.add("owner", [this] {
      require(push(0) && push(1), "there is room");
      consume(queue.take());
      consume(queue.take());
    });
    for (const char* name : {"thief", "other"}) list.add(name, [this] { steal(); });
  }
};
TEST(chase_lev_model, two_items) { expect_holds<two_items_model>({.preemptions = 3, .store_delays = 1}); }

// Capacity 2 and three items: a slot is written again while a thief may still read it.
struct reuse_model : deque_model<3> {
  void threads(thread_list& list) {
    list.add("owner", [this] {
      require(push(0) && push(1), "there is room");
      if (!push(2)) {
        consume(queue.take());
        require(push(2), "a take makes room");
      }
      consume(queue.take());
    });
    list.add("thief", [this] {
      steal();
      steal();
    });
  }
};
TEST(chase_lev_model, slot_reuse) { expect_holds<reuse_model>({.preemptions = 4, .store_delays = 1}); }

// A thief that is alone with the owner's finished pushes never loses.
struct quiet_thief_model : deque_model<2> {
  void threads(thread_list& list) {
    list.add("owner", [this] { require(push(0) && push(1), "there is room"); });
    list.add("thief", [this] {
      for (int i = 0; i < 2; ++i) {
        const auto r = queue.steal();
        require(r.what != deque::outcome::lost, "nobody else takes");
        consume(r.item);
      }
    });
  }
};
TEST(chase_lev_model, lost_means_that_another_won) {
  expect_holds<quiet_thief_model>({.preemptions = 4, .store_delays = 1});
}

// take without the CAS on the last item, written out: the checker must see the duplicate.
struct no_cas_model {
  atomic<int> top{0};
  atomic<int> bottom{1};
  int taken = 0;
  void threads(thread_list& list) {
    list.add("owner", [this] {
      const int b = bottom.load(memory_order_relaxed) - 1;
      bottom.store(b);
      if (top.load() <= b) take();
    });
    list.add("thief", [this] {
      int t = top.load();
      if (t < bottom.load() && top.compare_exchange_strong(t, t + 1)) take();
    });
  }
  void take() { require(++taken == 1, "no item is taken twice"); }
};
TEST(chase_lev_model, a_take_without_the_cas_is_caught) {
  expect_caught<no_cas_model>({.preemptions = 2}, "taken twice");
}

// What survives orders loads only (the checker neither hoists nor sinks them): is_empty, the seq_cst loads whose partner is the
// seq_cst store of bottom, the CASes, which the checker always applies to the newest value, and push's acquire of top (slot reuse).
bool orders_loads_only(const mutant& m) {
  const std::string operation{m.operation};
  return (m.kind == change::weaken || m.kind == change::weaken_seq_cst) &&
         (operation == "load" || operation == "compare_exchange") && m.text.find("top") != std::string::npos;
}
bool is_sc_load(const mutant& m) {
  return m.kind == change::weaken_seq_cst && std::string{m.operation} == "load";
}

TEST(chase_lev_model, mutants) {
  expect_mutants_caught<last_item_model, quiet_thief_model, two_items_model, reuse_model>(
      {.preemptions = 3, .store_delays = 1, .max_seconds = 2.0}, "chase_lev_deque.hpp",
      [](const mutant& m) { return orders_loads_only(m) || is_sc_load(m); });
}

}  // namespace

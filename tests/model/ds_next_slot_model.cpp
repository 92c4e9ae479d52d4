// The real next slot under every interleaving: what its owner puts in leaves once, with what was written to it before.
#include <tern/ds/next_slot.hpp>

#include <array>
#include <string>
#include <vector>

#include "barrier.hpp"
#include "expect.hpp"

namespace {

using namespace tern_model;

enum class broken { nothing, no_barrier };

struct item {
  model_var<int> payload{0};
  atomic<int> runs{0};
};

template <broken Mutant>
struct barrier_policy {
  static bool in_every_thread() {
    if constexpr (Mutant != broken::no_barrier) barrier_in_every_thread();
    return true;
  }
};

// The owner fills and takes twice, with a fresh item or, where `Again`, the same; a thief looks and steals. `Opens`: barriers come to be had
// meanwhile, else they are from the start, or, where `Closed`, never.
template <broken Mutant, bool Again = false, bool Opens = false, bool Closed = false, int Thieves = 1>
struct slot_model {
  tern::detail::next_slot<item, model_atomics, barrier_policy<Mutant>> slot;
  std::array<item, 2> items;

  slot_model() {
    if (!Opens && !Closed) require(slot.open(), "nobody is about");
  }
  void run(item& i, const char* what) {
    require(i.payload == 7, what);
    i.payload = 0;
    i.runs.fetch_add(1, memory_order_relaxed);
  }
  void threads(thread_list& list) {
    list.add("owner", [this] {
      for (int turn = 0; turn < 2; ++turn) {
        item& i = items[Again ? 0 : static_cast<std::size_t>(turn)];
        // The same one again only where it has come back to the owner.
        if (Again && turn == 1 && i.runs.load(memory_order_relaxed) != 1) return;
        if (Again && turn == 1 && !mine) return;
        i.payload = 7;
        slot.fill(&i);
        if (item* taken = slot.take()) {
          mine = true;
          run(*taken, "the owner finds what it wrote");
        }
      }
    });
    for (int t = 0; t < Thieves; ++t)
      list.add("thief", [this] {
        for (int tries = 0; tries < 2; ++tries)
          if (item* seen = slot.look(); seen != nullptr && slot.steal(seen))
            run(*seen, "the thief sees what the owner wrote");
      });
    if (Opens) list.add("opener", [this] { static_cast<void>(slot.open()); });
  }
  void finally() {
    require(slot.look() == nullptr, "the slot is empty");
    // Nobody is about: it works on, for thieves as well.
    require(Closed || slot.open(), "no thief is left in it");
    slot.fill(items.data());
    require(slot.steal(items.data()) && slot.look() == nullptr, "a thief may have it again");
    int runs = 0;
    for (item& i : items) runs += i.runs.peek();
    require(runs <= 2, "no item left twice");
    require(Again || (items[0].runs.peek() == 1 && items[1].runs.peek() == 1), "each item left once");
  }

  bool mine = false;  // the owner's: it took the first one itself
};

const options bound{.preemptions = 3, .store_delays = 2};
const options passing{.preemptions = 3, .store_delays = 1, .store_passes = 2};

TEST(NextSlotModel, AnItemLeavesOnce) {
  expect_holds<slot_model<broken::nothing>>(bound, "fresh items");
  expect_holds<slot_model<broken::nothing, true>>(bound, "one item twice");
  expect_holds<slot_model<broken::nothing, false, true>>({.preemptions = 3, .store_delays = 1},
                                                         "barriers come to be had");
  expect_holds<slot_model<broken::nothing, false, false, true>>(bound, "no barriers");
  expect_holds<slot_model<broken::nothing, false, false, false, 2>>({.preemptions = 2, .store_delays = 1},
                                                                    "two thieves");
}

TEST(NextSlotModel, AlsoWhereStoresPassEachOther) {
  expect_holds<slot_model<broken::nothing>>(passing);
  expect_holds<slot_model<broken::nothing, true>>(passing);
}

TEST(NextSlotModel, WithoutTheBarrierItLeavesTwice) { expect_caught<slot_model<broken::no_barrier>>(bound); }

TEST(NextSlotModel, MutantsAreCaught) {
  if (tern::detail::asan_build) GTEST_SKIP() << "mutants test the model";
  std::vector<mutant> all;
  mutate<slot_model<broken::nothing>>(passing, "next_slot.hpp", all);
  mutate<slot_model<broken::nothing, true>>(passing, "next_slot.hpp", all);
  mutate<slot_model<broken::nothing, false, false, true>>(passing, "next_slot.hpp", all);
  mutate<slot_model<broken::nothing, false, false, false, 2>>({.preemptions = 2, .store_delays = 1},
                                                              "next_slot.hpp", all);
  mutate<slot_model<broken::nothing, false, true>>({.preemptions = 4}, "next_slot.hpp", all);
  EXPECT_GE(all.size(), 20u);
  const std::string survivors = unexplained(all, [](const mutant& m) {
    // These keep a load from being done before an earlier one, which the checker does not explore.
    return m.kind == change::weaken &&
           (m.text.find("closed_.load(memory_order_acquire)") != std::string::npos ||
            m.text.find("closed_.store(mode, memory_order_release)") != std::string::npos ||
            m.text.find("busy_.load(memory_order_acquire)") != std::string::npos);
  });
  EXPECT_EQ(survivors, "");
}

}  // namespace

// The bits of a cell under every interleaving: refill against conservative look-up, sweep against the destructors' queue.
#include <tern/gc/cell_bits.hpp>

#include "expect.hpp"

namespace {

using namespace tern_model;

using cells = tern::detail::gc::cell_bits<model_atomics>;
constexpr std::uint64_t cell = 1;
constexpr std::uint64_t neighbour = 2;

// --- a run is zeroed before it can be looked up ----------------------------------------------------------------------------

template <bool Late>
struct refill_model {
  cells bits{};
  model_var<int> memory{7};  // of the cell's former life

  void threads(thread_list& list) {
    list.add("holder", [this] {
      require((bits.free_cells() & cell) != 0, "the cell is free");
      if (Late) bits.add_allocated(cell);
      memory = 0;
      if (!Late) bits.add_allocated(cell);
    });
    list.add("look-up", [this] {
      if (bits.is_allocated(cell)) require(memory == 0, "what is found was zeroed");
    });
  }
};
TEST(gc_cell_model, a_look_up_finds_zeroed_memory) {
  expect_holds<refill_model<false>>({.preemptions = 4, .store_delays = 1});
  expect_caught<refill_model<true>>({.preemptions = 3});
}

// --- a cell dies, is destroyed, and lives again ----------------------------------------------------------------------------

enum class order { kept, constructed_last, reused_at_once, no_second_bit };

// An object of the last cycle, which nothing has marked. The sweeper queues it; the executor walks the span twice, since another cell of it comes
// due; the holder refills meanwhile. `memory`: 1 the old object, 2 one under construction, 3 the new one.
template <order Order>
struct life_model {
  cells bits{};
  model_var<int> memory{1};
  atomic<int> queued{0};
  model_var<int> destroyed{0};

  life_model() {
    bits.allocated.store(cell, memory_order_relaxed);
    bits.constructed.store(cell, memory_order_relaxed);
  }

  std::uint64_t due() {
    if (Order != order::constructed_last) return bits.doomed();
    const std::uint64_t allocated = bits.allocated.load(memory_order_acquire);
    return bits.constructed.load(memory_order_acquire) & ~allocated;
  }
  std::uint64_t free() {
    if (Order != order::reused_at_once) return bits.free_cells();
    return ~bits.allocated.load(memory_order_relaxed);
  }

  void threads(thread_list& list) {
    list.add("sweeper and holder", [this] {
      const auto s = bits.sweep();
      require(s.live == 0 && s.dead == cell && s.due == cell,
              "the sweep finds it dead, and its destructor due");
      queued.store(1, memory_order_release);
      if ((free() & cell) == 0) return;
      memory = 2;
      if (Order == order::no_second_bit) bits.add_constructed(cell);
      bits.add_allocated(cell);
      memory = 3;
      if (Order != order::no_second_bit) bits.add_constructed(cell);
    });
    list.add("executor", [this] {
      while (queued.load(memory_order_acquire) == 0) model_atomics::pause();
      for (int walk = 0; walk < 2; ++walk) {
        if ((due() & cell) == 0) continue;
        require(memory == 1, "only the dead object is destroyed");
        destroyed = destroyed + 1;
        bits.end_of(cell);
      }
    });
  }
  void finally() { require(destroyed == 1, "it is destroyed once"); }
};
TEST(gc_cell_model, an_object_is_destroyed_once_and_no_other_one) {
  expect_holds<life_model<order::kept>>({.preemptions = 4, .store_delays = 1, .store_passes = 1});
}
TEST(gc_cell_model, breakages_of_a_cells_life_are_caught) {
  expect_caught<life_model<order::constructed_last>>({.preemptions = 3});
  expect_caught<life_model<order::reused_at_once>>({.preemptions = 3});
  expect_caught<life_model<order::no_second_bit>>({.preemptions = 3});
}

// --- a stale word, and an object whose destructor is due -------------------------------------------------------------------

// The cycle that comes after the sweep finds a word that points to the object. It is not to live again.
template <bool Clears>
struct stale_word_model {
  cells bits{};
  atomic<int> queued{0};
  model_var<int> object{1};

  // Beside it one that was marked and one that was born: they live, and are to be marked again.
  static constexpr std::uint64_t marked = 2;
  static constexpr std::uint64_t born = 4;

  stale_word_model() {
    bits.allocated.store(cell | marked | born, memory_order_relaxed);
    bits.mark.store(marked, memory_order_relaxed);
    bits.born.store(born, memory_order_relaxed);
    bits.constructed.store(cell, memory_order_relaxed);
  }
  void threads(thread_list& list) {
    list.add("collector", [this] {
      require(bits.sweep().live == (marked | born), "what was marked or born lives");
      if (!Clears) bits.allocated.store(cell | marked | born, memory_order_relaxed);
      queued.store(1, memory_order_release);
      // The next cycle: a stack scan.
      if (bits.is_allocated(cell) && bits.mark_locked(cell))
        require(object == 1, "an object that is marked is not destroyed");
      for (const std::uint64_t c : {marked, born})
        require(bits.is_allocated(c) && bits.mark_locked(c) && !bits.mark_locked(c),
                "each is marked once in each cycle");
    });
    list.add("executor", [this] {
      while (queued.load(memory_order_acquire) == 0) model_atomics::pause();
      const std::uint64_t built = bits.constructed.load(memory_order_acquire);
      const std::uint64_t due = Clears ? bits.doomed() : built;
      if ((due & cell) == 0) return;
      object = 0;
      bits.end_of(cell);
    });
  }
};
TEST(gc_cell_model, a_stale_word_makes_nothing_live_again) {
  expect_holds<stale_word_model<true>>({.preemptions = 4, .store_delays = 1});
  expect_caught<stale_word_model<false>>({.preemptions = 3});
}

// --- two words of one group, two threads ------------------------------------------------------------------------------------

// The holder constructs one cell while the executor ends another one of the same word.
struct neighbours_model {
  cells bits{};
  neighbours_model() { bits.constructed.store(neighbour, memory_order_relaxed); }
  void threads(thread_list& list) {
    list.add("holder", [this] {
      bits.add_allocated(cell);
      bits.add_constructed(cell);
    });
    list.add("executor", [this] { bits.end_of(neighbour); });
  }
  void finally() { require(bits.constructed.peek() == cell, "neither change of the word is lost"); }
};
TEST(gc_cell_model, neighbours_do_not_disturb_each_other) {
  expect_holds<neighbours_model>({.preemptions = 4});
}

TEST(gc_cell_model, mutants) {
  // The acquire of doomed() keeps its two loads in order: the checker has no reordering of loads.
  expect_mutants_caught<refill_model<false>, neighbours_model, life_model<order::kept>,
                        stale_word_model<true>>(
      {.preemptions = 3, .store_delays = 1, .max_seconds = 3.0}, "cell_bits.hpp", [](const mutant& m) {
        return m.kind == change::weaken &&
               m.text.find("built = constructed.load(memory_order_acquire)") != std::string::npos;
      });
}

}  // namespace

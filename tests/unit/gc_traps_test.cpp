// What programs do with members and constructors while a cycle marks: what is allowed must be safe, at the worst moment.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "tests/stress/gc_schedules.hpp"
#include "tests/unit/gc_support.hpp"

// A name of its own: the files of a test program are compiled together.
namespace gc_traps_test {
namespace {

namespace gc = tern::gc;
namespace internal = tern::detail::gc;
using gc::testing::step;
using gc::testing::stepper;
using gc_schedules::good;
using gc_schedules::half_marked;
using gc_schedules::make_good;
using gc_schedules::node;
using gc_schedules::on_stage;
using gc_test::as_mutator;
using gc_test::verified;
using gc_test::word_of;

// ---- members ----

// An aggregate that has white in `from`.
struct box {
  gc::member<node> from;
  gc::member<node> to;
  long value = 0;
};
struct atomic_box {
  gc::atomic_member<node> from;
  gc::atomic_member<node> to;
};
using array = gc::array<gc::member<node>>;

box* make_box() { return gc::make<box>(make_good()); }
atomic_box* make_atomic_box() {
  auto* b = gc::make<atomic_box>();
  b->from.store(make_good());
  return b;
}
array* make_filled() {
  array* a = gc::make_array<gc::member<node>>(4);
  for (gc::member<node>& m : *a) m = make_good();
  return a;
}

// move(black, grey) takes an object that only grey leads to into black, and out of grey; at(black) is where it is then.
template <class Make, class Move, class At>
void expect_safe(Make&& make, Move&& move, At&& at) {
  const verified v;
  EXPECT_TRUE(on_stage([&](stepper& s) {
    half_marked<std::remove_pointer_t<decltype(make())>> heap{s, make};
    as_mutator([&] { move(*heap.black, *heap.grey); });
    s.finish();
    return at(*heap.black)->value == good;
  }));
  EXPECT_EQ(v.lost(), 0u);
}
template <class Move>
void expect_safe_for_boxes(Move&& move) {
  expect_safe(make_box, move, [](box& b) { return b.to.get(); });
}

TEST(gc_traps, members_are_assigned_moved_and_built_anew) {
  expect_safe_for_boxes([](box& black, box& grey) {
    black.to = grey.from;
    grey.from = nullptr;
  });
  expect_safe_for_boxes([](box& black, box& grey) {
    black.to = std::move(grey.from);
    grey.from = nullptr;
  });
  expect_safe_for_boxes([](box& black, box& grey) {
    std::destroy_at(&black.to);
    std::construct_at(&black.to, grey.from);
    grey.from = nullptr;
  });
}

TEST(gc_traps, members_are_swapped_and_exchanged) {
  expect_safe_for_boxes([](box& black, box& grey) { std::swap(black.to, grey.from); });
  expect_safe_for_boxes([](box& black, box& grey) { swap(black.to, grey.from); });
  expect_safe_for_boxes([](box& black, box& grey) { black.to = std::exchange(grey.from, nullptr); });
  expect_safe_for_boxes([](box& black, box& grey) { black.to = grey.from.exchange(nullptr); });
  expect_safe_for_boxes([](box& black, box& grey) {
    static_cast<void>(black.to.exchange(grey.from));
    grey.from = nullptr;
  });
}

TEST(gc_traps, whole_objects_are_copied_and_swapped) {
  const auto from = [](box& b) { return b.from.get(); };
  const auto copy = [](box& black, box& grey) {
    black = grey;
    grey = {};
  };
  const auto swap_both = [](box& black, box& grey) {
    black.from = nullptr;
    std::swap(black, grey);
  };
  const auto exchange = [](box& black, box& grey) { black = std::exchange(grey, box{}); };
  expect_safe(make_box, copy, from);
  expect_safe(make_box, swap_both, from);
  expect_safe(make_box, exchange, from);
}

TEST(gc_traps, ranges_of_members_are_copied_moved_and_swapped) {
  const auto third = [](array& a) { return a[2].get(); };
  const auto clear = [](array& a) { std::fill(a.begin(), a.end(), nullptr); };
  const auto copy = [&](array& black, array& grey) {
    std::copy(grey.begin(), grey.end(), black.begin());
    clear(grey);
  };
  const auto move = [&](array& black, array& grey) {
    std::move(grey.begin(), grey.end(), black.begin());
    clear(grey);
  };
  const auto swap_all = [&](array& black, array& grey) {
    clear(black);
    std::swap_ranges(black.begin(), black.end(), grey.begin());
  };
  const auto rotate = [&](array& black, array& grey) {
    black[1] = grey[0];
    std::rotate(black.begin(), black.begin() + 3, black.end());
    clear(grey);
  };
  expect_safe(make_filled, copy, third);
  expect_safe(make_filled, move, third);
  expect_safe(make_filled, swap_all, third);
  expect_safe(make_filled, rotate, third);
}

TEST(gc_traps, atomic_members_store_exchange_and_compare) {
  const auto to = [](atomic_box& b) { return b.to.load(); };
  const auto store = [](atomic_box& black, atomic_box& grey) {
    black.to.store(grey.from.load());
    grey.from.store(nullptr);
  };
  const auto exchange = [](atomic_box& black, atomic_box& grey) {
    static_cast<void>(black.to.exchange(grey.from.exchange(nullptr)));
  };
  const auto compare = [](atomic_box& black, atomic_box& grey) {
    node* expected = nullptr;
    EXPECT_TRUE(black.to.compare_exchange(expected, grey.from.load()));
    grey.from.store(nullptr);
  };
  // What a failed exchange hands out is on the stack, and goes into another place from there.
  const auto fail = [](atomic_box& black, atomic_box& grey) {
    node* seen = nullptr;
    EXPECT_FALSE(grey.from.compare_exchange(seen, nullptr));
    grey.from.store(nullptr);
    black.to.store(seen);
  };
  expect_safe(make_atomic_box, store, to);
  expect_safe(make_atomic_box, exchange, to);
  expect_safe(make_atomic_box, compare, to);
  expect_safe(make_atomic_box, fail, to);
}

// What would copy members as bytes does not compile, unless it is told to by a cast: std::atomic, std::bit_cast, relocation.
static_assert(!std::is_trivially_copyable_v<gc::member<node>>);
static_assert(!std::is_trivially_copyable_v<box>);
static_assert(!std::is_copy_constructible_v<gc::atomic_member<node>>);
static_assert(!std::is_copy_assignable_v<atomic_box>);

TEST(gc_traps, bytes_that_are_copied_over_a_member_are_found_by_the_verifier) {
  const verified v;
  on_stage([&](stepper& s) {
    half_marked<box> heap{s, make_box};
    as_mutator([&] {
      std::memcpy(static_cast<void*>(&heap.black->to), static_cast<const void*>(&heap.grey->from),
                  sizeof heap.black->to);
      heap.grey->from = nullptr;
    });
    s.run_to(step::barrier_off);
    heap.black->to = nullptr;
    return true;
  });
  EXPECT_EQ(v.lost(), 1u);
}

// ---- exceptions out of constructors ----

std::atomic<int> parts_ended{0};
std::atomic<int> wholes_ended{0};
struct part {
  ~part() { ++parts_ended; }
};

// Goes on with the cycle when it has its first member.
struct half_built {
  gc::member<node> first;
  gc::member<node> second;
  part own;

  half_built(stepper& s, step until, node* from, bool throws) {
    first = make_good();
    s.run_to(until);
    if (from != nullptr) {
      second = from->next;
      from->next = nullptr;
    }
    if (throws) throw std::runtime_error{"no"};
  }
  ~half_built() { ++wholes_ended; }
  void trace(gc::visitor& v) const { v(first, second); }
};

TEST(gc_traps, an_object_whose_constructor_throws_in_a_cycle_is_swept_as_bytes) {
  const verified v;
  const auto begins = {step::begin, step::mark, step::sweep};
  const auto ends = {step::mark, step::end_marking, step::barrier_off, step::sweep, step::begin};
  for (const step from : begins)
    for (const step to : ends) {
      parts_ended = wholes_ended = 0;
      on_stage([&](stepper& s) {
        s.run_to(from);
        std::uintptr_t first = 0;
        as_mutator([&] {
          EXPECT_THROW(gc::make<half_built>(s, to, nullptr, true), std::runtime_error);
          first = word_of(gc::make<half_built>(s, to, nullptr, false)->first.get());
        });
        EXPECT_EQ(parts_ended, 1) << "by the exception";
        s.finish();
        gc::collect();
        EXPECT_FALSE(internal::object_at(first));
        return true;
      });
      gc::wait_for_destructors();
      EXPECT_EQ(wholes_ended, 1) << "of the one that was built";
      EXPECT_EQ(parts_ended, 2);
    }
  EXPECT_EQ(v.lost(), 0u);
  EXPECT_EQ(gc_test::live_objects(), 0u);
}

TEST(gc_traps, a_store_into_a_half_built_object_that_the_marker_has_been_at_is_seen) {
  const verified v;
  EXPECT_TRUE(on_stage([](stepper& s) {
    gc::handle<node> holder;
    gc::handle<half_built> built;
    as_mutator([&] {
      holder = gc_schedules::make_with_child();
      built = gc::make<half_built>(s, step::mark, holder.get(), false);
    });
    s.finish();
    return built->first->value == good && built->second->value == good;
  }));
  EXPECT_EQ(v.lost(), 0u);
}

std::atomic<int> elements_made{0};
std::atomic<int> elements_ended{0};
struct element {
  gc::member<node> kept;
  element() {
    if (elements_made == 4) throw std::runtime_error{"no"};
    ++elements_made;
    kept = make_good();
  }
  ~element() { ++elements_ended; }
  void trace(gc::visitor& v) const { v(kept); }
};

TEST(gc_traps, an_array_whose_fifth_element_throws_ends_four) {
  for (const step from : {step::begin, step::mark, step::end_marking, step::sweep}) {
    elements_made = elements_ended = 0;
    on_stage([&](stepper& s) {
      s.run_to(from);
      as_mutator([] { EXPECT_THROW(gc::make_array<element>(10), std::runtime_error); });
      EXPECT_EQ(elements_ended, 4);
      s.finish();
      gc::collect();
      return true;
    });
    gc::wait_for_destructors();
    EXPECT_EQ(elements_ended, 4);
  }
  EXPECT_EQ(gc_test::live_objects(), 0u);
}

}  // namespace
}  // namespace gc_traps_test

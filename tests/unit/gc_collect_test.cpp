// Reachability, arrays, destructors, handles, weak references: on plain threads.
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "tests/support/seed.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::collect_all;
using gc_test::live_objects;
using gc_test::on_thread;
using gc_test::verified;

struct two_way {
  gc::member<two_way> next;
  gc::member<two_way> other;
  long value = 0;
  void trace(gc::visitor& v) const { v(next, other); }
};

long sum_of(const two_way* n) {
  long s = 0;
  for (; n != nullptr; n = n->next) s += n->value;
  return s;
}

TEST(gc_collect, a_dropped_cycle_is_freed) {
  verified v;
  on_thread([] {
    for (int i = 0; i < 1000; ++i) {
      two_way* a = gc::make<two_way>();
      two_way* b = gc::make<two_way>();
      a->next = b;
      b->next = a;
      a->other = a;
    }
  });
  EXPECT_EQ(live_objects(), 0u);
  EXPECT_EQ(v.lost(), 0u);
}

TEST(gc_collect, a_long_list_lives_and_dies_without_recursion) {
  verified v;
  const long n = tern_test::scale(1'200'000L);
  gc::handle<two_way> keep;
  on_thread([&] {
    for (long i = 0; i < n; ++i) {
      two_way* x = gc::make<two_way>();
      x->value = i;
      x->next = keep;
      keep = x;
    }
    gc::collect();
    EXPECT_EQ(sum_of(keep), n * (n - 1) / 2);
  });
  EXPECT_EQ(live_objects(), static_cast<std::uint64_t>(n));
  keep.reset();
  EXPECT_EQ(live_objects(), 0u);
  EXPECT_EQ(v.lost(), 0u);
}

two_way* tree(int depth) {
  two_way* n = gc::make<two_way>();
  n->value = 1;
  if (depth > 0) {
    n->next = tree(depth - 1);
    n->other = tree(depth - 1);
  }
  return n;
}
long count(const two_way* n) { return n == nullptr ? 0 : n->value + count(n->next) + count(n->other); }

TEST(gc_collect, trees_survive_cycles_that_run_while_they_grow) {
  verified v;
  gc::set_minimum_heap(1 << 16);
  on_thread([&] {
    gc::handle<two_way> keep{tree(14)};
    // Until several cycles have run beside it: a collector that gets no CPU runs few.
    for (int i = 0; i < 40 || v.cycles() < 3; ++i) EXPECT_EQ(count(tree(10)), 2047);
    EXPECT_EQ(count(keep), 32767);
  });
  gc::set_minimum_heap(4 << 20);
  EXPECT_EQ(live_objects(), 0u);
  EXPECT_EQ(v.lost(), 0u);
}

TEST(gc_collect, a_stack_is_a_root_by_any_word_that_leads_into_the_object) {
  struct big {
    long first = 1;
    long middle[50] = {};
    long last = 2;
  };
  on_thread([] {
    long* volatile inside;
    {
      big* b = gc::make<big>();
      b->middle[25] = 77;
      inside = &b->middle[25];
    }
    for (int i = 0; i < 3; ++i) gc::collect();
    for (int i = 0; i < 1000; ++i) gc::make<big>()->middle[25] = 1;
    EXPECT_EQ(*inside, 77);
  });
}

TEST(gc_collect, a_pointer_past_the_end_keeps_what_ends_there) {
  verified v;
  on_thread([] {
    long* volatile end;
    {
      auto* a = gc::make_array<long>(64);
      for (long& x : *a) x = 5;
      end = a->data() + a->size();
    }
    gc::collect();
    for (int i = 0; i < 1000; ++i) gc::make_array<long>(64);
    EXPECT_EQ(end[-1], 5);
    struct exact {
      long v[4];
    };
    long* volatile tail;
    {
      exact* e = gc::make<exact>();
      e->v[3] = 9;
      tail = e->v + 4;
    }
    gc::collect();
    for (int i = 0; i < 1000; ++i) gc::make<exact>();
    EXPECT_EQ(tail[-1], 9);
  });
}

TEST(gc_collect, registers_are_roots) {
  on_thread([] {
    two_way* n = gc::make<two_way>();
    n->value = 1;
    // The loop keeps its pointer in a register where the compiler can; the safepoints in make must find it there.
    for (int i = 0; i < 300'000; ++i) {
      two_way* m = gc::make<two_way>();
      m->value = n->value + 1;
      n = m;
    }
    gc::collect();
    EXPECT_EQ(n->value, 300'001);
  });
}

TEST(gc_collect, arrays_of_members_hold_their_objects) {
  verified v;
  on_thread([] {
    for (const std::size_t n : {0u, 1u, 3u, 100u, 3000u, 200'000u}) {
      gc::handle<gc::array<gc::member<two_way>>> a{gc::make_array<gc::member<two_way>>(n)};
      ASSERT_EQ(a->size(), n);
      for (std::size_t i = 0; i < n; ++i) {
        EXPECT_EQ((*a)[i].get(), nullptr);
        (*a)[i] = gc::make<two_way>();
        (*a)[i]->value = static_cast<long>(i);
      }
      gc::collect();
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ((*a)[i]->value, static_cast<long>(i));
    }
  });
  EXPECT_EQ(live_objects(), 0u);
  EXPECT_EQ(v.lost(), 0u);
}

TEST(gc_collect, memory_comes_zeroed_again_and_again) {
  on_thread([] {
    struct bytes {
      unsigned char b[200];
    };
    for (int i = 0; i < 200'000; ++i) {
      auto* p = static_cast<bytes*>(tern::detail::gc::allocate_object<bytes>());
      for (const unsigned char c : p->b) ASSERT_EQ(c, 0);
      std::memset(p->b, 0xff, sizeof p->b);
    }
    for (int i = 0; i < 200; ++i) {
      auto* a = gc::make_array<std::uint64_t>(10'000);
      for (std::uint64_t& w : *a) {
        ASSERT_EQ(w, 0u);
        w = ~std::uint64_t{0};
      }
    }
  });
}

std::atomic<int> made{0};
std::atomic<int> destroyed{0};
struct counted {
  gc::member<counted> next;
  int value = 7;
  counted() { made.fetch_add(1); }
  ~counted() {
    EXPECT_EQ(value, 7);
    value = 0;
    destroyed.fetch_add(1);
  }
  void trace(gc::visitor& v) const { v(next); }
};

TEST(gc_collect, destructors_run_exactly_once) {
  verified v;
  made = destroyed = 0;
  const int n = tern_test::scale(100'000);
  on_thread([&] {
    counted* previous = nullptr;
    for (int i = 0; i < n; ++i) {
      counted* c = gc::make<counted>();
      c->next = i % 10 == 0 ? nullptr : previous;
      previous = c;
    }
  });
  collect_all();
  EXPECT_EQ(made, n);
  EXPECT_EQ(destroyed, n);
  collect_all();
  EXPECT_EQ(destroyed, n);
  EXPECT_EQ(v.lost(), 0u);
}

TEST(gc_collect, a_constructor_that_throws_leaves_nothing_to_destroy) {
  struct thrower {
    counted* c = nullptr;
    explicit thrower(bool yes) {
      if (yes) throw std::runtime_error{"no"};
    }
    ~thrower() { destroyed.fetch_add(1); }
  };
  destroyed = 0;
  on_thread([] {
    int caught = 0;
    for (int i = 0; i < 1000; ++i) {
      try {
        gc::make<thrower>(i % 2 == 0);
      } catch (const std::runtime_error&) {
        ++caught;
      }
    }
    EXPECT_EQ(caught, 500);
  });
  collect_all();
  EXPECT_EQ(destroyed, 500);
}

TEST(gc_collect, an_object_under_construction_keeps_what_it_has_by_then) {
  verified v;
  struct slow {
    gc::member<two_way> first;
    gc::member<two_way> second;
    slow() {
      first = gc::make<two_way>();
      first->value = 1;
      gc::collect();
      second = gc::make<two_way>();
      second->value = 2;
      gc::collect();
    }
    void trace(gc::visitor& t) const { t(first, second); }
  };
  on_thread([] {
    const slow* const s = gc::make<slow>();
    for (int i = 0; i < 1000; ++i) gc::make<two_way>()->value = -1;
    EXPECT_EQ(s->first->value, 1);
    EXPECT_EQ(s->second->value, 2);
  });
  EXPECT_EQ(live_objects(), 0u);
  EXPECT_EQ(v.lost(), 0u);
}

TEST(gc_collect, arrays_destroy_their_elements) {
  destroyed = 0;
  struct element {
    int x = 3;
    ~element() { destroyed.fetch_add(x); }
  };
  on_thread([] {
    for (int i = 0; i < 100; ++i) gc::make_array<element>(10);
    gc::make_array<element>(20'000);
  });
  collect_all();
  EXPECT_EQ(destroyed, 3 * (100 * 10 + 20'000));
}

TEST(gc_collect, handles_hold_move_and_let_go) {
  on_thread([] {
    const std::uint64_t before = gc::read_statistics().handles;
    std::vector<gc::handle<two_way>> many;
    for (int i = 0; i < 1000; ++i) {
      many.emplace_back(gc::make<two_way>());
      many.back()->value = i;
    }
    gc::collect();
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(many[static_cast<std::size_t>(i)]->value, i);
    gc::handle<two_way> a{many[5]};
    gc::handle<two_way> b{std::move(a)};
    EXPECT_EQ(a.get(), nullptr);
    EXPECT_EQ(b->value, 5);
    a = std::move(b);
    EXPECT_EQ(a->value, 5);
    b = many[6];
    EXPECT_EQ(b->value, 6);
    many.clear();
    a.reset();
    b = nullptr;
    EXPECT_EQ(gc::read_statistics().handles, before + 2);
  });
  EXPECT_EQ(live_objects(), 0u);
}

TEST(gc_collect, a_handle_in_an_object_holds_until_that_object_is_destroyed) {
  struct holder {
    gc::handle<two_way> held;
    gc::handle<holder> own;
  };
  gc::weak<holder> ring;
  on_thread([&] {
    gc::make<holder>()->held = gc::make<two_way>();
    holder* const h = gc::make<holder>();
    h->own = h;
    ring = h;
  });
  collect_all();                  // the first one is destroyed, and its handle with it
  EXPECT_EQ(live_objects(), 1u);  // a handle is a root wherever it is: what holds itself stays
  on_thread([&] {
    gc::attach_thread here;
    ring.lock()->own.reset();
  });
  collect_all();
  EXPECT_EQ(live_objects(), 0u);
}

TEST(gc_collect, weak_references_are_cleared_when_their_object_is_gone) {
  gc::weak<two_way> w;
  gc::handle<two_way> h;
  on_thread([&] {
    h = gc::make<two_way>();
    h->value = 11;
    w = h.get();
    for (int i = 0; i < 100; ++i) gc::make<two_way>();
    two_way* n = w.lock();
    ASSERT_NE(n, nullptr);
    EXPECT_EQ(n->value, 11);
  });
  gc::collect();
  on_thread([&] {
    gc::attach_thread here;
    EXPECT_NE(w.lock(), nullptr);
    gc::weak<two_way> copy{w};
    EXPECT_NE(copy.lock(), nullptr);
  });
  h.reset();
  gc::collect();
  on_thread([&] {
    gc::attach_thread here;
    EXPECT_EQ(w.lock(), nullptr);
  });
}

TEST(gc_collect, members_copy_swap_and_exchange) {
  on_thread([] {
    two_way* a = gc::make<two_way>();
    two_way* b = gc::make<two_way>();
    gc::member<two_way> x{a};
    gc::member<two_way> y{b};
    swap(x, y);
    EXPECT_EQ(x.get(), b);
    EXPECT_EQ(x.exchange(a), b);
    gc::member<const two_way> c{x};
    EXPECT_EQ(c.get(), a);
    x = nullptr;
    EXPECT_FALSE(x);
    gc::atomic_member<two_way> m{a};
    two_way* expected = b;
    EXPECT_FALSE(m.compare_exchange(expected, b));
    EXPECT_EQ(expected, a);
    EXPECT_TRUE(m.compare_exchange(expected, b));
    EXPECT_EQ(m.exchange(nullptr), b);
  });
}

TEST(gc_collect, over_aligned_types_are_aligned) {
  struct alignas(64) line {
    char bytes[64];
  };
  struct alignas(32) half {
    char bytes[96];
  };
  on_thread([] {
    for (int i = 0; i < 1000; ++i) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(gc::make<line>()) % 64, 0u);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(gc::make<half>()) % 32, 0u);
    }
  });
}

TEST(gc_collect, growth_percentage_moves_the_goal) {
  gc::handle<gc::array<long>> keep;
  on_thread([&] { keep = gc::make_array<long>(2'000'000); });
  gc::collect();
  gc::set_growth_percent(50);
  const std::uint64_t small = gc::read_statistics().goal_bytes;
  gc::set_growth_percent(300);
  const std::uint64_t large = gc::read_statistics().goal_bytes;
  gc::set_growth_percent(100);
  EXPECT_GT(small, 16'000'000u * 3 / 2 - 1);
  EXPECT_GT(large, small * 2);
}

TEST(gc_collect, more_than_there_is_throws_and_the_heap_goes_on) {
  on_thread([] {
    // More than the reservation in one piece: refused after a collection.
    EXPECT_THROW(gc::make_array<char>(std::size_t{1} << 40), std::bad_alloc);
    EXPECT_THROW(gc::make_array<char>(~std::size_t{0}), std::bad_alloc);
    EXPECT_NE(gc::make<two_way>(), nullptr);
  });
}

TEST(gc_collect, statistics_have_a_text_form) {
  const std::string text = gc::to_string(gc::read_statistics());
  EXPECT_NE(text.find("cycles="), std::string::npos);
  EXPECT_EQ(text.back(), '\n');
}

}  // namespace

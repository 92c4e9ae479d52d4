// What must not depend on how deep, long or many: lists, arrays, destructor chains, parked fibers; and the hard memory limit.
#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/seed.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::collect_all;
using gc_test::live_objects;
using gc_test::node;
using gc_test::on_thread;
using gc_test::verified;

TEST(gc_depth, a_list_of_ten_million_is_marked_and_swept) {
  const long n = tern_test::scale(tern_test::scale(10'000'000L));  // twice: far fewer under sanitizers
  gc::handle<node> keep;
  on_thread([&] {
    node* first = nullptr;
    for (long i = 0; i < n; ++i) {
      node* x = gc::make<node>();
      x->value = i;
      x->next = first;
      first = x;
    }
    keep = first;
    gc::collect();
    long sum = 0;
    for (const node* x = keep; x != nullptr; x = x->next) sum += x->value;
    EXPECT_EQ(sum, n * (n - 1) / 2);
  });
  EXPECT_EQ(live_objects(), static_cast<std::uint64_t>(n));
  keep.reset();
  EXPECT_EQ(live_objects(), 0u);
}

TEST(gc_depth, a_ring_of_a_million_is_kept_whole_and_freed_whole) {
  const long n = tern_test::scale(1'000'000L);
  gc::handle<node> keep;
  on_thread([&] {
    node* const first = gc::make<node>();
    node* last = first;
    for (long i = 1; i < n; ++i) {
      node* x = gc::make<node>();
      x->value = i;
      last->next = x;
      last = x;
    }
    last->next = first;
    keep = first;
    gc::collect();
    const node* x = first;
    for (long i = 0; i < n; ++i, x = x->next) ASSERT_EQ(x->value, i);
    EXPECT_EQ(x, first);
  });
  EXPECT_EQ(live_objects(), static_cast<std::uint64_t>(n));
  keep.reset();
  EXPECT_EQ(live_objects(), 0u);
}

std::atomic<std::uint64_t> mark_quanta{0};
void count_quanta(tern::detail::gc::test_point p) noexcept {
  if (p == tern::detail::gc::test_point::mid_mark) mark_quanta.fetch_add(1);
}

TEST(gc_depth, an_array_of_a_gibibyte_is_marked_in_pieces) {
  using slots = gc::array<gc::member<node>>;
  const std::size_t n = tern_test::scale(tern_test::scale(std::size_t{1} << 27));  // 8 bytes each
  const std::size_t step = n / 64;
  gc::handle<slots> keep;
  on_thread([&] {
    keep = gc::make_array<gc::member<node>>(n);
    for (std::size_t i = 0; i < n; i += step) {
      (*keep)[i] = gc::make<node>();
      (*keep)[i]->value = static_cast<long>(i);
    }
  });
  mark_quanta = 0;
  tern::detail::gc::testing.at = &count_quanta;
  const std::uint64_t live = live_objects();
  tern::detail::gc::testing.at = nullptr;
  EXPECT_EQ(live, 1 + (n + step - 1) / step);
  // Between two of these a mutator gets the mark lock: each quantum looks at 64 KiB, and a piece more at most.
  EXPECT_GE(mark_quanta, n * 8 / ((64 << 10) + (16 << 10)));
  on_thread([&] {
    for (std::size_t i = 0; i < n; i += step) ASSERT_EQ((*keep)[i]->value, static_cast<long>(i));
  });
  keep.reset();
  EXPECT_EQ(live_objects(), 0u);
}

std::atomic<long> chain_destroyed{0};
struct chained {
  gc::member<chained> next;
  ~chained() { chain_destroyed.fetch_add(1, std::memory_order_relaxed); }
  void trace(gc::visitor& v) const { v(next); }
};

TEST(gc_depth, a_chain_of_a_million_destructors_does_not_recurse) {
  const long n = tern_test::scale(1'000'000L);
  chain_destroyed = 0;
  on_thread([&] {
    chained* first = nullptr;
    for (long i = 0; i < n; ++i) {
      chained* x = gc::make<chained>();
      x->next = first;
      first = x;
    }
    gc::collect();
    gc::wait_for_destructors();
    EXPECT_EQ(chain_destroyed, 0);
    gc::keep_alive(first);
  });
  collect_all();
  EXPECT_EQ(chain_destroyed, n);
  EXPECT_EQ(live_objects(), 0u);
}

TEST(gc_depth, a_hundred_thousand_parked_fibers_hold_the_only_references) {
  verified v;
  const std::size_t n = tern_test::scale(std::size_t{100'000});
  std::atomic<std::size_t> right{0};
  tern::runtime rt{{.processors = 2}};
  rt.run([&] {
    tern::wait_group arrived{static_cast<std::uint32_t>(n)};
    tern::channel<int> gate{0};
    std::vector<tern::thread> fibers;
    fibers.reserve(n);
    for (std::size_t i = 0; i < n; ++i)
      fibers.emplace_back([&, i] {
        node* own = gc::make<node>();
        own->value = static_cast<long>(i);
        own->next = gc::make<node>();
        own->next->value = static_cast<long>(2 * i);
        arrived.done();
        static_cast<void>(gate.receive());
        if (own->value == static_cast<long>(i) && own->next->value == static_cast<long>(2 * i)) ++right;
      });
    arrived.wait();
    for (int k = 0; k < 3; ++k) {
      gc::collect();
      EXPECT_GE(gc::read_statistics().live_objects, 2 * n);
      for (int i = 0; i < 10'000; ++i) gc::make<node>()->value = -1;  // over what would have been freed
    }
    gate.close();
    for (tern::thread& t : fibers) t.join();
  });
  EXPECT_EQ(right, n);
  EXPECT_EQ(v.lost(), 0u);
}

struct hard_limit {
  explicit hard_limit(std::size_t bytes) { gc::set_hard_memory_limit(bytes); }
  ~hard_limit() { gc::set_hard_memory_limit(SIZE_MAX); }
};

TEST(gc_limit, a_fifth_more_than_what_lives_is_enough_to_go_on) {
  verified v;
  gc::collect();
  constexpr std::size_t slots = 32'768;
  constexpr std::size_t live = slots * (sizeof(node) + 8);
  const std::size_t limit = live + live / 5;
  // What two mutators may overrun it by: a span's run of cells each, and what they have in other bins.
  constexpr std::size_t slack = 4 * (16 << 10);
  on_thread([&] {
    gc::handle<gc::array<gc::member<node>>> table{gc::make_array<gc::member<node>>(slots)};
    for (std::size_t i = 0; i < slots; ++i) (*table)[i] = gc::make<node>();
    gc::collect();
    const hard_limit here{limit};
    std::atomic<std::size_t> most{0};
    const auto replace = [&](std::size_t from) {
      for (std::size_t i = 0, all = tern_test::scale(std::size_t{400'000}); i < all; ++i) {
        (*table)[from + i * 7 % (slots / 2)] = gc::make<node>();
        if (i % 1024 == 0) {
          const std::size_t now = gc::read_statistics().heap_bytes;
          if (now > most) most = now;
        }
      }
    };
    std::thread other{[&] { replace(0); }};
    replace(slots / 2);
    gc::without_managed_access([&] { other.join(); });
    EXPECT_LE(most, limit + slack);
    EXPECT_GT(most, live);
  });
  EXPECT_EQ(v.lost(), 0u);
}

TEST(gc_limit, at_what_lives_allocation_fails_and_the_program_goes_on) {
  gc::collect();
  on_thread([] {
    std::size_t n = 0;
    {
      const hard_limit here{1 << 20};
      gc::vector<gc::member<node>> all;
      const auto fill = [&] {
        for (;;) all.push_back(gc::make<node>());
      };
      EXPECT_THROW(fill(), std::bad_alloc);
      n = all.size();
      EXPECT_GT(n, std::size_t{(1 << 20) / 128});
      EXPECT_THROW(static_cast<void>(gc::make_array<long>(1 << 20)),
                   std::bad_alloc);  // above all that there could be
      for (std::size_t i = 0; i < n; ++i) ASSERT_NE(all[i].get(), nullptr);
      // Half of it goes, and as much comes again.
      all.resize(n / 2);
      for (std::size_t i = 0; i < n / 4; ++i) all[i] = gc::make<node>();
    }
    for (std::size_t i = 0; i < 4 * n; ++i) gc::make<node>();  // no limit any more
  });
  EXPECT_EQ(live_objects(), 0u);
}

}  // namespace

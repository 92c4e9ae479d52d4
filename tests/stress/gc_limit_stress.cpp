// The hard limit under all that several threads and fibers can allocate: at 1.2 times what lives nothing fails and nothing is overrun;
// at what lives allocations fail and the program goes on. TERN_STRESS_SCALE=40 is a minute or more.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include <tern/gc.hpp>
#include <tern/sched.hpp>

#include "tests/support/heap_peak.hpp"
#include "tests/support/seed.hpp"

namespace {

namespace gc = tern::gc;

struct item {
  gc::member<item> other;
  std::uint64_t owner = 0;
  unsigned char rest[48] = {};
  void trace(gc::visitor& v) const { v(other); }
};
using table = gc::array<gc::member<item>>;

struct hard_limit {
  explicit hard_limit(std::size_t bytes) { gc::set_hard_memory_limit(bytes); }
  ~hard_limit() { gc::set_hard_memory_limit(SIZE_MAX); }
};

// Bytes of pages that objects lie in, the most at a time since it was last asked.
std::size_t take_peak() { return tern::detail::gc::pages.take_peak() * tern::detail::page_bytes; }

struct load {
  table* slots;  // of this mutator alone
  std::uint64_t id;
  std::size_t steps;
};

struct outcome {
  std::atomic<std::uint64_t> failures{0};
  std::atomic<std::uint64_t> wrong{0};
  gc_test::heap_peak counted;
};

// Replaces objects as fast as it can, and makes some that nobody keeps, also large ones.
[[gnu::noinline]] void replace(const load& l, outcome& out) {
  std::mt19937_64 random{tern_test::seed() + l.id};
  const std::size_t n = l.slots->size();
  for (std::size_t i = 0; i < l.steps; ++i) {
    try {
      const std::size_t at = random() % n;
      item* x = gc::make<item>();
      x->owner = l.id;
      x->other = (*l.slots)[at]->other;
      item* old = (*l.slots)[at];
      if (old->owner != l.id) ++out.wrong;
      (*l.slots)[at] = x;
      if (i % 16 == 0) gc::keep_alive(gc::make_array<std::uint64_t>(random() % 64));
      if (i % 4096 == 0) gc::keep_alive(gc::make_array<std::uint64_t>(4096));
    } catch (const std::bad_alloc&) {
      ++out.failures;
    }
    if (i % 64 == 0) out.counted.look();
  }
}

[[gnu::noinline]] gc::handle<table> fill(std::size_t slots, std::uint64_t id) {
  gc::handle<table> t{gc::make_array<gc::member<item>>(slots)};
  for (std::size_t i = 0; i < slots; ++i) {
    (*t)[i] = gc::make<item>();
    (*t)[i]->owner = id;
  }
  return t;
}

// Runs f(0), f(1), ... at a time: the first ones in fibers, the others on threads.
template <class F>
void in_mutators(unsigned fibers, unsigned threads, F&& f) {
  std::vector<std::thread> others;
  for (unsigned i = 0; i < threads; ++i) others.emplace_back([&f, number = fibers + i] { f(number); });
  tern::runtime rt{{.processors = 2}};
  rt.run([&] {
    tern::nursery n;
    for (unsigned i = 0; i < fibers; ++i) n.spawn([&f, i] { f(i); });
    n.wait();
  });
  for (std::thread& t : others) t.join();
}

TEST(gc_limit_stress, a_fifth_more_than_what_lives_is_enough_and_is_not_overrun) {
  constexpr unsigned fibers = 3;
  constexpr unsigned threads = 2;
  constexpr std::size_t slots = 65'536;
  const std::size_t steps = tern_test::scale(std::size_t{1'000'000});
  std::vector<gc::handle<table>> tables;
  std::thread{[&] {
    for (unsigned i = 0; i < fibers + threads; ++i) tables.push_back(fill(slots, i));
  }}.join();
  gc::collect();
  const gc::statistics before = gc::read_statistics();
  const std::size_t limit = before.live_bytes + before.live_bytes / 5;
  outcome out;
  take_peak();
  {
    const hard_limit here{limit};
    in_mutators(fibers, threads, [&](unsigned i) { replace({tables[i].get(), i, steps}, out); });
  }
  const std::size_t pages = take_peak();
  const gc::statistics after = gc::read_statistics();
  std::printf("limit %zu bytes, counted %+.3f%%, pages %+.3f%%, %llu cycles, %llu bytes allocated\n", limit,
              100.0 * (static_cast<double>(out.counted.most()) / static_cast<double>(limit) - 1),
              100.0 * (static_cast<double>(pages) / static_cast<double>(limit) - 1),
              static_cast<unsigned long long>(after.cycles - before.cycles),
              static_cast<unsigned long long>(after.allocated_bytes - before.allocated_bytes));
  EXPECT_EQ(out.failures, 0u);
  EXPECT_EQ(out.wrong, 0u);
  EXPECT_LE(out.counted.most(), limit + limit / 50);
  EXPECT_LE(pages, limit + limit / 50);
}

// Keeps all that it makes.
[[gnu::noinline]] void grow_until_it_fails(table* slots) {
  for (;;) {
    item* x = gc::make<item>();
    x->owner = (*slots)[0]->owner;
    x->other = (*slots)[0];
    (*slots)[0] = x;
  }
}

TEST(gc_limit_stress, at_what_lives_allocations_fail_and_the_program_goes_on) {
  constexpr unsigned fibers = 3;
  constexpr unsigned threads = 2;
  constexpr std::size_t slots = 16'384;
  for (unsigned round = 0, all = tern_test::scale(4u); round < all; ++round) {
    std::vector<gc::handle<table>> tables;
    std::thread{[&] {
      for (unsigned i = 0; i < fibers + threads; ++i) tables.push_back(fill(slots, i));
    }}.join();
    gc::collect();
    const gc::statistics full = gc::read_statistics();
    const hard_limit here{full.live_bytes};
    std::atomic<unsigned> failed{0};
    std::atomic<unsigned> wrong{0};
    take_peak();
    const std::size_t pages_before = take_peak();  // a span's last cells are not all in use
    in_mutators(fibers, threads, [&](unsigned i) {
      try {
        grow_until_it_fails(tables[i].get());
      } catch (const std::bad_alloc&) {
        ++failed;
      }
    });
    EXPECT_EQ(failed, fibers + threads);
    EXPECT_LE(take_peak(), std::max(full.live_bytes + full.live_bytes / 50, pages_before));
    EXPECT_LE(gc::read_statistics().heap_bytes, full.live_bytes + full.live_bytes / 50);
    // Half of it goes, and half of that comes again.
    failed = 0;
    in_mutators(fibers, threads, [&](unsigned i) {
      table* own = tables[i].get();
      for (std::size_t at = 0; at < slots / 2; ++at) (*own)[at] = nullptr;
    });
    in_mutators(fibers, threads, [&](unsigned i) {
      table* own = tables[i].get();
      try {
        for (std::size_t at = 0; at < slots / 4; ++at) {
          (*own)[at] = gc::make<item>();
          (*own)[at]->owner = i;
        }
      } catch (const std::bad_alloc&) {
        ++failed;
      }
      for (std::size_t at = 0; at < slots; ++at)
        if (const item* x = (*own)[at]; x != nullptr && x->owner != i) ++wrong;
    });
    EXPECT_EQ(failed, 0u) << "round " << round;
    EXPECT_EQ(wrong, 0u);
  }
}

}  // namespace

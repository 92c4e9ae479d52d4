// Slots: their geometry, guards, reuse, trimming, and what a million of them cost.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

#include <tern/sched/stack_pool.hpp>

#include "tests/support/seed.hpp"

using tern::detail::stack_control_bytes;
using tern::detail::stack_pool;
using tern::detail::to_word;
namespace os = tern::detail::os;

namespace {

std::size_t resident_kib() {
  std::FILE* f = std::fopen("/proc/self/statm", "r");
  unsigned long total = 0, resident = 0;
  const int n = std::fscanf(f, "%lu %lu", &total, &resident);
  std::fclose(f);
  return n == 2 ? resident * os::page_size() / 1024 : 0;
}

std::size_t page_tables_kib() {
  std::FILE* f = std::fopen("/proc/self/status", "r");
  char line[256];
  unsigned long kib = 0;
  while (std::fgets(line, sizeof line, f) != nullptr)
    if (std::sscanf(line, "VmPTE: %lu", &kib) == 1) break;
  std::fclose(f);
  return kib;
}

// The kernel's answer to "may this address be written": EFAULT instead of a signal.
bool is_accessible(const void* p) {
  int ends[2];
  if (::pipe(ends) != 0) return false;
  const bool ok = ::write(ends[1], p, 1) == 1;
  ::close(ends[0]);
  ::close(ends[1]);
  return ok;
}

bool has_guard(const stack_pool& pool, void* control) {
  const auto start = to_word(control) & ~(pool.slot_bytes() - 1);
  return !is_accessible(reinterpret_cast<void*>(start)) &&
         !is_accessible(reinterpret_cast<void*>(start + pool.guard_bytes() - 1)) &&
         is_accessible(stack_pool::stack_limit(control));
}

}  // namespace

TEST(stack_pool, sizes_are_rounded_up_and_refused_above_the_largest) {
  const std::size_t least = std::max<std::size_t>(16 * 1024, 4 * os::page_size());
  EXPECT_EQ(stack_pool::of(1).slot_bytes(), least);
  EXPECT_EQ(stack_pool::of(1 << 20).slot_bytes(), std::size_t{1} << 20);
  EXPECT_EQ(stack_pool::of((1 << 20) + 1).slot_bytes(), std::size_t{2} << 20);
  EXPECT_EQ(&stack_pool::of(stack_pool::max_bytes), &stack_pool::of(stack_pool::max_bytes - 5));
  try {
    stack_pool::of(stack_pool::max_bytes + 1);
    ADD_FAILURE() << "a stack above the largest size was accepted";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code().value(), EINVAL);
  }
}

TEST(stack_pool, geometry_of_every_size) {
  for (std::size_t bytes = stack_pool::min_bytes; bytes <= stack_pool::max_bytes; bytes *= 2) {
    stack_pool& pool = stack_pool::of(bytes);
    std::vector<void*> controls(40);
    ASSERT_EQ(pool.acquire_batch(controls.data(), controls.size()), controls.size());
    std::set<std::size_t> colours;
    for (void* c : controls) {
      const std::size_t slot = pool.slot_bytes();
      const std::uintptr_t start = to_word(c) & ~(slot - 1);
      EXPECT_EQ(to_word(c) % 64, 0u);
      EXPECT_LE(to_word(c) + stack_control_bytes, start + slot);
      EXPECT_LE(start + slot - to_word(c), stack_control_bytes + 31 * 64);
      colours.insert(start + slot - to_word(c));
      // Every address of the slot leads to the control block; the neighbours' do not.
      for (std::size_t at : {std::size_t{0}, slot / 3, slot - 1})
        EXPECT_EQ(stack_pool::control_of(start + at), c);
      EXPECT_NE(stack_pool::control_of(start + slot), c);
      EXPECT_NE(stack_pool::control_of(start - 1), c);
      EXPECT_EQ(stack_pool::stack_top(c), c);
      EXPECT_EQ(to_word(stack_pool::stack_limit(c)), start + pool.guard_bytes());
      EXPECT_GE(pool.guard_bytes(), std::min<std::size_t>(16 * 1024, slot / 4));
      EXPECT_TRUE(stack_pool::locate(start + pool.guard_bytes() - 1).in_guard);
      EXPECT_FALSE(stack_pool::locate(start + pool.guard_bytes()).in_guard);
      // Fresh memory reads as zero, and all of the stack can be written.
      auto* limit = static_cast<unsigned char*>(stack_pool::stack_limit(c));
      EXPECT_TRUE(std::all_of(static_cast<unsigned char*>(c),
                              static_cast<unsigned char*>(c) + stack_control_bytes,
                              [](unsigned char b) { return b == 0; }));
      limit[200] = 1;
      static_cast<unsigned char*>(c)[-1] = 1;
    }
    EXPECT_EQ(colours.size(), 32u);
    pool.release_batch(controls.data(), controls.size());
    EXPECT_TRUE(pool.is_valid());
  }
}

TEST(stack_pool, foreign_addresses_have_no_control_block) {
  int local = 0;
  static int global = 0;
  const auto on_heap = std::make_unique<int>(0);
  stack_pool::of(stack_pool::default_bytes);
  EXPECT_EQ(stack_pool::control_of(&local), nullptr);
  EXPECT_EQ(stack_pool::control_of(&global), nullptr);
  EXPECT_EQ(stack_pool::control_of(on_heap.get()), nullptr);
  EXPECT_EQ(stack_pool::control_of(std::uintptr_t{0}), nullptr);
  EXPECT_EQ(stack_pool::control_of(UINTPTR_MAX), nullptr);
}

TEST(stack_pool, guards_are_real_or_canaries_stand_in) {
  stack_pool& pool = stack_pool::of(stack_pool::default_bytes);
  std::vector<void*> controls(300);
  ASSERT_EQ(pool.acquire_batch(controls.data(), controls.size()), controls.size());
  for (void* c : controls) {
    EXPECT_TRUE(stack_pool::is_intact(c));
    EXPECT_TRUE(has_guard(pool, c));  // far below the number for which mprotect serves
  }
  pool.release_batch(controls.data(), controls.size());
}

TEST(stack_pool, reuse_is_last_in_first_out_and_keeps_the_control_block) {
  stack_pool& pool = stack_pool::of(256 * 1024);
  void* a = pool.acquire();
  void* b = pool.acquire();
  std::memset(a, 0x5a, stack_control_bytes);
  pool.release(b);
  pool.release(a);
  EXPECT_EQ(pool.acquire(), a);
  EXPECT_EQ(static_cast<unsigned char*>(a)[0], 0x5a);
  EXPECT_EQ(pool.acquire(), b);
  pool.release(a);
  pool.release(b);
}

TEST(stack_pool, trim_spares_what_was_in_use_and_zeroes_the_rest) {
  stack_pool& pool = stack_pool::of(512 * 1024);
  std::vector<void*> controls(200);
  ASSERT_EQ(pool.acquire_batch(controls.data(), controls.size()), controls.size());
  for (void* c : controls) std::memset(stack_pool::stack_limit(c), 1, 100'000);
  for (void* c : controls) std::memset(c, 2, stack_control_bytes);
  const std::size_t full = resident_kib();
  pool.release_batch(controls.data(), controls.size());
  pool.trim();  // starts a period in which all were needed a moment ago
  const std::size_t before = pool.statistics().trimmed;
  const std::size_t trimmed = pool.trim();
  EXPECT_GE(trimmed, 90u);
  EXPECT_EQ(pool.statistics().trimmed, before + trimmed);
  EXPECT_EQ(pool.statistics().in_use, 0u);
  pool.trim_all();
  EXPECT_EQ(pool.statistics().warm, 0u);
  EXPECT_TRUE(pool.is_valid());
  EXPECT_LT(resident_kib() + 200 * 90, full);
  // Zero again, guards still there, and usable.
  ASSERT_EQ(pool.acquire_batch(controls.data(), controls.size()), controls.size());
  for (void* c : controls) {
    EXPECT_EQ(static_cast<unsigned char*>(c)[0], 0);
    EXPECT_TRUE(has_guard(pool, c));
    EXPECT_TRUE(stack_pool::is_intact(c));
  }
  pool.release_batch(controls.data(), controls.size());
}

TEST(stack_pool, every_used_slot_is_walked_once) {
  stack_pool& pool = stack_pool::of(32 * 1024);
  std::vector<void*> controls(100);
  ASSERT_EQ(pool.acquire_batch(controls.data(), controls.size()), controls.size());
  std::multiset<void*> seen;
  stack_pool::for_each_slot([&](void* c) { seen.insert(c); });
  for (void* c : controls) EXPECT_EQ(seen.count(c), 1u);
  pool.release_batch(controls.data(), controls.size());
}

TEST(stack_pool, exhaustion_is_an_error_and_ends_with_a_release) {
  stack_pool& pool = stack_pool::of(stack_pool::max_bytes);
  const std::size_t room = pool.statistics().capacity;
  if (room > 20'000) GTEST_SKIP() << "skipped: " << room << " slots take too long to use up";
  std::vector<void*> controls(room);
  ASSERT_EQ(pool.acquire_batch(controls.data(), room), room);
  void* one = nullptr;
  EXPECT_EQ(pool.acquire_batch(&one, 1), 0u);
  EXPECT_THROW(pool.acquire(), std::system_error);
  pool.release(controls.back());
  EXPECT_EQ(pool.acquire(), controls.back());
  pool.release_batch(controls.data(), room);
}

TEST(stack_pool, threads_never_get_the_same_slot) {
  stack_pool& pool = stack_pool::of(16 * 1024);
  std::atomic<bool> failed{false};
  std::vector<std::thread> threads;
  for (unsigned t = 1; t <= 4; ++t)
    threads.emplace_back([&, t] {
      tern::detail::fast_random random{tern_test::seed() + t};
      std::vector<void*> held;
      for (int i = 0; i < tern_test::scale(4000); ++i) {
        const std::size_t n = random.below(8);
        if (random.below(2) == 0 || held.empty()) {
          void* out[8];
          const std::size_t got = pool.acquire_batch(out, n);
          for (std::size_t k = 0; k < got; ++k) {
            *static_cast<unsigned*>(out[k]) = t;
            held.push_back(out[k]);
          }
        } else {
          const std::size_t back = std::min(n, held.size());
          for (std::size_t k = 0; k < back; ++k)
            if (*static_cast<unsigned*>(held[held.size() - 1 - k]) != t) failed = true;
          pool.release_batch(held.data() + held.size() - back, back);
          held.resize(held.size() - back);
        }
        if (i % 512 == 0) pool.trim();
      }
      pool.release_batch(held.data(), held.size());
    });
  for (std::thread& t : threads) t.join();
  EXPECT_FALSE(failed);
  EXPECT_EQ(pool.statistics().in_use, 0u);
  EXPECT_TRUE(pool.is_valid());
}

// A parked fiber is one touched page. The whole of a million is measured by the parked_memory case; here the share per slot.
TEST(stack_pool, an_idle_fiber_costs_one_page_and_little_page_table) {
  if (tern::detail::asan_build || tern::detail::tsan_build)
    GTEST_SKIP() << "skipped: shadow memory counts too";
  if (!os::guards_work()) GTEST_SKIP() << "skipped: guards here are mappings";
  stack_pool& pool = stack_pool::of(stack_pool::default_bytes);
  const std::size_t n = 20'000;
  std::vector<void*> controls(n);
  const std::size_t tables = page_tables_kib();
  const std::size_t before = resident_kib();
  ASSERT_EQ(pool.acquire_batch(controls.data(), n), n);
  for (void* c : controls) std::memset(static_cast<char*>(c) - 1500, 1, 1600);
  const double bytes = static_cast<double>(resident_kib() - before) * 1024 / n;
  const double table_bytes = static_cast<double>(page_tables_kib() - tables) * 1024 / n;
  std::printf("per fiber: %.0f bytes resident, %.0f bytes of page tables\n", bytes, table_bytes);
  EXPECT_LT(bytes + table_bytes, 1.1 * static_cast<double>(os::page_size()));
  pool.release_batch(controls.data(), n);
  pool.trim_all();
}

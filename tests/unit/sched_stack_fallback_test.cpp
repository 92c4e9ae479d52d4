// Where the kernel refuses guards: mprotect for the first 30,000 slots, canaries for the others. A locked mapping brings the
// refusal about on kernels that have guards. One test, since the budget is the process's.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include <tern/sched/stack_guard.hpp>
#include <tern/sched/stack_pool.hpp>

using tern::detail::stack_pool;
using tern::detail::to_word;

TEST(stack_fallback, mprotect_then_canaries) {
  stack_pool& pool = stack_pool::of(stack_pool::default_bytes);
  const std::size_t slot = pool.slot_bytes();
  const std::size_t n = 30'200;
  if (pool.statistics().capacity < n + 64) GTEST_SKIP() << "skipped: the region is too small here";
  void* locked = nullptr;
  if (tern::detail::os::guards_work()) {
    void* first = pool.acquire();
    const std::uintptr_t start = to_word(first) & ~(slot - 1);
    pool.release(first);
    locked = reinterpret_cast<void*>(start);
    if (::mlock2(locked, (n + 64) * slot, MLOCK_ONFAULT) != 0)
      GTEST_SKIP() << "skipped: memory cannot be locked here";
  }
  std::vector<void*> controls(n);
  ASSERT_EQ(pool.acquire_batch(controls.data(), n), n);
  const auto counts = pool.statistics();
  EXPECT_GT(counts.mprotected, 20'000u);  // the kernel may have room for fewer mappings than the budget
  EXPECT_GT(counts.canaried, 100u);
  EXPECT_GE(counts.mprotected + counts.canaried + 64, n);
  for (void* c : controls) EXPECT_TRUE(stack_pool::is_intact(c));

  void* last = controls.back();
  auto* limit = static_cast<char*>(stack_pool::stack_limit(last));
  limit[100] = 1;  // deep, but inside
  EXPECT_TRUE(stack_pool::is_intact(last));
  const char before = limit[3];
  limit[3] = static_cast<char>(before + 1);
  EXPECT_FALSE(stack_pool::is_intact(last));
  EXPECT_DEATH(tern::detail::overflow_fatal(last),
               "slot size 65536 bytes; raise the runtime option .stack_size");
  limit[3] = before;
  EXPECT_TRUE(stack_pool::is_intact(last));

  // A trim takes the canary with the rest of the memory; the next use has it again.
  // By system call: the sanitizers make munlock do nothing.
  ASSERT_EQ(::syscall(SYS_munlock, locked, locked == nullptr ? 0 : (n + 64) * slot), 0);
  pool.release_batch(controls.data(), n);
  pool.trim_all();
  ASSERT_EQ(pool.acquire_batch(controls.data(), n), n);
  EXPECT_EQ(limit[100], 0);
  for (void* c : controls) EXPECT_TRUE(stack_pool::is_intact(c));
  limit[3] = static_cast<char>(limit[3] + 1);
  EXPECT_FALSE(stack_pool::is_intact(last));
  pool.release_batch(controls.data(), n);
  EXPECT_TRUE(pool.is_valid());
}

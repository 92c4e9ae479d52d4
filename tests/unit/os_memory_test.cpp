#include <gtest/gtest.h>

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include <tern/arch/cpu.hpp>
#include <tern/arch/tls.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/futex.hpp>
#include <tern/os/memory.hpp>
#include <tern/os/thread.hpp>

#include "tests/support/emulation.hpp"

namespace tern::inline v1::detail {
TERN_TLS_POINTER(test_word);
}  // namespace tern::inline v1::detail

namespace {

using namespace tern::detail;

TEST(Memory, ReservesAlignedZeroedAndReleases) {
  const std::size_t page = os::page_size();
  ASSERT_TRUE(is_power_of_two(page));
  for (const std::size_t alignment : {page, std::size_t{1} << 21, std::size_t{1} << 24}) {
    auto* p = static_cast<unsigned char*>(os::reserve(4 * page, alignment));
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(to_word(p) % alignment, 0u);
    EXPECT_EQ(p[0], 0);
    std::memset(p, 0xab, 4 * page);
    os::release(p + page, page);
    EXPECT_EQ(p[0], 0xab);
    EXPECT_EQ(p[page], 0);
    EXPECT_EQ(p[2 * page], 0xab);
    os::unreserve(p, 4 * page);
  }
}

TEST(Memory, ExhaustionIsANullPointerWithErrno) {
  errno = 0;
  EXPECT_EQ(os::reserve(SIZE_MAX / 2, os::page_size()), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  errno = 0;
  EXPECT_EQ(os::reserve(SIZE_MAX - 3 * os::page_size(), std::size_t{1} << 30), nullptr);
  EXPECT_EQ(errno, ENOMEM);
}

TEST(MemoryDeathTest, AGuardFaultsWhereTheProbeSaysSo) {
  auto* p = static_cast<volatile char*>(os::reserve(4 * os::page_size()));
  void* second = const_cast<char*>(p + os::page_size());
  if (os::guards_work()) {
    ASSERT_TRUE(os::guard_install(second, os::page_size()));
    EXPECT_DEATH(p[os::page_size()] = 1, "");
    os::release(const_cast<char*>(p), 4 * os::page_size());
    EXPECT_DEATH(p[os::page_size()] = 1, "");  // MADV_DONTNEED keeps guards
    os::guard_remove(second, os::page_size());
  } else {
    ASSERT_TRUE(os::protect_none(second, os::page_size()));
    EXPECT_DEATH(p[os::page_size()] = 1, "");
    ASSERT_TRUE(os::protect_read_write(second, os::page_size()));
  }
  p[os::page_size()] = 1;
  os::unreserve(const_cast<char*>(p), 4 * os::page_size());
}

TEST(Memory, GuardsThatAreInstalledTogetherAreWhereTheyShould) {
  if (!os::guards_work()) GTEST_SKIP() << "skipped: the kernel has no guards without a mapping of their own";
  const std::size_t page = os::page_size();
  constexpr std::size_t count = 150;  // more than one call takes
  const std::size_t stride = 4 * page;
  auto* p = static_cast<char*>(os::reserve(count * stride));
  ASSERT_NE(p, nullptr);
  const std::size_t done = os::guard_install_each(p, stride, 2 * page, count);
  if (done == 0) GTEST_SKIP() << "skipped: the kernel installs no guards together";
  ASSERT_EQ(done, count);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  char sink[4];
  for (std::size_t i = 0; i < count * stride / page; ++i) {
    const bool is_guard = i % 4 < 2;
    // The kernel reads the page for us: EFAULT instead of a signal.
    EXPECT_EQ(::write(ends[1], p + i * page, 1), is_guard ? -1 : 1) << "page " << i;
    EXPECT_EQ(is_guard ? 1 : ::read(ends[0], sink, 1), 1);
  }
  ::close(ends[0]);
  ::close(ends[1]);
  os::unreserve(p, count * stride);
}

TEST(Futex, WaitReturnsOnWakeMismatchAndDeadline) {
  atomic<std::uint32_t> word{0};
  EXPECT_TRUE(os::futex_wait(word, 1));  // the value differs: returns at once
  const auto before = os::now();
  EXPECT_FALSE(os::futex_wait(word, 0, before + 2'000'000));
  EXPECT_GE(os::now(), before + 2'000'000);
  std::thread waker([&] {
    word.store(1);
    os::futex_wake(word, 1);
  });
  while (word.load() == 0) os::futex_wait(word, 0);
  waker.join();
}

TEST(Clock, IsMonotonicAndDeadlinesSaturate) {
  const auto a = os::now();
  EXPECT_GE(os::now(), a);
  EXPECT_EQ(os::deadline_after(a, os::never), os::never);
  EXPECT_EQ(os::deadline_after(5, 7), 12);
  EXPECT_GT(os::process_cpu_time(), 0);
  const timespec t = os::to_timespec(3'000'000'007);
  EXPECT_EQ(t.tv_sec, 3);
  EXPECT_EQ(t.tv_nsec, 7);
}

TEST(Thread, StackBoundsHoldTheStackPointer) {
  if (tern_test::is_emulated() && os::page_size() > 4096)
    GTEST_SKIP() << "the main stack is not in the emulator's maps then";
  auto check = [] {
    const os::stack_bounds b = os::thread_stack_bounds();
    const std::uintptr_t sp = stack_pointer();
    EXPECT_LT(b.low, sp);
    EXPECT_GT(b.high, sp);
  };
  check();
  std::thread(check).join();
  EXPECT_GE(os::usable_cpus(), 1u);
}

// A kernel for n CPUs refuses a mask that has no room for them all.
TEST(Thread, CountsTheCpusOfLargeMachines) {
  const auto count = [](std::size_t kernel_bytes, std::size_t usable, int error = EINVAL) {
    return os::count_cpus([=](std::size_t bytes, std::uint64_t* mask) {
      if (bytes < kernel_bytes) return errno = error, false;
      for (std::size_t i = 0; i < usable; ++i) mask[i / 64] |= std::uint64_t{1} << (i % 64);
      return true;
    });
  };
  EXPECT_EQ(count(8, 3), 3u);
  EXPECT_EQ(count(128, 1024), 1024u);
  EXPECT_EQ(count(256, 2048), 2048u);
  EXPECT_EQ(count(1024, 7), 7u);
  EXPECT_EQ(count(8192, 65536), 65536u);
  EXPECT_EQ(count(8192 + 8, 65536), 1u) << "beyond all that a kernel has";
  EXPECT_EQ(count(256, 2048, EPERM), 1u);
  EXPECT_EQ(count(8, 0), 1u);
}

TEST(Thread, StartsNamedThreadsThatJoin) {
  int ran = 0;
  const pthread_t t = os::start_thread(
      [](void* p) -> void* {
        *static_cast<int*>(p) = os::thread_id();
        return nullptr;
      },
      &ran, "tern-test");
  os::join_thread(t);
  EXPECT_NE(ran, 0);
  EXPECT_NE(ran, os::thread_id());
}

TEST(Tls, EachThreadHasItsOwnWordStartingAtNull) {
  int mark = 0;
  test_word_set(&mark);
  std::thread([] {
    EXPECT_EQ(test_word_get(), nullptr);
    test_word_set(&errno);
    EXPECT_NE(test_word_get(), nullptr);
  }).join();
  EXPECT_EQ(test_word_get(), &mark);
  test_word_set(nullptr);
}

}  // namespace

// What misuse ends in: one constant message each, in every build.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include <tern/alloc.hpp>

#include "tests/support/emulation.hpp"

namespace {

// The second copy of a block, a wrong size and a shifted pointer show when the cache gives them back.
void flush() { tern::release_memory(); }

TEST(AllocMisuseDeathTest, ForeignPointers) {
  alignas(16) static char object[64];
  EXPECT_DEATH(tern::deallocate(object), "not a live block");
  int local = 0;
  EXPECT_DEATH(tern::deallocate(&local), "not a live block");
  EXPECT_DEATH(tern::deallocate(reinterpret_cast<void*>(~std::uintptr_t{0} - 15)), "not a live block");
  EXPECT_DEATH(
      {
        tern::deallocate(object, 64);
        flush();
      },
      "not a live block|size does not match");
}

TEST(AllocMisuseDeathTest, SmallBlockFreedTwice) {
  EXPECT_DEATH(
      {
        void* p = tern::allocate(64);
        void* keep = tern::allocate(64);
        tern::deallocate(p);
        tern::deallocate(p);
        flush();
        tern::deallocate(keep);
      },
      "block freed twice");
}

TEST(AllocMisuseDeathTest, LargeBlockFreedTwice) {
  EXPECT_DEATH(
      {
        void* p = tern::allocate(100000);
        tern::deallocate(p);
        tern::deallocate(p);
        flush();
      },
      "freed twice");
}

TEST(AllocMisuseDeathTest, HugeBlockFreedTwice) {
  EXPECT_DEATH(
      {
        void* p = tern::allocate(std::size_t{5} << 20);
        tern::deallocate(p);
        tern::deallocate(p);
      },
      "freed twice");
}

TEST(AllocMisuseDeathTest, PointerIntoTheMiddle) {
  EXPECT_DEATH(
      {
        auto* p = static_cast<char*>(tern::allocate(200));
        tern::deallocate(p + 16);
        flush();
      },
      "middle of a block");
  EXPECT_DEATH(
      {
        auto* p = static_cast<char*>(tern::allocate(100000));
        tern::deallocate(p + 8192);
        flush();
      },
      "middle of a block");
  EXPECT_DEATH(
      {
        auto* p = static_cast<char*>(tern::allocate(std::size_t{5} << 20));
        tern::deallocate(p + 16);
      },
      "not a live block");
}

TEST(AllocMisuseDeathTest, WrongSize) {
  EXPECT_DEATH(
      {
        void* p = tern::allocate(64);
        tern::deallocate(p, 640);
        flush();
      },
      "size does not match");
  EXPECT_DEATH(
      {
        void* p = tern::allocate(64);
        tern::deallocate(p, std::size_t{3} << 20);
      },
      "not a live block");
}

// With an interval of one byte every refill gives a sample: the first block of a class that no test here has used.
TEST(AllocMisuseDeathTest, GuardedSamplesCatchOverflowAndUseAfterFree) {
  if (tern::detail::asan_build) GTEST_SKIP() << "ASan has the signal, and sees both by itself";
  if (tern_test::is_emulated()) GTEST_SKIP() << "qemu-user reports the signal itself";
  EXPECT_DEATH(
      {
        tern::heap_profile::start_guarded(1);
        auto* p = static_cast<volatile char*>(tern::allocate(3000));
        p[3071] = 1;  // the class has 3072
        p[3072] = 1;
      },
      "beyond the end of a block");
  EXPECT_DEATH(
      {
        tern::heap_profile::start_guarded(1);
        auto* p = static_cast<volatile char*>(tern::allocate(3000));
        p[0] = 1;
        tern::deallocate(const_cast<char*>(p));
        p[0] = 2;
      },
      "after its free");
  EXPECT_DEATH(
      {
        tern::heap_profile::start_guarded(1);
        void* p = tern::allocate(3000);
        tern::deallocate(p);
        tern::deallocate(p);
      },
      "freed twice");
  // A fault that is not ours goes to whoever had the signal before: nobody, or TSan's runtime.
  EXPECT_DEATH(
      {
        tern::heap_profile::start_guarded(1);
        raise(SIGSEGV);
      },
      tern::detail::tsan_build ? "^ThreadSanitizer:DEADLYSIGNAL" : "^$");
  // One that somebody sends and the program ignores stays ignored.
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, SIG_IGN);
        tern::heap_profile::start_guarded(1);
        raise(SIGSEGV);
        std::_Exit(7);
      },
      testing::ExitedWithCode(7), "^$");
}

TEST(AllocMisuseDeathTest, AddressSanitizerSeesUseAfterFreeAndOverrun) {
  if (!tern::detail::asan_build) GTEST_SKIP() << "only with ASan";
  EXPECT_DEATH(
      {
        auto* p = static_cast<volatile char*>(tern::allocate(64));
        tern::deallocate(const_cast<char*>(p));
        p[3] = 1;
      },
      "use-after-poison");
  EXPECT_DEATH(
      {
        auto* p = static_cast<volatile char*>(tern::allocate(40));
        p[40] = 1;
      },
      "use-after-poison");
}

}  // namespace

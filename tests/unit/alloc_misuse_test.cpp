// What misuse ends in: one constant message each, in every build.
#include <gtest/gtest.h>

#include <sys/mman.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/base/random.hpp>

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

// With an interval of one byte every block is a sample.
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

std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t n = 0;
  for (std::string line; std::getline(maps, line);) ++n;
  return n;
}

void exhaust_mappings() {
  for (int protection = PROT_NONE;
       ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;)
    protection = protection == PROT_NONE ? PROT_READ : PROT_NONE;
}

// Guards are mappings, of which the kernel gives a process some 65,000. A few thousand are for guards, and where none is left nobody who does
// no wrong is told of one.
TEST(AllocMisuseDeathTest, GuardedSamplesAndTheLimitOfMappings) {
  if (tern::detail::asan_build || tern::detail::tsan_build)
    GTEST_SKIP() << "a sanitizer has the signal, and needs mappings itself";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the mappings are the emulator's";
  constexpr std::size_t size = 40'000;
  const auto take = [] {
    auto* p = static_cast<char*>(tern::try_allocate(size));
    if (p != nullptr) p[0] = p[size - 1] = 1;
    return p;
  };
  const auto few = [&] {
    tern::heap_profile::start_guarded(1);
    for (int i = 0; i < 12'000; ++i) take();
    std::_Exit(mappings() < 20'000 ? 0 : 1);
  };
  EXPECT_EXIT(few(), testing::ExitedWithCode(0), "^$");
  // What leaves the quarantine is in the midst of what is in it, so its access comes back by two mappings more.
  const auto none_left = [&] {
    std::vector<char*> neighbours;
    std::vector<char*> apart;
    tern::heap_profile::start_guarded(1);
    for (int i = 0; i < 63; ++i) neighbours.push_back(take());
    for (int i = 0; i < 60; ++i) {
      tern::heap_profile::start(0);
      take();
      tern::heap_profile::start_guarded(1);
      apart.push_back(take());
    }
    for (const std::size_t first : {1u, 0u, 2u})
      for (std::size_t i = first; i < neighbours.size(); i += 3) tern::deallocate(neighbours[i]);
    exhaust_mappings();
    for (char* p : apart) tern::deallocate(p);
    tern::heap_profile::start(0);
    for (int i = 0; i < 1000; ++i) take();
    std::_Exit(0);
  };
  EXPECT_EXIT(none_left(), testing::ExitedWithCode(0), "^$");
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

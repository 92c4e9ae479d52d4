// The hardened policy, for which the whole program is built.
#define TERN_HARDENED 1
#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/base/random.hpp>

#include "tests/support/seed.hpp"

namespace {

unsigned char* make(std::size_t n) { return static_cast<unsigned char*>(tern::allocate(n)); }

TEST(Hardened, ServesAsAnyAllocator) {
  tern::detail::fast_random random{tern_test::seed()};
  std::vector<std::pair<unsigned char*, std::size_t>> blocks(300, {nullptr, 0});
  for (int step = 0; step < tern_test::scale(20000); ++step) {
    auto& [p, size] = blocks[random.below(300)];
    if (p != nullptr) {
      ASSERT_EQ(p[0], static_cast<unsigned char>(size));
      ASSERT_EQ(p[size - 1], static_cast<unsigned char>(size));
    }
    const std::size_t wanted = random.below(50) == 0 ? 1 + random.below(3'000'000) : 1 + random.below(3000);
    switch (random.below(4)) {
      case 0:
        tern::deallocate(p);
        p = make(wanted);
        break;
      case 1:
        tern::deallocate(p, size);
        p = make(wanted);
        break;
      case 2:
        tern::deallocate(p);
        p = static_cast<unsigned char*>(tern::allocate(wanted, 256));
        break;
      default: p = static_cast<unsigned char*>(tern::reallocate(p, wanted));
    }
    size = wanted;
    if (size <= (1u << 20)) {
      ASSERT_EQ(tern::usable_size(p), size);
    }
    p[0] = p[size - 1] = static_cast<unsigned char>(size);
  }
  for (auto& [p, size] : blocks) tern::deallocate(p);
  auto* zeros = static_cast<unsigned char*>(tern::allocate_zeroed(5000));
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(zeros[i], 0);
  tern::deallocate(zeros, 5000);
}

TEST(HardenedDeathTest, AtOnce) {
  EXPECT_DEATH(
      {
        auto* p = make(100);
        tern::deallocate(p);
        tern::deallocate(p);
      },
      "hardened: block freed twice");
  for (const std::size_t n : {1u, 8u, 100u, 104u, 5000u, 100'000u}) {
    EXPECT_DEATH(
        {
          auto* p = make(n);
          // By one. A given value would be the one that is there in one process of 256: where the block fills its class, the
          // seal follows, which is random.
          volatile unsigned char* const beyond = p + n;
          *beyond = static_cast<unsigned char>(*beyond ^ 0x80);
          tern::deallocate(p);
        },
        "hardened: overflow of a block")
        << n;
  }
  EXPECT_DEATH(tern::deallocate(make(100) + 16), "not the start of a live one|middle of a block");
  EXPECT_DEATH(tern::deallocate(make(100), 101), "size does not match");
}

// A block that is written after its free is found when it is to serve again: after those that are in quarantine with it.
TEST(HardenedDeathTest, WriteAfterFree) {
  EXPECT_DEATH(
      {
        auto* p = make(100);
        tern::deallocate(p);
        static_cast<volatile unsigned char*>(p)[50] = 1;
        for (int i = 0; i < 1000; ++i) tern::deallocate(make(2000));
        for (int i = 0; i < 20000; ++i) static_cast<void>(make(100));
      },
      "written after its free");
}

}  // namespace

// Four size classes per doubling instead of eight, for which the whole program is built.
#define TERN_SIZE_CLASS_STEPS 4
#include <gtest/gtest.h>

#include <cstring>
#include <utility>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/base/random.hpp>

#include "tests/support/seed.hpp"

namespace {

using namespace tern::detail;

TEST(CoarseClasses, EverySizeFitsItsClassAndNoSmallerOne) {
  EXPECT_EQ(class_count, 64u);
  EXPECT_EQ(small_class_count, 40u);
  for (std::size_t n = 1; n <= max_class_size; n += n < 70000 ? 1 : 97) {
    const unsigned c = class_of(n);
    ASSERT_LT(c, class_count) << n;
    ASSERT_GE(class_size(c), n);
    ASSERT_LE((class_size(c) - n) * 4, n <= 128 ? std::size_t{60} : class_size(c)) << n;
    if (c > 0) {
      ASSERT_LT(class_size(c - 1), n) << n;
    }
  }
  EXPECT_EQ(class_size(class_of(max_class_size)), max_class_size);
}

TEST(CoarseClasses, ClassOfARoundedSizeIsAMultipleOfTheAlignment) {
  for (std::size_t alignment = 16; alignment <= page_bytes; alignment *= 2)
    for (std::size_t n = alignment; n <= max_class_size; n += alignment)
      ASSERT_EQ(class_size(class_of(n)) % alignment, 0u) << n << " to " << alignment;
}

TEST(CoarseClasses, BlocksKeepWhatIsInThem) {
  fast_random random{tern_test::seed()};
  const std::size_t live = tern::allocation_statistics().live;
  std::vector<std::pair<unsigned char*, std::size_t>> held(500, {nullptr, 0});
  for (int i = 0; i < 50'000; ++i) {
    auto& [p, size] = held[random.below(500)];
    const auto mark = static_cast<unsigned char>(size);
    if (p != nullptr) {
      ASSERT_EQ(p[0], mark);
      ASSERT_EQ(p[size - 1], mark);
      if (i % 2 == 0)
        tern::deallocate(p);
      else
        tern::deallocate(p, size);
    }
    size = 1 + random.below(i % 100 == 0 ? 3u << 20 : 3000);
    p = static_cast<unsigned char*>(tern::allocate(size));
    ASSERT_GE(tern::usable_size(p), size);
    std::memset(p, static_cast<unsigned char>(size), size);
  }
  for (auto& [p, size] : held) tern::deallocate(p);
  EXPECT_EQ(tern::allocation_statistics().live, live);
}

}  // namespace

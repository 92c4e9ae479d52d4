#include <gtest/gtest.h>

#include <cstddef>

#include <tern/alloc/size_class.hpp>

namespace {

using namespace tern::detail;

TEST(SizeClass, EverySizeFitsItsClassAndNoSmallerOne) {
  for (std::size_t n = 1; n <= max_class_size; n += n < 70000 ? 1 : 97) {
    const unsigned c = class_of(n);
    ASSERT_LT(c, class_count) << n;
    ASSERT_GE(class_size(c), n);
    if (c > 0) {
      ASSERT_LT(class_size(c - 1), n) << n;
    }
  }
  EXPECT_EQ(class_of(0), class_of(1));
  EXPECT_EQ(class_size(class_of(max_class_size)), max_class_size);
}

TEST(SizeClass, WasteIsBounded) {
  for (std::size_t n = 129; n <= max_class_size; n += n < 70000 ? 1 : 97) {
    const std::size_t waste = class_size(class_of(n)) - n;
    ASSERT_LE(waste * 8, class_size(class_of(n))) << n;
  }
}

// I2 of size_class.hpp: aligned requests need no table of their own.
TEST(SizeClass, ClassOfARoundedSizeIsAMultipleOfTheAlignment) {
  for (std::size_t alignment = 16; alignment <= page_bytes; alignment *= 2)
    for (std::size_t n = alignment; n <= max_class_size; n += alignment) {
      ASSERT_EQ(class_size(class_of(n)) % alignment, 0u) << n << " to " << alignment;
      ASSERT_EQ(class_of(class_size(class_of(n))), class_of(n));
    }
}

TEST(SizeClass, SpansAreWellCut) {
  for (unsigned c = 0; c < class_count; ++c) {
    const class_info& k = class_table[c];
    ASSERT_LE(std::size_t{k.blocks} * k.size, k.pages * page_bytes);
    ASSERT_LE(k.blocks, max_blocks_per_span);
    ASSERT_GE(k.batch, 1u);
    ASSERT_GE(k.max_cached, k.batch);
    ASSERT_LE(k.pages, pages_per_chunk);
    if (is_small(c)) {
      ASSERT_GE(k.blocks, 7u) << k.size;
      const std::size_t tail = k.pages * page_bytes - std::size_t{k.blocks} * k.size;
      ASSERT_LE(tail * 16, k.pages * page_bytes) << k.size;
    } else {
      ASSERT_EQ(k.blocks, 1u);
    }
  }
}

TEST(SizeClass, ReciprocalDividesEveryOffsetOfASpan) {
  for (unsigned c = 0; c < small_class_count; ++c) {
    const class_info& k = class_table[c];
    const std::size_t end = k.pages * page_bytes;
    for (std::size_t offset = 0; offset < end; ++offset)
      ASSERT_EQ((offset * k.reciprocal) >> 40, offset / k.size) << k.size << " at " << offset;
  }
}

}  // namespace

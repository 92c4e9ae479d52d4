#include <gtest/gtest.h>

#include <array>

#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
namespace internal = tern::detail::gc;

struct plain {
  long a, b, c;
};
struct two {
  long before = 0;
  gc::member<two> first;
  int between = 0;
  gc::member<plain> second;
  void trace(gc::visitor& v) const { v(first, second); }
};
struct base {
  virtual ~base() = default;
  gc::member<two> own;
  void trace(gc::visitor& v) const { v(own); }
};
struct derived : base {
  gc::member<two> more[3];
  std::array<two, 2> parts;
  void trace(gc::visitor& v) const {
    base::trace(v);
    v(more);
    v(parts);
  }
};
struct wide {
  std::array<gc::member<plain>, 200> all;
  void trace(gc::visitor& v) const { v(all); }
};

std::size_t bits_of(const internal::layout& l) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < l.words; ++i) n += static_cast<std::size_t>(std::popcount(l.bits[i]));
  return n;
}
bool has_bit(const internal::layout& l, std::size_t offset) {
  return (l.bits[offset / 8 / 64] >> (offset / 8 % 64) & 1) != 0;
}

TEST(gc_type, records_offsets) {
  const internal::layout& l = internal::layout_of<two>();
  EXPECT_EQ(bits_of(l), 2u);
  EXPECT_TRUE(has_bit(l, 8));
  EXPECT_TRUE(has_bit(l, 24));
  EXPECT_EQ(l.bytes, sizeof(two));
}

TEST(gc_type, follows_bases_arrays_and_parts) {
  const internal::layout& l = internal::layout_of<derived>();
  EXPECT_EQ(bits_of(l), 1u + 3u + 4u);
  EXPECT_FALSE(has_bit(l, 0)) << "the vptr is no member";
}

TEST(gc_type, spans_more_than_one_word_of_bits) {
  EXPECT_EQ(bits_of(internal::layout_of<wide>()), 200u);
  EXPECT_EQ(internal::layout_of<wide>().words, 4u);
}

TEST(gc_type, types_without_members_have_none) {
  EXPECT_FALSE(internal::layout_of<plain>().has_members());
  EXPECT_FALSE(internal::layout_of<int>().has_members());
}

TEST(gc_type, members_and_arrays_of_them_are_types_with_members) {
  EXPECT_EQ(bits_of(internal::layout_of<gc::member<plain>>()), 1u);
  EXPECT_EQ(bits_of(internal::layout_of<gc::atomic_member<plain>>()), 1u);
  EXPECT_EQ(bits_of((internal::layout_of<std::array<gc::member<plain>, 5>>())), 5u);
  EXPECT_FALSE((internal::layout_of<std::array<int, 5>>().has_members()));
}

TEST(gc_type, equal_shapes_are_one) {
  struct a {
    gc::member<two> m;
    long x;
    void trace(gc::visitor& v) const { v(m); }
  };
  struct b {
    gc::member<plain> other;
    double y;
    void trace(gc::visitor& v) const { v(other); }
  };
  struct c {
    long x;
    gc::member<two> m;
    void trace(gc::visitor& v) const { v(m); }
  };
  EXPECT_EQ(&internal::object_shape<a>(), &internal::object_shape<b>());
  EXPECT_NE(&internal::object_shape<a>(), &internal::object_shape<c>());
  EXPECT_EQ(&internal::object_shape<long>(), &internal::object_shape<double>());
}

TEST(gc_type, destructors_keep_shapes_apart) {
  struct with {
    gc::member<two> m;
    long x;
    ~with() { x = 1; }
    void trace(gc::visitor& v) const { v(m); }
  };
  struct without {
    gc::member<two> m;
    long x;
    void trace(gc::visitor& v) const { v(m); }
  };
  EXPECT_NE(&internal::object_shape<with>(), &internal::object_shape<without>());
}

TEST(gc_type, cells_fit_and_divide_exactly) {
  for (std::size_t n = 1; n <= internal::max_cell_bytes; n += n < 300 ? 1 : 61) {
    const std::size_t cell = internal::cell_bytes_for(n);
    ASSERT_GE(cell, n);
    ASSERT_EQ(cell % 8, 0u);
    if (n > 128) {
      ASSERT_LE(cell - n, n / 8 + 16);
    }
    const std::size_t span = internal::span_bytes_for(cell);
    ASSERT_LE(span / cell, internal::max_cells);
    const std::uint64_t reciprocal = ((std::uint64_t{1} << 40) + cell - 1) / cell;
    for (std::size_t offset = 0; offset < span; offset += offset % cell < 9 ? 1 : 7)
      ASSERT_EQ(offset * reciprocal >> 40, offset / cell) << cell << ' ' << offset;
  }
}

TEST(gc_type_death, a_member_outside_its_object_is_fatal) {
  struct liar {
    long x;
    void trace(gc::visitor& v) const {
      static gc::member<two> elsewhere;
      v(elsewhere);
    }
  };
  EXPECT_DEATH(internal::layout_of<liar>(), "outside its object");
}

}  // namespace

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

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

// Aggregates, which need no trace().
struct bare {
  gc::member<bare> next;
};
struct mixed {
  bool flag = false;
  bare inner;                                    // 8
  int numbers[3];                                // 16
  gc::member<plain> pair_of[2];                  // 32
  char text[5000];                               // 48
  std::array<bare, 2> array;                     // 5048
  gc::atomic_member<two> atomic;                 // 5064
  const gc::member<const plain> fixed{nullptr};  // 5072
  int low : 3 = 0;                               // 5080
  int high : 5 = 0;
  std::string name;  // 5088
};
static_assert(sizeof(std::string) == 32 && sizeof(mixed) == 5120);
struct empty_base {};
struct other_empty_base {};
struct with_empty_bases : empty_base, other_empty_base {
  long number;
  gc::member<bare> link;
};
struct containers {
  gc::vector<gc::member<bare>> list;        // 0
  gc::string text;                          // 24
  gc::hash_map<int, gc::member<bare>> map;  // 40
  gc::handle<bare> handle;
  gc::weak<bare> weak;
};
struct wrapped {
  std::pair<int, gc::member<bare>> pair;                  // 8
  std::tuple<gc::member<bare>> tuple;                     // 16
  std::optional<gc::member<bare>> maybe;                  // 24
  std::optional<std::pair<long, gc::member<bare>>> both;  // 40, 48
};
struct grid {
  gc::member<bare> cells[4][5];
};
struct sixty_four {
  long a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, c3, c4, c5, c6, c7, d0, d1,
      d2, d3, d4, d5, d6, d7, e0, e1, e2, e3, e4, e5, e6, e7, f0, f1, f2, f3, f4, f5, f6, f7, g0, g1, g2, g3,
      g4, g5, g6, g7, h0, h1, h2, h3, h4, h5, h6;
  gc::member<bare> last;
};
class without_default {
 public:
  explicit without_default(long n) : n_{n} {}
  without_default(const without_default& o) : n_{o.n_} {}

 private:
  long n_;
};
struct needs_a_value {
  long first;
  gc::member<bare> link;
  without_default part;
};
// Its own trace() is what counts, though its fields can be seen.
struct says_less {
  gc::member<bare> told;
  gc::member<bare> untold;
  void trace(gc::visitor& v) const { v(told); }
};
struct holds_traced {
  long number;
  says_less part;
};
struct base_with_trace {
  gc::member<bare> own;
  void trace(gc::visitor& v) const { v(own); }
};
struct adds_nothing : base_with_trace {};

// What cannot be seen through.
class hidden {
 public:
  hidden() = default;
  hidden(const hidden&) {}
  gc::member<bare> get() const { return link_; }

 private:
  gc::member<bare> link_;
};
struct hidden_inside {
  int number;
  hidden part[2];
};
class declared_free {
 public:
  declared_free() = default;
  declared_free(const declared_free&) {}

 private:
  [[maybe_unused]] void* bytes_[2];
};
}  // namespace

template <>
inline constexpr bool tern::gc::is_pointer_free<declared_free> = true;

namespace {

struct holds_declared {
  declared_free part;
  gc::member<bare> link;
};
struct adds_a_field : base_with_trace {
  gc::member<bare> forgotten;
};
struct adds_a_field_and_tells : base_with_trace {
  gc::member<bare> more;
  void trace(gc::visitor& v) const {
    base_with_trace::trace(v);
    v(more);
  }
};
struct base_with_member : bare {};
struct base_and_fields : bare {
  long number;
};
union either {
  either() {}
  ~either() {}
  gc::member<bare> link;
  long number;
};
struct refers {
  const int& number;
  gc::member<bare> link;
};
struct sixty_five {
  sixty_four many;
  long more[2];
  std::array<long, 65> plenty;
};
struct too_many_fields {
  gc::member<bare> a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, c3, c4, c5, c6,
      c7, d0, d1, d2, d3, d4, d5, d6, d7, e0, e1, e2, e3, e4, e5, e6, e7, f0, f1, f2, f3, f4, f5, f6, f7, g0,
      g1, g2, g3, g4, g5, g6, g7, h0, h1, h2, h3, h4, h5, h6, h7, i0;
};
struct unmanaged_list {
  std::vector<gc::member<bare>> all;
};
struct unmanaged_owner {
  std::map<std::string, std::unique_ptr<two>> all;
};
struct changing {
  std::variant<long, gc::member<bare>> which;
};
struct not_built;
struct library_tree {
  std::vector<library_tree> children;
  std::function<void(two*)> call;
  std::shared_ptr<not_built> secret;
  std::atomic<long> count;
  std::mutex lock;
  std::string name;
};

std::size_t bits_of(const internal::layout& l) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < l.words; ++i) n += static_cast<std::size_t>(std::popcount(l.bits[i]));
  return n;
}

template <class T>
void expect_members_at(std::initializer_list<std::size_t> offsets) {
  const internal::layout& l = internal::layout_of<T>();
  EXPECT_EQ(bits_of(l), offsets.size()) << internal::type_name<T>();
  for (const std::size_t o : offsets) EXPECT_TRUE(l.names(o)) << internal::type_name<T>() << " at " << o;
}

TEST(gc_type, records_offsets) {
  const internal::layout& l = internal::layout_of<two>();
  EXPECT_EQ(bits_of(l), 2u);
  EXPECT_TRUE(l.names(8));
  EXPECT_TRUE(l.names(24));
  EXPECT_EQ(l.bytes, sizeof(two));
}

TEST(gc_type, follows_bases_arrays_and_parts) {
  const internal::layout& l = internal::layout_of<derived>();
  EXPECT_EQ(bits_of(l), 1u + 3u + 4u);
  EXPECT_FALSE(l.names(0)) << "the vptr is no member";
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

TEST(gc_type, fields_of_aggregates_are_found) {
  expect_members_at<bare>({0});
  expect_members_at<mixed>({8, 32, 40, 5048, 5056, 5064, 5072});
  expect_members_at<with_empty_bases>({8});
  expect_members_at<containers>({0, 24, 40});
  expect_members_at<std::array<bare, 3>>({0, 8, 16});
  expect_members_at<sixty_four>({63 * 8});
  expect_members_at<needs_a_value>({8});
  expect_members_at<holds_declared>({16});
  EXPECT_EQ(bits_of(internal::layout_of<grid>()), 20u);
}

TEST(gc_type, pairs_tuples_and_optionals_are_looked_into) { expect_members_at<wrapped>({8, 16, 24, 48}); }

TEST(gc_type, a_types_own_trace_is_preferred) {
  expect_members_at<says_less>({0});
  expect_members_at<holds_traced>({8});
  expect_members_at<adds_nothing>({0});
  expect_members_at<adds_a_field_and_tells>({0, 8});
}

TEST(gc_type, what_cannot_hold_a_member_is_pointer_free) {
  using internal::contents;
  using internal::contents_of;
  EXPECT_EQ(contents_of<std::string>, contents::none);
  EXPECT_EQ(contents_of<library_tree>, contents::none);
  EXPECT_EQ((contents_of<std::map<int, std::vector<std::string>>>), contents::none);
  EXPECT_EQ(contents_of<empty_base>, contents::none);
  EXPECT_EQ(contents_of<sixty_five>, contents::members);
  EXPECT_EQ(contents_of<two*>, contents::none);
  // What can only be moved, or not at all, and compilers may call trivially copyable all the same.
  struct fixed {
    gc::atomic_member<bare> link;
  };
  EXPECT_EQ(contents_of<fixed>, contents::members);
}

// Never taken for pointer-free: any word of the first ones may be a member, and gc::make of the others does not compile
// (tests/tool/gc_rejected_test.py).
TEST(gc_type, what_cannot_be_seen_through_is_told) {
  using internal::contents;
  using internal::contents_of;
  EXPECT_EQ(contents_of<hidden>, contents::hidden);
  EXPECT_EQ(contents_of<hidden_inside>, contents::hidden);
  EXPECT_TRUE((std::is_same_v<internal::contents_finding<hidden_inside>::culprit, hidden>));
  EXPECT_EQ(contents_of<adds_a_field>, contents::inherited_trace);
  EXPECT_EQ(contents_of<base_with_member>, contents::data_in_bases);
  EXPECT_EQ(contents_of<base_and_fields>, contents::data_in_bases);
  EXPECT_EQ(contents_of<either>, contents::in_union);
  EXPECT_EQ(contents_of<refers>, contents::reference);
  EXPECT_EQ(contents_of<too_many_fields>, contents::too_many);
  EXPECT_EQ(contents_of<unmanaged_list>, contents::in_unmanaged_memory);
  EXPECT_EQ(contents_of<unmanaged_owner>, contents::in_unmanaged_memory);
  EXPECT_EQ(contents_of<changing>, contents::in_unmanaged_memory);
  auto holds = [link = gc::member<bare>{}] { return link.get(); };
  EXPECT_EQ(contents_of<decltype(holds)>, contents::hidden);
}

// With a constructor, a destructor and members that nobody tells of.
class closed {
 public:
  explicit closed(std::uint64_t n) : number_{n} {}
  ~closed() { ++ended; }
  void keep(bare* first, bare* second) {
    first_ = first;
    second_[1] = second;
  }
  bare* first() const { return first_; }
  bare* second() const { return second_[1]; }
  std::uint64_t number() const { return number_; }
  static inline std::atomic<int> ended{0};

 private:
  std::uint64_t number_;
  gc::member<bare> first_;
  std::string name_ = "a name that does not fit its object";
  gc::member<bare> second_[2];
};
struct closed_and_more : two {
  gc::member<bare> third;
  std::vector<int> numbers;
};

TEST(gc_type, opaque_classes_keep_what_their_words_lead_to) {
  static_assert(internal::is_opaque<closed> && internal::is_opaque<closed_and_more>);
  EXPECT_EQ(bits_of(internal::layout_of<closed>()), sizeof(closed) / 8);
  gc_test::verified v;
  gc_test::on_thread([] {
    closed* c = gc::make<closed>(std::uint64_t{1});
    // Numbers that look like something: an object that is dropped, none at all, one outside.
    closed* liar = gc::make<closed>(reinterpret_cast<std::uintptr_t>(c) + 8);
    closed_and_more* m = gc::make<closed_and_more>();
    gc::array<closed_and_more>* all = gc::make_array<closed_and_more>(3000);
    for (int i = 0; i < 100; ++i) {
      c->keep(gc::make<bare>(gc::make<bare>()), gc::make<bare>());
      liar->keep(c->first(), nullptr);
      m->third = gc::make<bare>(gc::make<bare>());
      (*all)[2999].third = gc::make<bare>(gc::make<bare>());
      static_cast<void>(gc::make<closed>(~std::uint64_t{0} >> i % 64));
      if (i % 40 == 20) gc::collect();
    }
    gc::collect();
    EXPECT_EQ(c->number(), 1u);
    EXPECT_EQ(c->first()->next->next, nullptr);
    EXPECT_EQ(c->second()->next, nullptr);
    EXPECT_EQ(liar->first(), c->first());
    EXPECT_EQ(m->third->next->next, nullptr);
    EXPECT_EQ((*all)[2999].third->next->next, nullptr);
  });
  gc_test::collect_all();
  EXPECT_GT(closed::ended.load(), 50);
}

TEST(gc_type, aggregates_keep_what_their_fields_lead_to) {
  gc_test::verified v;
  gc_test::on_thread([] {
    mixed* m = gc::make<mixed>();
    containers* c = gc::make<containers>();
    wrapped* w = gc::make<wrapped>();
    for (int i = 0; i < 100; ++i) {
      m->inner.next = gc::make<bare>(gc::make<bare>());
      m->array[1].next = gc::make<bare>();
      c->list.push_back(gc::make<bare>(gc::make<bare>()));
      c->map[i] = gc::make<bare>();
      w->maybe = gc::make<bare>();
      w->both.emplace(i, gc::make<bare>());
      if (i % 40 == 20) gc::collect();
    }
    gc::collect();
    EXPECT_EQ(m->inner.next->next->next, nullptr);
    EXPECT_EQ(m->array[1].next->next, nullptr);
    for (const auto& b : c->list) ASSERT_EQ(b->next->next, nullptr);
    for (int i = 0; i < 100; ++i) ASSERT_EQ(c->map[i]->next, nullptr);
    EXPECT_EQ((*w->maybe)->next, nullptr);
    EXPECT_EQ(w->both->second->next, nullptr);
  });
  EXPECT_EQ(v.lost(), 0u);
}

TEST(gc_type, shapes_know_their_types) {
  const std::string_view name = internal::type_name<mixed>();
  EXPECT_NE(name.find("mixed"), std::string_view::npos);
  EXPECT_EQ(name.find("T ="), std::string_view::npos);
  EXPECT_EQ(internal::type_name<int>(), "int");
  EXPECT_EQ(internal::object_shape<mixed>().newest_type(), name);
}

// Debug builds. What a trace() forgets, or raw bytes hold, is not marked.
TEST(gc_type_death, a_member_that_its_type_does_not_name_is_fatal) {
  if constexpr (TERN_DEBUG_LEVEL == 0) {
    GTEST_SKIP() << "TERN_DEBUG_LEVEL is 0";
  } else {
    EXPECT_DEATH(gc::make<says_less>(),
                 "at byte 8 of a managed .*says_less\n.*its object's type does not name");
    EXPECT_DEATH(
        {
          // Nothing but bytes, to the compiler.
          struct raw {
            alignas(8) unsigned char bytes[16];
          };
          ::new (static_cast<void*>(gc::make<raw>()->bytes + 8)) gc::member<bare>{};
        },
        "at byte 8 of a managed .*raw\n");
  }
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

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include <tern/base/list.hpp>

namespace {

using tern::detail::list;
using tern::detail::list_hook;
using tern::detail::slist;

struct item {
  explicit item(int v) : value{v} {}
  int value;
  list_hook hook;
  item* next = nullptr;
};
using items = list<item, &item::hook>;
using queue = slist<item, &item::next>;

std::vector<int> drain(items& l) {
  std::vector<int> out;
  while (item* e = l.pop_front()) out.push_back(e->value);
  return out;
}

TEST(List, KeepsOrderFromBothEnds) {
  item a{1};
  item b{2};
  item c{3};
  items l;
  EXPECT_TRUE(l.is_empty());
  EXPECT_EQ(l.front(), nullptr);
  l.push_back(b);
  l.push_back(c);
  l.push_front(a);
  EXPECT_EQ(l.front(), &a);
  EXPECT_EQ(l.back(), &c);
  EXPECT_EQ(l.next(a), &b);
  EXPECT_EQ(l.next(c), nullptr);
  EXPECT_EQ(drain(l), (std::vector{1, 2, 3}));
  EXPECT_TRUE(l.is_empty());
}

TEST(List, AppendsAllOfAnother) {
  item a{1};
  item b{2};
  item c{3};
  item d{4};
  items l;
  items m;
  l.append(m);
  EXPECT_TRUE(l.is_empty());
  m.push_back(a);
  m.push_back(b);
  l.append(m);
  EXPECT_TRUE(m.is_empty());
  EXPECT_EQ(l.front(), &a);
  EXPECT_EQ(l.back(), &b);
  m.push_back(c);
  m.push_back(d);
  l.append(m);
  items::erase(c);
  l.push_back(c);
  EXPECT_EQ(drain(l), (std::vector{1, 2, 4, 3}));
  EXPECT_EQ(drain(m), std::vector<int>{});
}

TEST(List, ErasesFromTheMiddleAndRelinks) {
  item a{1};
  item b{2};
  item c{3};
  items l;
  l.push_back(a);
  l.push_back(b);
  l.push_back(c);
  items::erase(b);
  EXPECT_FALSE(b.hook.is_linked());
  l.push_back(b);
  EXPECT_EQ(l.pop_back(), &b);
  EXPECT_EQ(drain(l), (std::vector{1, 3}));
}

TEST(List, EmptiedListWorksAgain) {
  item a{1};
  items l;
  for (int i = 0; i < 3; ++i) {
    l.push_front(a);
    EXPECT_EQ(l.pop_back(), &a);
    EXPECT_EQ(l.pop_back(), nullptr);
  }
}

TEST(SList, IsAFifoThatSplices) {
  std::array<item, 5> e{item{0}, item{1}, item{2}, item{3}, item{4}};
  queue a;
  queue b;
  a.push_back(&e[1]);
  a.push_front(&e[0]);
  b.push_back(&e[2]);
  b.push_back(&e[3]);
  a.append(b);
  EXPECT_TRUE(b.is_empty());
  b.push_back(&e[4]);
  a.append(b);
  EXPECT_EQ(a.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(a.pop_front()->value, i);
  EXPECT_EQ(a.pop_front(), nullptr);
  a.append(b);
  EXPECT_TRUE(a.is_empty());
}

TEST(SList, MovesItsFrontAndTellsWhatMoves) {
  std::array<item, 5> e{item{0}, item{1}, item{2}, item{3}, item{4}};
  queue a;
  queue b;
  for (item& i : e) a.push_back(&i);
  std::vector<int> passed;
  const auto note = [&](const item* i) { passed.push_back(i->value); };
  EXPECT_EQ(a.move_front(b, 0, note), 0u);
  EXPECT_EQ(a.move_front(b, 2, note), 2u);
  EXPECT_EQ(a.move_front(b, 1, note), 1u);
  EXPECT_EQ(passed, (std::vector{0, 1, 2}));
  EXPECT_EQ(a.size(), 2u);
  EXPECT_EQ(b.size(), 3u);
  EXPECT_EQ(a.move_front(b, 9, note), 2u);  // all: nothing is read on the way
  EXPECT_EQ(passed.size(), 3u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(b.pop_front()->value, i);
}

}  // namespace

// gc::vector, gc::string, gc::hash_map: as their models in std, with cycles under way; and what they keep alive, and what not.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <tern/sched.hpp>

#include "tests/support/seed.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::collect_all;
using gc_test::live_objects;
using gc_test::node;
using gc_test::on_thread;
using gc_test::verified;

// For the scope a thread asks for one cycle after the other, all of them verified. A slow build may end its work within the
// first: `meanwhile` repeats the work until more than one cycle has run beside it.
struct busy_collector {
  verified v;
  std::atomic<bool> stopping{false};
  std::thread thread{[this] {
    do gc::collect();
    while (!stopping);
  }};
  busy_collector() = default;
  template <class F>
  void meanwhile(F work) {
    do on_thread(work);
    while (v.cycles() < 2);
  }
  ~busy_collector() {
    stopping = true;
    thread.join();
    EXPECT_EQ(v.lost(), 0u);
  }
};

// xorshift64*.
struct dice {
  std::uint64_t state;
  explicit dice(std::uint64_t seed) : state{seed * 0x9e3779b97f4a7c15u + 1} {}
  std::uint64_t below(std::uint64_t bound) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return ((state * 0x2545f4914f6cdd1du) >> 32) * bound >> 32;
  }
};

node* boxed(long value) {
  node* n = gc::make<node>();
  n->value = value;
  return n;
}

TEST(gc_vector, does_what_std_vector_does_while_cycles_run) {
  busy_collector busy;
  busy.meanwhile([] {
    dice random{tern_test::seed()};
    gc::vector<gc::member<node>> v;
    std::vector<long> model;
    for (int i = 0, n = tern_test::scale(60'000); i < n; ++i) {
      const std::size_t at = model.empty() ? 0 : random.below(model.size());
      switch (random.below(16)) {
        case 0:
          if (!model.empty()) {
            v.pop_back();
            model.pop_back();
          }
          break;
        case 1:
          v.insert(v.begin() + at, boxed(i));
          model.insert(model.begin() + static_cast<long>(at), i);
          break;
        case 2:
          if (!model.empty()) {
            v.erase(v.begin() + at);
            model.erase(model.begin() + static_cast<long>(at));
          }
          break;
        case 3:
          if (random.below(64) == 0) {
            v.clear();
            model.clear();
          } else if (model.size() > 300) {
            v.resize(200);
            model.resize(200);
            v.shrink_to_fit();
          }
          break;
        case 4:
          if (!model.empty()) v.push_back(v[at]), model.push_back(model[at]);  // its own element
          break;
        case 5: {
          gc::vector<gc::member<node>> copy{v};
          ASSERT_TRUE(copy == v);
          gc::vector<gc::member<node>> other;
          other = std::move(copy);
          EXPECT_TRUE(copy.empty());
          v = other;
          break;
        }
        default: v.push_back(boxed(i)); model.push_back(i);
      }
      ASSERT_EQ(v.size(), model.size());
      for (std::size_t k = 0; i % 64 == 0 && k < model.size(); ++k) ASSERT_EQ(v[k]->value, model[k]);
    }
  });
  EXPECT_EQ(live_objects(), 0u);
}

TEST(gc_vector, what_left_it_is_not_kept_alive) {
  gc::handle<gc::vector<gc::member<node>>> v;
  on_thread([&] {
    v = gc::make<gc::vector<gc::member<node>>>();
    v->reserve(100);
    for (int i = 0; i < 100; ++i) v->push_back(boxed(i));
  });
  EXPECT_EQ(live_objects(), 102u);  // the vector, its buffer, the nodes
  on_thread([&] { v->pop_back(); });
  EXPECT_EQ(live_objects(), 101u);
  on_thread([&] { v->erase(v->begin(), v->begin() + 9); });
  EXPECT_EQ(live_objects(), 92u);
  on_thread([&] { v->resize(10); });
  EXPECT_EQ(live_objects(), 12u);
  on_thread([&] { v->clear(); });
  EXPECT_EQ(live_objects(), 2u);
  on_thread([&] { v->shrink_to_fit(); });
  EXPECT_EQ(live_objects(), 1u);
}

TEST(gc_vector, bytes_come_as_zeros_again) {
  on_thread([] {
    gc::vector<int> v{1, 2, 3, 4};
    v.resize(1);
    v.resize(4);
    EXPECT_TRUE((v == gc::vector<int>{1, 0, 0, 0}));
    EXPECT_THROW(v.at(4), std::out_of_range);
  });
}

TEST(gc_vector, a_reference_into_a_buffer_that_was_left_keeps_it) {
  verified check;
  on_thread([] {
    gc::vector<std::uint64_t> v{7};
    volatile std::uint64_t* const old = &v[0];
    for (std::uint64_t i = 0; i < 1000; ++i) v.push_back(i);
    gc::collect();
    for (int i = 0; i < 1000; ++i) gc::make_array<std::uint64_t>(4);
    EXPECT_EQ(*old, 7u);
  });
  EXPECT_EQ(check.lost(), 0u);
}

TEST(gc_vector, elements_are_destroyed_with_their_buffers) {
  auto shared = std::make_shared<int>(1);
  on_thread([&] {
    gc::vector<std::shared_ptr<int>> v;
    for (int i = 0; i < 50; ++i) v.push_back(shared);
    EXPECT_EQ(shared.use_count(), 51);  // those that growth left behind are empty
    v.resize(20);
    EXPECT_EQ(shared.use_count(), 21);
  });
  collect_all();
  EXPECT_EQ(shared.use_count(), 1);
}

TEST(gc_string, is_text_whose_parts_share_it) {
  busy_collector busy;
  busy.meanwhile([] {
    gc::string all;
    std::string model;
    for (int i = 0; i < 500; ++i) {
      all = all + std::to_string(i) + ",";
      model += std::to_string(i) + ",";
    }
    EXPECT_EQ(all, model);
    gc::vector<gc::string> parts;
    for (std::size_t from = 0; from < all.size(); ++from) {
      const std::size_t to = all.view().find(',', from);
      parts.push_back(all.substr(from, to - from));
      EXPECT_EQ(parts.back().data(), all.data() + from);
      from = to;
    }
    all = {};
    gc::collect();
    for (int i = 0; i < 100'000; ++i) gc::make_array<char>(16);
    ASSERT_EQ(parts.size(), 500u);
    for (std::size_t i = 0; i < 500; ++i) ASSERT_EQ(parts[i], std::to_string(i));
    EXPECT_TRUE(parts[1].substr(1).empty());
    EXPECT_EQ(parts[1].substr(1).data(), nullptr);  // an empty part keeps nothing
    EXPECT_THROW(static_cast<void>(parts[1].substr(2)), std::out_of_range);
    EXPECT_LT(parts[1], parts[2]);
    EXPECT_EQ("a" + parts[7], "a7");
  });
  EXPECT_EQ(live_objects(), 0u);
}

TEST(gc_string, a_part_of_a_large_one_keeps_it) {
  verified check;
  on_thread([] {
    gc::string part;
    {
      const std::string big(1 << 20, 'x');
      part = gc::string{big}.substr(700'000, 3);
    }
    for (int i = 0; i < 4; ++i) gc::collect(), gc::make_array<char>(1 << 20);
    EXPECT_EQ(part, "xxx");
  });
  EXPECT_EQ(check.lost(), 0u);
}

TEST(gc_hash_map, does_what_std_unordered_map_does_while_cycles_run) {
  busy_collector busy;
  busy.meanwhile([] {
    dice random{tern_test::seed()};
    gc::hash_map<std::uint64_t, gc::member<node>> map;
    std::unordered_map<std::uint64_t, long> model;
    const auto compare = [&] {
      ASSERT_EQ(map.size(), model.size());
      std::size_t seen = 0;
      map.for_each([&](const std::uint64_t& key, const gc::member<node>& value) {
        ++seen;
        ASSERT_EQ(model.at(key), value->value);
      });
      ASSERT_EQ(seen, model.size());
      for (const auto& [key, value] : model) ASSERT_EQ((*map.find(key))->value, value);
    };
    for (int i = 0, n = tern_test::scale(100'000); i < n; ++i) {
      // Keys that share their low bits, so that runs are long and wrap.
      const std::uint64_t key = random.below(2000) << (random.below(2) * 40);
      switch (random.below(4)) {
        case 0:
        case 1: {
          const bool is_new = map.insert_or_assign(key, boxed(i));
          ASSERT_EQ(is_new, model.insert_or_assign(key, i).second);
          break;
        }
        case 2: ASSERT_EQ(map.erase(key), model.erase(key) == 1); break;
        default:
          ASSERT_EQ(map.contains(key), model.contains(key));
          if (const auto* at = map.find(key)) {
            ASSERT_EQ((*at)->value, model.at(key));
          }
      }
      if (i % 4096 == 0) compare();
      if (i % 30'000 == 29'999) {
        gc::hash_map<std::uint64_t, gc::member<node>> copy{map};
        map.clear();
        EXPECT_FALSE(map.contains(key));
        map = std::move(copy);
      }
    }
    compare();
    while (!model.empty()) {
      const std::uint64_t key = model.begin()->first;
      ASSERT_TRUE(map.erase(key));
      model.erase(key);
    }
    EXPECT_TRUE(map.empty());
  });
  EXPECT_EQ(live_objects(), 0u);
}

TEST(gc_hash_map, an_erased_entry_is_not_kept_alive) {
  using map_type = gc::hash_map<gc::member<node>, gc::member<node>, std::hash<node*>>;
  gc::handle<map_type> map;
  on_thread([&] {
    map = gc::make<map_type>();
    for (int i = 0; i < 100; ++i) map->try_emplace(boxed(i), boxed(-i));
  });
  EXPECT_EQ(live_objects(), 202u);  // the map, its table, keys and values
  on_thread([&] {
    gc::vector<gc::member<node>> keys;
    map->for_each([&](const gc::member<node>& key, const gc::member<node>& value) {
      EXPECT_EQ(key->value, -value->value);
      if (key->value % 2 == 0) keys.push_back(key);
    });
    for (node* key : keys) EXPECT_TRUE(map->erase(key));
  });
  EXPECT_EQ(live_objects(), 102u);
  on_thread([&] { map->clear(); });
  EXPECT_EQ(live_objects(), 1u);
}

TEST(gc_hash_map, strings_as_keys_are_found_by_any_text) {
  on_thread([] {
    gc::hash_map<gc::string, int> map;
    for (int i = 0; i < 1000; ++i) map[std::to_string(i)] = i;
    gc::collect();
    EXPECT_EQ(map.size(), 1000u);
    EXPECT_EQ(*map.find(std::string_view{"777"}), 777);
    EXPECT_EQ(map.find(std::string_view{"x"}), nullptr);
    EXPECT_TRUE(map.erase(std::string_view{"777"}));
    EXPECT_FALSE(map.contains(std::string_view{"777"}));
    // A key and a value of the table itself, at the insertion that makes it grow.
    while (map.size() < map.capacity()) map[std::to_string(map.size() + 5000)] = 1;
    EXPECT_EQ(map.try_emplace(gc::string{"last"}, *map.find(gc::string{"42"})).first[0], 42);
  });
}

// Each fiber has containers of its own in its frame and in an object; the marker reads them as they grow and shrink.
TEST(gc_containers, fibers_use_them_while_they_are_marked) {
  struct holder {
    gc::vector<gc::member<node>> nodes;
    gc::hash_map<std::uint64_t, gc::string> names;
    void trace(gc::visitor& v) const { v(nodes, names); }
  };
  busy_collector busy;
  busy.meanwhile([] {
    tern::runtime rt{{.processors = 2}};
    rt.run([] {
      std::vector<tern::thread> fibers;
      for (std::uint64_t f = 0; f < 8; ++f)
        fibers.emplace_back([f] {
          dice random{tern_test::seed() + f};
          holder* const h = gc::make<holder>();
          for (std::uint64_t i = 0, n = tern_test::scale(std::uint64_t{8000}); i < n; ++i) {
            h->nodes.push_back(boxed(static_cast<long>(i)));
            h->names[i % 512] = std::to_string(i);
            if (random.below(4) == 0) h->names.erase(random.below(512));
            if (h->nodes.size() > 600) h->nodes.erase(h->nodes.begin(), h->nodes.begin() + 500);
            if (i % 512 == 0) tern::this_thread::yield();
          }
          for (std::size_t i = 1; i < h->nodes.size(); ++i)
            EXPECT_EQ(h->nodes[i]->value, h->nodes[i - 1]->value + 1);
          h->names.for_each([](std::uint64_t key, const gc::string& text) {
            EXPECT_EQ(std::stoull(std::string{text.view()}) % 512, key);
          });
        });
      for (tern::thread& t : fibers) t.join();
    });
  });
}

}  // namespace

// The verifier's net: pointers that the program hides where the collector does not look.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/sched.hpp>

#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::on_thread;
using gc_test::verified;

struct target {
  gc::member<target> next;
  long number = 0;
  // Cells that no other test's words lead to.
  char padding[40];
};
struct holder {
  gc::member<target> named;
  std::uintptr_t unnamed = 0;
};
struct unmanaged_node {
  long number;
  target* hidden;
  char padding[200];
};

class gc_verifier : public testing::Test {
 protected:
  void SetUp() override { gc::testing::verify_unmanaged_memory(true); }
  void TearDown() override { gc::testing::verify_unmanaged_memory(false); }

  struct found {
    std::uint64_t in_objects = 0;
    std::uint64_t in_blocks = 0;
    std::string text;
  };
  // Of one cycle.
  static found verify() {
    const verified v;
    const gc::statistics before = gc::read_statistics();
    testing::internal::CaptureStderr();
    gc::collect();
    found f;
    f.text = testing::internal::GetCapturedStderr();
    const gc::statistics after = gc::read_statistics();
    EXPECT_EQ(after.lost, before.lost);
    f.in_objects = after.suspects_in_objects - before.suspects_in_objects;
    f.in_blocks = after.suspects_in_blocks - before.suspects_in_blocks;
    return f;
  }
};

TEST_F(gc_verifier, an_object_that_unmanaged_memory_alone_leads_to_is_named) {
  auto* block = static_cast<unmanaged_node*>(tern::allocate(sizeof(unmanaged_node)));
  on_thread([block] { block->hidden = gc::make<target>(); });
  const found f = verify();
  EXPECT_EQ(f.in_blocks, 1u);
  EXPECT_EQ(f.in_objects, 0u);
  EXPECT_NE(f.text.find("gc: suspect: byte 8 of the allocated block at "), std::string::npos) << f.text;
  EXPECT_NE(f.text.find("target that nothing else keeps"), std::string::npos) << f.text;
  // Swept: the word leads to nothing any more.
  EXPECT_EQ(verify().in_blocks, 0u);
  tern::deallocate(block);
}

TEST_F(gc_verifier, an_object_that_has_a_root_too_is_not) {
  auto* block = static_cast<unmanaged_node*>(tern::allocate(sizeof(unmanaged_node)));
  gc::handle<target> root;
  on_thread([&] { root = block->hidden = gc::make<target>(); });
  const found f = verify();
  EXPECT_EQ(f.in_blocks, 0u);
  EXPECT_EQ(f.text, "");
  tern::deallocate(block);
}

TEST_F(gc_verifier, registered_ranges_are_roots) {
  auto* block = static_cast<unmanaged_node*>(tern::allocate(sizeof(unmanaged_node)));
  tern::detail::register_root_range(block, sizeof(unmanaged_node));
  on_thread([block] { block->hidden = gc::make<target>(); });
  EXPECT_EQ(verify().in_blocks, 0u);
  on_thread([block] { EXPECT_EQ(block->hidden->number, 0); });
  tern::detail::unregister_root_range(block);
  tern::deallocate(block);
}

// A freed block keeps its words while it lies in a cache.
TEST_F(gc_verifier, what_freed_blocks_hold_is_no_suspect) {
  auto* block = static_cast<unmanaged_node*>(tern::allocate(sizeof(unmanaged_node)));
  on_thread([block] { block->hidden = gc::make<target>(); });
  tern::deallocate(block);
  EXPECT_EQ(verify().in_blocks, 0u);
}

TEST_F(gc_verifier, blocks_of_every_kind_are_looked_through) {
  // Small, large, and huge ones out of the page heap.
  for (const std::size_t bytes :
       {std::size_t{24}, std::size_t{5000}, std::size_t{100'000}, std::size_t{3} << 20}) {
    auto* words = static_cast<target**>(tern::allocate(bytes));
    std::fill(words, words + bytes / sizeof *words, nullptr);
    on_thread([&] { words[bytes / sizeof *words - 1] = gc::make<target>(); });
    EXPECT_EQ(verify().in_blocks, 1u) << bytes;
    tern::deallocate(words);
  }
}

// Blocks with mappings of their own: what is above 64 MiB.
TEST_F(gc_verifier, a_huge_block_is_looked_through_where_it_is) {
  constexpr std::size_t bytes = std::size_t{65} << 20;
  constexpr std::size_t last = bytes / sizeof(target*) - 1;
  const auto hide = [](target** words, std::size_t i) { on_thread([&] { words[i] = gc::make<target>(); }); };
  auto* words = static_cast<target**>(tern::allocate(bytes));  // fresh from the OS: zeros
  hide(words, last);
  EXPECT_EQ(verify().in_blocks, 1u);
  words[last] = nullptr;
  words = static_cast<target**>(tern::reallocate(words, 2 * bytes));
  ASSERT_NE(words, nullptr);
  hide(words, 2 * last + 1);
  EXPECT_EQ(verify().in_blocks, 1u) << "it has grown, and moved if it had to";
  words[2 * last + 1] = nullptr;
  hide(words, 0);
  tern::deallocate(words);
  EXPECT_EQ(verify().in_blocks, 0u);
}

TEST_F(gc_verifier, huge_blocks_may_come_and_go_while_it_looks) {
  constexpr std::size_t bytes = std::size_t{65} << 20;
  std::atomic<bool> ends{false};
  std::atomic<int> turns{0};
  std::thread busy{[&] {  // attached to nothing: it goes on while the world is stopped
    while (!ends) {
      void* p = tern::allocate(bytes);
      p = tern::reallocate(p, bytes + (std::size_t{1} << 20));
      tern::deallocate(p);
      ++turns;
    }
  }};
  for (int i = 0; i < 5 || turns < 100; ++i) EXPECT_EQ(verify().in_blocks, 0u);
  ends = true;
  busy.join();
}

TEST_F(gc_verifier, a_word_that_its_objects_type_does_not_name_is_told) {
  gc::handle<holder> root;
  gc::handle<gc::array<std::uintptr_t>> numbers;
  on_thread([&] {
    root = gc::make<holder>();
    root->named = gc::make<target>();
    root->unnamed = reinterpret_cast<std::uintptr_t>(gc::make<target>());
    numbers = gc::make_array<std::uintptr_t>(3);
    (*numbers)[1] = reinterpret_cast<std::uintptr_t>(gc::make<target>());
  });
  const found f = verify();
  EXPECT_EQ(f.in_objects, 2u);
  EXPECT_EQ(f.in_blocks, 0u);
  EXPECT_NE(f.text.find("byte 8 of a managed "), std::string::npos) << f.text;
  EXPECT_NE(f.text.find("holder at "), std::string::npos) << f.text;
  EXPECT_NE(f.text.find("byte 16 of a managed "), std::string::npos) << f.text;
  on_thread([&] { EXPECT_EQ(root->named->number, 0); });
}

// A closure too big for its fiber's slot lies in a block, and is a root all the same.
TEST_F(gc_verifier, a_closure_in_a_block_is_no_suspect) {
  found f;
  tern::run([&f] {
    struct big {
      target* first = nullptr;
      char bytes[10'000] = {};
    };
    tern::thread t{[] {
      auto inner = std::make_unique<big>();  // unmanaged, of the C++ heap: not looked at
      inner->first = gc::make<target>(nullptr, 7L);
      return tern::thread{[b = *inner] { EXPECT_EQ(b.first->number, 7); }};
    }()};
    f = verify();
    t.join();
  });
  EXPECT_EQ(f.in_blocks, 0u);
}

}  // namespace

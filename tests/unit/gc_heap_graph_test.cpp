// Who keeps an object alive: paths from roots, and the whole graph as a file.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/error_of.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::on_thread;
using root_kind = gc::root_path::root_kind;

struct station {
  long number = 0;
  gc::member<station> near;
  gc::member<station> far;
  char name[24] = {};
};

// A word that is no root: on the stack it would be one.
std::uintptr_t masked(const void* p) { return reinterpret_cast<std::uintptr_t>(p) ^ 0x5555'5555'5555'5555U; }
const void* unmasked(std::uintptr_t w) { return reinterpret_cast<const void*>(w ^ 0x5555'5555'5555'5555U); }

// Without a word of it on this thread's stack afterwards.
gc::root_path path_to(std::uintptr_t masked_object) {
  gc::root_path p;
  on_thread([&] { p = gc::find_root_path(unmasked(masked_object)); });
  return p;
}

TEST(gc_heap_graph, the_shortest_way_is_found) {
  gc::handle<station> first;
  gc::handle<station> second;
  std::uintptr_t end = 0;
  on_thread([&] {
    first = gc::make<station>();
    second = gc::make<station>();
    station* last = gc::make<station>();
    first->near = gc::make<station>();
    first->near->far = gc::make<station>();
    first->near->far->near = last;
    second->far = gc::make<station>();
    second->far->near = last;
    end = masked(last);
  });
  gc::root_path p = path_to(end);
  EXPECT_EQ(p.root, root_kind::handle);
  ASSERT_EQ(p.steps.size(), 3u);
  EXPECT_EQ(p.steps[0].object, second.get());
  EXPECT_EQ(p.steps[0].leaves_at, offsetof(station, far));
  EXPECT_EQ(p.steps[1].object, second->far.get());
  EXPECT_EQ(p.steps[1].leaves_at, offsetof(station, near));
  EXPECT_EQ(p.steps[2].object, unmasked(end));
  EXPECT_EQ(p.steps[2].leaves_at, 0u);
  EXPECT_EQ(p.steps[2].bytes, sizeof(station));
  EXPECT_NE(p.steps[2].type.find("station"), std::string_view::npos);
  const std::string text = to_string(p);
  EXPECT_EQ(text.rfind("gc: handle at 0x", 0), 0u) << text;
  EXPECT_NE(text.find("station at 0x"), std::string::npos) << text;
  EXPECT_NE(text.find(", its member at byte 16\n"), std::string::npos) << text;

  // Once that way is cut, the longer one.
  second->far = nullptr;
  p = path_to(end);
  ASSERT_EQ(p.steps.size(), 4u);
  EXPECT_EQ(p.steps[0].object, first.get());
}

TEST(gc_heap_graph, the_askers_own_stack_counts_last) {
  gc::handle<station> root;
  on_thread([&] {
    station* mine = gc::make<station>();
    gc::root_path p = gc::find_root_path(mine);
    EXPECT_EQ(p.root, root_kind::thread);
    EXPECT_EQ(p.steps.size(), 1u);
    root = gc::make<station>();
    root->near = mine;
    p = gc::find_root_path(&mine->far);  // into it
    EXPECT_EQ(p.root, root_kind::handle);
    ASSERT_EQ(p.steps.size(), 2u);
    EXPECT_EQ(p.steps[1].object, mine);
    gc::keep_alive(mine);
  });
}

TEST(gc_heap_graph, a_parked_fiber_is_named) {
  tern::run([] {
    tern::channel<int> go{0};
    std::uintptr_t end = 0;
    tern::thread t{{.name = "librarian"}, [&] {
                     station* mine = gc::make<station>();
                     mine->near = gc::make<station>();
                     end = masked(mine->near.get());
                     go.send(1);
                     static_cast<void>(go.receive());
                     gc::keep_alive(mine);
                   }};
    static_cast<void>(go.receive());
    const gc::root_path p = gc::find_root_path(unmasked(end));
    EXPECT_EQ(p.root, root_kind::fiber);
    EXPECT_NE(p.root_name.find("librarian"), std::string::npos) << p.root_name;
    EXPECT_GE(p.steps.size(), 1u);
    EXPECT_LE(p.steps.size(), 2u);  // its frames may hold the second one's address as well
    go.send(2);
    t.join();
  });
}

TEST(gc_heap_graph, a_thread_that_waits_elsewhere_is_named) {
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> done{false};
  std::thread other{[&] {
    ::pthread_setname_np(::pthread_self(), "elsewhere");
    station* mine = gc::make<station>();
    end = masked(mine);
    while (!done) gc::safepoint();
    gc::keep_alive(mine);
  }};
  while (end == 0) std::this_thread::yield();
  const gc::root_path p = path_to(end);
  done = true;
  other.join();
  EXPECT_EQ(p.root, root_kind::thread);
  EXPECT_EQ(p.root_name, "elsewhere");
}

TEST(gc_heap_graph, what_no_root_leads_to_has_no_path) {
  std::uintptr_t dead = 0;
  on_thread([&] { dead = masked(gc::make<station>()); });
  gc::collect();
  const gc::root_path p = path_to(dead);
  EXPECT_FALSE(p);
  EXPECT_TRUE(p.steps.empty());
  EXPECT_EQ(to_string(p), "gc: no root leads to the object\n");
  const int foreign = 0;
  EXPECT_FALSE(gc::find_root_path(&foreign));
  EXPECT_FALSE(gc::find_root_path(nullptr));
}

TEST(gc_heap_graph, a_long_way_is_told_whole) {
  gc::handle<station> root;
  std::uintptr_t end = 0;
  constexpr std::size_t length = 50'000;
  on_thread([&] {
    root = gc::make<station>();
    station* s = root;
    for (std::size_t i = 1; i < length; ++i) s = s->near = gc::make<station>();
    end = masked(s);
  });
  const gc::root_path p = path_to(end);
  EXPECT_EQ(p.steps.size(), length);
}

TEST(gc_heap_graph, several_may_ask_at_a_time) {
  gc::handle<station> root;
  on_thread([&] {
    root = gc::make<station>();
    root->near = gc::make<station>();
  });
  const std::uintptr_t end = masked(root->near.get());
  std::vector<std::thread> askers;
  for (int i = 0; i < 4; ++i)
    askers.emplace_back([end] {
      for (int k = 0; k < 5; ++k) EXPECT_EQ(gc::find_root_path(unmasked(end)).steps.size(), 2u);
    });
  for (std::thread& t : askers) t.join();
}

class graph_file {
 public:
  graph_file() {
    const char* folder = std::getenv("TMPDIR");
    path_ = std::string{folder != nullptr ? folder : "."} + "/tern_heap_graph_" + std::to_string(::getpid());
  }
  ~graph_file() { std::remove(path_.c_str()); }
  const char* path() const { return path_.c_str(); }
  std::vector<std::string> lines() const {
    std::ifstream in{path_};
    std::vector<std::string> all;
    for (std::string l; std::getline(in, l);) all.push_back(l);
    return all;
  }

 private:
  std::string path_;
};

std::string text_of(const void* p) {
  char text[32];
  std::snprintf(text, sizeof text, "\"%#" PRIxPTR "\"", reinterpret_cast<std::uintptr_t>(p));
  return text;
}

std::string line_with(const std::vector<std::string>& lines, const std::string& begin) {
  const auto at =
      std::find_if(lines.begin(), lines.end(), [&](const std::string& l) { return l.rfind(begin, 0) == 0; });
  return at == lines.end() ? std::string{} : *at;
}

TEST(gc_heap_graph, the_file_has_every_object_and_root) {
  gc::handle<station> root;
  gc::handle<gc::array<gc::member<station>>> table;
  on_thread([&] {
    root = gc::make<station>();
    root->far = gc::make<station>();
    table = gc::make_array<gc::member<station>>(5);
    (*table)[3] = root->far;
    gc::make<station>();  // dead
  });
  gc::collect();
  const std::uint64_t objects = gc::read_statistics().live_objects;
  const graph_file file;
  on_thread([&] { gc::write_heap_graph(file.path()); });
  const std::vector<std::string> lines = file.lines();
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(
      lines[0].rfind(
          "{\"schema\":\"tern.heap_graph/1\",\"objects\":" + std::to_string(objects) + ",\"bytes\":", 0),
      0u)
      << lines[0];
  std::size_t told = 0;
  for (const std::string& l : lines) {
    EXPECT_EQ(l.front(), '{');
    EXPECT_EQ(l.back(), '}');
    EXPECT_EQ(std::count(l.begin(), l.end(), '['), std::count(l.begin(), l.end(), ']')) << l;
    told += l.rfind("{\"object\":", 0) == 0 ? 1u : 0u;
  }
  EXPECT_EQ(told, objects);
  const std::string of_root = line_with(lines, "{\"object\":" + text_of(root.get()));
  EXPECT_NE(of_root.find("station\"],\"bytes\":48,\"to\":[[16," + text_of(root->far.get()) + "]]}"),
            std::string::npos)
      << of_root;
  const std::string of_table = line_with(lines, "{\"object\":" + text_of(table.get()));
  EXPECT_NE(of_table.find(",\"length\":5,\"to\":[[32," + text_of(root->far.get()) + "]]}"), std::string::npos)
      << of_table;
  const bool has_root = std::any_of(lines.begin(), lines.end(), [&](const std::string& l) {
    return l.rfind("{\"root\":\"handle\",\"at\":", 0) == 0 &&
           l.find("\"to\":[" + text_of(root.get()) + "]") != std::string::npos;
  });
  EXPECT_TRUE(has_root);
}

// Cells that a thread has ready are black while a cycle marks, and no objects.
TEST(gc_heap_graph, free_cells_are_no_objects) {
  struct rarely_made {
    gc::member<station> link;
    long numbers[20] = {};
  };
  const graph_file file;
  rarely_made* const one = gc::make<rarely_made>();
  gc::write_heap_graph(file.path());
  const std::vector<std::string> lines = file.lines();
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                          [](const std::string& l) { return l.find("rarely_made\"]") != std::string::npos; }),
            1);
  gc::keep_alive(one);
}

TEST(gc_heap_graph, a_file_that_cannot_be_written_is_an_error) {
  EXPECT_EQ(tern_test::error_of([] { gc::write_heap_graph("no/such/folder/graph"); }).value(), ENOENT);
  if (::access("/dev/full", W_OK) == 0) {
    EXPECT_EQ(tern_test::error_of([] { gc::write_heap_graph("/dev/full"); }).value(), ENOSPC);
  }
}

TEST(gc_heap_graph, a_fork_child_is_refused) {
  gc::collect();
  const pid_t child = ::fork();
  if (child == 0)
    std::_Exit(tern_test::error_of([] { static_cast<void>(gc::find_root_path(nullptr)); }).value() == ENOTSUP
                   ? 0
                   : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace

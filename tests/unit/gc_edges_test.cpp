// Narrow windows of the collector's protocols, each opened on purpose.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <tern/sync.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/support/emulation.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/stderr_tap.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
namespace internal = tern::detail::gc;
using gc_test::node;
using gc_test::on_thread;
using gc_test::verified;
using internal::test_point;

// A shape that nothing else uses: its lock stands still for whoever goes over all shapes.
struct stop_sign {
  gc::member<node> pointer;
  char bytes[3000];
  void trace(gc::visitor& v) const { v(pointer); }
};

std::atomic<int> reached_stage{0};
void reach(int s) {
  while (reached_stage.load() < s) std::this_thread::yield();
}

// Serves handshakes until the stage is reached.
void serve_until(int s) {
  while (reached_stage.load() < s) {
    gc::safepoint();
    std::this_thread::yield();
  }
}

// An emulator cannot start this program anew by its own name.
bool is_emulated() { return internal::reservation_bytes() != internal::heap_reservation; }

void set_hook(void (*f)(test_point) noexcept) { internal::testing.at.store(f); }

TEST(gc_edges, a_thread_that_attaches_after_marking_leaves_no_black_cells_behind) {
  static gc::handle<node> parent;
  reached_stage = 0;
  on_thread([] { gc::make<stop_sign>(); });
  set_hook([](test_point p) noexcept {
    if (p != test_point::marking_done || reached_stage.load() != 0) return;
    internal::object_shape<stop_sign>().lock.lock();  // the collector meets it once the epoch has changed
    reached_stage = 1;
  });
  std::thread cycle{[] { gc::collect(); }};
  on_thread([] {
    reach(1);
    const std::uint64_t before = internal::state.epoch.load();
    // Either the epoch changes first, or the cycle cannot go on without this thread's answer.
    while (internal::state.epoch.load() == before && reached_stage.load() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
      reached_stage = 2;
    }
    gc::attach_thread attached;
    parent = gc::make<node>();
    internal::object_shape<stop_sign>().lock.unlock();
    const std::uint64_t completed = internal::state.completed.load();
    while (internal::state.completed.load() == completed) gc::safepoint();
  });
  cycle.join();
  set_hook(nullptr);
  on_thread([] {
    node* child = gc::make<node>();
    child->value = 4711;
    parent->next = child;
  });
  {
    verified v;
    gc::collect();
    EXPECT_EQ(v.lost(), 0u);
  }
  on_thread([] { EXPECT_EQ(parent->next->value, 4711); });
  parent.reset();
}

// Between its acknowledgements of barrier_on and of the first round a mutator may see marks that another one's sweep of the last cycle
// is about to clear.
TEST(gc_edges, what_was_shaded_before_the_first_round_is_shaded_again) {
  static std::atomic<internal::mutator*> storing{nullptr};
  static std::atomic<std::uintptr_t> word{0};
  static std::atomic<bool> in_between{false};
  static std::atomic<bool> afterwards{true};
  static gc::handle<node> target;
  reached_stage = 0;
  std::thread mutator{[] {
    gc::attach_thread attached;
    storing = internal::current_mutator_if_any();
    target = gc::make<node>();
    target->next = gc::make<node>();
    reached_stage = 1;
    serve_until(2);
    target->next = target->next.get();
    word = reinterpret_cast<std::uintptr_t>(target->next.get());
    in_between = storing.load()->shaded.has(word);
    reached_stage = 3;
    serve_until(4);
  }};
  reach(1);
  set_hook([](test_point p) noexcept {
    if (p == test_point::barrier_on && reached_stage.load() == 1) {
      reached_stage = 2;
      reach(3);
    } else if (p == test_point::roots_scanned && reached_stage.load() == 3) {
      afterwards = storing.load()->shaded.has(word);
      reached_stage = 4;
    }
  });
  gc::collect();
  mutator.join();
  set_hook(nullptr);
  target.reset();
  EXPECT_TRUE(in_between);
  EXPECT_FALSE(afterwards);
}

// Between the last acknowledgement of a round and its judgement, and then between the judgement and the end of the barrier: what lock()
// gives out in the first is on a stack that was scanned before, and must count; in the second it gives out nothing that was judged dead.
// The object has a type of its own: no cell of its size was used before, so no stack has a word from then that leads to it, and it does not
// lie at the heap's first address, which stands in many a frame.
template <int Test>
struct weak_target {
  long value = 0;
  unsigned char room[600 + 200 * Test] = {};
};
template <int Test>
struct weak_window {
  static inline std::atomic<std::uintptr_t> word{0};  // no root: not on a stack
  static inline std::atomic<bool> was_white{false};
  static inline gc::weak<weak_target<Test>> reference;

  static void open() noexcept {
    if (reached_stage.load() != 1) return;
    const internal::object_ref o = internal::object_at(word);
    was_white = o && !o.where->is_marked(o.index);
    reached_stage = 2;
    reach(3);
  }
};

// What lock() gave out in the window, and the object's value as it was after the cycle.
template <int Test>
std::pair<bool, long> lock_in_window(void (*hook)(test_point) noexcept) {
  using window = weak_window<Test>;
  gc::testing::poison_freed(true);
  gc::collect();  // no cycle is due soon
  reached_stage = 0;
  // It ends when the mutator is there, which else might get its stack, with the words that lie there.
  std::atomic<bool> may_end{false};
  std::thread maker{[&may_end] {
    auto* const n = gc::make<weak_target<Test>>();
    n->value = 4711;
    window::reference = n;
    window::word = reinterpret_cast<std::uintptr_t>(n);
    while (!may_end) std::this_thread::yield();
  }};
  while (window::word == 0) std::this_thread::yield();
  std::pair<bool, long> result{false, 0};
  std::thread mutator{[&result] {
    gc::attach_thread attached;
    reached_stage = 1;
    serve_until(2);
    const auto* const n = window::reference.lock();
    reached_stage = 3;
    serve_until(4);
    if (n != nullptr) result = {true, n->value};
  }};
  reach(1);
  may_end = true;
  maker.join();
  set_hook(hook);
  gc::collect();
  set_hook(nullptr);
  reached_stage = 4;
  mutator.join();
  gc::testing::poison_freed(false);
  return result;
}

TEST(gc_edges, what_a_weak_reference_gives_out_in_a_round_lives_through_the_cycle) {
  const auto [given, value] = lock_in_window<0>([](test_point p) noexcept {
    if (p == test_point::round_done) weak_window<0>::open();
  });
  EXPECT_TRUE(weak_window<0>::was_white);
  EXPECT_TRUE(given);
  EXPECT_EQ(value, 4711);
  gc::collect();
}

TEST(gc_edges, a_weak_reference_gives_out_nothing_that_was_judged_dead) {
  const auto [given, value] = lock_in_window<1>([](test_point p) noexcept {
    if (p == test_point::marking_done) weak_window<1>::open();
  });
  EXPECT_TRUE(weak_window<1>::was_white);
  EXPECT_FALSE(given) << value;
}

// The slots are cleared without the lock, which with many of them takes long: nobody waits for it.
TEST(gc_edges, a_weak_reference_that_is_not_cleared_yet_gives_out_nothing_that_was_judged_dead) {
  const auto [given, value] = lock_in_window<2>([](test_point p) noexcept {
    if (p == test_point::weak_judged) weak_window<2>::open();
  });
  EXPECT_TRUE(weak_window<2>::was_white);
  EXPECT_FALSE(given) << value;
}

TEST(gc_edges, an_exception_out_of_a_blocking_call_ends_the_idle_state) {
  on_thread([] {
    gc::attach_thread attached;
    const auto throws = []() -> int { throw std::runtime_error{"no"}; };
    EXPECT_THROW(gc::without_managed_access(throws), std::runtime_error);
    EXPECT_TRUE(internal::current_mutator_if_any()->port.is_running());
    EXPECT_FALSE(internal::current_mutator_if_any()->in_runtime.load());
  });
}

// The acknowledgement by signal must get along with any lock that the program may hold outside the collector.
TEST(gc_edges, a_thread_interrupted_inside_the_allocator_acknowledges) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan delivers signals late";
  reached_stage = 0;
  std::thread busy{[] {
    node* n = gc::make<node>();
    n->value = 4711;
    // So that the next one is not among those that were given back.
    std::vector<internal::grey_chunk*> chunks;
    for (int i = 0; i < 2000; ++i) chunks.push_back(internal::grey_chunks.take());
    internal::mutator& m = *internal::current_mutator_if_any();
    internal::hand_over(m);
    const std::uint64_t acked = m.port.acked();
    tern::detail::metadata.for_each_lock([](auto& l) { l.lock(); });
    reached_stage = 1;
    while (m.port.acked() < acked + 2) tern::detail::spin_pause();  // no safepoint
    tern::detail::metadata.for_each_lock([](auto& l) { l.unlock(); });
    for (internal::grey_chunk* c : chunks) internal::grey_chunks.give(c);
    EXPECT_EQ(n->value, 4711);
    gc::keep_alive(n);
  }};
  reach(1);
  gc::collect();
  busy.join();
}

TEST(gc_edges, a_heap_that_is_above_a_lowered_trigger_is_collected) {
  on_thread([] {
    gc::set_minimum_heap(std::size_t{1} << 20);
    gc::set_growth_percent(2000);
    node* list = nullptr;
    for (int i = 0; i < 100000; ++i) {
      node* n = gc::make<node>();
      n->next = list;
      list = n;
    }
    gc::collect();
    for (int i = 0; i < 200000; ++i) gc::make<node>();
    const std::uint64_t cycles = gc::read_statistics().cycles;
    gc::set_growth_percent(10);
    // What lies above the trigger starts a cycle; a collector that is slow in coming ends it later.
    while (gc::read_statistics().cycles == cycles) gc::make<node>();
    gc::keep_alive(list);
    gc::set_growth_percent(100);
    gc::set_minimum_heap(std::size_t{4} << 20);
  });
}

// Work that finds nothing white is work too: else a huge array is looked through in one hold of the mark lock.
TEST(gc_edges, a_big_array_is_marked_in_bounded_pieces) {
  static std::atomic<int> quanta{0};
  quanta = 0;
  on_thread([] {
    constexpr std::size_t n = 1000000;
    gc::array<gc::member<node>>* a = gc::make_array<gc::member<node>>(n);
    node* one = gc::make<node>();
    for (std::size_t i = 0; i < n; ++i) (*a)[i] = one;
    set_hook([](test_point p) noexcept {
      if (p == test_point::mid_mark) ++quanta;
    });
    gc::collect();
    set_hook(nullptr);
    gc::keep_alive(a);
  });
  EXPECT_GT(quanta, 20);
}

TEST(gc_edges, a_closure_on_the_heap_is_scanned_with_its_fiber) {
  gc::testing::poison_freed(true);
  tern::runtime rt{{.processors = 2}};
  tern::channel<int> go{1};
  std::atomic<long> found{0};
  std::optional<tern::thread> fiber;
  rt.run([&] {
    node* n = gc::make<node>();
    n->value = 4711;
    std::array<char, 8192> ballast{};
    fiber.emplace([&go, &found, n, ballast] {
      static_cast<void>(ballast);
      static_cast<void>(go.receive());
      found = n->value;
    });
  });
  rt.run([] {  // over the words that the first main fiber left
    volatile char words[8192] = {};
    static_cast<void>(words[0]);
  });
  for (int i = 0; i < 2; ++i) gc::collect();
  go.send(1);
  fiber->join();
  EXPECT_EQ(found, 4711);
  gc::testing::poison_freed(false);
}

// A fiber may park with a lock held that another processor wants: nobody may be stopped there.
TEST(gc_edges, the_world_stops_while_fibers_fight_for_a_channel) {
  tern::runtime rt{{.processors = 2}};
  verified v;
  tern::channel<node*> c{0};
  std::atomic<bool> stop{false};
  std::thread cycles{[&] {
    for (int i = 0; i < 300; ++i) gc::collect();
    stop = true;
  }};
  rt.run([&] {
    std::vector<tern::thread> senders;
    for (int s = 0; s < 4; ++s)
      senders.emplace_back([&] {
        while (!stop) {
          node* n = gc::make<node>();
          n->value = 1;
          c.send(n);
        }
        c.send(nullptr);
      });
    int ended = 0;
    while (ended < 4) {
      const std::optional<node*> n = c.receive();
      if (*n == nullptr)
        ++ended;
      else
        EXPECT_EQ((*n)->value, 1);
    }
  });
  cycles.join();
  EXPECT_EQ(v.lost(), 0u);
}

TEST(gc_edges, a_fork_child_owes_nothing_to_the_cycle_of_its_parent) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  reached_stage = 0;
  int status = -1;
  std::thread forker{[&status] {
    gc::attach_thread attached;
    reached_stage = 1;
    serve_until(2);
    const pid_t child = ::fork();
    if (child == 0) {
      const std::size_t noted = internal::chunk_memory.used_bytes();
      node* list = nullptr;
      for (int i = 0; i < 200000; ++i) {
        node* n = gc::make<node>();
        n->next = list;
        list = i % 100 == 0 ? nullptr : n;
      }
      // The deadlock report of a runtime that the child makes would take the program's threads for the collector's.
      if (tern::detail::service_threads.load() != 0) std::_Exit(2);
      std::_Exit(internal::is_barrier_on() || internal::chunk_memory.used_bytes() > noted ? 1 : 0);
    }
    reached_stage = 3;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  }};
  reach(1);
  set_hook([](test_point p) noexcept {
    if (p != test_point::roots_scanned || reached_stage.load() != 1) return;
    reached_stage = 2;
    reach(3);
  });
  gc::collect();
  forker.join();
  set_hook(nullptr);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(gc_edges, a_fork_child_finds_none_of_the_locks_held) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own locks may be held at a fork";
  on_thread([] {
    gc::attach_thread attached;
    gc::weak<node> w{gc::make<node>()};
    std::vector<tern::detail::spin_lock<>*> locks{&tern::detail::collector_start_lock};
    internal::for_each_collector_lock([&](tern::detail::spin_lock<>& l) { locks.push_back(&l); });
    for (tern::detail::spin_lock<>* l : locks) {
      std::atomic<bool> held{false};
      std::atomic<bool> forked{false};
      std::thread holder{[&] {
        const tern::detail::lock_scope hold{*l};
        held = true;
        // Until there is a child; for a moment where the fork waits for the lock.
        for (int i = 0; i < 20 && !forked; ++i) ::usleep(1000);
      }};
      while (!held) std::this_thread::yield();
      const pid_t child = ::fork();
      if (child == 0) {
        for (tern::detail::spin_lock<>* each : locks)
          if (!each->try_lock()) std::_Exit(1);
        std::_Exit(0);
      }
      forked = true;
      holder.join();
      int status = -1;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_EQ(status, 0) << "lock " << std::find(locks.begin(), locks.end(), l) - locks.begin();
      ASSERT_TRUE(l->try_lock());
      l->unlock();
    }
  });
}

// While others allocate, destroy and collect.
TEST(gc_edges, fork_children_of_a_busy_heap_make_objects) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own locks may be held at a fork";
  std::atomic<bool> stop{false};
  std::vector<std::thread> busy;
  for (int t = 0; t < 2; ++t)
    busy.emplace_back([&] {
      gc::attach_thread attached;
      for (node* list = nullptr; !stop;) {
        for (int i = 0; i < 1000; ++i) {
          node* n = gc::make<node>();
          n->next = list;
          list = i % 100 == 0 ? nullptr : n;
          gc::handle<node> h{n};
          gc::weak<node> w{n};
        }
        gc::collect();
      }
    });
  on_thread([] {
    gc::attach_thread attached;
    for (int k = 0; k < tern_test::scale(60); ++k) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(60);  // a lock that nobody will release must not hang the test
        for (int i = 0; i < 3000; ++i) {
          gc::handle<node> h{gc::make<node>()};
          gc::weak<node> w{h.get()};
        }
        gc::collect();
        gc::wait_for_destructors();
        std::thread{[] {
          gc::attach_thread another;
          static_cast<void>(gc::make<node>());
        }}.join();
        std::_Exit(0);
      }
      int status = -1;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_EQ(status, 0) << k;
    }
  });
  stop = true;
  for (std::thread& t : busy) t.join();
}

// No signal reaches it under TSan, and none may stop it for the verifier: it must have declared itself idle.
TEST(gc_edges, an_attached_thread_that_waits_for_fibers_keeps_nobody_waiting) {
  on_thread([] {
    gc::attach_thread attached;
    node* mine = gc::make<node>();
    mine->value = 4711;
    verified v;
    tern::runtime rt{{.processors = 2}};
    rt.run([] { gc::collect(); });
    tern::channel<node*> c{0};
    tern::thread sender = rt.spawn([&] {
      gc::collect();
      c.send(gc::make<node>());
    });
    const std::optional<node*> received = c.receive();
    gc::collect();
    EXPECT_EQ((*received)->value, 0);
    EXPECT_EQ(mine->value, 4711);
    sender.join();
    EXPECT_EQ(v.lost(), 0u);
    EXPECT_EQ(v.cycles(), 3u);
  });
}

// With ASan's use-after-return checks such locals lie in frames elsewhere, to which the stack points.
TEST(gc_edges, locals_whose_address_is_known_are_roots_of_an_idle_thread) {
  gc::testing::poison_freed(true);
  on_thread([] {
    node* slots[40];
    const auto fill = [](node** slot, long v) {
      *slot = gc::make<node>();
      (*slot)->value = v;
    };
    for (long i = 0; i < 40; ++i) fill(&slots[i], i);
    gc::collect();
    for (long i = 0; i < 40; ++i) EXPECT_EQ(slots[i]->value, i);
  });
  gc::testing::poison_freed(false);
}

TEST(gc_edges_death, a_foreign_stack_is_fatal) {
  if (tern::detail::asan_build || tern::detail::tsan_build) GTEST_SKIP() << "sanitizers know no such stack";
  if (is_emulated()) GTEST_SKIP() << "needs a process of its own";
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto program = [] {
    gc::attach_thread attached;
    static ucontext_t back;
    static ucontext_t there;
    static char memory[1 << 16];
    ::getcontext(&there);
    there.uc_stack.ss_sp = memory;
    there.uc_stack.ss_size = sizeof memory;
    there.uc_link = &back;
    ::makecontext(&there, [] { gc::collect(); }, 0);
    ::swapcontext(&back, &there);
    std::_Exit(0);
  };
  EXPECT_DEATH(program(), "not the attached thread's own");
}

struct maker {
  gc::member<node> unused;
  ~maker() { gc::make<node>(); }
  void trace(gc::visitor& v) const { v(unused); }
};

// It attaches the thread that runs destructors, which no signal reaches, until that has nothing to do: what its stack holds is no root then.
TEST(gc_edges, a_destructor_that_makes_an_object_stops_no_later_cycle) {
  const auto attached = [] {
    const tern::detail::lock_scope hold{internal::state.mutators_lock};
    std::size_t n = 0;
    for (auto* m = internal::state.mutators.front(); m != nullptr; m = internal::state.mutators.next(*m)) ++n;
    return n;
  };
  const std::size_t before = attached();
  const std::uint64_t ended = gc::read_statistics().destroyed;
  on_thread([] { gc::make<maker>(); });
  for (int i = 0; i < 3; ++i) gc_test::collect_all();
  EXPECT_GT(gc::read_statistics().destroyed, ended);
  EXPECT_TRUE(tern_test::comes_true([&] { return attached() == before; }));
}

using gc_edges_process = ::testing::Test;

TEST_F(gc_edges_process, the_first_call_may_be_a_collection_in_a_fiber) {
  if (is_emulated()) GTEST_SKIP() << "needs a process of its own";
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto program = [] {
    ::alarm(60);
    tern::run([] {
      gc::collect();
      gc::wait_for_destructors();
    });
    std::_Exit(0);
  };
  EXPECT_EXIT(program(), ::testing::ExitedWithCode(0), "");
}

TEST_F(gc_edges_process, gctrace_tells_of_each_cycle_in_a_line) {
  if (is_emulated()) GTEST_SKIP() << "needs a process of its own";
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto program = [] {
    ::setenv("TERN_DEBUG", "gctrace=1", 1);
    gc::collect();
    gc::collect();
    std::_Exit(0);
  };
  EXPECT_EXIT(program(), ::testing::ExitedWithCode(0),
              "gc 1: mark .* ms, sweep .* ms, [0-9]+ rounds, .*goal.*handshake max .*\ngc 2: mark");
}

TEST_F(gc_edges_process, gctrace_names_a_thread_that_computes_once) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan delivers signals late";
  if (is_emulated()) GTEST_SKIP() << "needs a process of its own";
  if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto program = [] {
    ::setenv("TERN_DEBUG", "gctrace=1", 1);
    tern_test::stderr_tap tap;
    reached_stage = 0;
    std::thread busy{[] {
      ::pthread_setname_np(::pthread_self(), "computes");
      gc::make<node>();
      reached_stage = 1;
      while (reached_stage.load() != 2) tern::detail::spin_pause();  // no safepoint
    }};
    reach(1);
    for (int i = 0; i < 3; ++i) gc::collect();
    const std::string& said = tap.wait_for("gc 3: mark");
    const std::size_t at = said.find("'computes'");
    const bool once = at != std::string::npos && said.find("'computes'", at + 1) == std::string::npos;
    reached_stage = 2;
    busy.join();
    std::_Exit(once ? 0 : 1);
  };
  EXPECT_EXIT(program(), ::testing::ExitedWithCode(0), "");
}

}  // namespace

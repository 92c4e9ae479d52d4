// Tiny fibers: they wait, wake and end as others do, hold less than a page, and say so when they need more.

#include <elf.h>
#include <gtest/gtest.h>
#include <link.h>
#include <signal.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <tern/gc.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/error_of.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/parked.hpp"
#include "tests/support/seed.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

using namespace std::chrono_literals;
using tern::detail::fiber;
using tern::detail::stack_pool;
using tern::detail::to_word;
using tern_test::error_of;
namespace os = tern::detail::os;

constexpr bool real = tern::detail::tiny_slots_fit;
constexpr const char* larger_slots = "skipped: tiny fibers have larger slots in this build";
constexpr tern::thread_attributes tiny{.tiny = true};

tern::runtime_options promised(unsigned processors) {
  return {.processors = processors, .signals_on_alternate_stack = true};
}

// ---- how deep ----

constexpr unsigned char paint = 0xA5;

unsigned char* lowest(void* control) {
  return static_cast<unsigned char*>(stack_pool::stack_limit(control)) + tern::detail::canary_bytes;
}

// The tiny slots that come next are painted; deepest() tells how far the paint is gone. Zero is no use either: the monitor has
// trimmed that slot.
class painted_slots {
 public:
  painted_slots() {
    stack_pool& pool = stack_pool::tiny();
    EXPECT_EQ(pool.acquire_batch(controls_.data(), controls_.size()), controls_.size());
    for (void* c : controls_) std::memset(lowest(c), paint, to_word(c) - to_word(lowest(c)));
    pool.release_batch(controls_.data(), controls_.size());
  }
  std::size_t deepest() const {
    std::size_t most = 0;
    for (void* c : controls_) {
      const unsigned char* p = lowest(c);
      while (p < static_cast<unsigned char*>(c) && (*p == paint || *p == 0)) ++p;
      most = std::max(most, to_word(c) - to_word(p));
    }
    return most;
  }

 private:
  std::array<void*, 256> controls_{};
};

template <class F>
void expect_shallow(const char* what, F&& f) {
  const painted_slots slots;
  f();
  const std::size_t deepest = slots.deepest();
  std::printf("%s: %zu of %zu bytes\n", what, deepest, tern::detail::tiny_stack_bytes);
  EXPECT_GT(deepest, 0u) << what;
  EXPECT_LE(deepest, tern::detail::tiny_reserve) << what;
}

// ---- what does not fit ----

// Frames down to the canary, and not beyond it.
[[gnu::noinline]] int grow_to(std::uintptr_t limit) {
  volatile char frame[32];
  frame[0] = 1;
  const int deeper = to_word(const_cast<char*>(frame)) > limit + 48 ? grow_to(limit) : 0;
  return deeper + frame[0];
}
void grow_into_the_canary() { grow_to(to_word(stack_pool::stack_limit(tern::detail::current_fiber()))); }

struct node {
  tern::gc::member<node> next;
  long value = 0;
  void trace(tern::gc::visitor& v) const { v(next); }
};

}  // namespace

TEST(tiny, slots_hold_what_the_headers_say) {
  static_assert(tern::detail::tiny_reserve + 640 <= tern::detail::tiny_stack_bytes || !real);
  static_assert(!tern::detail::tiny_slot_holds_signal(0));
  static_assert(!tern::detail::tiny_slot_holds_signal(3632));  // AVX-512
  static_assert(!tern::detail::tiny_slot_holds_signal(4720));  // the least of ARM64
  static_assert(tern::detail::tiny_slot_holds_signal(384) || !real);
  if (!real) {
    EXPECT_EQ(&stack_pool::tiny(), &stack_pool::of(1));
    GTEST_SKIP() << larger_slots;
  }
  stack_pool& pool = stack_pool::tiny();
  EXPECT_EQ(pool.slot_bytes(), 2048u);
  EXPECT_LT(pool.slot_bytes(), os::page_size());
  std::array<void*, 200> controls{};
  ASSERT_EQ(pool.acquire_batch(controls.data(), controls.size()), controls.size());
  for (void* c : controls) {
    const std::uintptr_t start = to_word(c) & ~std::uintptr_t{2047};
    for (const std::size_t at : {std::size_t{0}, std::size_t{1000}, std::size_t{2047}})
      EXPECT_EQ(stack_pool::control_of(start + at), c);
    EXPECT_NE(stack_pool::control_of(start - 1), c);
    EXPECT_TRUE(stack_pool::is_tiny(c));
    EXPECT_TRUE(stack_pool::is_intact(c));
    EXPECT_FALSE(stack_pool::locate(start).in_guard);
    std::memset(lowest(c), 1, to_word(c) - to_word(lowest(c)));
    EXPECT_TRUE(stack_pool::is_intact(c));
  }
  // A trim gives whole pages back and leaves those that somebody shares.
  void* kept = controls[100];
  std::swap(controls[100], controls.back());
  pool.release_batch(controls.data(), controls.size() - 1);
  EXPECT_GT(pool.trim_all(), 0u);
  EXPECT_EQ(*lowest(kept), 1);
  EXPECT_TRUE(stack_pool::is_intact(kept));
  ASSERT_EQ(pool.acquire_batch(controls.data(), controls.size() - 1), controls.size() - 1);
  for (void* c : controls) EXPECT_TRUE(stack_pool::is_intact(c));
  pool.release_batch(controls.data(), controls.size() - 1);
  pool.release(kept);
  EXPECT_TRUE(pool.is_valid());
}

TEST(tiny, refused_without_the_promise_where_a_signal_frame_does_not_fit) {
  const bool fits = tern::detail::tiny_slot_holds_signal(::getauxval(AT_MINSIGSTKSZ));
  tern::runtime plain{{.processors = 1}};
  EXPECT_EQ(error_of([&] { plain.spawn(tiny, [] {}).join(); }).value(), fits ? 0 : ENOTSUP);
  plain.run([&] {
    EXPECT_EQ(error_of([&] { tern::thread(tiny, [] {}).join(); }).value(), fits ? 0 : ENOTSUP);
    tern::nursery n;
    EXPECT_EQ(error_of([&] { n.spawn(tiny, [] {}); }).value(), fits ? 0 : ENOTSUP);
    n.wait();
  });
  tern::runtime willing{promised(1)};
  EXPECT_EQ(error_of([&] { willing.spawn(tiny, [] {}).join(); }), std::error_code{});
}

TEST(tiny, refused_together_with_a_stack_size) {
  tern::runtime rt{promised(1)};
  const tern::thread_attributes both{.stack_size = 65536, .tiny = true};
  EXPECT_EQ(error_of([&] { rt.spawn(both, [] {}).join(); }), std::errc::invalid_argument);
}

TEST(tiny, a_lazily_bound_program_is_told_from_others) {
  EXPECT_TRUE(os::is_program_bound());
  const auto entry = [](auto tag, auto value) {
    ElfW(Dyn) d{};
    d.d_tag = static_cast<decltype(d.d_tag)>(tag);
    d.d_un.d_val = static_cast<decltype(d.d_un.d_val)>(value);
    return d;
  };
  using table = std::array<ElfW(Dyn), 3>;
  const auto lazy = [](const table& t) { return os::is_bound_lazily(t.data()); };
  EXPECT_TRUE(lazy({entry(DT_JMPREL, 1), entry(DT_FLAGS, DF_TEXTREL), entry(DT_NULL, 0)}));
  EXPECT_FALSE(lazy({entry(DT_JMPREL, 1), entry(DT_FLAGS, DF_BIND_NOW), entry(DT_NULL, 0)}));
  EXPECT_FALSE(lazy({entry(DT_FLAGS_1, DF_1_NOW), entry(DT_JMPREL, 1), entry(DT_NULL, 0)}));
  EXPECT_FALSE(lazy({entry(DT_JMPREL, 1), entry(DT_BIND_NOW, 0), entry(DT_NULL, 0)}));
  EXPECT_FALSE(lazy({entry(DT_RELA, 1), entry(DT_FLAGS, 0), entry(DT_NULL, 0)}));
}

class tiny_fibers : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(processors, tiny_fibers, testing::Values(1u, 2u, 4u));

TEST_P(tiny_fibers, many_park_and_are_joined) {
  const int count = tern_test::scale(3000);
  std::atomic<int> passed{0};
  tern::runtime rt{promised(GetParam())};
  rt.run([&] {
    tern::mutex m;
    m.lock();
    std::vector<tern::thread> all;
    for (int i = 0; i < count; ++i)
      all.emplace_back(tiny, [&] {
        m.lock();
        ++passed;
        m.unlock();
      });
    tern::this_thread::yield();
    m.unlock();
    for (auto& t : all) t.join();
  });
  EXPECT_EQ(passed, count);
}

TEST_P(tiny_fibers, channels_nurseries_sleep_and_select) {
  const int count = tern_test::scale(200);
  long sum = 0;
  tern::runtime rt{promised(GetParam())};
  rt.run([&] {
    tern::channel<int> in{0};
    tern::channel<int> out{4};
    tern::channel<int> never{0};
    tern::nursery n;
    for (int i = 0; i < count; ++i)
      n.spawn(tiny, [&] {
        tern::this_thread::sleep_for(100us);
        int got = 0;
        tern::select(tern::on_receive(in, [&](std::optional<int> v) { got = *v; }),
                     tern::on_receive(never, [&](std::optional<int>) { got = -1; }));
        out.send(got);
      });
    n.spawn([&] {
      for (int i = 0; i < count; ++i) in.send(i);
    });
    for (int i = 0; i < count; ++i) sum += *out.receive();
    n.wait();
  });
  EXPECT_EQ(sum, long{count} * (count - 1) / 2);
}

TEST_P(tiny_fibers, slots_come_back_and_mix_with_others) {
  tern::runtime rt{promised(GetParam())};
  const auto used = [] { return stack_pool::tiny().statistics().in_use; };
  const std::size_t before = used();
  std::atomic<int> ran{0};
  const int rounds = tern_test::scale(300);
  rt.run([&] {
    for (int i = 0; i < rounds; ++i) {
      tern::thread a{tiny, [&] {
                       tern::thread small{tiny, [&] { ++ran; }};
                       tern::thread usual{[&] { ++ran; }};
                       small.join();
                       usual.join();
                       ++ran;
                     }};
      tern::thread(tiny, [&] { ++ran; }).detach();
      a.join();
    }
  });
  while (rt.statistics().live_fibers != 0) std::this_thread::yield();
  EXPECT_EQ(ran, 4 * rounds);
  if (real) {
    EXPECT_EQ(used(), before);
  }
}

TEST(tiny, closures_that_would_fill_the_slot_go_to_the_heap) {
  struct payload {
    std::array<char, 1500> bytes{};
    std::shared_ptr<int> counted;
  };
  const auto counted = std::make_shared<int>(0);
  tern::runtime rt{promised(1)};
  rt.run([&] {
    payload big;
    big.bytes[1499] = 7;
    big.counted = counted;
    int seen = 0;
    tern::thread(tiny, [big, &seen] { seen = big.bytes[1499]; }).join();
    EXPECT_EQ(seen, 7);
  });
  EXPECT_EQ(counted.use_count(), 1);
}

TEST(tiny, the_library_itself_stays_within_its_reserve) {
  if (!real) GTEST_SKIP() << larger_slots;
  // Workers are made while tiny fibers wake and spawn.
  expect_shallow("spawn, join and the first wake of a processor", [] {
    tern::runtime rt{promised(4)};
    rt.spawn(tiny, [] {
        for (int i = 0; i < 40; ++i) {
          tern::thread a{tiny, [] { tern::this_thread::sleep_for(1ms); }};
          tern::thread b{[] { tern::this_thread::sleep_for(1ms); }};
          a.join();
          b.join();
        }
      }).join();
    EXPECT_GT(rt.statistics().workers,
              1u);  // the first is the runtime's, the others were made on behalf of tiny fibers
  });
  expect_shallow("mutex, channel, yield and timers", [] {
    tern::runtime rt{promised(2)};
    rt.run([] {
      tern::mutex m;
      tern::channel<int> c{0};
      tern::nursery n;
      for (int f = 0; f < 40; ++f) {
        n.spawn(tiny, [&] {
          for (int i = 0; i < 100; ++i) {
            m.lock();
            tern::this_thread::yield();
            m.unlock();
            if (i % 25 == 0) tern::this_thread::sleep_for(10us);
            c.send(i);
          }
        });
        n.spawn(tiny, [&] {
          for (int i = 0; i < 100; ++i) static_cast<void>(c.receive());
        });
      }
      n.wait();
    });
  });
  expect_shallow("select and condition variable", [] {
    tern::runtime rt{promised(2)};
    rt.run([] {
      tern::channel<int> a{0};
      tern::channel<int> b{0};
      tern::mutex m;
      tern::condition_variable changed;
      int turns = 0;
      tern::nursery n;
      n.spawn(tiny, [&] {
        for (int i = 0; i < 200; ++i)
          tern::select(tern::on_receive(a, [](std::optional<int>) {}),
                       tern::on_receive(b, [](std::optional<int>) {}));
      });
      n.spawn(tiny, [&] {
        for (int i = 0; i < 100; ++i) a.send(i), b.send(i);
      });
      for (int side = 0; side < 2; ++side)
        n.spawn(tiny, [&, side] {
          for (int i = 0; i < 50; ++i) {
            std::unique_lock lock{m};
            changed.wait(lock, [&] { return turns % 2 == side; });
            ++turns;
            changed.notify_all();
          }
        });
      n.wait();
    });
  });
  expect_shallow("tern::blocking", [] {
    tern::runtime rt{promised(2)};
    rt.run([] {
      tern::nursery n;
      for (int f = 0; f < 20; ++f)
        n.spawn(tiny, [] {
          for (int i = 0; i < 10; ++i) tern::blocking([] { ::usleep(50); });
        });
      n.wait();
    });
  });
  expect_shallow("waits while a collector runs", [] {
    tern::runtime rt{promised(2)};
    rt.run([] {
      tern::nursery n;
      std::atomic<bool> over{false};
      for (int f = 0; f < 20; ++f)
        n.spawn(tiny, [&] {
          while (!over) tern::this_thread::yield();
        });
      for (int i = 0; i < 8; ++i) {
        for (int k = 0; k < 500; ++k) static_cast<void>(tern::gc::make<node>());
        tern::gc::collect();
        tern::this_thread::yield();
      }
      over = true;
      n.wait();
    });
  });
}

TEST_P(tiny_fibers, a_collector_sees_their_stacks) {
  gc_test::verified v;
  std::atomic<int> good{0};
  const int count = tern_test::scale(300);
  {
    tern::runtime rt{promised(GetParam())};
    rt.run([&] {
      tern::channel<node*> give{0};
      tern::mutex m;
      m.lock();
      tern::nursery n;
      for (int f = 0; f < count; ++f)
        n.spawn(tiny, [&] {
          node* mine = *give.receive();  // the only reference
          m.lock();
          m.unlock();
          if (mine->value == 7 && mine->next->value == 8) ++good;
        });
      for (int f = 0; f < count; ++f) {
        node* x = tern::gc::make<node>();
        x->value = 7;
        x->next = tern::gc::make<node>();
        x->next->value = 8;
        give.send(x);
      }
      for (int i = 0; i < 4; ++i) {
        tern::this_thread::yield();
        tern::gc::collect();
        for (int k = 0; k < 2000; ++k) static_cast<void>(tern::gc::make<node>());
      }
      m.unlock();
      n.wait();
    });
  }
  EXPECT_EQ(good, count);
  EXPECT_EQ(v.lost(), 0u);
}

TEST(tiny, signals_of_the_library_stay_off_their_stacks) {
  tern::runtime_options o = promised(1);
  o.dump_on_sigquit = true;
  tern::runtime rt{o};
  for (const int s : {SIGSEGV, SIGBUS, SIGQUIT}) {
    struct sigaction now{};
    ASSERT_EQ(::sigaction(s, nullptr, &now), 0);
    EXPECT_NE(now.sa_flags & SA_ONSTACK, 0) << s;
  }
  // Where a tiny fiber runs: an alternate stack, and what may not come at all.
  rt.spawn(tiny, [] {
      stack_t alternate{};
      EXPECT_EQ(::sigaltstack(nullptr, &alternate), 0);
      EXPECT_EQ(alternate.ss_flags & SS_DISABLE, 0);
      sigset_t blocked;
      EXPECT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &blocked), 0);
      for (const int s : {SIGQUIT, SIGALRM, SIGINT, SIGCHLD, SIGUSR1})
        EXPECT_EQ(sigismember(&blocked, s), 1) << s;
      EXPECT_EQ(sigismember(&blocked, SIGURG), 0) << "the collector interrupts by it, on the alternate stack";
    }).join();
  ::signal(SIGQUIT, SIG_DFL);
}

TEST(tiny, a_handler_with_its_own_stack_interrupts_them) {
  static std::atomic<std::uintptr_t> handled_at{0};
  struct sigaction action{};
  action.sa_handler = [](int) {
    char frame[3000];  // more than the fiber has
    std::memset(frame, 1, sizeof frame);
    asm volatile("" ::"r"(frame) : "memory");
    handled_at = to_word(frame);
  };
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  struct sigaction before{};
  ASSERT_EQ(::sigaction(SIGPROF, &action, &before), 0);
  tern::runtime rt{promised(1)};
  rt.spawn(tiny, [] {
      EXPECT_EQ(::raise(SIGPROF), 0);
      tern::this_thread::sleep_for(1us);  // looks at the canary
    }).join();
  EXPECT_NE(handled_at, 0u);
  EXPECT_EQ(stack_pool::control_of(handled_at), nullptr);
  ::sigaction(SIGPROF, &before, nullptr);
}

TEST(tiny, a_dump_shows_them) {
  tern::runtime rt{promised(1)};
  std::FILE* to = std::tmpfile();
  ASSERT_NE(to, nullptr);
  rt.run([&] {
    tern::channel<int> c{0};
    tern::thread waits{{.name = "small", .tiny = true}, [&] { static_cast<void>(c.receive()); }};
    tern_test::wait_until_parked("small");
    EXPECT_EQ(rt.dump(to), 2u);
    c.send(1);
    waits.join();
  });
  std::rewind(to);
  std::string text;
  for (int ch; (ch = std::fgetc(to)) != EOF;) text.push_back(static_cast<char>(ch));
  std::fclose(to);
  EXPECT_NE(text.find(" 'small': waiting for channel receive"), std::string::npos) << text;
}

TEST(tiny, a_parked_one_costs_half_a_page) {
  if (!real) GTEST_SKIP() << larger_slots;
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own memory is counted";
  const char* wanted = std::getenv("TERN_PARKED");
  const int count = wanted != nullptr ? std::atoi(wanted) : 20'000;
  tern::runtime rt{promised(1)};
  rt.run([&] {
    tern::channel<int> gate{0};
    std::vector<tern::thread> all;
    all.reserve(static_cast<std::size_t>(count));
    const double before = tern_test::memory_now();
    for (int i = 0; i < count; ++i) all.emplace_back(tiny, [&] { static_cast<void>(gate.receive()); });
    for (int i = 0; i < 4; ++i) tern::this_thread::yield();
    const double each = (tern_test::memory_now() - before) / count;
    std::printf("%d parked tiny fibers: %.0f bytes each, page tables and handles included\n", count, each);
    EXPECT_LT(each, 2400);
    gate.close();
    for (auto& t : all) t.join();
  });
}

class tiny_death : public testing::Test {
 protected:
  void SetUp() override {
    if (!real) GTEST_SKIP() << larger_slots;
    if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

TEST_F(tiny_death, an_overflow_is_found_when_the_fiber_ends) {
  EXPECT_DEATH(
      {
        tern::runtime rt{promised(1)};
        rt.spawn({.name = "deep", .tiny = true}, [] { grow_into_the_canary(); }).join();
      },
      "tern: stack overflow in fiber 'deep' #[0-9]+, slot size 2048 bytes; it needs more than a tiny slot\n"
      "tern: fatal: .*a fiber ran over the end of its stack");
}

TEST_F(tiny_death, an_overflow_is_found_when_the_fiber_waits) {
  EXPECT_DEATH(
      {
        tern::runtime rt{promised(1)};
        rt.spawn({.name = "waiting", .tiny = true}, [] {
            grow_into_the_canary();
            tern::this_thread::sleep_for(1h);
          }).join();
      },
      "tern: stack overflow in fiber 'waiting' #");
}

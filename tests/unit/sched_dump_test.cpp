// Dumps: the stacks of parked fibers, how long they have waited, while fibers run and on SIGQUIT.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/parked.hpp"
#include "tests/support/stderr_tap.hpp"

namespace dump_cases {

using namespace tern::detail;

// Not in an anonymous namespace, and not inlined: the test looks for their names.
TERN_NOINLINE void wait_at_the_inner_place(tern::channel<int>& c) {
  static_cast<void>(c.receive());
  asm volatile("");  // no tail call
}
TERN_NOINLINE void wait_at_the_outer_place(tern::channel<int>& c) {
  wait_at_the_inner_place(c);
  asm volatile("");
}

// Where tests/tool/gdb_fibers_test.py stops the process, or has it leave a core file.
TERN_NOINLINE void hold_still() {
  asm volatile("");
  if (std::getenv("TERN_TEST_ABORT") != nullptr) std::abort();
}

}  // namespace dump_cases

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;
using tern_test::wait_until_parked;

std::string dump_of(const tern::runtime& rt, tern::dump_detail detail = tern::dump_detail::stacks,
                    std::size_t* count = nullptr) {
  char* text = nullptr;
  std::size_t bytes = 0;
  std::FILE* out = ::open_memstream(&text, &bytes);
  const std::size_t n = rt.dump(out, detail);
  if (count != nullptr) *count = n;
  std::fclose(out);
  std::string s{text, bytes};
  std::free(text);
  return s;
}

// Where `part` stands in the text at or behind `from`; npos and a failure where it does not.
std::size_t expect_in(const std::string& text, const std::string& part, std::size_t from = 0) {
  const std::size_t at = text.find(part, from);
  EXPECT_NE(at, std::string::npos) << "'" << part << "' in:\n" << text;
  return at == std::string::npos ? from : at;
}

TEST(SchedDump, StackOfAParkedFiberFromAPlainThread) {
  tern::runtime rt{{.processors = 1}};
  tern::channel<int> c;
  tern::thread waiting = rt.spawn({.name = "waiting"}, [&] { dump_cases::wait_at_the_outer_place(c); });
  wait_until_parked("waiting");
  std::size_t n = 0;
  const std::string all = dump_of(rt, tern::dump_detail::stacks, &n);
  EXPECT_EQ(n, 1u);
  std::size_t at = expect_in(all, "'waiting': waiting for channel");
  at = expect_in(all, "wait_at_the_inner_place", at);
  at = expect_in(all, "wait_at_the_outer_place", at);
  at = expect_in(all, "fiber_entry", at);
  EXPECT_EQ(dump_of(rt, tern::dump_detail::lines).find("place"), std::string::npos);
  c.send(1);
  waiting.join();
}

TEST(SchedDump, TheCallersStackAndFibersThatRunOrAreQueued) {
  tern::runtime rt{{.processors = 1, .max_extra_processors = 1}};
  const std::string all = rt.run([&] {
    // The monitor would take the caller for a hog and give it company, which would start the other one: a hog has that processor.
    std::atomic<bool> hogging{false};
    std::atomic<bool> over{false};
    tern::thread hog{[&] {
      hogging = true;
      while (!over) ::sched_yield();
    }};
    while (!hogging) ::sched_yield();
    tern::thread fresh{{.name = "fresh"}, [] {}};
    std::string s = dump_of(rt);
    over = true;
    fresh.join();
    hog.join();
    return s;
  });
  const std::size_t at = expect_in(all, "'main': running\n      ");
  expect_in(all, "dump_of", at);
  expect_in(all, "fiber_entry", at);
  expect_in(all, "'fresh': not started");
}

// The frames above the fiber's entry do not exist: the walk ends there, by itself.
TEST(SchedDump, UnwindingEndsAtTheEntry) {
  tern::run([] {
    void* frames[dump_depth];
    const std::size_t n = unwind_here(frames, dump_depth);
    ASSERT_GT(n, 2u);
    ASSERT_LT(n, dump_depth);
    os::symbolizer names;
    // The entry itself, or make_context()'s first instruction within whatever function it was inlined into.
    bool entry = false;
    for (std::size_t i = n - 2; i < n; ++i)
      entry |= std::strstr(names.describe(frames[i]), "fiber_entry") != nullptr;
    EXPECT_TRUE(entry) << names.describe(frames[n - 1]);
  });
}

TEST(SchedDump, LongWaitsAreMarkedAndANewWaitIsNot) {
  tern::runtime rt{{.processors = 1, .suspect_after_seconds = 3600}};
  tern::channel<int> c;
  tern::thread waiting = rt.spawn({.name = "waiting"}, [&] {
    while (c.receive()) {
    }
  });
  fiber& f = wait_until_parked("waiting");
  EXPECT_EQ(dump_of(rt).find("leak"), std::string::npos);
  while (!fiber::is_noted(f.wait_what.load())) std::this_thread::sleep_for(1ms);
  f.parked_since.store(os::now() - 7'500'000'000'000);  // instead of a wait for so long
  const std::string marked = dump_of(rt);
  unsigned long seconds = 0;
  EXPECT_EQ(std::sscanf(marked.c_str() + expect_in(marked, ", parked "), ", parked %lu s", &seconds), 1);
  EXPECT_GE(seconds, 7'500u);
  expect_in(marked, " s, suspected leak\n");
  c.send(1);
  wait_until_parked("waiting");
  EXPECT_EQ(dump_of(rt).find("leak"), std::string::npos) << "another wait";
  while (!fiber::is_noted(f.wait_what.load())) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(dump_of(rt).find("leak"), std::string::npos) << "noted anew";
  c.close();
  waiting.join();
}

// Dumps from two threads and from fibers, while all kinds of waits begin and end: every claim excludes a resume, or stacks would
// be read while they change.
TEST(SchedDump, WhileFibersRun) {
  tern::runtime rt{{.processors = 2}};
  std::atomic<bool> done{false};
  std::atomic<std::size_t> frames{0};
  const auto dumper = [&] {
    while (!done) {
      const std::string s = dump_of(rt);
      for (std::size_t at = 0; (at = s.find("fiber_entry", at)) != std::string::npos; ++at) ++frames;
    }
  };
  std::thread one{dumper};
  std::thread two{dumper};
  const int scale = tsan_build || asan_build || tern_test::is_emulated() ? 20 : 200;
  rt.run([&] {
    tern::nursery n;
    tern::channel<int> c{2};
    tern::mutex m;
    for (int i = 0; i < 8; ++i)
      n.spawn([&, i] {
        for (int k = 0; k < scale; ++k) {
          if (i % 2 == 0)
            c.send(k);
          else
            static_cast<void>(c.receive());
          m.lock();
          tern::this_thread::yield();
          m.unlock();
          if (k % 16 == 0) tern::this_thread::sleep_for(100us);
          if (k % 32 == 1) tern::blocking([] { ::sched_yield(); });
          if (k % 64 == 2) tern::thread{[] { tern::this_thread::yield(); }}.join();
          if (k % 64 == 3 && i == 0) static_cast<void>(dump_of(rt));
        }
      });
    n.wait();
    // At least one whole dump with somebody parked in it.
    const std::size_t seen = frames;
    while (frames < seen + 4) tern::this_thread::sleep_for(1ms);
  });
  done = true;
  one.join();
  two.join();
  EXPECT_GT(frames.load(), 0u);
  EXPECT_EQ(hooks_armed.load() & armed_inspection, 0u);
}

// For a debugger to look at: one fiber that waits, one that was never run, one that runs and stops.
TEST(SchedDump, DISABLED_HoldStillForADebugger) {
  tern::run(tern::runtime_options{.processors = 1}, [] {
    tern::channel<int> c;
    tern::thread waiting{{.name = "waiting"}, [&] { dump_cases::wait_at_the_outer_place(c); }};
    wait_until_parked("waiting");
    tern::thread fresh{{.name = "fresh"}, [] {}};
    dump_cases::hold_still();
    c.send(1);
    fresh.join();
    waiting.join();
  });
}

class SchedDumpDeath : public testing::Test {
 protected:
  void SetUp() override {
    if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

TEST_F(SchedDumpDeath, SigquitDumpsAndTheProcessGoesOn) {
  const auto body = [] {
    tern::runtime rt{{.processors = 1, .dump_on_sigquit = true}};
    tern::channel<int> c;
    tern::thread waiting = rt.spawn({.name = "waiting"}, [&] { dump_cases::wait_at_the_outer_place(c); });
    wait_until_parked("waiting");
    {
      tern_test::stderr_tap said;
      ::kill(::getpid(), SIGQUIT);
      said.wait_for("outer_place");
    }
    c.send(1);
    waiting.join();
    std::exit(6);
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(6),
              "SIGQUIT(.|\n)*'waiting': waiting for channel(.|\n)*outer_place");
}

TEST_F(SchedDumpDeath, ADispositionOfTheProgramStays) {
  const auto body = [] {
    ::signal(SIGQUIT, [](int) { ::_exit(7); });
    tern::runtime rt{{.processors = 1, .dump_on_sigquit = true}};
    ::raise(SIGQUIT);
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(7), "");
}

}  // namespace

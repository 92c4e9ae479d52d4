// The deadlock report: who is named, how the process ends, and when it is not given.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/stderr_tap.hpp"

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;

void park_for_ever(const char* what) {
  waiter w{what, nullptr, waiter_kind::multi};
  park(w);
}

void three_that_wait(tern::deadlock_policy policy) {
  tern::run(tern::runtime_options{.processors = 2, .on_deadlock = policy}, [] {
    tern::thread a{{.name = "first"}, [] { park_for_ever("a letter"); }};
    tern::thread b{{.name = "second"}, [] { park_for_ever("a parcel"); }};
    b.join();
    a.join();
  });
}

class SchedDeadlockDeath : public testing::Test {
 protected:
  void SetUp() override {
    if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

TEST_F(SchedDeadlockDeath, EveryFiberIsNamedAndTheStatusIsDistinct) {
  EXPECT_EXIT(three_that_wait(tern::deadlock_policy::fatal),
              testing::ExitedWithCode(tern::deadlock_exit_status),
              "deadlock(.|\n)*'main': waiting for thread::join(.|\n)*'first': waiting for a letter");
  EXPECT_EXIT(three_that_wait(tern::deadlock_policy::fatal),
              testing::ExitedWithCode(tern::deadlock_exit_status),
              "'second': waiting for a parcel(.|\n)*3 fiber");
}

bool emulated_or_watched() {
  // An emulator or a tool adds threads of its own, which count as foreign: then only a warning is due.
  return foreign_threads() != 1;  // 1: this thread
}

TEST_F(SchedDeadlockDeath, AutomaticEndsAProcessWithoutForeignThreads) {
  if (emulated_or_watched()) GTEST_SKIP() << "the process has threads that are not ours";
  EXPECT_EXIT(three_that_wait(tern::deadlock_policy::automatic),
              testing::ExitedWithCode(tern::deadlock_exit_status), "deadlock");
}

TEST_F(SchedDeadlockDeath, AForeignThreadMakesItAWarning) {
  const auto body = [] {
    std::atomic<waiter*> parked{nullptr};
    tern_test::stderr_tap said;
    std::thread rescuer{[&] {
      said.wait_for("1 fiber(s)");  // the warning's last line
      unpark(*parked.load());
    }};
    tern::run([&] {
      waiter w{"the rescuer", nullptr, waiter_kind::multi};
      parked = &w;
      park(w);
    });
    rescuer.join();
    std::exit(3);
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(3), "warning(.|\n)*waiting for the rescuer");
}

TEST_F(SchedDeadlockDeath, NoReportWhileATimerOrABlockedFiberCanMoveOn) {
  const auto body = [] {
    tern::run(tern::runtime_options{.processors = 1, .on_deadlock = tern::deadlock_policy::fatal}, [] {
      tern::this_thread::sleep_for(300ms);
      tern::blocking([] { std::this_thread::sleep_for(300ms); });
    });
    std::exit(4);
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(4), "");
}

// The thread and the fiber take turns, and each lets the other wait for some microseconds: at many moments all wait but a thread
// that was woken and has not got a CPU yet.
TEST_F(SchedDeadlockDeath, NoReportWhileAThreadAndAFiberTakeTurns) {
  const auto body = [] {
    tern::runtime rt;
    tern::channel<int> there;
    tern::channel<int> back;
    tern::thread t = rt.spawn([&] {
      while (const std::optional<int> v = there.receive()) back.send(*v);
    });
    const auto end = std::chrono::steady_clock::now() + 4s;
    for (auto now = end - 4s; now < end;) {
      there.send(1);
      back.receive();
      const auto next = std::chrono::steady_clock::now() + 40us;
      while ((now = std::chrono::steady_clock::now()) < next) {
      }
    }
    there.close();
    t.join();
    std::exit(5);
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(5), "");
}

}  // namespace

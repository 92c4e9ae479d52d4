// Fork handlers: a child finds no lock held, whenever it was forked - before, while or after another thread registered them.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>

#include <tern/ds/spin_lock.hpp>
#include <tern/os/fork_handlers.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/seed.hpp"

namespace {

namespace os = tern::detail::os;

// What handlers of all rounds act on. Those of the rounds before are registered, too: they run nested.
struct guarded_by_handlers {
  guarded_by_handlers() = default;
  explicit guarded_by_handlers(pid_t begun_by) : forks{begun_by} {}

  os::fork_handlers forks;
  tern::detail::spin_lock<> lock;

  void use() {
    ASSERT_EQ(forks.ensure(&before_fork, &after_fork, &after_fork), 0);
    const tern::detail::lock_scope hold{lock};
  }
  static void before_fork() {
    now->forks.before([] { now->lock.lock(); });
  }
  static void after_fork() {
    now->forks.after([] { now->lock.unlock(); });
  }
  static inline guarded_by_handlers* now = nullptr;
};

// The thread that was in the midst of it does not exist in the child, which registers them itself. The first test, before handlers of another
// one act on what is guarded here.
TEST(ForkHandlers, AChildForkedInTheMidstOfTheRegistrationRegistersAgain) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own locks may be held at a fork";
  const auto g = std::make_unique<guarded_by_handlers>(::getpid());
  guarded_by_handlers::now = g.get();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(30);
    g->use();
    std::atomic<bool> held{false};
    std::atomic<bool> forked{false};
    std::thread holder{[&] {
      const tern::detail::lock_scope hold{g->lock};
      held = true;
      // Until there is a child; for a moment where the fork waits for the lock.
      for (int i = 0; i < 50 && !forked; ++i) ::usleep(1000);
    }};
    while (!held) std::this_thread::yield();
    const pid_t grandchild = ::fork();
    if (grandchild == 0) ::_exit(g->lock.try_lock() ? 0 : 1);
    forked = true;
    int status = 1;
    ::waitpid(grandchild, &status, 0);
    ::_exit(status == 0 ? 0 : 2);
  }
  int status = 1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  static guarded_by_handlers last;
  guarded_by_handlers::now = &last;
}

TEST(ForkHandlers, AChildFindsNoLockHeldHoweverEarlyItIsForked) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own locks may be held at a fork";
  const int rounds = tern_test::scale(40);
  for (int i = 0; i < rounds; ++i) {
    const auto g = std::make_unique<guarded_by_handlers>();
    guarded_by_handlers::now = g.get();
    std::atomic<bool> begun{false};
    std::atomic<bool> stop{false};
    std::thread user{[&] {
      begun = true;
      while (!stop) g->use();
    }};
    while (!begun) {
    }
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::alarm(30);  // a lock that nobody will release must not hang the test
      g->use();
      const pid_t grandchild = ::fork();
      if (grandchild == 0) {
        g->use();
        ::_exit(0);
      }
      int status = 1;
      ::waitpid(grandchild, &status, 0);
      ::_exit(status == 0 ? 0 : 1);
    }
    int status = 1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    stop = true;
    user.join();
    ASSERT_EQ(status, 0) << "round " << i;
  }
  static guarded_by_handlers last;  // the handlers stay registered
  guarded_by_handlers::now = &last;
}

}  // namespace

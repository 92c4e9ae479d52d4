// The scheduler where the system gives no more: threads that cannot be started, stacks that are used up, address space that is short; and
// what happens to a runtime beside it: fork, SIGSTOP, a thousand runtimes one after the other.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/support/emulation.hpp"
#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;

// ---- no threads ----

// While it lives pthread_create fails with EAGAIN: a stack of the default size finds no room.
class no_threads {
 public:
  no_threads() {
    ::pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    ::pthread_attr_init(&huge);
    ::pthread_attr_setstacksize(
        &huge, std::size_t{1} << 48);  // more than the address space, whatever the overcommit policy
    ::pthread_setattr_default_np(&huge);
    ::pthread_attr_destroy(&huge);
  }
  ~no_threads() {
    ::pthread_setattr_default_np(&before_);
    ::pthread_attr_destroy(&before_);
  }
  no_threads(const no_threads&) = delete;

 private:
  pthread_attr_t before_;
};

TEST(SchedLimits, ARuntimeWithoutThreadsThrows) {
  const no_threads here;
  try {
    tern::runtime rt{{.processors = 2}};
    FAIL() << "a runtime without a thread";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::resource_unavailable_try_again);
  }
}

TEST(SchedLimits, WithoutFurtherThreadsTheFirstWorkerDoesAll) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  tern::runtime rt{{.processors = 2}};
  std::optional<no_threads> here{std::in_place};
  // Each spawn would like to wake the second processor, which gets no worker.
  std::atomic<int> ran{0};
  rt.run([&] {
    tern::nursery n;
    for (int i = 0; i < 1000; ++i)
      n.spawn([&] {
        tern::this_thread::yield();
        ++ran;
      });
    n.wait();
  });
  EXPECT_EQ(ran.load(), 1000);
  // One that is being started is counted until it turns out that it cannot be.
  EXPECT_TRUE(tern_test::comes_true([&] { return rt.statistics().workers == 1; }));

  // A call that blocks leaves its processor to nobody: the others wait until it comes back, and then run.
  std::atomic<bool> inside{false}, other{false};
  tern::thread reader = rt.spawn([&] {
    char c = 0;
    const auto got = tern::blocking([&] {
      inside = true;
      return ::read(ends[0], &c, 1);
    });
    EXPECT_EQ(got, 1);
  });
  while (!inside) std::this_thread::yield();
  tern::thread waits = rt.spawn([&] { other = true; });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(other);
  // A thread can be had again: the monitor tries every 10 ms, while the reader is still inside.
  here.reset();
  waits.join();
  EXPECT_TRUE(other);
  EXPECT_EQ(::write(ends[1], "x", 1), 1);
  reader.join();
  EXPECT_GE(rt.statistics().workers, 2u);
  ::close(ends[0]);
  ::close(ends[1]);
}

// A wake may take a processor for which there is no thread; the next must not be for that one again while another sleeps that has its own.
TEST(SchedLimits, AProcessorWithoutAThreadStandsInNobodysWay) {
  tern::runtime rt{{.processors = 2}};
  std::optional<no_threads> here{std::in_place};
  rt.run([] {});
  tern::detail::scheduler& s = tern::detail::runtime_access::scheduler_of(rt);
  ASSERT_TRUE(tern_test::comes_true([&] { return s.is_quiet(); }));
  int without = 0;
  for (std::uint32_t i = 0; i < 2; ++i)
    if (tern::detail::processor& p = s.at(i); p.runner == nullptr && s.idle_.rouse(p.idle)) {
      s.start(p);
      ++without;
    }
  EXPECT_EQ(without, 1);
  std::atomic<bool> ran{false};
  tern::thread t = rt.spawn([&] { ran = true; });
  EXPECT_TRUE(tern_test::comes_true([&] { return ran.load(); }));
  here.reset();
  t.join();
}

// ---- no memory ----

// The size of this process's address space in bytes.
std::size_t address_space() {
  std::ifstream status("/proc/self/statm");
  std::size_t pages = 0;
  status >> pages;
  return pages * tern::detail::os::page_size();
}
void limit_address_space(std::size_t more) {
  rlimit l{};
  ::getrlimit(RLIMIT_AS, &l);
  l.rlim_cur = address_space() + more;
  if (::setrlimit(RLIMIT_AS, &l) != 0) std::_Exit(90);
}
void require(bool ok, int status) {
  if (!ok) std::_Exit(status);
}

class SchedMemoryDeath : public testing::Test {
 protected:
  void SetUp() override {
    if (tern_test::is_emulated()) GTEST_SKIP() << tern_test::no_reexec;
    if (tern::detail::tsan_build) GTEST_SKIP() << "TSan needs address space of its own";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

void use_all_stacks() {
  limit_address_space(std::size_t{1} << 30);  // the region of stacks takes what is left: some hundred slots
  tern::runtime rt{{.processors = 2}};
  rt.run([&] {
    tern::wait_group open{1};
    std::vector<tern::thread> all;
    all.reserve(20'000);
    for (int round = 0; round < 3; ++round) {
      try {
        for (;;) {
          require(all.size() < 20'000, 10);
          all.emplace_back([&] { open.wait(); });
        }
      } catch (const std::system_error& e) {
        require(e.code() == std::errc::not_enough_memory, 11);
      }
      require(all.size() >= 100, 12);
    }
    // From outside as well.
    std::thread{[&] {
      try {
        rt.spawn([] {}).join();
      } catch (const std::system_error& e) {
        require(e.code() == std::errc::not_enough_memory, 13);
      }
    }}.join();
    open.done();
    for (auto& t : all) t.join();
    tern::thread{[] {}}.join();  // and there are stacks again
  });
  std::_Exit(0);
}

void have_no_address_space() {
  limit_address_space(1 << 20);
  try {
    tern::runtime rt{{.processors = 2}};
    std::_Exit(20);
  } catch (const std::system_error& e) {
    require(e.code() == std::errc::not_enough_memory || e.code() == std::errc::resource_unavailable_try_again,
            21);
  } catch (const std::bad_alloc&) {
  }
  const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
  require(::setrlimit(RLIMIT_AS, &all) == 0, 22);
  require(tern::run([] { return 5; }) == 5, 23);
  std::_Exit(0);
}

TEST_F(SchedMemoryDeath, SpawnThrowsWhenAllStacksAreUsedAndGoesOnWhenTheyAreBack) {
  EXPECT_EXIT(use_all_stacks(), testing::ExitedWithCode(0), "");
}

TEST_F(SchedMemoryDeath, ARuntimeWithoutAddressSpaceThrows) {
  EXPECT_EXIT(have_no_address_space(), testing::ExitedWithCode(0), "");
}

// Only the lowest byte of each frame is touched.
[[gnu::noinline]] int overflow(int depth) {
  volatile char frame[12 * 1024];
  frame[0] = static_cast<char>(depth);
  if (depth == 1'000'000) return 0;
  return overflow(depth + 1) + frame[0];
}

TEST_F(SchedMemoryDeath, AStackOverflowOfFramesOf12KiBNamesTheFiber) {
  EXPECT_EXIT(tern::run([] { tern::thread{{.name = "deep"}, [] { overflow(0); }}.join(); }),
              testing::KilledBySignal(SIGSEGV),
              "tern: stack overflow in fiber 'deep' #[0-9]+, slot size 65536");
}

// ---- fork ----

struct outcome {
  int status = 0;
  std::string said;  // on stderr
};

// What becomes of a child that calls `f`; one that returns ends with status 0.
template <class F>
outcome in_child(F&& f) {
  outcome o;
  int ends[2];
  if (::pipe(ends) != 0) return o;
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], 2);
    ::signal(SIGABRT, SIG_DFL);
    ::alarm(60);
    f();
    ::_exit(0);
  }
  ::close(ends[1]);
  char text[512];
  for (ssize_t n; (n = ::read(ends[0], text, sizeof text)) > 0;)
    o.said.append(text, static_cast<std::size_t>(n));
  ::close(ends[0]);
  ::waitpid(child, &o.status, 0);
  return o;
}

void expect_dead(const outcome& o) {
  EXPECT_TRUE(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGABRT) << o.status << ' ' << o.said;
  EXPECT_NE(o.said.find("tern: fatal: a runtime does not live on in a fork child"), std::string::npos)
      << o.said;
}
void expect_well(const outcome& o) {
  EXPECT_TRUE(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0) << o.status << ' ' << o.said;
}

TEST(SchedFork, AChildHasNoUseOfTheParentsRuntimeButMayMakeItsOwn) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  if (tern_test::is_emulated())
    GTEST_SKIP() << "the emulator fails its own assertions in such a child's threads";
  std::optional<tern::runtime> rt{std::in_place, tern::runtime_options{.processors = 2}};
  rt->run([] {
    tern::nursery n;
    for (int i = 0; i < 100; ++i) n.spawn([] { tern::this_thread::sleep_for(10us); });
    n.wait();
  });
  expect_dead(in_child([&] { rt->run([] {}); }));
  expect_dead(in_child([&] { rt->spawn([] {}).join(); }));
  expect_well(in_child([&] { rt.reset(); }));
  expect_well(in_child([&] {
    const int n = tern::run(tern::runtime_options{.processors = 2}, [] {
      std::atomic<int> sum{0};
      tern::nursery all;
      for (int i = 0; i < 50; ++i) all.spawn([&] { sum += tern::blocking([] { return 1; }); });
      all.wait();
      return sum.load();
    });
    if (n != 50) ::_exit(3);
  }));
  EXPECT_EQ(rt->run([] { return 4; }), 4) << "the parent's goes on";
}

TEST(SchedFork, OnAFiberTheChildGoesOnUntilItWouldLetAnotherRun) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own locks may be held at a fork";
  tern::runtime rt{{.processors = 2}};
  rt.run([] {
    expect_dead(in_child([] { tern::this_thread::yield(); }));
    expect_dead(in_child([] { tern::this_thread::sleep_for(1ms); }));
    expect_dead(in_child([] { tern::thread{[] {}}.join(); }));
    expect_dead(in_child([] { tern::blocking([] {}); }));
    const pid_t forked_inside = tern::blocking([] {
      const pid_t child = ::fork();
      if (child == 0) ::close(2);
      return child;  // the child does not come back
    });
    if (forked_inside == 0) ::_exit(0);
    int status = 0;
    ASSERT_EQ(::waitpid(forked_inside, &status, 0), forked_inside);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
    expect_well(in_child([] {
      std::vector<int> some(1000, 7);  // the allocator works
      tern::mutex m;
      const std::lock_guard hold{m};
      if (some[999] != 7) ::_exit(3);
    }));
    tern::thread{[] {}}.join();
  });
}

// While other threads spawn, wake and block: the child finds no lock of the registry or of the stacks held.
TEST(SchedFork, WhileTheRuntimeIsBusy) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own locks may be held at a fork";
  tern::runtime rt{{.processors = 2}};
  std::atomic<bool> stop{false};
  tern::thread busy = rt.spawn([&] {
    while (!stop) {
      tern::nursery n;
      for (int i = 0; i < 200; ++i)
        n.spawn(tern::thread_attributes{.stack_size = 16u * 1024 << (i % 2)}, [] { tern::blocking([] {}); });
      n.wait();
    }
  });
  for (int i = 0; i < tern_test::scale(20); ++i)
    expect_well(in_child(
        [] { tern::run(tern::runtime_options{.processors = 1}, [] { tern::thread{[] {}}.join(); }); }));
  stop = true;
  busy.join();
}

// The library's own thread for SIGQUIT is the parent's; in the child a thread that sleeps is the program's, and may wake a fiber.
TEST(SchedFork, AChildCountsItsOwnThreads) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own threads count as foreign";
  expect_well(in_child([] {
    tern::runtime rt{{.processors = 1, .dump_on_sigquit = true}};
    rt.run([] {});
    const outcome o = in_child([] {
      tern::channel<int> c;
      std::thread late{[&] {
        std::this_thread::sleep_for(1s);
        c.send(1);
      }};
      tern::run(tern::runtime_options{.processors = 1}, [&] { c.receive(); });
      late.join();
    });
    if (!WIFEXITED(o.status) || WEXITSTATUS(o.status) != 0) ::_exit(4);
    std::_Exit(0);
  }));
}

// What the whole process shares: a child that is forked while another thread holds it finds it free.
TEST(SchedFork, WhileLocksOfTheProcessAreHeld) {
  if (tern::detail::tsan_build) GTEST_SKIP() << "TSan lets no child of a threaded process go on";
  tern::run(tern::runtime_options{.processors = 1}, [] {});
  using namespace tern::detail;
  for (spin_lock<>* l : {&local_index_registry.lock, &tracer.foreign_lock, &tracer.control_lock,
                         &the_environment_trace.lock, &the_fault_handlers.lock, &the_sigquit.lock,
                         &inspectors.lock, &schedulers.lock, &collector_start_lock}) {
    std::atomic<bool> forked{false};
    std::atomic<bool> held{false};
    std::thread holder{[&] {
      lock_scope hold{*l};
      held = true;
      // Until there is a child; for a moment where the fork waits for the lock.
      for (int i = 0; i < 20 && !forked; ++i) ::usleep(1000);
    }};
    while (!held) std::this_thread::yield();
    const outcome o = in_child([&] {
      if (!l->try_lock()) ::_exit(5);
    });
    forked = true;
    holder.join();
    expect_well(o);
    EXPECT_TRUE(l->try_lock());
    l->unlock();
  }
}

// ---- stopped and continued ----

TEST(SchedProcess, StoppedAndContinuedItGoesOn) {
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator is stopped, too";
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    const auto sum = tern::run(tern::runtime_options{.processors = 2}, [] {
      std::atomic<int> n{0};
      tern::nursery all;
      for (int i = 0; i < 20; ++i)
        all.spawn([&] {
          for (int k = 0; k < 150; ++k) {
            if (k % 3 == 0) tern::this_thread::sleep_for(1ms);
            if (k % 3 == 1) tern::blocking([] { ::usleep(50); });
            if (k % 3 == 2) tern::this_thread::yield();
            ++n;
          }
        });
      all.wait();
      return n.load();
    });
    ::_exit(sum == 3000 ? 0 : 1);
  }
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(5ms);
    ASSERT_EQ(::kill(child, SIGSTOP), 0);
    std::this_thread::sleep_for(20ms);  // longer than the monitor's patience with a hog
    ASSERT_EQ(::kill(child, SIGCONT), 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

// ---- one after the other ----

std::size_t entries(const char* directory) {
  struct stat info{};
  return ::stat(directory, &info) == 0 ? info.st_nlink : 0;
}
// The threads of the process, the least of some looks: the kernel lists one that is joined until it has got the CPU once more.
std::size_t threads_left() {
  std::size_t least = entries("/proc/self/task");
  for (int i = 0; i < 50; ++i) {
    std::this_thread::sleep_for(1ms);
    least = std::min(least, entries("/proc/self/task"));
  }
  return least;
}
int next_descriptor() {
  const int fd = ::dup(2);
  ::close(fd);
  return fd;
}
std::size_t resident() {
  std::ifstream status("/proc/self/statm");
  std::size_t size = 0, pages = 0;
  status >> size >> pages;
  return pages * tern::detail::os::page_size();
}

TEST(SchedProcess, AThousandRuntimesLeaveNothing) {
  const int count = tern::detail::tsan_build || tern_test::is_emulated() ? 100 : 1000;
  const auto use_one = [](int i) {
    tern::runtime rt{{.processors = 1u + static_cast<unsigned>(i % 3)}};
    std::optional<tern::runtime> second;
    if (i % 10 == 0) second.emplace(tern::runtime_options{.processors = 1});
    rt.run([&] {
      tern::thread{[] {}}.join();
      if (i % 20 == 0) {
        EXPECT_EQ(second->run([] { return tern::blocking([] { return 2; }); }), 2);
      }
    });
  };
  for (int i = 0; i < count / 10; ++i) use_one(i);
  const std::size_t threads = threads_left();
  const int descriptor = next_descriptor();
  const std::size_t memory = resident();
  for (int i = 0; i < count; ++i) use_one(i);
  EXPECT_EQ(next_descriptor(), descriptor);
  if (tern_test::is_emulated()) return;  // its own threads and memory are counted
  EXPECT_TRUE(tern_test::comes_true([&] { return entries("/proc/self/task") <= threads; }));
  // A lost stack, cache or processor is 4 KiB or more; sanitizers keep freed memory.
  if (tern::detail::asan_build || tern::detail::tsan_build) return;
  EXPECT_LT(resident(), memory + 4096u * static_cast<unsigned>(count) / 2);
}

// ---- timers under load ----

// Two fibers that wake each other without end: a timer that is due is seen within a poll interval of dispatches, hence, at tens of
// nanoseconds each, within microseconds.
TEST(SchedPoll, APingPongDelaysATimerByAPollIntervalAtMost) {
  using namespace tern::detail;
  const std::uint64_t ticks_allowed = processor::poll_interval + 4;
  bool shown = false;
  while (!shown)  // until the timer was late enough to be seen
    tern::run(tern::runtime_options{.processors = 1}, [&] {
      tern::channel<int> there, back;
      std::atomic<os::nanoseconds> deadline{os::never};
      std::atomic<std::uint64_t> due_at{0};
      std::atomic<bool> stop{false};
      processor* const before = current_processor();
      const auto look = [&] {
        if (current_processor() != before) return;
        if (due_at.load() == 0 && os::now() >= deadline.load()) due_at = before->tick.load();
      };
      tern::thread a{[&] {
        while (!stop) {
          there.send(1);
          back.receive();
          look();
        }
        there.close();
      }};
      tern::thread b{[&] {
        while (there.receive()) {
          look();
          back.send(1);
        }
      }};
      waiter w{"a timer", nullptr, waiter_kind::multi};
      deadline = os::now() + 1'000'000;
      EXPECT_EQ(park_until(w, deadline), wake_reason::timed_out);
      const std::uint64_t now = current_processor()->tick.load();
      // An extra processor, which the monitor adds when the kernel takes the CPU away for long, counts ticks of its own.
      if (current_processor() == before && due_at.load() != 0) {
        EXPECT_LE(now - due_at.load(), ticks_allowed);
        shown = true;
      }
      stop = true;
      a.join();
      b.join();
    });
}

}  // namespace

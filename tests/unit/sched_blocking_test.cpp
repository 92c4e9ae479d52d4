// tern::blocking in numbers: 10,000 readers on pipes that are fed from outside, the bound on workers, the order of those that wait.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <tern/sched.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/support/emulation.hpp"
#include "tests/support/parked.hpp"
#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;

// Raises the limit of open files to `wanted`, or as far as it goes; what it is then.
std::size_t allow_files(std::size_t wanted) {
  rlimit l{};
  if (::getrlimit(RLIMIT_NOFILE, &l) != 0) return 0;
  if (l.rlim_cur >= wanted) return l.rlim_cur;
  const rlimit more{wanted, std::max<rlim_t>(l.rlim_max, wanted)};
  if (::setrlimit(RLIMIT_NOFILE, &more) == 0) return wanted;
  l.rlim_cur = std::min<rlim_t>(l.rlim_max, wanted);
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &l));
  return l.rlim_cur;
}

// Pipes of one descriptor each, for both ends: 10,000 of them stay below the usual limits.
struct pipes {
  explicit pipes(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      int ends[2];
      if (::pipe2(ends, O_CLOEXEC) != 0) return;
      const std::string both = "/proc/self/fd/" + std::to_string(ends[0]);
      fds.push_back(::open(both.c_str(), O_RDWR | O_CLOEXEC));
      ::close(ends[0]);
      ::close(ends[1]);
      if (fds.back() < 0) return;
    }
    ok = true;
  }
  pipes(const pipes&) = delete;
  ~pipes() {
    for (int fd : fds)
      if (fd >= 0) ::close(fd);
  }

  std::vector<int> fds;
  bool ok = false;
};

// The feeder knows nothing of the readers and feeds in an order of its own: those that read may well be fed last, those that wait first.
TEST(SchedBlocking, TenThousandReadersShareABoundedNumberOfWorkers) {
  std::size_t wanted = 10'000;
  unsigned bound = 0;  // the default: 512 above those that run fibers
  if (tern::detail::tsan_build || tern_test::is_emulated())
    wanted = 1'000, bound = 40;  // threads are dear there
  const std::size_t files = allow_files(wanted + 100);
  const std::size_t n = std::min(wanted, files - 100);
  if (n < wanted) std::printf("%zu open files are allowed: %zu readers\n", files, n);
  const pipes all(n);
  ASSERT_TRUE(all.ok);

  tern::runtime rt{{.processors = 2, .max_workers = bound}};
  std::atomic<std::size_t> begun{0}, right{0};
  std::vector<tern::thread> readers;
  for (std::size_t i = 0; i < n; ++i)
    readers.push_back(rt.spawn([&, i] {
      ++begun;
      std::uint32_t got = 0;
      const auto bytes = tern::blocking([&] { return ::read(all.fds[i], &got, sizeof got); });
      if (bytes == sizeof got && got == i) ++right;
    }));
  // Half of the food comes when all wait, whoever of them is in a read.
  while (begun != n) std::this_thread::sleep_for(1ms);
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), std::mt19937{static_cast<unsigned>(tern_test::seed())});
  for (const std::uint32_t i : order) ASSERT_EQ(::write(all.fds[i], &i, sizeof i), 4);
  for (auto& t : readers) t.join();

  EXPECT_EQ(right.load(), n);
  const auto s = rt.statistics();
  EXPECT_EQ(s.total.blocking_calls, n);
  const unsigned most = bound != 0 ? bound : 2 + 2 + 1 + 512;
  EXPECT_LE(s.workers, most) << s.text();
  EXPECT_GT(s.workers, most / 2) << "the readers did not use what they may: " << s.text();
  std::printf("%zu readers, %u workers\n", n, s.workers);
}

auto& gate_of(tern::runtime& rt) { return tern::detail::runtime_access::scheduler_of(rt).gate_; }

// One place: the others get theirs in the order in which they came, and the processor is free meanwhile.
TEST(SchedBlocking, CallsBeyondTheBoundAreServedInTheirOrder) {
  tern::runtime rt{{.processors = 1, .max_extra_processors = 1, .max_workers = 4}};
  const pipes gate(1);
  ASSERT_TRUE(gate.ok);
  std::vector<int> order;
  rt.run([&] {
    tern::thread holder{[&] {
      char c = 0;
      EXPECT_EQ(tern::blocking([&] { return ::read(gate.fds[0], &c, 1); }), 1);
    }};
    while (gate_of(rt).count() != 1) tern::this_thread::yield();
    std::vector<tern::thread> all;
    for (int i = 0; i < 50; ++i) {
      const std::string name = std::to_string(i);
      all.emplace_back(tern::thread_attributes{.name = name.c_str()},
                       [&, i] { tern::blocking([&] { order.push_back(i); }); });
      tern_test::wait_until_parked(name.c_str());  // it has come to the gate
    }
    EXPECT_TRUE(order.empty());
    EXPECT_EQ(::write(gate.fds[0], "x", 1), 1);
    for (auto& t : all) t.join();
    holder.join();
  });
  std::vector<int> expected(50);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
  EXPECT_LE(rt.statistics().workers, 4u);
}

// Many short calls over few places: places are handed from fiber to fiber while new ones come.
TEST(SchedBlocking, PlacesAreHandedOnUnderLoad) {
  tern::runtime rt{{.processors = 2, .max_extra_processors = 1, .max_workers = 6}};
  std::atomic<int> inside{0}, most{0}, done{0};
  const int rounds = tern_test::scale(200);
  rt.run([&] {
    tern::nursery n;
    for (int i = 0; i < 20; ++i)
      n.spawn([&] {
        for (int k = 0; k < rounds; ++k) {
          tern::blocking([&] {
            const int now = ++inside;
            for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
            }
            if (k % 16 == 0) ::usleep(20);
            --inside;
          });
          ++done;
          if (k % 5 == 0) tern::this_thread::yield();
        }
      });
    n.wait();
  });
  EXPECT_EQ(done.load(), 20 * rounds);
  EXPECT_LE(most.load(), 2) << "6 workers: 2 + 1 processors, a spare under way, 2 in calls";
  EXPECT_LE(rt.statistics().workers, 6u);
}

TEST(SchedBlocking, ABoundThatLeavesNoPlaceIsRefused) {
  EXPECT_THROW(tern::runtime({.processors = 2, .max_extra_processors = 2, .max_workers = 5}),
               std::system_error);
  tern::runtime least{{.processors = 2, .max_extra_processors = 2, .max_workers = 6}};
  EXPECT_EQ(least.run([] { return tern::blocking([] { return 3; }); }), 3);
}

// What a runtime costs while all that it does is to wait in the kernel: its monitor sleeps too, and is there again when a fiber comes back.
TEST(SchedBlocking, TheMonitorSleepsMeanwhile) {
  tern::runtime rt{{.processors = 1}};
  rt.run([] {
    tern::detail::scheduler& s = tern::detail::current_fiber()->runtime();
    const auto monitor_sleeps = [&] {
      return tern_test::comes_true([&] { return s.monitor_sleeps_.load() != 0; });
    };
    // A timer of a processor that is lent, which the monitor keeps.
    std::atomic<bool> woken{false};
    tern::thread sleeper{[&] {
      tern::this_thread::sleep_for(500ms);
      woken = true;
    }};
    tern::this_thread::yield();
    EXPECT_TRUE(tern::blocking(
        [&] { return monitor_sleeps() && tern_test::comes_true([&] { return woken.load(); }); }));
    sleeper.join();
    // A hog that came back from there: somebody adds a processor for the other fiber.
    EXPECT_TRUE(tern::blocking(monitor_sleeps));
    EXPECT_EQ(s.monitor_sleeps_.load(), 0u);
    std::atomic<bool> ran{false};
    tern::thread other{[&] { ran = true; }};
    EXPECT_TRUE(tern_test::comes_true([&] { return ran.load(); }));
    other.join();
  });
}

}  // namespace

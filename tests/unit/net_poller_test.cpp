// The poller: who sees that a descriptor is ready - sleepers, busy processors, the monitor - and what forks and runtimes do to it.
#include "tests/unit/net_support.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <memory>

#include "tests/support/emulation.hpp"

namespace {

using namespace std::chrono_literals;
using namespace net_test;
using tern_test::error_of;

NET_TEST_AT_ALL_SIZES(NetPoller);

void add_one(int fd) {
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(fd, &one, sizeof one), static_cast<ssize_t>(sizeof one));
}
std::uint64_t take(tern::pollable& p, tern::io_deadline deadline = {}) {
  std::uint64_t value = 0;
  static_cast<void>(p.read(std::as_writable_bytes(std::span{&value, 1}), deadline));
  return value;
}

// Whether it has been written to and not read since.
bool pending(const tern::pollable& p) {
  ::pollfd set{p.native_handle(), POLLIN, 0};
  return ::poll(&set, 1, 0) == 1;
}

TEST_P(NetPoller, AnEventWakesAnIdleRuntime) {
  tern::pollable event{::eventfd(0, EFD_CLOEXEC)};
  tern::pollable answer{::eventfd(0, EFD_CLOEXEC)};
  std::thread outside{[&] {
    for (int i = 0; i < 200; ++i) {
      add_one(event.native_handle());
      EXPECT_EQ(take(answer), 1u);
    }
  }};
  run([&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(take(event), 1u);
      add_one(answer.native_handle());
    }
  });
  outside.join();
}

// Timers and wakes from outside end the poller's wait as they end a futex wait.
TEST_P(NetPoller, OtherWorkEndsTheWait) {
  tern::pollable never{::eventfd(0, EFD_CLOEXEC)};
  run([&] {
    tern::thread waits{[&] { EXPECT_EQ(take(never), 7u); }};
    while (tern::detail::poller::count_waiting() != 1) tern::this_thread::yield();
    tern::channel<int> c;
    std::thread outside{[&] {
      for (int i = 0; i < 100; ++i) c.send(i);
    }};
    for (int i = 0; i < 100; ++i) EXPECT_EQ(c.receive(), i);
    for (int i = 0; i < 20; ++i) tern::this_thread::sleep_for(100us);
    tern::blocking([&] { outside.join(); });
    const std::uint64_t seven = 7;
    ASSERT_EQ(::write(never.native_handle(), &seven, sizeof seven), 8);
    waits.join();
  });
}

// All processors are at work: each comes by now and then.
TEST_P(NetPoller, BusyProcessorsLook) {
  tern::pollable event{::eventfd(0, EFD_CLOEXEC)};
  run([&] {
    std::atomic<bool> over{false};
    tern::nursery n;
    for (unsigned i = 0; i < 2 * GetParam(); ++i)
      n.spawn([&] {
        while (!over) tern::this_thread::yield();
      });
    n.spawn([&] {
      for (int i = 0; i < 20; ++i) EXPECT_EQ(take(event), 1u);
      over = true;
    });
    tern::blocking([&] {
      for (int i = 0; i < 20; ++i) {
        add_one(event.native_handle());
        while (!over && tern::detail::poller::count_waiting() == 0) std::this_thread::yield();
        while (!over && pending(event)) std::this_thread::yield();
      }
    });
    n.wait();
  });
}

// A fiber that never gives way holds every processor: the monitor looks, and adds a processor.
TEST_P(NetPoller, TheMonitorLooksForHogs) {
  tern::pollable event{::eventfd(0, EFD_CLOEXEC)};
  run([&] {
    std::atomic<bool> over{false};
    std::atomic<unsigned> hogging{0};
    tern::thread waits{[&] {
      EXPECT_EQ(take(event), 1u);
      over = true;
    }};
    while (tern::detail::poller::count_waiting() != 1) tern::this_thread::yield();
    std::thread outside{[&] {
      while (hogging != GetParam()) std::this_thread::yield();
      add_one(event.native_handle());
    }};
    {
      tern::nursery n;
      for (unsigned i = 0; i < GetParam(); ++i)
        n.spawn([&] {
          ++hogging;
          while (!over) {
          }
        });
      n.wait();
    }
    waits.join();
    tern::blocking([&] { outside.join(); });
  });
}

// Every processor is lent to a call that blocks.
TEST_P(NetPoller, TheMonitorLooksForBlockingCalls) {
  tern::pollable event{::eventfd(0, EFD_CLOEXEC)};
  tern::pollable done{::eventfd(0, EFD_CLOEXEC)};
  run([&] {
    tern::thread waits{[&] {
      for (int i = 0; i < 5; ++i) EXPECT_EQ(take(event), 1u);
      add_one(done.native_handle());
    }};
    while (tern::detail::poller::count_waiting() != 1) tern::this_thread::yield();
    tern::blocking([&] {
      // A plain thread's way, although it is a fiber's worker.
      for (int i = 0; i < 5; ++i) {
        add_one(event.native_handle());
        while (pending(event)) std::this_thread::yield();
      }
      std::thread{[&] { EXPECT_EQ(take(done), 1u); }}.join();
    });
    waits.join();
  });
}

// One set for all runtimes: whoever is inside serves the fibers of the others, and leaves no one without.
TEST(NetPollers, TwoRuntimesServeEachOther) {
  auto ends = tern::unix_stream::pair();
  const auto talk = [](tern::unix_stream& s, bool begins) {
    for (int i = 0; i < 300; ++i) {
      if (begins) s.write_all("x");
      EXPECT_EQ(read_text(s, 1), "x");
      if (!begins) s.write_all("x");
      if (i % 50 == 0) tern::this_thread::sleep_for(1ms);
    }
  };
  std::thread a{[&] { tern::run(tern::runtime_options{.processors = 1}, [&] { talk(ends.first, true); }); }};
  std::thread b{
      [&] { tern::run(tern::runtime_options{.processors = 2}, [&] { talk(ends.second, false); }); }};
  a.join();
  b.join();
}

TEST_P(NetPoller, Pipes) {
  run([] {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    tern::pollable in{ends[0]};
    tern::pollable out{ends[1]};
    std::string text(1 << 20, 'x');
    tern::thread writer{[&] {
      for (std::span<const std::byte> rest = bytes(text); !rest.empty();)
        rest = rest.subspan(out.write(rest));
      out.close();
    }};
    EXPECT_EQ(read_text(in, text.size() + 1).size(), text.size());
    writer.join();
  });
}

TEST_P(NetPoller, RegularFilesAreRefused) {
  run([] {
    tern::pollable file{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
    std::array<std::byte, 4> b;
    EXPECT_EQ(file.read(b), 4u);  // does not wait
    const auto wait = [](int) -> ssize_t { return -EAGAIN; };
    EXPECT_EQ(file.when_readable(wait), -EPERM);
  });
}

TEST(NetPollers, AWaitForADescriptorIsNoDeadlock) {
  tern::pollable event{::eventfd(0, EFD_CLOEXEC)};
  // Of 200 ms: the deadlock report comes after 50.
  tern::run(tern::runtime_options{.processors = 1, .on_deadlock = tern::deadlock_policy::fatal}, [&] {
    const int fd = event.native_handle();
    std::thread outside{[fd] {
      std::this_thread::sleep_for(200ms);
      add_one(fd);
    }};
    EXPECT_EQ(take(event), 1u);
    tern::blocking([&] { outside.join(); });
  });
}

// The child's set is its own: neither takes events of the other.
TEST(NetPollers, AForkChildHasItsOwn) {
  warm_up();
  auto ends = tern::unix_stream::pair();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    bool ok = false;
    tern::run(tern::runtime_options{.processors = 1}, [&] {
      auto [a, b] = tern::unix_stream::pair();
      tern::thread t{[&s = a] { s.write_all("child"); }};
      ok = read_text(b, 5) == "child";
      t.join();
      ends.first.write_all("from the child");
    });
    ::_exit(ok ? 0 : 1);
  }
  tern::run([&] { EXPECT_EQ(read_text(ends.second, 14), "from the child"); });
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// A processor that goes away takes no events with it.
TEST(NetPollers, FewerProcessors) {
  tern::runtime rt{{.processors = 4}};
  rt.run([&] {
    auto [a, b] = tern::unix_stream::pair();
    tern::thread echo{[&s = b] {
      for (std::string text; !(text = read_text(s, 1)).empty();) s.write_all(text);
    }};
    for (int i = 0; i < 100; ++i) {
      rt.set_processors(1 + static_cast<unsigned>(i) % 4);
      a.write_all("x");
      EXPECT_EQ(read_text(a, 1), "x");
    }
    a.close();
    echo.join();
  });
}

}  // namespace

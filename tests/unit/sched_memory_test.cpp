// A parked fiber costs about one OS page and its share of page tables. TERN_PARKED=N sets the number (1,000,000 for the full claim).
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <tern/os/memory.hpp>
#include <tern/sched.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/memory.hpp"

namespace {

using namespace tern::detail;

// Waiters of a gate are woken all at once; the gate costs nothing per fiber but the waiter on its stack.
struct gate {
  spin_lock<> lock;
  list<waiter, &waiter::hook> waiting;
  bool open = false;

  static bool unlock(waiter&, void* self) noexcept {
    static_cast<gate*>(self)->lock.unlock();
    return true;
  }
  void pass() {
    lock.lock();
    if (open) return lock.unlock();
    waiter w{"gate", this};
    waiting.push_back(w);
    park(w, &unlock, this);
  }
  void release() {
    lock.lock();
    open = true;
    while (waiter* w = waiting.pop_front()) unpark(*w, wake_place::tail);
    lock.unlock();
  }
};

TEST(SchedMemory, ParkedFibers) {
  if (asan_build || tsan_build) GTEST_SKIP() << "shadow memory";
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator's own memory is counted, and its slots are few";
  const char* wanted = std::getenv("TERN_PARKED");
  const long count = wanted != nullptr ? std::atol(wanted) : 20'000;
  tern::runtime rt{{.processors = 2}};
  rt.run([&] {
    gate g;
    std::atomic<long> arrived{0};
    const double before = tern_test::memory_now();
    for (long i = 0; i < count; ++i) {
      tern::thread{[&] {
        ++arrived;
        g.pass();
      }}.detach();
      if (i % 1024 == 0) tern::this_thread::yield();
    }
    while (arrived != count) tern::this_thread::yield();
    tern::this_thread::sleep_for(std::chrono::milliseconds(5));
    const double each = (tern_test::memory_now() - before) / static_cast<double>(count);
    std::printf("%ld parked fibers: %.0f bytes each, page tables included\n", count, each);
    // One OS page, 8 bytes of page table for every page of the slot that was touched, rounded up to tables, and the slot lists.
    EXPECT_LT(each, 4'600.0 / 4'096.0 * static_cast<double>(os::page_size()) + (wanted != nullptr ? 0 : 400));
    g.release();
    while (rt.statistics().live_fibers != 1) tern::this_thread::yield();  // the gate is on this stack
  });
  EXPECT_EQ(rt.statistics().live_fibers, 0u);
}

}  // namespace

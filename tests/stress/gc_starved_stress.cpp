// A marker that hardly gets a CPU: as many threads as there are CPUs compute, both processors allocate without a pause, and the collector's
// thread has the lowest priority that there is. Judged by counts and bytes: cycles end, the heap is bounded.
#include <gtest/gtest.h>

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <tern/gc.hpp>
#include <tern/sched.hpp>

#include "tests/support/emulation.hpp"
#include "tests/support/heap_peak.hpp"
#include "tests/support/seed.hpp"

namespace {

namespace gc = tern::gc;

struct leaf {
  gc::member<leaf> next;
  std::uint64_t value[7] = {};
  void trace(gc::visitor& v) const { v(next); }
};
using leaves = gc::array<gc::member<leaf>>;

// The thread of that name; 0: none.
int thread_named(const char* name) {
  DIR* tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return 0;
  int found = 0;
  while (const dirent* e = ::readdir(tasks)) {
    std::ifstream comm(std::string{"/proc/self/task/"} + e->d_name + "/comm");
    std::string text;
    if (std::getline(comm, text) && text == name) found = std::atoi(e->d_name);
  }
  ::closedir(tasks);
  return found;
}

enum class priority { ordinary, low, idle };

// For good: only the privileged may go back. So the tests are in the order in which it falls.
bool lower_collector(priority p) {
  if (p == priority::ordinary) return true;
  const int id = thread_named("tern-gc");
  if (id == 0) return false;
  if (p == priority::low) return ::setpriority(PRIO_PROCESS, static_cast<id_t>(id), 19) == 0;
  const sched_param none{};
  return ::sched_setscheduler(id, SCHED_IDLE, &none) == 0;
}

class gc_starved : public testing::TestWithParam<priority> {};

TEST_P(gc_starved, cycles_end_and_the_heap_is_bounded) {
  constexpr std::size_t slots = 65'536;
  const std::size_t steps = tern_test::scale(std::size_t{400'000});
  gc::handle<leaves> held;
  std::thread{[&] {
    held = gc::make_array<gc::member<leaf>>(slots);
    for (std::size_t i = 0; i < slots; ++i) (*held)[i] = gc::make<leaf>();
  }}.join();
  gc::collect();
  if (tern_test::is_emulated() && GetParam() != priority::ordinary)
    GTEST_SKIP() << "the emulator does not pass on scheduling policies of other threads";
#if TERN_TSAN || TERN_ASAN
  if (GetParam() != priority::ordinary) GTEST_SKIP() << "a sanitizer makes it a matter of minutes";
#endif
  if (!lower_collector(GetParam())) GTEST_SKIP() << "the priority cannot be changed";
  const gc::statistics before = gc::read_statistics();

  std::atomic<bool> done{false};
  std::vector<std::thread> hogs;
  for (unsigned i = 0; i < tern::detail::os::usable_cpus(); ++i)
    hogs.emplace_back([&done] {
      volatile std::uint64_t x = 1;
      while (!done.load(std::memory_order_relaxed)) x = x * 3;
    });
  gc_test::heap_peak peak;
  tern::runtime rt{{.processors = 2}};
  rt.run([&] {
    tern::nursery n;
    for (unsigned f = 0; f < 4; ++f)
      n.spawn([&, f] {
        std::mt19937_64 random{tern_test::seed() + f};
        for (std::size_t i = 0; i < steps; ++i) {
          leaf* x = gc::make<leaf>();
          x->value[0] = random();
          (*held)[random() % slots] = x;
          if (i % 64 != 0) continue;
          peak.look();
          if (i % 1024 == 0) tern::this_thread::yield();
        }
      });
    n.wait();
  });
  done = true;
  for (std::thread& t : hogs) t.join();
  gc::collect();
  const gc::statistics after = gc::read_statistics();
  const std::uint64_t allocated = after.allocated_bytes - before.allocated_bytes;
  const std::uint64_t cycles = after.cycles - before.cycles;
  std::printf(
      "%llu cycles, %llu bytes allocated, live %llu, goal %llu, peak %zu, assists %llu, brakes %llu\n",
      static_cast<unsigned long long>(cycles), static_cast<unsigned long long>(allocated),
      static_cast<unsigned long long>(before.live_bytes), static_cast<unsigned long long>(before.goal_bytes),
      peak.most(), static_cast<unsigned long long>(after.assists - before.assists),
      static_cast<unsigned long long>(after.brakes - before.brakes));
  // The last one is asked for. A short run, as under an emulator, allocates too little for more than one by itself.
  EXPECT_GE(cycles, allocated > 4 * before.goal_bytes ? 3u : 2u);
  // What is allocated while a slow cycle marks lives until the next one, so its goal is higher; but the heap is not all that was
  // allocated: without brakes that get longer it would be.
  EXPECT_LE(peak.most(), 8 * before.goal_bytes);
}

INSTANTIATE_TEST_SUITE_P(priorities, gc_starved,
                         testing::Values(priority::ordinary, priority::low, priority::idle));

}  // namespace

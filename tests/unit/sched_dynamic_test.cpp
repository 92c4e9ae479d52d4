// The number of processors changes while the runtime lives: nothing that a surplus processor held is lost, late or left behind, it parks,
// and it comes back.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <system_error>
#include <thread>
#include <vector>

#include <tern/gc.hpp>
#include <tern/sched.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/support/emulation.hpp"
#include "tests/support/error_of.hpp"

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;
using tern_test::comes_true;
using tern_test::error_of;

scheduler& scheduler_of(tern::runtime& rt) { return runtime_access::scheduler_of(rt); }

// Every processor beyond the count has retired.
bool settles(tern::runtime& rt) {
  scheduler& s = scheduler_of(rt);
  return comes_true([&] {
    for (std::uint32_t i = 0; i < s.regular(); ++i)
      if ((s.at(i).state.load() == processor_state::unused) != (i >= s.count())) return false;
    return s.idle_.total() >= s.count();
  });
}

// Runs `n` fibers that are all on a processor of their own, and calls f(index of the processor) on each.
template <class F>
void on_each(tern::runtime& rt, unsigned n, F f) {
  std::atomic<unsigned> arrived{0};
  std::vector<tern::thread> fibers;
  for (unsigned i = 0; i < n; ++i)
    fibers.push_back(rt.spawn([&] {
      ++arrived;
      while (arrived < n) ::sched_yield();
      f(current_processor()->index);
    }));
  for (tern::thread& t : fibers) t.join();
}

TEST(SchedDynamic, ACountThatCannotBeIsRefused) {
  EXPECT_EQ(error_of([] { tern::runtime rt{{.processors = 3, .max_processors = 2}}; }),
            std::errc::invalid_argument);
  EXPECT_EQ(error_of([] { tern::runtime rt{{.processors = 1, .max_processors = 257}}; }),
            std::errc::invalid_argument);
  tern::runtime rt{{.processors = 2, .max_processors = 3}};
  EXPECT_EQ(rt.processors(), 2U);
  EXPECT_EQ(error_of([&] { rt.set_processors(0); }), std::errc::invalid_argument);
  EXPECT_EQ(error_of([&] { rt.set_processors(4); }), std::errc::invalid_argument);
  EXPECT_EQ(rt.processors(), 2U);
  rt.set_processors(3);
  EXPECT_EQ(rt.processors(), 3U);
  rt.set_processors(3);
  EXPECT_EQ(rt.statistics().processor_count, 3U);
  tern::runtime plain{{.processors = 2}};
  EXPECT_EQ(error_of([&] { plain.set_processors(3); }), std::errc::invalid_argument)
      << "the cap is what it began with";
}

TEST(SchedDynamic, MoreProcessorsRunMoreFibersAtOnce) {
  // One extra processor, which the monitor may add: the other two must be ours.
  tern::runtime rt{{.processors = 1, .max_processors = 4, .max_extra_processors = 1}};
  rt.run([] {});
  rt.set_processors(4);
  on_each(rt, 4, [](unsigned) {});
  EXPECT_EQ(rt.processors(), 4U);
}

TEST(SchedDynamic, FewerProcessorsRunFewerFibersAtOnce) {
  tern::runtime rt{{.processors = 4, .max_extra_processors = 1}};
  on_each(rt, 4, [](unsigned) {});
  rt.set_processors(1);
  ASSERT_TRUE(settles(rt));
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  rt.run([&] {
    tern::nursery n;
    for (int i = 0; i < 200; ++i)
      n.spawn([&] {
        for (int k = 0; k < 50; ++k) {
          const int now = ++running;
          int seen = most;
          while (now > seen && !most.compare_exchange_weak(seen, now)) {
          }
          spin_pause();
          --running;
          tern::this_thread::yield();
        }
      });
    n.wait();
  });
  // A thread that the kernel has taken off its CPU for 10 ms looks like a hog, and gets company.
  if (rt.statistics().extra_processors_added == 0) {
    EXPECT_EQ(most, 1);
  }
  rt.set_processors(4);
  on_each(rt, 4, [](unsigned) {});
}

TEST(SchedDynamic, AnIdleRuntimeParksAtOnce) {
  tern::runtime rt{{.processors = 4}};
  on_each(rt, 4, [](unsigned) {});
  ASSERT_TRUE(comes_true([&] { return scheduler_of(rt).is_quiet(); }));
  rt.set_processors(2);
  ASSERT_TRUE(settles(rt));
  EXPECT_TRUE(comes_true([&] { return scheduler_of(rt).idle_.total() == 2; }));
  EXPECT_EQ(rt.run([] { return 7; }), 7);
  rt.set_processors(1);
  ASSERT_TRUE(settles(rt));
  EXPECT_EQ(rt.run([] { return 8; }), 8);
}

TEST(SchedDynamic, AFiberMayTakeItsOwnProcessorAway) {
  tern::runtime rt{{.processors = 4, .max_extra_processors = 1}};
  for (int i = 0; i < 50; ++i) {
    rt.set_processors(4);
    on_each(rt, 4, [&](unsigned) {
      rt.set_processors(1);
      tern::this_thread::sleep_for(1us);
    });
    ASSERT_TRUE(settles(rt));
  }
}

// What lies in the ring and in run-next of a processor that a hog keeps is run by those that stay.
TEST(SchedDynamic, TheQueueOfASurplusProcessorIsRunByOthers) {
  tern::runtime rt{{.processors = 3, .max_extra_processors = 1}};
  std::atomic<int> ran{0};
  on_each(rt, 3, [&](unsigned index) {
    if (index == 0) return;
    std::vector<tern::thread> queued;
    for (int i = 0; i < 50; ++i) queued.emplace_back([&] { ++ran; });
    rt.set_processors(1);
    const int before = ran;
    while (ran < before + 1 && ran < 50) ::sched_yield();  // gives up nothing itself
    for (tern::thread& t : queued) t.join();
  });
  EXPECT_GE(ran, 50);
  EXPECT_TRUE(settles(rt));
}

// The deadlines of waits that began on a surplus processor: those that end by themselves, and those that are ended before.
TEST(SchedDynamic, TimersMoveToAProcessorThatStays) {
  for (int round = 0; round < 5; ++round) {
    tern::runtime rt{{.processors = 4}};
    std::atomic<int> timed_out{0};
    std::atomic<int> notified{0};
    std::atomic<waiter*> waiting[64] = {};
    std::vector<tern::thread> fibers;
    std::atomic<int> begun{0};
    for (int i = 0; i < 128; ++i)
      fibers.push_back(rt.spawn([&, i] {
        while (++begun < 4) ::sched_yield();  // so that several processors take part
        waiter w{"test", nullptr, waiter_kind::multi};
        if (i < 64) waiting[i] = &w;
        const os::nanoseconds deadline =
            os::now() + (i < 64 ? os::nanoseconds{3'600'000'000'000} : 20'000'000 + i * 100'000);
        const wake_reason r = park_until(w, deadline);
        ++(r == wake_reason::timed_out ? timed_out : notified);
        EXPECT_TRUE(r == wake_reason::notified || os::now() >= deadline);
      }));
    ASSERT_TRUE(comes_true([&] {
      std::size_t timers = 0;
      for (std::uint32_t i = 0; i < scheduler_of(rt).regular(); ++i) {
        processor& p = scheduler_of(rt).at(i);
        lock_scope hold{p.timers_lock};
        timers += p.timers.size();
      }
      return timers + static_cast<std::size_t>(timed_out) == 128;
    }));
    rt.set_processors(1);
    ASSERT_TRUE(settles(rt));
    for (std::uint32_t i = 1; i < scheduler_of(rt).regular(); ++i)
      EXPECT_EQ(scheduler_of(rt).at(i).timers.earliest(), os::never);
    for (auto& w : waiting) EXPECT_TRUE(unpark(*w));
    for (tern::thread& t : fibers) t.join();
    EXPECT_EQ(timed_out, 64);
    EXPECT_EQ(notified, 64);
  }
}

// Whoever has chosen a processor's heap for a timer may find that it has retired: nobody would ever look there.
TEST(SchedDynamic, ATimerForARetiredProcessorGoesToOneThatStays) {
  tern::runtime rt{{.processors = 2}};
  on_each(rt, 2, [](unsigned) {});
  rt.set_processors(1);
  ASSERT_TRUE(settles(rt));
  scheduler& s = scheduler_of(rt);
  timer_node n;
  n.deadline = os::now() + 3'600'000'000'000;
  EXPECT_EQ(&start_timer(n, s.at(1)), &s.at(0));
  EXPECT_EQ(n.home, &s.at(0));
  EXPECT_EQ(s.at(1).timers.earliest(), os::never);
  remove_timer(n, s.at(1));
  EXPECT_EQ(s.at(0).timers.earliest(), os::never);
}

// A processor that was left behind in tern::blocking is taken away there; the fiber comes back elsewhere.
TEST(SchedDynamic, ALentProcessorParks) {
  tern::runtime rt{{.processors = 4}};
  std::atomic<int> inside{0};
  std::atomic<bool> leave{false};
  std::vector<tern::thread> fibers;
  for (int i = 0; i < 4; ++i)
    fibers.push_back(rt.spawn([&] {
      tern::blocking([&] {
        ++inside;
        while (!leave) ::usleep(100);
      });
      tern::this_thread::yield();
    }));
  ASSERT_TRUE(comes_true([&] { return inside == 4; }));
  rt.set_processors(1);
  EXPECT_TRUE(settles(rt));
  EXPECT_EQ(rt.run([] { return 5; }), 5);
  leave = true;
  for (tern::thread& t : fibers) t.join();
}

// Handshakes wait for nobody who is parked, objects of what had been there live on, and caches that come back are whole.
TEST(SchedDynamic, TheCollectorKnowsWhoIsParked) {
  struct node {
    tern::gc::member<node> next;
    long value = 0;
    void trace(tern::gc::visitor& v) const { v(next); }
  };
  tern::runtime rt{{.processors = 4, .max_processors = 6}};
  const auto work = [&] {
    rt.run([] {
      tern::nursery n;
      for (int i = 0; i < 64; ++i)
        n.spawn([i] {
          node* list = nullptr;
          for (int k = 0; k < 200; ++k) {
            node* x = tern::gc::make<node>();
            x->value = i * 1000 + k;
            x->next = list;
            list = x;
            if (k % 50 == 7) tern::this_thread::yield();
          }
          int k = 199;
          for (node* x = list; x != nullptr; x = x->next.get()) EXPECT_EQ(x->value, i * 1000 + k--);
        });
      n.wait();
    });
  };
  for (const unsigned count : {4U, 1U, 6U, 2U, 5U, 1U}) {
    rt.set_processors(count);
    work();
    ASSERT_TRUE(settles(rt));
    rt.run([] { tern::gc::collect(); });
  }
}

TEST(SchedDynamic, TheLastOfSeveralCallersWins) {
  tern::runtime rt{{.processors = 2, .max_processors = 6}};
  std::atomic<bool> stop{false};
  std::vector<std::thread> callers;
  for (unsigned seed = 0; seed < 3; ++seed)
    callers.emplace_back([&, seed] {
      std::minstd_rand random{seed + 1};
      for (int i = 0; i < 300; ++i) rt.set_processors(1 + static_cast<unsigned>(random() % 6));
    });
  std::thread work{[&] {
    while (!stop) EXPECT_EQ(rt.run([] { return 3; }), 3);
  }};
  for (std::thread& t : callers) t.join();
  stop = true;
  work.join();
  rt.set_processors(3);
  ASSERT_TRUE(settles(rt));
  EXPECT_TRUE(comes_true([&] { return scheduler_of(rt).idle_.total() == 3; }));
}

// ---- automatic ----

// So many rounds alike; the count after them.
std::uint32_t after(load_watch& w, unsigned rounds, std::uint32_t count, std::uint32_t most,
                    std::uint32_t busy, bool waits) {
  for (unsigned i = 0; i < rounds; ++i) count = w.advise(count, most, busy, waits);
  return count;
}

TEST(SchedDynamic, TheRuleOfTheAutomaticCount) {
  load_watch w;
  EXPECT_EQ(after(w, 9, 1, 8, 1, true), 1U) << "no window yet";
  EXPECT_EQ(after(w, 1, 1, 8, 1, true), 2U);
  EXPECT_EQ(after(w, 40, 4, 8, 4, true), 8U) << "4, 5, 7, 8";
  EXPECT_EQ(after(w, 100, 8, 8, 8, true), 8U) << "the cap";
  EXPECT_EQ(after(w, 500, 8, 8, 8, false), 8U) << "all are at work";
  EXPECT_EQ(after(w, 500, 8, 8, 7, false), 8U) << "one to spare";
  EXPECT_EQ(after(w, 49, 8, 8, 6, false), 8U);
  EXPECT_EQ(after(w, 1, 8, 8, 6, false), 7U) << "two, for 500 ms";
  EXPECT_EQ(after(w, 500, 7, 8, 6, false), 7U);
  EXPECT_EQ(after(w, 1'000, 7, 8, 0, false), 1U);
  EXPECT_EQ(after(w, 40, 3, 8, 0, false), 3U);
  w.forget();
  EXPECT_EQ(after(w, 49, 3, 8, 0, false), 3U) << "the break counts for nothing";
  // Work that waits now and then is no reason.
  w.forget();
  for (int i = 0; i < 200; ++i) ASSERT_EQ(w.advise(2, 8, 2, i % 10 < 7), 2U);
}

TEST(SchedDynamic, TheCountFollowsTheLoad) {
  tern::runtime rt{{.processors = 1, .max_processors = 3, .automatic_processors = true}};
  std::atomic<bool> stop{false};
  std::vector<tern::thread> fibers;
  for (int i = 0; i < 12; ++i)
    fibers.push_back(rt.spawn([&] {
      while (!stop) {
        for (int k = 0; k < 1'000; ++k) spin_pause();
        tern::this_thread::yield();
      }
    }));
  EXPECT_TRUE(comes_true([&] { return rt.processors() == 3; }));
  stop = true;
  for (tern::thread& t : fibers) t.join();
  // A little work keeps the monitor awake.
  stop = false;
  tern::thread little = rt.spawn([&] {
    while (!stop) tern::this_thread::sleep_for(5ms);
  });
  EXPECT_TRUE(comes_true([&] { return rt.processors() == 1; }));
  stop = true;
  little.join();
  EXPECT_TRUE(settles(rt));
}

// At most a thousandth of a core: the monitor sleeps when nothing runs, whatever it counts while something does.
void expect_quiet_when_idle(bool automatic) {
  if (asan_build || tsan_build || tern_test::is_emulated())
    GTEST_SKIP() << "a sanitizer's or the emulator's own threads use CPU time of this process as well";
  tern::runtime rt{{.processors = 2, .max_processors = 4, .automatic_processors = automatic}};
  rt.run([] {});
  struct used {
    std::int64_t cpu_ns;
    long wakes;
  };
  const auto now = [] {
    rusage u{};
    ::getrusage(RUSAGE_SELF, &u);
    const auto us = [](timeval t) { return std::int64_t{t.tv_sec} * 1'000'000 + t.tv_usec; };
    return used{(us(u.ru_utime) + us(u.ru_stime)) * 1000, u.ru_nvcsw};
  };
  // Until the monitor has come to rest: the first seconds hold its last rounds, and on a loaded machine a wake may cost much.
  used in_a_second{};
  for (int tries = 0; tries < 20; ++tries) {
    const used before = now();
    std::this_thread::sleep_for(1s);
    const used after = now();
    in_a_second = {after.cpu_ns - before.cpu_ns, after.wakes - before.wakes};
    if (in_a_second.cpu_ns <= 1'000'000 && in_a_second.wakes <= 10) break;
  }
  EXPECT_LE(in_a_second.cpu_ns, 1'000'000);
  EXPECT_LE(in_a_second.wakes, 10);
}

TEST(SchedDynamic, AnIdleRuntimeIsQuiet) { expect_quiet_when_idle(false); }
TEST(SchedDynamic, AnIdleAutomaticRuntimeIsQuiet) { expect_quiet_when_idle(true); }

}  // namespace

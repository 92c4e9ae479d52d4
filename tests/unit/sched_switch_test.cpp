// What a switch must carry along and what it must not: exception state, thread-locals, registers, depth of stack.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <tern/arch/tls.hpp>
#include <tern/os/thread.hpp>
#include <tern/sched.hpp>

namespace tern::inline v1::detail {
TERN_TLS_POINTER(sched_switch_test_word);
}

namespace {

using namespace std::chrono_literals;

class SchedSwitch : public testing::TestWithParam<unsigned> {
 protected:
  tern::runtime rt{{.processors = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(Processors, SchedSwitch, testing::Values(1u, 2u, 4u));

// Parks inside handlers, nested ones too: each fiber sees its own exceptions.
TEST_P(SchedSwitch, ExceptionsInFlightStayWithTheirFiber) {
  rt.run([] {
    std::vector<tern::thread> all;
    for (int i = 0; i < 40; ++i)
      all.emplace_back([i] {
        for (int k = 0; k < 25; ++k) {
          try {
            throw std::runtime_error(std::to_string(i));
          } catch (const std::runtime_error& outer) {
            tern::this_thread::yield();
            try {
              throw std::logic_error(std::to_string(i + 1000));
            } catch (const std::logic_error& inner) {
              if (k % 5 == 0)
                tern::this_thread::sleep_for(10us);
              else
                tern::this_thread::yield();
              EXPECT_EQ(inner.what(), std::to_string(i + 1000));
            }
            EXPECT_EQ(outer.what(), std::to_string(i));
            // A rethrow takes the innermost handled exception of this fiber, whoever threw last on the worker.
            try {
              tern::this_thread::yield();
              throw;
            } catch (const std::runtime_error& again) {
              EXPECT_EQ(again.what(), std::to_string(i));
            }
          }
          EXPECT_EQ(std::current_exception(), nullptr);
        }
      });
    for (auto& t : all) t.join();
  });
}

// A destructor that parks while the stack is unwound.
TEST_P(SchedSwitch, UnwindingMayPark) {
  struct parks {
    int expected;
    ~parks() {
      EXPECT_EQ(std::uncaught_exceptions(), expected);
      for (int i = 0; i < 3; ++i) tern::this_thread::yield();
      tern::this_thread::sleep_for(5us);
      EXPECT_EQ(std::uncaught_exceptions(), expected);
    }
  };
  rt.run([] {
    std::vector<tern::thread> all;
    for (int i = 0; i < 30; ++i)
      all.emplace_back([i] {
        for (int k = 0; k < 10; ++k) {
          if (i % 2 == 0) {
            try {
              const parks p{1};
              throw i;
            } catch (int n) {
              EXPECT_EQ(n, i);
            }
          } else {
            const parks p{0};
            EXPECT_EQ(std::uncaught_exceptions(), 0);
          }
        }
      });
    for (auto& t : all) t.join();
  });
}

// The accessor must read the word of the thread that it is on now, also right after a migration.
TEST_P(SchedSwitch, ThreadLocalAccessorsFollowTheWorker) {
  using namespace tern::detail;
  rt.run([] {
    std::atomic<int> moves{0};
    std::vector<tern::thread> all;
    for (int i = 0; i < 8; ++i)
      all.emplace_back([&] {
        for (int k = 0; k < 300; ++k) {
          const int before = os::thread_id();
          // Every thread's word is its own id: whoever finds it unset sets it.
          sched_switch_test_word_set(reinterpret_cast<void*>(static_cast<std::intptr_t>(before)));
          const void* first = sched_switch_test_word_get();
          tern::this_thread::sleep_for(20us);
          const int after = os::thread_id();
          sched_switch_test_word_set(reinterpret_cast<void*>(static_cast<std::intptr_t>(after)));
          const void* second = sched_switch_test_word_get();
          EXPECT_EQ(first == second, before == after);
          EXPECT_EQ(current_worker()->held, current_processor());
          EXPECT_EQ(current_processor()->runner, current_worker());
          moves += before != after ? 1 : 0;
        }
      });
    for (auto& t : all) t.join();
    RecordProperty("moves", moves.load());
  });
}

// The library's own words name this worker after every kind of switch.
TEST_P(SchedSwitch, CurrentFiberIsTheOneThatRuns) {
  using namespace tern::detail;
  rt.run([] {
    std::vector<tern::thread> all;
    for (int i = 0; i < 20; ++i)
      all.emplace_back([] {
        fiber* const me = current_fiber();
        const auto id = tern::this_thread::get_id();
        for (int k = 0; k < 100; ++k) {
          if (k % 3 == 0) tern::this_thread::yield();
          if (k % 7 == 0) tern::blocking([&] { EXPECT_EQ(current_fiber(), me); });
          if (k % 11 == 0) tern::this_thread::sleep_for(1us);
          EXPECT_EQ(current_fiber(), me);
          EXPECT_EQ(current_processor()->current, me);
          EXPECT_EQ(tern::this_thread::get_id(), id);
          EXPECT_EQ(stack_pool::control_of(stack_pointer()), me);
        }
      });
    for (auto& t : all) t.join();
  });
  EXPECT_EQ(current_fiber(), nullptr);
}

// Values that the compiler keeps in registers, integer and floating, across switches of every kind.
TEST_P(SchedSwitch, LiveValuesSurvive) {
  rt.run([] {
    std::vector<tern::thread> all;
    for (int i = 0; i < 16; ++i)
      all.emplace_back([i] {
        double a = i, b = i + 0.5, c = i * 2.0, d = i * 3.0;
        long p = i, q = i + 1, r = i + 2, s = i + 3, t = i + 4, u = i + 5, v = i + 6;
        for (int k = 0; k < 500; ++k) {
          tern::this_thread::yield();
          a += 1, b += 2, c += 3, d += 4;
          p += 1, q += 2, r += 3, s += 4, t += 5, u += 6, v += 7;
        }
        EXPECT_EQ(a, i + 500.0);
        EXPECT_EQ(b, i + 0.5 + 1000.0);
        EXPECT_EQ(c, i * 2.0 + 1500.0);
        EXPECT_EQ(d, i * 3.0 + 2000.0);
        EXPECT_EQ(p + q + r + s + t + u + v, 7L * i + 21 + 500L * 28);
      });
    for (auto& t : all) t.join();
  });
}

int deep(int n) {
  volatile char frame[64] = {};
  frame[n % 64] = 1;
  if (n == 0) {
    tern::this_thread::yield();
    return 0;
  }
  return deep(n - 1) + frame[n % 64];
}

TEST_P(SchedSwitch, DeepStacksPark) {
  rt.run([] {
    std::vector<tern::thread> all;
    for (int i = 0; i < 10; ++i) all.emplace_back([] { EXPECT_EQ(deep(60), 60); });
    for (auto& t : all) t.join();
  });
}

}  // namespace

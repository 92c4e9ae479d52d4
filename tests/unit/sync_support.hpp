#pragma once

// Runs a test body for 1, 2 and 4 processors, and mixes fibers with plain threads.

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

namespace sync_test {

class processors : public testing::TestWithParam<unsigned> {
 protected:
  // Runs f as a fiber of a runtime with GetParam() processors and checks that nothing is left alive.
  template <class F>
  void run(F f) {
    tern::runtime rt{{.processors = GetParam()}};
    rt.run(f);
    const auto counters = rt.statistics();
    EXPECT_EQ(counters.live_fibers, 0u);
  }
  // The same where nurseries or pools start fibers: what they do has ended by then, but the last may still be on their way out. One
  // that stays lets the test time out.
  template <class F>
  void run_detached(F f) {
    tern::runtime rt{{.processors = GetParam()}};
    rt.run(f);
    while (rt.statistics().live_fibers != 0) std::this_thread::yield();
  }
};

inline std::string processors_name(const testing::TestParamInfo<unsigned>& i) {
  return "p" + std::to_string(i.param);
}

// `fibers` fibers and `threads` plain threads run f(index); returns when all have.
template <class F>
void in_parallel(unsigned fibers, unsigned threads, F f) {
  std::vector<tern::thread> green;
  std::vector<std::thread> plain;
  for (unsigned i = 0; i < fibers; ++i) green.emplace_back([&f, i] { f(i); });
  for (unsigned i = 0; i < threads; ++i) plain.emplace_back([&f, i, fibers] { f(fibers + i); });
  for (tern::thread& t : green) t.join();
  tern::blocking([&] {
    for (std::thread& t : plain) t.join();
  });
}

}  // namespace sync_test

#define SYNC_TEST_AT_ALL_SIZES(suite)  \
  using suite = sync_test::processors; \
  INSTANTIATE_TEST_SUITE_P(at, suite, testing::Values(1u, 2u, 4u), sync_test::processors_name)

// A thread that wakes a runtime's last fiber may still be at work on that wake when the fiber, and the runtime, have ended.
// Under ASan a touch of the runtime after its end is seen.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/seed.hpp"

namespace {

TEST(SchedEndStress, TheWakerOfTheLastFiber) {
  std::atomic<tern::channel<int>*> box{nullptr};
  std::atomic<bool> stop{false};
  std::atomic<int> sent{0};
  std::thread waker{[&] {
    while (!stop.load())
      if (tern::channel<int>* c = box.exchange(nullptr); c != nullptr) {
        c->send(1);
        sent.fetch_add(1);
      } else {
        std::this_thread::yield();
      }
  }};
  const int rounds = static_cast<int>(tern_test::scale(2000));
  for (int i = 0; i < rounds; ++i) {
    tern::channel<int> c;
    // On the heap, where ASan sees its end.
    auto rt = std::make_unique<tern::runtime>(tern::runtime_options{.processors = 2});
    rt->run([&] {
      box.store(&c);
      EXPECT_EQ(c.receive(), 1);
    });
    rt.reset();
    while (sent.load() != i + 1) std::this_thread::yield();
  }
  stop = true;
  waker.join();
}

}  // namespace

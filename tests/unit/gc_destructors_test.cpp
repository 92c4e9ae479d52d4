// Who runs the destructors of dead objects.
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::on_thread;

std::atomic<int> buried{0};
std::atomic<int> buried_in_fibers{0};
std::atomic<int> buried_twice{0};

struct mortal {
  long alive = 4711;
  ~mortal() {
    if (std::exchange(alive, 0) != 4711) buried_twice.fetch_add(1);
    if (tern::detail::current_fiber() != nullptr) buried_in_fibers.fetch_add(1);
    buried.fetch_add(1);
  }
};

void make_garbage(int n) {
  on_thread([n] {
    for (int i = 0; i < n; ++i) gc::make<mortal>();
  });
}

class gc_destructors : public testing::Test {
 protected:
  void SetUp() override { buried = buried_in_fibers = buried_twice = 0; }
  void TearDown() override {
    gc::set_destructor_executor({});
    gc_test::collect_all();
    EXPECT_EQ(buried_twice, 0);
  }
};

std::string own_name() {
  char name[16] = {};
  ::pthread_getname_np(::pthread_self(), name, sizeof name);
  return name;
}

TEST_F(gc_destructors, fibers_run_them_where_an_executor_hands_them_over) {
  tern::run([] {
    tern::channel<gc::destructor_batch> due{64};
    gc::set_destructor_executor([&due](gc::destructor_batch b) { due.send(std::move(b)); });
    tern::thread undertaker{[&due] {
      while (auto b = due.receive()) (*b)();
    }};
    for (int round = 0; round < 5; ++round) {
      make_garbage(5000);
      gc::collect();
      // A fiber that waits in wait_for_destructors() keeps its processor, which the undertaker may need.
      while (buried < 5000 * (round + 1)) tern::this_thread::yield();
    }
    gc::set_destructor_executor({});
    due.close();
    undertaker.join();
  });
  EXPECT_EQ(buried, 25'000);
  EXPECT_EQ(buried_in_fibers, 25'000);
}

TEST_F(gc_destructors, a_batch_that_is_dropped_runs_at_once) {
  std::string name;
  gc::set_destructor_executor([&name](gc::destructor_batch b) {
    EXPECT_TRUE(b);
    const int before = buried;
    gc::destructor_batch taken{std::move(b)};
    EXPECT_FALSE(b);  // NOLINT: what a moved-from one is
    b();
    EXPECT_EQ(buried, before);
    taken = gc::destructor_batch{};
    EXPECT_GT(buried, before);
    name = own_name();
  });
  make_garbage(100);
  gc_test::collect_all();
  gc::set_destructor_executor({});  // it has returned: what it wrote can be read
  EXPECT_EQ(buried, 100);
  EXPECT_EQ(name, "tern-gc-destroy");
}

TEST_F(gc_destructors, waiting_for_them_waits_for_batches_too) {
  gc_test::collect_all();
  std::vector<gc::destructor_batch> kept;
  std::atomic<std::uint64_t> batches{0};
  gc::set_destructor_executor([&](gc::destructor_batch b) {
    kept.push_back(std::move(b));
    batches.fetch_add(1);
  });
  make_garbage(10);
  gc::collect();
  EXPECT_TRUE(tern_test::comes_true(
      [&] { return batches != 0 && batches == tern::detail::gc::doomed.pending.load(); }));
  gc::set_destructor_executor({});
  std::atomic<bool> is_over{false};
  std::thread waiter{[&] {
    gc::wait_for_destructors();
    is_over = true;
  }};
  // A cycle in between leaves those cells alone; what it finds dead beside them waits with them.
  make_garbage(20);
  gc::collect();
  EXPECT_LE(buried, 20);
  EXPECT_FALSE(is_over);
  kept.clear();
  waiter.join();
  EXPECT_EQ(buried, 30);
}

// Whoever sets an executor may then drop what the former one used.
TEST_F(gc_destructors, the_former_executor_is_not_called_any_more) {
  std::atomic<bool> is_inside{false};
  std::atomic<bool> may_leave{false};
  std::atomic<bool> has_left{false};
  gc::set_destructor_executor([&](gc::destructor_batch b) {
    b();
    is_inside = true;
    while (!may_leave) std::this_thread::yield();
    has_left = true;
  });
  make_garbage(100);
  gc::collect();
  EXPECT_TRUE(tern_test::comes_true([&] { return is_inside.load(); }));
  std::thread setter{[&] {
    gc::set_destructor_executor({});
    EXPECT_TRUE(has_left);
  }};
  // Time for a setter that does not wait.
  std::this_thread::sleep_for(std::chrono::milliseconds{20});
  may_leave = true;
  setter.join();
  gc::wait_for_destructors();
  EXPECT_EQ(buried, 100);
}

}  // namespace

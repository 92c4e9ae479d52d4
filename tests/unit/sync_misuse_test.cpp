// Misuse has one documented outcome per function, in release builds too: the table in include/tern/sync/README.md.

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <new>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/parked.hpp"

namespace {

// Ends a primitive's life while another fiber waits in `wait`.
template <class P, class Wait>
void destroy_under_a_waiter(Wait wait) {
  tern::run({.processors = 1}, [&] {
    alignas(P) static unsigned char room[sizeof(P)];
    auto* p = ::new (static_cast<void*>(room)) P;
    tern::thread t{{.name = "waiting"}, [&] { wait(*p); }};
    tern_test::wait_until_parked("waiting");
    p->~P();
    t.join();
  });
}

}  // namespace

TEST(sync_misuse_death, mutex) {
  EXPECT_DEATH(
      {
        tern::mutex m;
        m.unlock();
      },
      "tern: fatal: a mutex was unlocked that is not locked");
  EXPECT_DEATH(
      {
        tern::mutex m;
        m.lock();
        m.unlock();
        m.unlock();
      },
      "a mutex was unlocked that is not locked");
  EXPECT_DEATH(
      {
        tern::mutex m;
        m.lock();
      },
      "a mutex was destroyed while it was locked");
}

TEST(sync_misuse_death, condition_variable) {
  EXPECT_DEATH(
      {
        tern::condition_variable c;
        std::unique_lock<tern::mutex> none;
        c.wait(none);
      },
      "needs a lock that owns its mutex");
  EXPECT_DEATH(destroy_under_a_waiter<tern::condition_variable>([](auto& c) {
                 tern::mutex m;
                 std::unique_lock hold{m};
                 c.wait(hold);
               }),
               "a condition variable was destroyed while somebody waits for it");
}

TEST(sync_misuse_death, semaphore) {
  EXPECT_DEATH(tern::semaphore{0x8000'0000u}, "at most 2\\^31 - 1 permits");
  EXPECT_DEATH(
      {
        tern::semaphore s{tern::semaphore::max()};
        s.release();
      },
      "released beyond 2\\^31 - 1 permits");
  EXPECT_DEATH(destroy_under_a_waiter<tern::semaphore>([](auto& s) { s.acquire(); }),
               "a semaphore was destroyed while somebody waits for it");
}

TEST(sync_misuse_death, wait_group) {
  EXPECT_DEATH(
      {
        tern::wait_group g;
        g.done();
      },
      "count went below zero");
  EXPECT_DEATH(
      {
        tern::wait_group g{0x7fff'ffff};
        g.add(1);
      },
      "count went beyond 2\\^31 - 1");
  EXPECT_DEATH(tern::wait_group{0x8000'0000u}, "count went beyond 2\\^31 - 1");
  EXPECT_DEATH(destroy_under_a_waiter<tern::wait_group>([](auto& g) {
                 g.add(1);
                 g.wait();
               }),
               "a wait group was destroyed while somebody waits for it");
}

TEST(sync_misuse_death, channel) {
  EXPECT_DEATH(destroy_under_a_waiter<tern::channel<int>>([](auto& c) { static_cast<void>(c.receive()); }),
               "a channel was destroyed while somebody waits on it");
}

TEST(sync_misuse_death, parking_inside_blocking) {
  EXPECT_DEATH(tern::run([] {
                 tern::channel<int> c;
                 tern::blocking([&] { static_cast<void>(c.receive()); });
               }),
               "parked inside tern::blocking");
}

TEST(sync_misuse, send_on_a_closed_channel_throws) {
  tern::channel<int> c{1};
  EXPECT_TRUE(c.close());
  EXPECT_FALSE(c.close());
  EXPECT_THROW(c.send(1), tern::channel_closed);
  EXPECT_THROW(static_cast<void>(c.try_send(1)), tern::channel_closed);
  EXPECT_THROW(tern::select(tern::on_send(c, 1, [] {})), tern::channel_closed);
  EXPECT_THROW(tern::channel<int>{SIZE_MAX}, std::bad_alloc);
}

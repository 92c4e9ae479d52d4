// rw_mutex under every interleaving: a writer alone, no reader or writer left waiting, no share lost or doubled when some give up.
#include <tern/sync/rw_mutex.hpp>

#include "expect.hpp"
#include "sync_parking.hpp"

namespace {

using namespace tern_model;

using rw_mutex = tern::detail::basic_rw_mutex<model_atomics, model_parking, model_mutex, 0>;

// Readers and writers that pass the section once each; timed ones may give up, and triers do not wait.
// Step: ns by which the clock goes on at each look at it. With `half` a waiter is passed once and then handed its share.
constexpr int never = 0, half = 600'000;
template <int Readers, int Writers, int TimedReaders = 0, int TimedWriters = 0, int Triers = 0,
          int Step = half>
struct rw_model {
  rw_mutex m;
  model_var<int> value{0};
  int writers_inside = 0, readers_inside = 0;
  int passed = 0, written = 0;

  rw_model() {
    model_parking::clock = 0;
    model_parking::step = Step;
  }

  void read() {
    ++readers_inside;
    require(writers_inside == 0, "no reader beside a writer");
    static_cast<void>(value == 0);
    --readers_inside;
    ++passed;
  }
  void write() {
    ++writers_inside;
    require(writers_inside == 1 && readers_inside == 0, "a writer is alone");
    value = value + 1;
    ++written;
    --writers_inside;
    ++passed;
  }
  void threads(thread_list& list) {
    for (int i = 0; i < Readers; ++i)
      list.add("reader" + std::to_string(i), [this] {
        m.lock_shared();
        read();
        m.unlock_shared();
      });
    for (int i = 0; i < Writers; ++i)
      list.add("writer" + std::to_string(i), [this] {
        m.lock();
        write();
        m.unlock();
      });
    for (int i = 0; i < TimedReaders; ++i)
      list.add("timed_reader" + std::to_string(i), [this] {
        if (!m.try_lock_shared_until_ns(1)) return void(++passed);
        read();
        m.unlock_shared();
      });
    for (int i = 0; i < TimedWriters; ++i)
      list.add("timed_writer" + std::to_string(i), [this] {
        if (!m.try_lock_until_ns(1)) return void(++passed);
        write();
        m.unlock();
      });
    for (int i = 0; i < Triers; ++i)
      list.add("trier" + std::to_string(i), [this] {
        if (m.try_lock()) {
          write();
          m.unlock();
        } else if (m.try_lock_shared()) {
          read();
          m.unlock_shared();
        } else {
          ++passed;
        }
      });
  }
  // The destructor of the mutex also ends the process when a bit is left.
  void finally() {
    require(passed == Readers + Writers + TimedReaders + TimedWriters + Triers, "everybody passed");
    require(value == written, "no write is lost");
  }
};

TEST(rw_mutex_model, excludes_and_wakes) {
  expect_holds<rw_model<1, 1>>({.preemptions = 4}, "one and one");
  expect_holds<rw_model<2, 1>>({.preemptions = 3}, "two readers");
  expect_holds<rw_model<1, 2>>({.preemptions = 3}, "two writers");
  expect_holds<rw_model<2, 2>>({.preemptions = 2}, "two and two");
  expect_holds<rw_model<1, 1, 0, 0, 1>>({.preemptions = 3}, "with a trier");
}

TEST(rw_mutex_model, passes_whoever_waits_for_a_moment) {
  expect_holds<rw_model<1, 1, 0, 0, 0, never>>({.preemptions = 4}, "one and one");
  expect_holds<rw_model<2, 2, 0, 0, 0, never>>({.preemptions = 2}, "two and two");
  expect_holds<rw_model<1, 1, 0, 0, 1, never>>({.preemptions = 3}, "with a trier");
  expect_holds<rw_model<1, 1, 0, 1, 0, never>>({.preemptions = 2, .timeouts = 1}, "a writer of two gives up");
  expect_holds<rw_model<1, 0, 1, 1, 0, never>>({.preemptions = 2, .timeouts = 2}, "two give up");
}

TEST(rw_mutex_model, giving_up_leaves_nobody_behind) {
  expect_holds<rw_model<0, 1, 1>>({.preemptions = 4, .timeouts = 1}, "a reader gives up");
  expect_holds<rw_model<1, 0, 0, 1>>({.preemptions = 4, .timeouts = 1}, "a writer gives up");
  expect_holds<rw_model<2, 0, 0, 1>>({.preemptions = 3, .timeouts = 1}, "and lets a reader in");
  expect_holds<rw_model<1, 1, 0, 1>>({.preemptions = 2, .timeouts = 1}, "a writer of two gives up");
  expect_holds<rw_model<0, 1, 1, 1>>({.preemptions = 2, .timeouts = 2}, "two give up");
}

// Somebody leaves while a writer's time ends, and one that only tries comes: who takes the turn, and is no share lost?
template <bool Shared>
struct rw_late_model : rw_model<Shared ? 1 : 0, 0, 0, 1, 1> {
  using base = rw_model<Shared ? 1 : 0, 0, 0, 1, 1>;

  rw_late_model() { Shared ? this->m.lock_shared() : this->m.lock(); }
  void threads(thread_list& list) {
    list.add("leaver", [this] { Shared ? this->m.unlock_shared() : this->m.unlock(); });
    base::threads(list);
  }
};

TEST(rw_mutex_model, a_late_writer_takes_its_turn_or_passes_it_on) {
  expect_holds<rw_late_model<false>>({.preemptions = 3, .timeouts = 1}, "after a writer");
  expect_holds<rw_late_model<true>>({.preemptions = 2, .timeouts = 1}, "after a reader");
}

// Readers that leave when they have met inside, while a writer comes and goes that never waits: no reader may be kept out by another.
template <int Step>
struct rw_meeting_model {
  rw_mutex m;
  atomic<std::uint32_t> inside{0};

  rw_meeting_model() {
    model_parking::clock = 0;
    model_parking::step = Step;
    m.lock();
  }
  void threads(thread_list& list) {
    list.add("writer", [this] {
      m.unlock();
      if (m.try_lock()) m.unlock();
    });
    for (int i = 0; i < 2; ++i)
      list.add("reader" + std::to_string(i), [this] {
        m.lock_shared();
        if (inside.fetch_add(1, tern::detail::memory_order_acq_rel) == 1) model_futex::wake(inside, 1);
        while (inside.load(tern::detail::memory_order_acquire) == 1) model_futex::wait(inside, 1);
        m.unlock_shared();
      });
  }
  void finally() { require(inside.load(tern::detail::memory_order_relaxed) == 2, "they have met"); }
};

TEST(rw_mutex_model, readers_do_not_keep_readers_out) {
  expect_holds<rw_meeting_model<never>>({.preemptions = 3}, "for a moment");
  expect_holds<rw_meeting_model<half>>({.preemptions = 3}, "for long");
}

TEST(rw_mutex_model, mutants) {
  expect_mutants_caught<rw_model<1, 1>, rw_model<0, 2>, rw_model<1, 0, 0, 1>, rw_model<0, 1, 1>,
                        rw_model<2, 1>, rw_model<1, 2>, rw_model<2, 0, 0, 1>, rw_model<1, 1, 0, 1>,
                        rw_model<2, 1, 0, 1>, rw_late_model<false>, rw_late_model<true>>(
      {.preemptions = 3, .timeouts = 1, .max_schedules = 60'000}, "rw_mutex.hpp", [](const mutant& m) {
        // The fast paths of lock() and unlock(): where they fail, the general ones do the same.
        return m.kind == change::drop && m.text.find("TERN_LIKELY(state_.compare_exchange_strong(s, ") == 0;
      });
}

}  // namespace

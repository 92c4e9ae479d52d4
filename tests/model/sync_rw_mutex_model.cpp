// rw_mutex under every interleaving: a writer alone, no reader or writer left waiting, no share lost or doubled when some give up.
#include <tern/sync/rw_mutex.hpp>

#include "expect.hpp"
#include "sync_parking.hpp"

namespace {

using namespace tern_model;

using rw_mutex = tern::detail::basic_rw_mutex<model_atomics, model_parking, model_mutex>;

// Readers and writers that pass the section once each; timed ones may give up, and triers do not wait.
template <int Readers, int Writers, int TimedReaders = 0, int TimedWriters = 0, int Triers = 0>
struct rw_model {
  rw_mutex m;
  model_var<int> value{0};
  int writers_inside = 0, readers_inside = 0;
  int passed = 0, written = 0;

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
    require(m.try_lock(), "it is free at the end");
    m.unlock();
  }
};

TEST(rw_mutex_model, excludes_and_wakes) {
  expect_holds<rw_model<1, 1>>({.preemptions = 4}, "one and one");
  expect_holds<rw_model<2, 1>>({.preemptions = 3}, "two readers");
  expect_holds<rw_model<1, 2>>({.preemptions = 3}, "two writers");
  expect_holds<rw_model<2, 2>>({.preemptions = 2}, "two and two");
  expect_holds<rw_model<1, 1, 0, 0, 1>>({.preemptions = 3}, "with a trier");
}

TEST(rw_mutex_model, giving_up_leaves_nobody_behind) {
  expect_holds<rw_model<0, 1, 1>>({.preemptions = 4, .timeouts = 1}, "a reader gives up");
  expect_holds<rw_model<1, 0, 0, 1>>({.preemptions = 4, .timeouts = 1}, "a writer gives up");
  expect_holds<rw_model<2, 0, 0, 1>>({.preemptions = 3, .timeouts = 1}, "and lets a reader in");
  expect_holds<rw_model<1, 1, 0, 1>>({.preemptions = 2, .timeouts = 1}, "a writer of two gives up");
  expect_holds<rw_model<0, 1, 1, 1>>({.preemptions = 2, .timeouts = 2}, "two give up");
}

TEST(rw_mutex_model, mutants) {
  expect_mutants_caught<rw_model<1, 1>, rw_model<0, 2>, rw_model<1, 0, 0, 1>, rw_model<0, 1, 1>,
                        rw_model<2, 1>, rw_model<1, 2>, rw_model<2, 0, 0, 1>, rw_model<1, 1, 0, 1>,
                        rw_model<2, 1, 0, 1>>(
      {.preemptions = 3, .timeouts = 1, .max_schedules = 200'000}, "rw_mutex.hpp", [](const mutant& m) {
        // The fast path of unlock(): where it fails, the slow path does the same.
        return m.kind == change::drop && m.text.find("if (TERN_UNLIKELY(") == 0;
      });
}

}  // namespace

// mutex, semaphore and wait group under every interleaving: exclusion, no lost wake-up, no permit lost or doubled, hand-over.
#include <tern/sync/mutex.hpp>
#include <tern/sync/select.hpp>
#include <tern/sync/semaphore.hpp>
#include <tern/sync/wait_group.hpp>

#include "expect.hpp"
#include "sync_parking.hpp"

namespace {

using namespace tern_model;

using mutex = tern::detail::basic_mutex<model_atomics, model_parking, model_mutex, 0>;
using semaphore = tern::detail::basic_semaphore<model_atomics, model_parking, model_mutex, 0>;
using wait_group = tern::detail::basic_wait_group<model_atomics, model_parking, model_mutex>;

// Threads that each pass the section `Rounds` times; some try_lock only.
template <int Lockers, int Rounds, int Triers, int Timed = 0>
struct mutex_model {
  mutex m;
  model_var<int> inside{0};
  int passed = 0;

  mutex_model() { model_parking::clock = 0; }
  void section() {
    require(inside == 0, "one at a time");
    inside = 1;
    inside = 0;
    ++passed;
  }
  void threads(thread_list& list) {
    for (int i = 0; i < Lockers; ++i)
      list.add("locker" + std::to_string(i), [this] {
        for (int k = 0; k < Rounds; ++k) {
          m.lock();
          section();
          m.unlock();
        }
      });
    for (int i = 0; i < Triers; ++i)
      list.add("trier" + std::to_string(i), [this] {
        if (m.try_lock()) {
          section();
          m.unlock();
        } else {
          ++passed;
        }
      });
    for (int i = 0; i < Timed; ++i)
      list.add("timed" + std::to_string(i), [this] {
        if (m.try_lock_until_ns(1)) {
          section();
          m.unlock();
        } else {
          ++passed;
        }
      });
  }
  // The destructor of the mutex also ends the process when a bit is left.
  void finally() { require(passed == Lockers * Rounds + Triers + Timed, "everybody passed"); }
};

TEST(mutex_model, excludes_and_wakes) {
  expect_holds<mutex_model<2, 2, 0>>({.preemptions = 4}, "two, twice");
  expect_holds<mutex_model<3, 1, 0>>({.preemptions = 3}, "three");
  expect_holds<mutex_model<2, 1, 1>>({.preemptions = 3}, "two and a trier");
  expect_holds<mutex_model<3, 2, 0>>({.preemptions = 2}, "three, twice");
  expect_holds<mutex_model<1, 1, 0, 1>>({.preemptions = 4, .timeouts = 1}, "one may give up");
  expect_holds<mutex_model<2, 1, 0, 1>>({.preemptions = 3, .timeouts = 1}, "one of three may give up");
  expect_holds<mutex_model<1, 2, 0, 1>>({.preemptions = 3, .timeouts = 1}, "one may give up, another twice");
  expect_holds<mutex_model<1, 1, 0, 2>>({.preemptions = 3, .timeouts = 2}, "two may give up");
}

// A waiter whose time ends while the mutex is unlocked, and one that only tries: who takes its turn?
struct mutex_late_model : mutex_model<0, 0, 1, 1> {
  mutex_late_model() { m.lock(); }
  void threads(thread_list& list) {
    list.add("unlocker", [this] { m.unlock(); });
    mutex_model<0, 0, 1, 1>::threads(list);
  }
};

TEST(mutex_model, a_turn_that_comes_late) {
  expect_holds<mutex_late_model>({.preemptions = 4, .timeouts = 1});
}

// `Permits` at the start, releasers that give more, acquirers that take one; `Timed` of them may give up.
template <unsigned Permits, int Releasers, int Acquirers, int Timed>
struct semaphore_model {
  semaphore s{Permits};
  model_var<int> payload{0};
  int got = 0, given_up = 0;

  void threads(thread_list& list) {
    for (int i = 0; i < Releasers; ++i)
      list.add("releaser" + std::to_string(i), [this] {
        if (Permits == 0 && Releasers == 1) payload = 7;
        s.release(Releasers == 1 ? static_cast<unsigned>(Acquirers + Timed) : 1);
      });
    for (int i = 0; i < Acquirers; ++i)
      list.add("acquirer" + std::to_string(i), [this] {
        s.acquire();
        if (Permits == 0 && Releasers == 1) require(payload == 7, "what came before the release is visible");
        ++got;
      });
    for (int i = 0; i < Timed; ++i)
      list.add("timed" + std::to_string(i), [this] {
        if (s.try_acquire_until_ns(1))
          ++got;
        else
          ++given_up;
      });
  }
  void finally() {
    require(got + given_up == Acquirers + Timed, "everybody has an answer");
    const int all = static_cast<int>(Permits) + (Releasers == 1 ? Acquirers + Timed : Releasers);
    int left = 0;
    while (s.try_acquire()) ++left;
    require(left == all - got, "no permit is lost or doubled");
  }
};

TEST(semaphore_model, permits_are_conserved) {
  expect_holds<semaphore_model<0, 1, 2, 0>>({.preemptions = 4}, "one releases for two");
  expect_holds<semaphore_model<1, 1, 2, 0>>({.preemptions = 3}, "with a permit");
  expect_holds<semaphore_model<0, 2, 2, 0>>({.preemptions = 3}, "two and two");
  expect_holds<semaphore_model<0, 1, 1, 1>>({.preemptions = 3, .timeouts = 1}, "one may give up");
  expect_holds<semaphore_model<0, 2, 0, 1>>({.preemptions = 4, .timeouts = 1},
                                            "two releasers, one that may give up");
  expect_holds<semaphore_model<0, 2, 1, 1>>({.preemptions = 2, .timeouts = 1},
                                            "two releasers, one may give up");
}

// Workers count down; waiters wait; a second round begins at once.
template <int Workers, int Waiters, bool Again, int Timed = 0>
struct wait_group_model {
  wait_group g{Workers};
  model_var<int> payload{0};
  int returned = 0;

  void threads(thread_list& list) {
    for (int i = 0; i < Workers; ++i)
      list.add("worker" + std::to_string(i), [this, i] {
        if (i == 0) payload = 7;
        g.done();
        if (Again && i == 0) {
          g.add(1);
          g.done();
        }
      });
    for (int i = 0; i < Waiters; ++i)
      list.add("waiter" + std::to_string(i), [this] {
        g.wait();
        require(payload == 7, "what came before done() is visible");
        ++returned;
      });
    for (int i = 0; i < Timed; ++i)
      list.add("timed" + std::to_string(i), [this] {
        if (g.wait_until_ns(1)) require(payload == 7, "what came before done() is visible");
        ++returned;
      });
  }
  void finally() { require(returned == Waiters + Timed, "every wait returned"); }
};

TEST(wait_group_model, waits_end_at_zero) {
  expect_holds<wait_group_model<2, 1, false>>({.preemptions = 4}, "two workers");
  expect_holds<wait_group_model<1, 2, false>>({.preemptions = 4}, "two waiters");
  expect_holds<wait_group_model<1, 2, true>>({.preemptions = 3}, "used again");
  expect_holds<wait_group_model<2, 1, true>>({.preemptions = 3}, "used again by one of two");
  expect_holds<wait_group_model<2, 0, false, 1>>({.preemptions = 4, .timeouts = 1}, "one may give up");
  expect_holds<wait_group_model<1, 1, true, 1>>({.preemptions = 3, .timeouts = 1}, "one of two may give up");
}

// A group that never comes to zero: who gives up takes its share of the word along, beside a worker that changes the count.
struct wait_group_left_model {
  wait_group g{1};
  void threads(thread_list& list) {
    list.add("timed", [this] { require(!g.wait_until_ns(1), "the count is not zero"); });
    list.add("worker", [this] {
      g.add(2);
      g.add(-1);
    });
  }
  // The destructor of the group ends the process when a waiter is left.
  void finally() {
    g.add(-1);  // one is left
  }
};

TEST(wait_group_model, giving_up_leaves_the_count) {
  expect_holds<wait_group_left_model>({.preemptions = 4, .timeouts = 1});
}

// A select's case and the timer both try to claim: exactly one wins.
struct claim_model {
  tern::detail::claim_word<model_atomics> word;
  int wins = 0;
  void threads(thread_list& list) {
    for (std::uint32_t i = 0; i < 3; ++i)
      list.add("claimer" + std::to_string(i), [this, i] {
        if (word.claim(i)) {
          ++wins;
          require(word.winner() == i, "the winner is named");
        }
      });
  }
  void finally() { require(wins == 1, "one wins"); }
};

TEST(claim_model, one_winner) { expect_holds<claim_model>({.preemptions = 3}); }

const options mutant_options{.preemptions = 3, .timeouts = 1, .max_schedules = 200'000};

TEST(mutex_model, mutants) {
  expect_mutants_caught<mutex_model<2, 1, 0>, mutex_late_model, mutex_model<2, 1, 1>, mutex_model<1, 1, 0, 1>,
                        mutex_model<3, 1, 0>, mutex_model<2, 2, 0>, mutex_model<2, 1, 0, 1>,
                        mutex_model<1, 2, 0, 1>, mutex_model<1, 1, 1, 1>>(
      mutant_options, "mutex.hpp", [](const mutant& m) {
        // The fast paths of lock(): where one fails, the slow path does the same.
        return m.kind == change::drop && m.text.find("memory_order_acquire") != std::string::npos &&
               m.text.find("compare_exchange_strong") != std::string::npos;
      });
}
TEST(semaphore_model, mutants) {
  expect_mutants_caught<semaphore_model<0, 1, 2, 0>, semaphore_model<1, 1, 2, 0>, semaphore_model<0, 1, 1, 1>,
                        semaphore_model<0, 2, 2, 0>, semaphore_model<0, 2, 0, 1>>(
      mutant_options, "semaphore.hpp", [](const mutant&) { return false; });
}
TEST(wait_group_model, mutants) {
  expect_mutants_caught<wait_group_model<2, 1, false>, wait_group_model<1, 2, false>,
                        wait_group_model<2, 1, true>, wait_group_model<1, 2, true>,
                        wait_group_model<2, 0, false, 1>, wait_group_left_model>(
      mutant_options, "wait_group.hpp", [](const mutant&) { return false; });
}

}  // namespace

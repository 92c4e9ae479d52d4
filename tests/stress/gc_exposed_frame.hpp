// The known counterexample of grey stacks: B stores a white pointer through a reference into the frame of parked, already scanned A, and drops it.
#pragma once

#include <signal.h>

#include <atomic>
#include <thread>

#include <tern/gc.hpp>
#include <tern/sched.hpp>

#include "tests/support/parked.hpp"

namespace gc_exposed_frame {

namespace gc = tern::gc;

struct node {
  gc::member<node> next;
  long value = 0;
  void trace(gc::visitor& v) const { v(next); }
};

enum : int { starts, first_round_over, moved, resumed, ends };
inline std::atomic<int> stage{starts};

// The collector's thread, when the first round is over and nothing is marked yet.
inline void at_point(tern::detail::gc::test_point p) noexcept {
  if (p != tern::detail::gc::test_point::roots_scanned || stage != starts) return;
  stage = first_round_over;
  while (stage == first_round_over) std::this_thread::yield();
}

// Takes the only reference out of the heap: what is on the stack of the caller is left as it was.
[[gnu::noinline]] inline void move_out(node* holder, node*& to) {
  to = holder->next;
  holder->next = nullptr;
}
[[gnu::noinline]] inline void wipe_the_stack_below() {
  volatile char a[2048];
  for (volatile char& c : a) c = 0;
}

// True if the object outlives the cycle. A is looked at in the second round; or, `resumed_before`, it goes on after its processor has acked
// that round and before the collector gets to it.
inline bool survives(bool resumed_before) {
  gc::testing::poison_freed(true);
  gc::handle<node> holder;
  stage = starts;
  std::atomic<bool> polls{false};
  bool good = false;
  std::thread program{[&] {
    tern::runtime rt{{.processors = 2}};
    rt.run([&] {
      node* h = gc::make<node>();
      h->next = gc::make<node>();
      h->next->value = 4711;
      holder = h;
    });
    rt.run([&] {
      node* slot = nullptr;
      tern::nursery n;
      n.spawn([&] {
        while (stage == starts) {
          polls = true;
          gc::safepoint();
        }
        move_out(holder, slot);
        wipe_the_stack_below();
        const auto round = [] { return tern::detail::gc::current_mutator().acked_round; };
        const std::uint64_t first = round();
        stage = moved;
        while (resumed_before ? round() == first : stage != ends) gc::safepoint();
      });
      n.wait();
      if (resumed_before) stage = resumed;
      while (stage != ends) gc::safepoint();
      good = slot->value == 4711;
    });
  }};
  tern_test::wait_until_parked("main");
  while (!polls) std::this_thread::yield();
  // Keeps the second round open until A goes on.
  std::atomic<bool> attached{false};
  std::thread late{[&] {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    const gc::attach_thread attachment;
    attached = true;
    while (stage != ends)
      if (!resumed_before || stage == starts || stage == resumed) gc::safepoint();
  }};
  while (!attached) std::this_thread::yield();
  tern::detail::gc::testing.at = &at_point;
  gc::collect();
  tern::detail::gc::testing.at = nullptr;
  stage = ends;
  late.join();
  program.join();
  return good;
}

}  // namespace gc_exposed_frame

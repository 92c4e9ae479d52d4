// Schedules in which a collector that lacks one of its parts loses an object, each time: a test of the whole one has all survive, and
// gc_without.cpp has each not survive without its part.
#pragma once

#include <signal.h>

#include <atomic>
#include <thread>
#include <utility>

#include <tern/gc.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/gc_actor.hpp"
#include "tests/support/parked.hpp"

namespace gc_schedules {

namespace gc = tern::gc;
namespace internal = tern::detail::gc;
using gc_test::as_mutator;
using gc_test::is_marked;
using gc_test::word_of;

struct node {
  gc::member<node> next;
  gc::member<node> other;
  long value = 0;
  void trace(gc::visitor& v) const { v(next, other); }
};
inline constexpr long good = 4711;

inline node* make_good() {
  node* n = gc::make<node>();
  n->value = good;
  return n;
}

// For the schedule's time: what was freed shows, and quanta are of one object. It runs on a thread of its own that is no mutator, so what it
// knows of objects keeps none.
template <class F>
bool on_stage(F&& schedule) {
  gc::testing::poison_freed(true);
  bool survives = false;
  std::thread stage{[&] {
    gc::testing::stepper s;
    gc::testing::set_mark_quantum(1);
    survives = schedule(s);
    s.finish();
    gc::testing::set_mark_quantum(0);
  }};
  stage.join();
  gc::testing::poison_freed(false);
  return survives;
}

// Two roots, of which the marker has been at one: `black` is marked, `grey` is not, nor is what only grey leads to. make() gives each root.
template <class Box>
struct half_marked {
  gc::handle<Box> roots[2];
  Box* black = nullptr;
  Box* grey = nullptr;

  half_marked() = default;
  template <class Make>
  half_marked(gc::testing::stepper& s, Make&& make) {
    as_mutator([&] {
      for (gc::handle<Box>& h : roots) h = make();
    });
    mark_one(s);
  }
  void mark_one(gc::testing::stepper& s) {
    s.run_to(gc::testing::step::mark);
    const auto marked = [this](int i) { return is_marked(word_of(roots[i].get())); };
    while (!marked(0) && !marked(1)) s.mark();
    black = roots[marked(0) ? 0 : 1];
    grey = roots[marked(0) ? 1 : 0];
  }
};
inline node* make_with_child() {
  node* n = make_good();
  n->next = make_good();
  return n;
}

// The only reference to a white object moves into one that the marker has been at.
inline bool store_behind_the_marker() {
  return on_stage([](gc::testing::stepper& s) {
    half_marked<node> heap{s, make_with_child};
    as_mutator([&] {
      heap.black->other = heap.grey->next.get();
      heap.grey->next = nullptr;
    });
    s.finish();
    return heap.black->other->value == good;
  });
}

// The same by the mutator that has made both in the cycle before, in cells that were black then.
inline bool store_of_what_was_black_before() {
  return on_stage([](gc::testing::stepper& s) {
    gc_test::actor<node> mutator;
    using frame = gc_test::actor<node>::frame;
    half_marked<node> heap;
    s.run_to(gc::testing::step::mark);
    mutator.does([&](frame&) {
      for (gc::handle<node>& h : heap.roots) h = make_with_child();
    });
    s.finish();
    heap.mark_one(s);
    mutator.does([&](frame&) {
      heap.black->other = heap.grey->next.get();
      heap.grey->next = nullptr;
    });
    s.finish();
    return heap.black->other->value == good;
  });
}

// An object that is made when every stack has been looked at for the last time: in cells that its mutator had before the cycle, or in others.
inline bool birth_after_the_last_round(bool has_cells) {
  return on_stage([&](gc::testing::stepper& s) {
    gc_test::actor<node> mutator;
    using frame = gc_test::actor<node>::frame;
    if (has_cells) mutator.does([](frame&) { gc::make<node>(); });
    s.run_to(gc::testing::step::end_marking);
    mutator.does([](frame& f) { f.first = make_good(); });
    s.finish();
    bool lives = false;
    mutator.does([&](frame& f) { lives = f.first->value == good; });
    return lives;
  });
}

// True if all processors have done the handshake that was asked for last.
inline bool processors_have_acked() {
  const tern::detail::lock_scope hold{internal::state.mutators_lock};
  const std::uint64_t n = internal::state.request.number();
  for (auto* m = internal::state.mutators.front(); m != nullptr; m = internal::state.mutators.next(*m))
    if (m->owner != nullptr && m->port.acked() != n) return false;
  return true;
}

// A fiber that was scanned while it was parked goes on, takes an object out of the heap onto its stack, and parks again. Or goes on once
// more, `within_a_round`, when its processor has answered and before the collector looks at parked fibers.
inline bool load_after_the_scan(bool within_a_round) {
  return on_stage([&](gc::testing::stepper& s) {
    gc::handle<node> root;
    as_mutator([&] { root = make_with_child(); });
    tern::runtime rt{{.processors = 1}};
    tern::channel<int> go{1};
    std::atomic<int> resumes{0};
    std::atomic<bool> lives{false};
    tern::thread fiber = rt.spawn({.name = "loader"}, [&] {
      static_cast<void>(go.receive());
      node* mine = root->next;
      root->next = nullptr;
      ++resumes;
      static_cast<void>(go.receive());
      ++resumes;
      static_cast<void>(go.receive());
      lives = mine->value == good;
    });
    const auto resume = [&](int n) {
      go.send(1);
      while (resumes != n) std::this_thread::yield();
      tern_test::wait_until_parked("loader");
    };
    tern_test::wait_until_parked("loader");
    s.run_to(gc::testing::step::mark);
    resume(1);
    s.run_to(gc::testing::step::rescan);
    gc_test::actor<node> late;
    late.is_silent(true);
    const std::uint64_t before = internal::state.request.number();
    std::thread round{[&] { s.rescan(); }};
    while (internal::state.request.number() == before || !processors_have_acked()) std::this_thread::yield();
    if (within_a_round) resume(2);
    late.acknowledges();
    round.join();
    late.is_silent(false);
    s.finish();
    if (!within_a_round) resume(2);
    go.send(1);
    fiber.join();
    return lives.load();
  });
}

// Moves a reference without a copy of it on the caller's stack.
[[gnu::noinline]] inline void take_child(const gc::handle<node>& from, node*& to) {
  to = from->next.exchange(nullptr);
}
[[gnu::noinline]] inline void move_to(node*& to, node*& from) { to = std::exchange(from, nullptr); }
[[gnu::noinline]] inline void wipe_the_stack_below() {
  volatile char a[2048];
  for (volatile char& c : a) c = 0;
}

// A plain thread waits for a fiber, which has the only reference to an object and stores it into the thread's frame: in a round, when the
// collector has answered for the thread, and before the fiber's processor answers. Before the collector looks again the thread `goes_on`, or it
// waits for as long as the cycle marks.
inline bool store_into_the_frame_of_a_waiting_thread(bool goes_on) {
  return on_stage([&](gc::testing::stepper& s) {
    enum : int { starts, runs, takes, has, falls_silent, is_silent, stores, has_stored, went_on, ends };
    gc::handle<node> root;
    as_mutator([&] { root = make_with_child(); });
    std::atomic<int> stage{starts};
    std::atomic<const internal::mutator*> waiter{nullptr};
    const auto await = [&](int n) {
      while (stage != n) std::this_thread::yield();
    };
    const auto await_polling = [&](int n) {
      while (stage != n) {
        gc::safepoint();
        std::this_thread::yield();
      }
    };
    bool lives = false;
    std::thread waiting{[&] {
      const gc::attach_thread attached;
      waiter = internal::current_mutator_if_any();
      tern::runtime rt{{.processors = 1}};
      node* slot = nullptr;
      rt.run([&] {
        sigset_t all;
        sigset_t before;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, &before);  // it answers when it polls
        node* mine = nullptr;
        stage = runs;
        await_polling(takes);
        take_child(root, mine);
        wipe_the_stack_below();
        stage = has;
        await_polling(falls_silent);
        stage = is_silent;
        await(stores);
        move_to(slot, mine);
        wipe_the_stack_below();
        stage = has_stored;
        if (!goes_on) await_polling(ends);
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      });
      if (goes_on) stage = went_on;
      await_polling(ends);
      lives = slot->value == good;
    }};
    await(runs);
    s.run_to(gc::testing::step::mark);
    stage = takes;
    await(has);
    s.run_to(gc::testing::step::rescan);
    stage = falls_silent;
    await(is_silent);
    gc_test::actor<node> late;
    late.is_silent(true);
    const std::uint64_t before = internal::state.request.number();
    std::thread round{[&] { s.rescan(); }};
    while (waiter.load()->port.acked() == before) std::this_thread::yield();
    stage = stores;
    await(goes_on ? went_on : has_stored);
    late.acknowledges();
    round.join();
    late.is_silent(false);
    s.finish();
    stage = ends;
    waiting.join();
    return lives;
  });
}

// The counterexample of "marking ends when a round leaves nothing grey". H is marked; C has P, which is white, and P leads to W. In one round B
// answers; C stores P into H, drops it, and answers; B takes P from H, W from P, and clears P's link; a marker that helps out marks P,
// which leads nowhere. No queue has anything then, and W is on a stack that was looked at before.
inline bool hand_over_within_a_round() {
  static std::atomic<bool> moved;
  moved = false;
  return on_stage([](gc::testing::stepper& s) {
    gc::handle<node> h;
    gc::handle<node> d;
    as_mutator([&] {
      h = make_good();
      d = make_good();
      d->next = make_good();
      d->next->next = make_good();
    });
    gc_test::actor<node> b;
    gc_test::actor<node> c;
    using frame = gc_test::actor<node>::frame;
    s.run_to(gc::testing::step::mark);
    c.does([&](frame& f) {
      f.first = d->next;
      d->next = nullptr;
    });
    s.run_to(gc::testing::step::rescan);
    b.is_silent(true);
    c.is_silent(true);
    internal::testing.at = [](internal::test_point p) noexcept {
      if (p != internal::test_point::round_done || moved) return;
      while (!moved) std::this_thread::yield();
      const tern::detail::lock_scope hold{internal::state.mark_lock};
      internal::the_marker.mark_some(SIZE_MAX);
    };
    const std::uint64_t before = internal::state.request.number();
    std::thread round{[&] { s.rescan(); }};
    while (internal::state.request.number() == before) std::this_thread::yield();
    b.acknowledges();
    c.does([&](frame& f) {
      h->next = f.first;
      f.first = nullptr;
    });
    c.acknowledges();
    b.does([&](frame& f) {
      node* const p = h->next;
      f.first = p->next;
      p->next = nullptr;
    });
    moved = true;
    round.join();
    internal::testing.at = nullptr;
    b.is_silent(false);
    c.is_silent(false);
    s.finish();
    bool lives = false;
    b.does([&](frame& f) { lives = f.first->value == good; });
    return lives;
  });
}

}  // namespace gc_schedules

// The workload of the collector's stress tests and of its mutants: fibers that move managed objects between stacks, members and
// a shared board while cycles run back to back, and notice when an object is gone.
//
// Each node tells its number and that of its successor; dead bytes are poisoned, so a node that was freed too early shows as a
// wrong number, a wrong magic word or a crash. The verifier looks at each cycle's marks as well.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <thread>

#include <tern/gc.hpp>
#include <tern/sched.hpp>
#include "tests/support/seed.hpp"

namespace gc_workload {

namespace gc = tern::gc;

struct node {
  static constexpr std::uint64_t magic_word = 0x6d616e61676564u;
  gc::member<node> next;
  std::uint64_t next_id = 0;
  std::uint64_t id = 0;
  std::uint64_t magic = 0;

  void trace(gc::visitor& v) const { v(next); }
  bool is(std::uint64_t expected) const noexcept { return magic == magic_word && id == expected; }
};

using board_type = gc::array<gc::atomic_member<node>>;
inline constexpr std::size_t board_size = 64;

struct options {
  unsigned processors = 2;
  unsigned fibers = 8;
  unsigned steps = 400;         // of each fiber
  unsigned chain = 60;          // most nodes of a chain
  unsigned mark_pause_us = 20;  // at each quantum of some objects
  unsigned hand_overs = 20;
  bool assist = false;  // an extra marker at the end of each round, as an assisting mutator would be
};

struct result {
  std::uint64_t bad = 0;   // nodes found dead by the program
  std::uint64_t lost = 0;  // found by the verifier
  std::uint64_t suspects = 0;
  std::uint64_t cycles = 0;
  std::uint64_t verified_cycles = 0;
  std::uint64_t verified_objects = 0;
  std::uint64_t left_objects = 0;  // after the last cycle, when nothing leads to any
  std::uint64_t left_pages = 0;    // that the heap has not got back
  bool ok() const { return bad == 0 && lost == 0; }
};

inline std::atomic<unsigned> pause_us{0};
inline std::atomic<bool> extra_marker{false};

inline void at_point(tern::detail::gc::test_point p) noexcept {
  using tern::detail::gc::test_point;
  if (p == test_point::mid_mark && pause_us != 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
  } else if (p == test_point::round_done && extra_marker) {
    tern::detail::lock_scope hold{tern::detail::gc::state.mark_lock};
    tern::detail::gc::the_marker.mark_some(SIZE_MAX);
  } else if (p == test_point::marking_done || p == test_point::sweep_begin) {
    std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
  }
}

// What one fiber does. Chains are owned by whoever took them off the board.
class worker_fiber {
 public:
  worker_fiber(board_type* board, std::uint64_t seed, const options& o, std::atomic<std::uint64_t>& ids,
               std::atomic<std::uint64_t>& bad)
      : board_{board}, random_{seed}, options_{o}, ids_{ids}, bad_{bad} {}

  void run() {
    node* mine = nullptr;
    std::uint64_t mine_id = 0;
    for (unsigned i = 0; i < options_.steps && bad_ == 0; ++i) {
      switch (random_.below(6)) {
        case 0: grow(mine, mine_id); break;
        case 1: swap_with_board(mine, mine_id); break;
        case 2: move_to_board(mine, mine_id); break;
        case 3: split_and_join(mine, mine_id); break;
        case 4: hold_alone(mine); break;
        default: walk(mine, mine_id); break;
      }
      pause();
    }
    walk(mine, mine_id);
  }

 private:
  node* make_node() {
    node* n = gc::make<node>();
    n->magic = node::magic_word;
    n->id = ids_.fetch_add(1, std::memory_order_relaxed);
    return n;
  }

  void pause() {
    switch (random_.below(4)) {
      case 0: tern::this_thread::yield(); break;
      case 1:
        if (random_.below(8) == 0)
          tern::this_thread::sleep_for(std::chrono::microseconds(random_.below(200)));
        break;
      case 2: gc::safepoint(); break;
      default:
        if (random_.below(16) == 0) outlast_cycle();
        break;
    }
  }

  // What is held over the end of a cycle must have been found by it.
  void outlast_cycle() {
    const std::uint64_t n = tern::detail::gc::state.completed.load();
    for (unsigned k = 0; k < 100 && tern::detail::gc::state.completed.load() == n; ++k)
      if (k % 2 == 0)
        tern::this_thread::yield();
      else
        tern::this_thread::sleep_for(std::chrono::microseconds(200));
  }

  void check(const node* n, std::uint64_t id) {
    if (!n->is(id)) bad_.fetch_add(1);
  }

  void grow(node*& mine, std::uint64_t& mine_id) {
    const unsigned n = 1 + random_.below(options_.chain / 2);
    for (unsigned i = 0; i < n; ++i) {
      node* fresh = make_node();
      fresh->next = mine;
      fresh->next_id = mine_id;
      mine = fresh;
      mine_id = fresh->id;
    }
    trim(mine);
  }

  void trim(node* n) {
    for (unsigned i = 0; n != nullptr && i < options_.chain; ++i) n = n->next;
    if (n != nullptr) n->next = nullptr;
  }

  // The whole chain for what is there; the numbers travel in the nodes.
  void swap_with_board(node*& mine, std::uint64_t& mine_id) {
    if (mine != nullptr) check(mine, mine_id);
    mine = (*board_)[random_.below(board_size)].exchange(mine);
    mine_id = mine == nullptr ? 0 : mine->id;
    walk(mine, mine_id);
  }

  // Unlinks a node deep in the chain and leaves it reachable from the board alone: the store that a barrier must shade.
  void move_to_board(node* mine, std::uint64_t mine_id) {
    if (mine == nullptr) return;
    node* at = mine;
    std::uint64_t id = mine_id;
    for (unsigned k = random_.below(options_.chain); k > 0 && at->next != nullptr; --k) {
      id = at->next_id;
      at = at->next;
      if (!at->is(id)) return void(bad_.fetch_add(1));
    }
    node* taken = at->next;
    if (taken == nullptr) return;
    check(taken, at->next_id);
    if (bad_ != 0) return;
    at->next = taken->next;
    at->next_id = taken->next_id;
    taken->next = nullptr;
    taken->next_id = 0;
    (*board_)[random_.below(board_size)].store(taken);
  }

  // The tail hangs on this stack alone for a while.
  void split_and_join(node*& mine, std::uint64_t& mine_id) {
    if (mine == nullptr) return grow(mine, mine_id);
    node* at = mine;
    for (unsigned k = random_.below(options_.chain / 2); k > 0 && at->next != nullptr; --k) at = at->next;
    node* tail = at->next;
    const std::uint64_t tail_id = at->next_id;
    at->next = nullptr;
    at->next_id = 0;
    pause();
    pause();
    if (tail == nullptr) return;
    check(tail, tail_id);
    node* joint = make_node();
    joint->next = tail;
    joint->next_id = tail_id;
    walk(tail, tail_id);
    at->next = joint;
    at->next_id = joint->id;
  }

  // A fresh node that nothing but this stack leads to.
  void hold_alone(node*) {
    node* n = make_node();
    const std::uint64_t id = n->id;
    for (unsigned k = random_.below(4); k > 0; --k) pause();
    check(n, id);
    gc::keep_alive(n);
  }

  void walk(const node* n, std::uint64_t id) {
    for (unsigned i = 0; n != nullptr && i <= 2 * options_.chain; ++i) {
      if (!n->is(id)) return void(bad_.fetch_add(1));
      id = n->next_id;
      n = n->next;
    }
  }

  board_type* board_;
  tern::detail::fast_random random_;
  const options& options_;
  std::atomic<std::uint64_t>& ids_;
  std::atomic<std::uint64_t>& bad_;
};

// Two fibers on two processors, and an object that goes from one to the other in the last round of a cycle: the producer takes a
// pair P -> W out of a reservoir while a cycle marks, so that only its stack leads to it, later hands P over through the board,
// and the consumer keeps W alone. A round in which P is shaded must not be the last: the consumer may have been scanned before.
class hand_over {
 public:
  static constexpr std::size_t reservoir_size = 256;
  using reservoir_type = gc::array<gc::member<node>>;

  hand_over(std::uint64_t seed, unsigned rounds, std::atomic<std::uint64_t>& ids,
            std::atomic<std::uint64_t>& bad)
      : random_{seed}, rounds_{rounds}, ids_{ids}, bad_{bad} {
    reservoir_ = gc::make_array<gc::member<node>>(reservoir_size);
    place_ = gc::make<gc::atomic_member<node>>();
    for (gc::member<node>& m : *reservoir_) m = pair();
  }

  void produce() {
    for (unsigned i = 0; i < rounds_ && bad_ == 0; ++i) {
      // Taken in mid-cycle, from where the marker comes late.
      for (unsigned k = 0; k < 2000 && !tern::detail::gc::is_barrier_on(); ++k) tern::this_thread::yield();
      const std::size_t at = random_.below(reservoir_size / 4);
      node* p = (*reservoir_)[at].exchange(nullptr);
      const std::uint64_t cycle = completed();
      const unsigned patience = random_.below(40);
      for (unsigned k = 0; k < patience && completed() == cycle; ++k) {
        busy(20);
        gc::safepoint();
      }
      busy(200);  // no safepoint in here
      place_->store(p);
      p = nullptr;
      while (place_->load() != nullptr && bad_ == 0) tern::this_thread::yield();
      (*reservoir_)[at] = pair();
    }
    done_ = true;
  }

  void consume() {
    while (!done_) {
      node* p = nullptr;
      for (unsigned k = 0; k < 200 && p == nullptr; ++k) {
        p = place_->load();
        gc::safepoint();
      }
      if (p == nullptr) {
        tern::this_thread::yield();
        continue;
      }
      node* w = p->next.exchange(nullptr);
      const std::uint64_t id = p->next_id;
      place_->store(nullptr);
      p = nullptr;
      const std::uint64_t cycle = completed();
      for (unsigned k = 0; k < 2000 && completed() == cycle; ++k) {
        gc::safepoint();
        busy(2);
      }
      if (!w->is(id)) bad_.fetch_add(1);
    }
  }

 private:
  static std::uint64_t completed() { return tern::detail::gc::state.completed.load(); }
  static void busy(unsigned us) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
    while (std::chrono::steady_clock::now() < end) tern::detail::spin_pause();
  }
  node* pair() {
    node* w = gc::make<node>();
    w->magic = node::magic_word;
    w->id = ids_.fetch_add(1);
    node* p = gc::make<node>();
    p->magic = node::magic_word;
    p->id = ids_.fetch_add(1);
    p->next = w;
    p->next_id = w->id;
    return p;
  }

  tern::detail::fast_random random_;
  unsigned rounds_;
  std::atomic<std::uint64_t>& ids_;
  std::atomic<std::uint64_t>& bad_;
  gc::handle<reservoir_type> reservoir_;
  gc::handle<gc::atomic_member<node>> place_;
  std::atomic<bool> done_{false};
};

// One seed in this process, with cycles back to back for as long as it runs.
inline result run_seed(std::uint64_t seed, const options& o) {
  gc::testing::verify_each_cycle(true);
  gc::testing::poison_freed(true);
  tern::detail::gc::testing.mark_quantum.store(32);
  tern::detail::gc::testing.at.store(&at_point);
  pause_us = o.mark_pause_us;
  extra_marker = o.assist;
  const gc::statistics before = gc::read_statistics();
  std::atomic<std::uint64_t> ids{1};
  std::atomic<std::uint64_t> bad{0};
  std::atomic<bool> done{false};
  // This thread attaches no stack: the collecting thread drives cycles from outside.
  std::thread cycles{[&] {
    while (!done) gc::collect();
  }};
  {
    tern::runtime rt{{.processors = o.processors}};
    rt.run([&] {
      gc::handle<board_type> board{gc::make_array<gc::atomic_member<node>>(board_size)};
      tern::nursery n;
      for (unsigned f = 0; f < o.fibers; ++f)
        n.spawn([&, f] {
          worker_fiber w{board, seed * 1000 + f, o, ids, bad};
          w.run();
        });
      hand_over pairs{seed, o.hand_overs, ids, bad};
      if (o.hand_overs != 0 && o.processors > 1) {
        n.spawn([&] { pairs.produce(); });
        n.spawn([&] { pairs.consume(); });
      }
      n.wait();
    });
  }
  done = true;
  cycles.join();
  gc::collect();
  const gc::statistics after = gc::read_statistics();
  tern::detail::gc::testing.at.store(nullptr);
  result r;
  r.bad = bad;
  r.lost = after.lost - before.lost;
  r.suspects = after.suspects - before.suspects;
  r.cycles = after.cycles - before.cycles;
  r.verified_cycles = after.verified_cycles - before.verified_cycles;
  r.verified_objects = after.verified - before.verified;
  r.left_objects = after.live_objects;
  r.left_pages = tern::detail::gc::pages.usage().in_use;
  return r;
}

// For a build with a part of the collector left out: runs seeds, each in a process of its own, until one shows a loss (or crashes,
// which a loss may do). Returns how many seeds it took, 0 if none of `most` did.
inline unsigned seeds_until_loss(unsigned most, const options& o) {
  const std::uint64_t first = tern_test::seed();
  for (unsigned i = 0; i < most; ++i) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(60);
      options mine = o;
      mine.processors = 1u << (i % 3);
      const result r = run_seed(first + i, mine);
      ::_exit(r.ok() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    const bool was_slow = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
    if (!was_slow && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
      std::printf("loss at seed %llu, processors %u: %s %d\n", static_cast<unsigned long long>(first + i),
                  1u << (i % 3), WIFEXITED(status) ? "status" : "signal",
                  WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
      return i + 1;
    }
  }
  return 0;
}

}  // namespace gc_workload

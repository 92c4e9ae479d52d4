// The collector: its thread, the cycle, and who starts it.
//
// Context     One thread marks and sweeps, another runs destructors (destructors.hpp). Both start with the first managed object. handshake.hpp holds
//             the protocol and why it is sound; this file is its driver.
// Structure   idle -> barrier on -> first round (roots) -> [mark -> round]* -> end of marking -> barrier off -> sweep -> idle
//             A cycle is made of steps (steps.hpp); each says what comes next, and the thread goes from one to the next.
// Protocol    1. the flag and the scheduler's hooks are switched on, handshake barrier_on
//             2. handshake round: black allocation, stacks of running mutators; then saved fibers, handles, registered ranges
//             3. mark until no queue holds anything, in quanta, so that assisting mutators get the mark lock in between
//             4. a further round; if nothing was greyed in it (R4), marking ends, else 3
//             5. judge again under weak_lock, clear weak slots
//             6. lists are flipped, flag and hooks off, handshake sweep
//             7. sweep all spans of the last epoch; mutators sweep some on their way. The next cycle waits for the end of it
// Invariants  I1 only this thread posts handshakes and changes phases. I2 between 6 and the last ack no span is swept.
// Limits      One marker at a time: on more than two CPUs marking does not become faster.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <tern/alloc/root_ranges.hpp>
#include <tern/base/debug_options.hpp>
#include <tern/gc/destructors.hpp>
#include <tern/gc/fibers.hpp>
#include <tern/gc/marker.hpp>
#include <tern/gc/pacing.hpp>
#include <tern/gc/roots.hpp>
#include <tern/gc/steps.hpp>
#include <tern/gc/turns.hpp>
#include <tern/os/thread.hpp>

namespace tern::inline v1::detail::gc {

void verify_marks() noexcept;         // verifier.hpp
void serve_graph_request() noexcept;  // heap_graph.hpp

class collector {
 public:
  constexpr collector() noexcept = default;

  // ---- the thread ----

  static void* thread_entry(void*) {
    service_threads.fetch_add(1, memory_order_relaxed);  // relaxed: a count
    clockid_t clock;
    if (::pthread_getcpuclockid(::pthread_self(), &clock) == 0)
      state.collector_clock.store(clock, memory_order_relaxed);  // relaxed: readers take any value
    the_collector().run();
    return nullptr;
  }

  static collector& the_collector() noexcept {
    static constinit collector c;
    return c;
  }

  // ---- the cycle's parts ----

  std::uint64_t post(handshake_kind kind) noexcept {
    std::uint64_t n;
    {
      lock_scope hold{state.mutators_lock};
      if (kind == handshake_kind::round) {
        state.round.store(state.round.load(memory_order_relaxed) + 1,
                          memory_order_relaxed);  // relaxed: before the request
        state.allocation_black = true;
      }
      if (kind == handshake_kind::sweep) {
        state.allocation_black = false;
        state.attach_epoch = state.epoch.load(memory_order_relaxed);  // relaxed: written by this thread
      }
      n = state.request.post(kind);
    }
    request_safepoint_all();
    return n;
  }

  // Until every mutator has acked: idle ones by our hand. `keep`: leave claimed ports claimed (the verifier stops the world).
  void wait_for_acks(std::uint64_t n, bool keep = false) noexcept {
    const os::nanoseconds begin = os::now();
    os::nanoseconds last_kick = begin;
    for (unsigned tries = 0;; ++tries) {
      const std::uint32_t seen = state.ack_word.load(memory_order_acquire);  // pairs-with: wake_collector()
      if (all_acked(n, keep)) break;
      const bool at_once = testing.signal_at_once.load(memory_order_relaxed);
      if (tries < 64 && !at_once) {
        spin_pause();
        continue;
      }
      const os::nanoseconds now = os::now();
      if (at_once || now - last_kick > late_after) {
        last_kick = now;
        kick_late(n);
      }
      state.collector_waits.store(1, memory_order_relaxed);  // relaxed: a missed wake costs the timeout
      os::futex_wait(state.ack_word, seen, now + 200'000);
      state.collector_waits.store(0, memory_order_relaxed);
    }
    const auto ns = static_cast<std::uint64_t>(os::now() - begin);
    bump(state.counters.handshakes);
    bump(state.counters.handshake_ns, ns);
    raise_to(state.counters.handshake_max_ns, ns);
    handshakes.record(ns);
  }

  void handshake(handshake_kind kind) noexcept { wait_for_acks(post(kind)); }

 private:
  static bool all_acked(std::uint64_t n, bool keep) noexcept {
    bool all = true;
    lock_scope hold{state.mutators_lock};
    for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m)) {
      if (m->port.acked() == n) continue;
      if (!m->port.try_claim()) {
        all = false;
        continue;
      }
      // Between the look and the claim it may have run and acked.
      if (m->port.acked() != n) serve_idle(*m, n);
      if (keep)
        m->claimed_by_verifier = true;
      else
        m->port.unclaim();
    }
    return all;
  }

  // Mutators that are late: processors that sleep since before the hooks were installed are woken once; those that run a fiber, and plain
  // threads, get a signal.
  static void kick_late(std::uint64_t n) noexcept;
  static void name_interrupted() noexcept;

  void run() noexcept {
    turns_.start();
    for (;;) {
      const std::uint32_t seen =
          state.wake.load(memory_order_acquire);  // pairs-with: request_cycle(), orders
      if (TERN_UNLIKELY(orders.is_held())) {
        if (!orders.serve([this]() noexcept { make_step(); })) os::futex_wait(state.wake, seen);
      } else if (next_step() != cycle_step::begin ||
                 state.wanted.load(memory_order_seq_cst) > state.completed.load(memory_order_relaxed)) {
        make_step();
        if (next_step() != cycle_step::begin) turns_.rest();
      } else if (state.heap_bytes.load(memory_order_relaxed) >= state.trigger.load(memory_order_relaxed)) {
        request_cycle();
      } else {
        os::futex_wait(state.wake, seen);
      }
    }
  }

  void make_step() noexcept {
    const auto step = [this]() noexcept {
      switch (next_step()) {
        case cycle_step::begin: return begin();
        case cycle_step::scan_roots: return scan_roots();
        case cycle_step::mark: return mark();
        case cycle_step::rescan: return rescan();
        case cycle_step::end_marking: return end_marking();
        case cycle_step::barrier_off: return barrier_off();
        case cycle_step::sweep: break;
      }
      return sweep();
    };
    next_.store(step(),
                memory_order_relaxed);  // relaxed: read by this thread, and by who has given the order
  }

  cycle_step begin() noexcept {
    heap_state& s = state;
    cycle_begin_ = os::now();
    s.started.store(s.started.load(memory_order_relaxed) + 1,
                    memory_order_seq_cst);  // pairs-with: request_cycle()
    heap_before_ = s.heap_bytes.load(memory_order_relaxed);
    rounds_ = 0;
    rescued_ = 0;
    end_cpu_window(cycle_begin_);
    turns_.begin();
    {
      lock_scope hold{s.mutators_lock};
      // The next round is this cycle's first.
      s.first_round.store(s.round.load(memory_order_relaxed) + 1, memory_order_relaxed);
    }
    {
      lock_scope hold{s.mark_lock};
      s.marked_bytes.store(0, memory_order_relaxed);
      s.marked_objects_at_start = s.marked.load(memory_order_relaxed);
    }
    {
      lock_scope hold{s.foreign_lock};  // a handle that is being set has its value, or shades it
      barrier.on.store(1, memory_order_seq_cst);
    }
    hooks_armed.fetch_or(armed_marking, memory_order_seq_cst);
    handshake(handshake_kind::barrier_on);
    at_test_point(test_point::barrier_on);
    return cycle_step::scan_roots;
  }

  cycle_step scan_roots() noexcept {
    allocated_before_ = state.counters.allocated_bytes.load(memory_order_relaxed);
    state.marking.store(true, memory_order_relaxed);  // relaxed: pacing
    make_round();
    {
      lock_scope hold{state.mark_lock};
      handle_slots.for_each([](void*& slot) noexcept {
        if (void* p = slot_load(slot)) marker::push(to_word(p) & ~std::uintptr_t{7});
      });
      auto grey = [](std::uintptr_t w) noexcept {
        for_each_meaning(w, [](object_ref o) noexcept { marker::push(o.address()); });
      };
      for_each_root_range([&](void* p, std::size_t bytes) noexcept {
        for_each_stack_word(to_word(p), to_word(p) + bytes, nullptr, grey);
      });
    }
    at_test_point(test_point::roots_scanned);
    return cycle_step::mark;
  }

  void make_round() noexcept {
    handshake(handshake_kind::round);
    ++rounds_;
    scan_fibers();
    look_at_waiting_threads();
    exposed_are_judged_ = false;
  }

  // R3. Finds are noted in a mutator record of the collector's own, which is on no list but whose count is summed.
  void scan_fibers() noexcept {
    const std::uint64_t round = state.round.load(memory_order_relaxed);
    const std::uint64_t first = state.first_round.load(memory_order_relaxed);
#if TERN_GC_WITHOUT_RESCAN
    if (round != first) return;
#endif
    const auto scan = [&](fiber& f) noexcept {
      scan_of(f).scan_saved(
          round, first, [&]() noexcept { scan_saved_stack(self_, f); },
          [&]() noexcept { return is_exposed(f); },
          [&]() noexcept {
            scan_saved_stack(exposed_, f);
            // More than a chunk of one stack goes to the marker at once, and is not told of.
            if (exposed_.buffer != nullptr) found_exposed_[0].push(std::exchange(exposed_.buffer, nullptr));
          });
    };
    // The stacks of those that come next are on their way to the cache: each lies on pages of its own, and is cold.
    constexpr unsigned ahead = 8;
    fiber* ring[ahead] = {};
    unsigned n = 0;
    for_each_fiber([&](fiber& f) noexcept {
      fiber*& slot = ring[n++ % ahead];
      if (slot != nullptr) scan(*slot);
      slot = &f;
      // What a parked fiber uses of its stack ends below its control block; not its saved sp, which may change just now. In later rounds few
      // stacks are looked at.
      if (round != first) return;
      for (std::uintptr_t line = 1; line <= 6; ++line)
        prefetch(reinterpret_cast<const char*>(&f) - 64 * line);
    });
    for (unsigned i = 0; i < ahead; ++i)
      if (fiber* f = ring[(n + i) % ahead]) scan(*f);
    hand_over(self_);
  }

  // After the acks. In the first round all is white, and the next one scans these stacks again. That one also shades what is found here, so
  // that nobody can tell whether it was shaded as it should have been.
  void look_at_waiting_threads() noexcept {
#if !TERN_GC_WITHOUT_EXPOSED_FRAMES
    if (rounds_ == 1) return;
    lock_scope hold{state.mutators_lock};
    for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m)) {
      if (m->owner != nullptr) continue;
      m->port.while_away([&]() noexcept {
        if (m->idle_exposed) scan_words(self_, m->idle_sp - red_zone_size, m->idle_top, m->idle_fake_stack);
      });
    }
    hand_over(self_);
#endif
  }

  cycle_step mark() noexcept {
    {
      lock_scope hold{state.mark_lock};
      const std::uint32_t objects = testing.mark_quantum.load(memory_order_relaxed);
      the_marker.mark_some(objects != 0 ? objects * 16 : quantum_bytes);
      if (marker::is_empty() && (std::exchange(exposed_are_judged_, true) || !judge_exposed_locked()))
        return cycle_step::rescan;
    }
    at_test_point(test_point::mid_mark);
    return cycle_step::mark;
  }

  std::uint64_t sum() const noexcept {
    return greyed_sum() + self_.greyed.load(memory_order_relaxed) +
           exposed_.greyed.load(memory_order_relaxed);
  }

  // What was found in frames of fibers that wait for others, two rounds ago. What somebody has shaded as he should was handed over by an ack
  // since then, and is marked now. What is not is nobody's: it is kept, and told of. True if there was any. Once after each round.
  // Requires: mark_lock, nothing is left to mark.
  bool judge_exposed_locked() noexcept {
    std::uint64_t kept = 0;
    for (grey_chunk* c = found_exposed_[1].take_all(); c != nullptr;) {
      for (std::uint32_t i = 0; i < c->count; ++i) {
        const object_ref o = object_at(c->words[i]);
        if (!o || o.where->is_marked(o.index)) continue;
        ++kept;
        marker::push(c->words[i]);
      }
      grey_chunk* next = c->next;
      grey_chunks.give(c);
      c = next;
    }
    for (grey_chunk* c = found_exposed_[0].take_all(); c != nullptr;) {
      grey_chunk* next = c->next;
      found_exposed_[1].push(c);
      c = next;
    }
    rescued_ += kept;
    return kept != 0;
  }

  cycle_step rescan() noexcept {
    rule_.begin(sum());
    make_round();
    at_test_point(test_point::round_done);
    return may_end() ? cycle_step::end_marking : mark_again();
  }

  // Rule R4.
  bool may_end() noexcept {
    lock_scope hold{state.mark_lock};
    const std::uint64_t now = sum();  // under the lock: a quantum counts what it marked at its end
    return rule_.may_end(now,
                         marker::is_empty() && found_exposed_[0].is_empty() && found_exposed_[1].is_empty());
  }
  static cycle_step mark_again() noexcept {
    at_test_point(test_point::roots_scanned);
    return cycle_step::mark;
  }

  cycle_step end_marking() noexcept {
    const auto judge = [this]() noexcept {
      lock_scope weak{weak_lock};
      if (!may_end()) return false;
      weak_judged = true;
      return true;
    };
    if (!judge()) return mark_again();
    at_test_point(test_point::weak_judged);
    clear_dead_weak_slots();
    at_test_point(test_point::marking_done);
    if (testing.verify_each_cycle.load(memory_order_relaxed)) verify_marks();
    serve_graph_request();
    return cycle_step::barrier_off;
  }

  // How much lives, for the pacer.
  void measure() noexcept {
    mark_end_ = os::now();
    const std::size_t allocated =
        state.counters.allocated_bytes.load(memory_order_relaxed) - allocated_before_;
    const std::size_t live = state.marked_bytes.load(memory_order_relaxed) + allocated;
    // What was allocated between the two loads stays counted on top of the live bytes.
    state.heap_bytes.fetch_sub(state.heap_bytes.load(memory_order_relaxed) - live, memory_order_relaxed);
    live_ = live;
    state.last_marked_bytes.store(state.marked_bytes.load(memory_order_relaxed), memory_order_relaxed);
    state.marking.store(false, memory_order_relaxed);
    const cpu_readings cpu = read_cpu_clocks(mark_end_);
    lock_scope hold{state.pacer_lock};
    end_cpu_window_locked(cpu);
    state.cap.cycle_ended();
    state.pace.set_gives_way(state.cap.gives_way());
    state.pace.cycle_done({live, allocated});
    gave_way_ = state.pace.gives_way();
    goal_ = state.pace.goal();
    publish_pace_locked();
  }

  cycle_step barrier_off() noexcept {
    measure();
    // From here on every span's epoch is old but for those that acked mutators make.
    state.epoch.store(state.epoch.load(memory_order_relaxed) + 1,
                      memory_order_release);  // pairs-with: serve(), list_span()
    // In one piece: who refills meanwhile waits for this lock, and a heap has tens of thousands of spans.
    shapes.for_each([](shape& k) noexcept {
      lock_scope hold{k.lock};
      k.pending.append(k.partial);
      k.pending.append(k.full);
    });
    hooks_armed.fetch_and(~armed_marking, memory_order_seq_cst);
    barrier.on.store(0, memory_order_seq_cst);
    handshake(handshake_kind::sweep);
    discard_grey();
    shapes.for_each([](shape& k) noexcept {
      lock_scope hold{k.lock};
      k.unswept.append(k.pending);
    });
    sweep_at_ = 1;
    at_test_point(test_point::sweep_begin);
    return cycle_step::sweep;
  }

  // Notes that mutators made between the end of marking and their ack; all of them are of marked or dead objects.
  static void discard_grey() noexcept {
    lock_scope hold{state.mark_lock};
    for (grey_chunk* c = state.grey.take_all(); c != nullptr;) {
      grey_chunk* next = c->next;
      grey_chunks.give(c);
      c = next;
    }
  }

  cycle_step sweep() noexcept {
    // Shapes that are made meanwhile have no span to sweep.
    for (; sweep_at_ < shapes.end_number(); ++sweep_at_)
      if (sweep_one(shapes[sweep_at_])) return cycle_step::sweep;
    end();
    return cycle_step::begin;
  }

  void end() noexcept {
    heap_state& s = state;
    report();
    s.completed.store(s.started.load(memory_order_relaxed), memory_order_release);  // pairs-with: collect()
    s.completed_word.fetch_add(1, memory_order_release);
    os::futex_wake(s.completed_word, INT32_MAX);
    at_test_point(test_point::cycle_done);
  }

  void report() noexcept;

  // TERN_DEBUG=gctrace=1. The collector's thread.
  bool is_traced() noexcept {
    if (trace_ < 0) trace_ = debug_option("gctrace") != 0 ? 1 : 0;
    return trace_ != 0;
  }

 public:
  static constexpr os::nanoseconds late_after = 2'000'000;  // without an answer a mutator gets a signal
  static constexpr std::size_t quantum_bytes = std::size_t{16} << 10;

  std::size_t live() const noexcept { return live_; }

  // The collector's thread; who holds it, between two orders.
  cycle_step next_step() const noexcept { return next_.load(memory_order_relaxed); }

 private:
  turns turns_;
  atomic<cycle_step> next_{cycle_step::begin};
  round_rule rule_;
  std::uint32_t sweep_at_ = 1;  // number of the shape whose spans are being swept
  bool exposed_are_judged_ = false;
  mutator self_;
  mutator exposed_;                             // notes of frames that others may have written to
  grey_exchange<grey_chunk> found_exposed_[2];  // of the last round, of the one before
  std::uint64_t rescued_ = 0;                   // in this cycle
  os::nanoseconds cycle_begin_ = 0;
  os::nanoseconds mark_end_ = 0;
  std::size_t heap_before_ = 0;
  std::size_t allocated_before_ = 0;
  std::size_t live_ = 0;
  std::size_t goal_ = 0;
  unsigned rounds_ = 0;
  bool gave_way_ = false;  // the soft limit, for the goal that this cycle has set
  int trace_ = -1;         // not asked yet
};

// ---- start ----

// An emulator that accepts guards and installs none also pays for each reserved page.
inline std::size_t reservation_bytes() noexcept {
  void* p = os::reserve(os::page_size());
  const bool is_emulated = p != nullptr && os::guard_install(p, os::page_size()) && !os::guards_work();
  if (p != nullptr) os::unreserve(p, os::page_size());
  return is_emulated ? std::size_t{1} << 30 : heap_reservation;
}

TERN_COLD inline void start_slow() {
  register_runtime_fork_handlers();
  lock_scope hold{collector_start_lock};
  if (state.thread_started.load(memory_order_relaxed)) return;
  // Halved while the system refuses; what it grants is all that the heap will have.
  for (std::size_t bytes = reservation_bytes(); pages.map().bytes() == 0; bytes /= 2) {
    if (bytes < chunk_bytes) throw std::bad_alloc{};
    pages.reserve(bytes);
  }
  {
    lock_scope pace{state.pacer_lock};
    state.cap.set_processors(os::usable_cpus());
    publish_pace_locked();
  }
  handshakes.prepare();
  set_attachment_exit(thread_cache::gc_slot, &on_thread_exit);
  ::pthread_detach(os::start_thread(&destroyer_entry, nullptr, "tern-gc-destroy"));
  ::pthread_detach(os::start_thread(&collector::thread_entry, nullptr, "tern-gc"));
  install_collector_hooks(scheduler_hooks);
  state.thread_started.store(true, memory_order_release);  // pairs-with: ensure_started()
}

inline void ensure_started() {
  if (TERN_UNLIKELY(!state.thread_started.load(memory_order_acquire)))
    start_slow();  // pairs-with: start_slow()
}

// ---- who waits ----

// Calls wait() so that the collector can do without the calling mutator, if it is one, meanwhile.
template <class F>
void wait_as_idle(F&& wait) {
  if (mutator* m = own_mutator_if_any()) {
    const runtime_scope in{*m};
    while_idle(*m, wait);
    poll(*m);
  } else {
    wait();
  }
}

// Until cycle n is over. Requires: somebody has asked for it; no lock that a mutator could hold at a safepoint.
inline void wait_for_cycle(std::uint64_t n) noexcept {
  wait_as_idle([n] {
    for (;;) {
      const std::uint32_t seen = state.completed_word.load(memory_order_acquire);
      if (state.completed.load(memory_order_acquire) >= n) return;  // pairs-with: end()
      os::futex_wait(state.completed_word, seen);
    }
  });
}

// One word for the calling fiber, or thread where that runs none.
inline const void* caller_identity() noexcept {
  const processor* const p = current_processor();
  return p != nullptr && p->current != nullptr ? static_cast<const void*>(p->current)
                                               : reinterpret_cast<const void*>(::pthread_self());
}

// For who holds the collector: what is left of the running cycle, and another one.
TERN_COLD inline void step_whole_cycle() noexcept {
  const collector& c = collector::the_collector();
  while (c.next_step() != cycle_step::begin) orders.give(true);
  do orders.give(true);
  while (c.next_step() != cycle_step::begin);
}

// A whole cycle that begins after the call. Requires: as above.
inline void collect_and_wait() {
  ensure_started();
  if (state.dead.load(memory_order_relaxed)) return;
  if (TERN_UNLIKELY(orders.is_held_by(caller_identity())))
    wait_as_idle(&step_whole_cycle);
  else
    wait_for_cycle(request_cycle());
}

}  // namespace tern::inline v1::detail::gc

// Soft handshakes, rounds and the resume of a fiber against its scan: the collector's protocols without the collector.
//
// Context     A mutator is a processor or an attached thread. The collector never stops all of them: it asks each to do a small
//             thing at its next safepoint, and does it itself for those that are idle. Everything here takes its atomics as a
//             parameter; tests/model runs this code under every interleaving up to a bound.
// Structure   mutator_port, one for each mutator:
//               running --release()--> idle --try_claim()--> claimed --unclaim()--> idle --try_acquire()--> running
//                                      idle --try_leave()--> claimed, by the owner, while it looks --> running
//             acked: the number of the last handshake that was done, by the owner in `running`, by the collector in `claimed`.
// Protocol    H1 The collector writes what is asked, then increments `requested` (release), then asks for safepoints.
//             H2 An owner that sees requested != acked at a safepoint does what is asked, then stores acked (release).
//             H3 The collector goes over the ports until all have acked; an idle one it claims, serves and gives back.
//             H4 An owner that leaves `idle` waits while it is claimed; it serves what it missed at its next safepoint.
//             Between H1 and H3 a mutator may go idle unseen, so the collector looks again and again instead of waiting for each.
//
//             The cycle, as handshakes (numbers are `handshake_kind`):
//               barrier_on  the flag is set before. After the last ack every store into the heap shades what it stores.
//               round       first one: allocation becomes black and every stack is scanned for the first time; then marking
//                           until no queue holds anything; then further rounds, see below.
//               sweep       after termination and after the flag is cleared: held spans are given back.
//             Black allocation waits for the round after barrier_on: an object that is born black must not be written by a mutator
//             that does not shade yet. On x86 the flag's own visibility would do, on ARM64 a relaxed read of it may be old.
//
//             Round r, between its request t0 and the collector's last look at a fiber t1:
//               R1 queues are empty at t0; remember the sum S of all greyed counts.
//               R2 each mutator hands its buffer over, scans the stack that it runs on, then acks.
//               R3 after the last ack the collector scans each saved fiber that is dirty and not stamped r (fiber_scan).
//               R4 marking ends iff no queue holds anything and the sum of counts is still S. Else mark until the queues are
//                  empty and begin round r+1.
//             A count is incremented before the grey object can be seen in any queue, by whoever finds it white: a barrier, a
//             scan, a marker. Counts never fall.
// Invariants  Why R4 may end. Claim: if S did not change in [t0, t1], no reachable object is white at t1.
//             I1 At t0 no marked object points at a white one: all grey objects were scanned, and every store since shaded.
//             I2 No store in [t0, t1] puts a white pointer into the heap, a handle, or a value that crosses stacks: the first one
//                to do so would shade it, and count. (Its ack, or the collector on its behalf, hands the buffer over before t1,
//                or it was made after the mutator's ack; then the stack that held it was scanned before the store, by I3.)
//             I3 Each stack is, at some time in [t0, t1], known to hold nothing white: scanned then, or it did not run since a scan
//                of this cycle. From then on it gains nothing white: what it can load from marked objects is not white (I1, I2),
//                new objects are black, and what crosses to it was shaded (counted).
//             The weaker rule "queues are empty at t1" loses objects: C stores P into marked H and drops P; B, scanned before
//             or not, loads P from H, takes W = P.g and clears P.g; a marker drains P and finds nothing; B is then not scanned
//             again. With counts, P's greying counts and another round finds W on B's stack.
//             Why I3 holds for fibers: a fiber that runs when its processor acks is scanned there. One that is resumed by a
//             processor which has acked r is scanned before it runs (resume_checked), unless it is clean or stamped. One
//             that is saved at R3 is scanned there, unless clean or stamped. A processor that has not acked resumes freely: its
//             fibers are caught by its own ack or by R3.
// Ordering    requested/acked: release and acquire as noted at each. state: acq_rel on all transitions, so that the collector
//             and the owner see each other's writes to the mutator's plain fields.
// Rejected    Signals for every handshake (EINTR in user code); one global stop (its length grows with the slowest mutator).
// Limits      A mutator that neither polls nor is idle delays the cycle, not the others (see collector.hpp for plain threads).
// References  Doligez, Leroy 1993; Doligez, Gonthier 1994; Domani et al. 2000; Hudson and Clements, Go 1.5 to 1.8.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1::detail::gc {

enum class handshake_kind : std::uint32_t { none, barrier_on, round, sweep, stop };

template <class Atomics = native_atomics>
class mutator_port {
  template <class T>
  using atomic_of = typename Atomics::template atomic<T>;

 public:
  enum : std::uint32_t { running, idle, claimed };

  // Owner, running: from here on the collector may act for it.
  // release pairs-with: try_claim(); else the collector serves with old fields.
  void release() noexcept { state_.store(idle, memory_order_release); }

  // Owner, idle. False while the collector acts.
  bool try_acquire() noexcept {
    std::uint32_t expected = idle;
    // acquire pairs-with: unclaim(); else the owner misses what was done for it.
    return state_.compare_exchange_strong(expected, running, memory_order_acquire, memory_order_relaxed);
  }

  // Collector. True: it owns the mutator until unclaim().
  bool try_claim() noexcept {
    std::uint32_t expected = idle;
    return state_.compare_exchange_strong(expected, claimed, memory_order_acquire, memory_order_relaxed);
  }
  void unclaim() noexcept {
    state_.store(idle, memory_order_release);
  }  // pairs-with: try_acquire(), try_claim()

  // Owner, idle. False while the collector acts. Else look() is called before the port runs: what it counts is seen by who sees it run.
  template <class Look>
  bool try_leave(Look&& look) noexcept {
    if (!try_claim()) return false;
    look();
    state_.store(running, memory_order_release);  // pairs-with: while_away()
    return true;
  }

  // Collector. Calls f() while the owner cannot leave; not where it runs: it has left, and looked.
  template <class F>
  void while_away(F&& f) noexcept {
    for (;;) {
      if (try_claim()) {
        f();
        return unclaim();
      }
      // acquire pairs-with: try_leave(); else what the owner counted on its way out is missed.
      if (state_.load(memory_order_acquire) == running) return;
      Atomics::pause();
    }
  }

  bool is_running() const noexcept {
    return state_.load(memory_order_relaxed) == running;
  }  // relaxed: owner's own view

  // The last handshake that this mutator did.
  // acquire pairs-with: set_acked(); else the collector misses what the owner handed over.
  std::uint64_t acked() const noexcept { return acked_.load(memory_order_acquire); }
  void set_acked(std::uint64_t n) noexcept { acked_.store(n, memory_order_release); }

 private:
  atomic_of<std::uint32_t> state_{running};
  atomic_of<std::uint64_t> acked_{0};
};

// What the collector asks for.
template <class Atomics = native_atomics>
class handshake_request {
 public:
  // Collector only.
  std::uint64_t post(handshake_kind kind) noexcept {
    kind_.store(kind, memory_order_relaxed);  // relaxed: published by the next store
    const std::uint64_t n =
        number_.load(memory_order_relaxed) + 1;  // relaxed: the collector is the only writer
    number_.store(n, memory_order_release);      // pairs-with: number()
    return n;
  }
  // acquire pairs-with: post(); else a mutator acks one handshake and does another.
  std::uint64_t number() const noexcept { return number_.load(memory_order_acquire); }
  handshake_kind kind() const noexcept {
    return kind_.load(memory_order_relaxed);
  }  // relaxed: after number()

 private:
  typename Atomics::template atomic<std::uint64_t> number_{0};
  typename Atomics::template atomic<handshake_kind> kind_{handshake_kind::none};
};

// Rule R4.
class round_rule {
 public:
  void begin(std::uint64_t greyed_sum) noexcept { sum_ = greyed_sum; }
  bool may_end(std::uint64_t greyed_sum, bool queues_empty) const noexcept {
#if TERN_GC_WITHOUT_TERMINATION_COUNTS
    (void)greyed_sum;
    return queues_empty;
#else
    return queues_empty && greyed_sum == sum_;
#endif
  }

 private:
  std::uint64_t sum_ = 0;
};

// Greyed objects in chunks, from the mutators to the marker. Chunk has `Chunk* next`. Push is lock-free; the marker takes all
// at once, so that there is no ABA.
template <class Chunk, class Atomics = native_atomics>
class grey_exchange {
 public:
  constexpr grey_exchange() noexcept = default;

  void push(Chunk* c) noexcept {
    Chunk* head = head_.load(memory_order_relaxed);  // relaxed: the exchange below validates it
    do c->next = head;
    while (!head_.compare_exchange_weak(head, c, memory_order_release, memory_order_relaxed));
    // release pairs-with: take_all(); else the marker reads a chunk before its words.
  }
  Chunk* take_all() noexcept { return head_.exchange(nullptr, memory_order_acquire); }
  bool is_empty() const noexcept {
    return head_.load(memory_order_acquire) == nullptr;
  }  // pairs-with: push()

 private:
  typename Atomics::template atomic<Chunk*> head_{nullptr};
};

// A fiber's word: the round in which its stack was last known clean of white, and whether it ran since. Exposed: it was found waiting for
// other fibers that may have references into its frames.
struct scan_stamp {
  std::uint64_t round = 0;
  bool ran = false;
  bool exposed = false;

  static scan_stamp decode(std::uint64_t w) noexcept { return {w >> 2, (w & 1) != 0, (w & 2) != 0}; }
  std::uint64_t encode() const noexcept { return round << 2 | (exposed ? 2u : 0u) | (ran ? 1u : 0u); }
};

// The stack of one fiber against its resume. Fiber names the values of State, the fiber's stack_state; Word holds a scan_stamp
// and is written by whoever holds the fiber: its processor, or the collector while claimed.
//               saved --resume_checked()--> claimed --> on_cpu          (processor)
//               saved --scan_saved()--> claimed --> saved               (collector)
// Another fiber's frame. No fiber may store a managed pointer through a reference into a frame of another one: A was scanned and is parked,
// B writes W there, drops it, and is scanned: nothing has greyed W (modelled). A program that does so all the same is saved where it is
// most likely to: A waits for its children, or for a fiber to end. Such a fiber counts as exposed, and is looked at in every round, after the
// acks, and at its resume: B either has W on its own stack when that is scanned, and W counts, or has written it before. So a
// round that finds nothing leaves no white in A. What is found so is marked and told of.
// The same for a plain thread that waits for fibers, as in runtime::run: each ack by the collector's hand scans its stack, but B may write after that,
// and before B's own. So the collector looks at it again after the acks (while_away), and the thread does so itself where it goes on before that
// (try_leave).
template <class Fiber, class State, class Word, class Atomics = native_atomics>
class fiber_scan {
 public:
  fiber_scan(State& stack_state, Word& word) noexcept : state_{stack_state}, word_{word} {}

  // Collector, R3. `first_round` is this cycle's. scan() is called while nobody can resume the fiber. Returns when the fiber was
  // scanned or needs no scan, or its slot is free. is_exposed() is asked meanwhile; scan_exposed() is called for a clean stack that may
  // have been written to.
  template <class Scan, class IsExposed, class ScanExposed>
  void scan_saved(std::uint64_t round, std::uint64_t first_round, Scan&& scan, IsExposed&& is_exposed,
                  ScanExposed&& scan_exposed) noexcept {
    // acquire pairs-with: the store of `free` at the fiber's end; else what was counted when it was last resumed may be missed. A fiber
    // that lives tells of that by its stamp.
    while (state_.load(memory_order_acquire) != free_ &&
           (needs_scan(load(), round, first_round) || needs_look(load(), round))) {
      if (try_claim()) {
        // Again: it may have run and stopped between the look and the claim.
        if (const scan_stamp s = load(); needs_scan(s, round, first_round)) {
          scan();
          store({round, false, is_exposed()});
        } else if (needs_look(s, round)) {
          scan_exposed();
          store({round, false, true});
        }
        state_.store(saved_, memory_order_release);  // pairs-with: the claim of a resume
        return;
      }
      // Claimed by a processor that scans it just now, or on its way out of tern::blocking: its finds are not counted yet, so the
      // round must not be judged. All processors have acked this round, so the stamp comes soon.
      Atomics::pause();
    }
  }

  template <class Scan>
  void scan_saved(std::uint64_t round, std::uint64_t first_round, Scan&& scan) noexcept {
    scan_saved(round, first_round, scan, [] { return false; }, [] {});
  }

  // Processor that is about to resume the fiber; acked_round is the last round that it acked, first_round this cycle's.
  // False: the collector has it, try another fiber. True: the fiber is on_cpu.
  template <class Scan>
  bool resume_checked(std::uint64_t acked_round, std::uint64_t first_round, Scan&& scan) noexcept {
    if (!try_claim()) return false;
    check_resumed(acked_round, first_round, scan);
    state_.store(on_cpu_, memory_order_relaxed);  // relaxed: the stamp's release tells of the scan
    return true;
  }

  // The same for a fiber that is on_cpu already: it comes back from tern::blocking to a processor.
  template <class Scan>
  void check_resumed(std::uint64_t acked_round, std::uint64_t first_round, Scan&& scan) noexcept {
    const scan_stamp s = load();
    if (acked_round < first_round || s.round >= acked_round) {
      // The processor has yet to ack a round of this cycle, or the fiber was looked after in the one that it acked.
      store({s.round, true});
      return;
    }
    const bool clean = !s.ran && !s.exposed && s.round >= first_round;
    // A clean fiber holds nothing white at this moment, without a scan.
    if (!clean) scan();
    store({acked_round, true});
  }

  // Processor, at its ack, for the fiber that it runs and has just scanned.
  void stamp_running(std::uint64_t round) noexcept { store({round, true}); }

 private:
  static bool needs_scan(scan_stamp s, std::uint64_t round, std::uint64_t first_round) noexcept {
    if (s.round >= round) return false;
    return s.ran || s.round < first_round;
  }
  static bool needs_look(scan_stamp s, std::uint64_t round) noexcept { return s.exposed && s.round < round; }
  // acquire pairs-with: store(); who reads a stamp must also see what the scan before it counted (found by tests/model).
  scan_stamp load() const noexcept { return scan_stamp::decode(word_.load(memory_order_acquire)); }
  void store(scan_stamp s) noexcept { word_.store(s.encode(), memory_order_release); }

  bool try_claim() noexcept {
    std::uint32_t expected = saved_;
    // acquire pairs-with: the store of `saved` after the fiber's registers and stack; else the scan reads an older stack.
    return state_.compare_exchange_strong(expected, claimed_, memory_order_acquire, memory_order_relaxed);
  }

  static constexpr std::uint32_t free_ = Fiber::free;
  static constexpr std::uint32_t on_cpu_ = Fiber::on_cpu;
  static constexpr std::uint32_t saved_ = Fiber::saved;
  static constexpr std::uint32_t claimed_ = Fiber::claimed;

  State& state_;
  Word& word_;
};

}  // namespace tern::inline v1::detail::gc

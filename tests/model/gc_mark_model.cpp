// Marking against mutators under every interleaving: stores, refills, black objects, and stores into another fiber's frame.
#include <tern/gc/cell_bits.hpp>
#include <tern/gc/handshake.hpp>

#include "expect.hpp"

namespace {

using namespace tern_model;
using tern::detail::gc::fiber_scan;
using tern::detail::gc::handshake_kind;
using tern::detail::gc::handshake_request;
using tern::detail::gc::mutator_port;
using tern::detail::gc::round_rule;
using tern::detail::gc::scan_stamp;

using cells = tern::detail::gc::cell_bits<model_atomics>;

// What one mutator has of the protocol; `word` names an object by its bit.
struct mutator_model {
  mutator_port<model_atomics> port;
  atomic<std::uint64_t> greyed{0};
  std::uint64_t buffer = 0;
  bool swept = false;  // it has acked the end of the cycle

  void ack(std::uint64_t n, handshake_kind k) {
    swept = k == handshake_kind::sweep;
    port.set_acked(n);
  }
  void note(std::uint64_t word) {
    greyed.store(greyed.load(memory_order_relaxed) + 1, memory_order_relaxed);
    buffer |= word;
  }
  void shade(const cells& bits, std::uint64_t word) {
    if (bits.is_allocated(word) && !bits.is_marked(word)) note(word);
  }
};

// The collector's, and what all see.
struct cycle_model {
  handshake_request<model_atomics> request;
  atomic<std::uint32_t> flag{0};
  atomic<std::uint64_t> grey{0};  // the exchange
  cells bits{};
  std::uint64_t marked = 0;

  void hand_over(mutator_model& m) {
    if (m.buffer != 0) grey.fetch_or(m.buffer, memory_order_release);
    m.buffer = 0;
  }
  bool mark(std::uint64_t word) {
    const bool is_new = bits.is_allocated(word) && bits.mark_locked(word);
    marked += is_new ? 1 : 0;
    return is_new;
  }
  // Objects without members of their own.
  void drain(std::uint64_t all) {
    const std::uint64_t words = grey.exchange(0, memory_order_acquire);
    for (std::uint64_t w = 1; w <= all; w <<= 1)
      if ((words & w) != 0) static_cast<void>(mark(w));
  }
  template <class... Mutators>
  void handshake(handshake_kind k, Mutators&... all) {
    const std::uint64_t n = request.post(k);
    const auto wait = [&](mutator_model& m) {
      while (m.port.acked() != n) model_atomics::pause();
    };
    (wait(all), ...);
  }
  template <class... Mutators>
  std::uint64_t sum(Mutators&... all) {
    return (marked + ... + all.greyed.load(memory_order_relaxed));
  }
  // From the end of the first round's work on.
  template <class... Mutators>
  void mark_to_the_end(std::uint64_t words, Mutators&... all) {
    for (;;) {
      drain(words);
      round_rule rule;
      rule.begin(sum(all...));
      handshake(handshake_kind::round, all...);
      if (rule.may_end(sum(all...), grey.load(memory_order_acquire) == 0)) return;
    }
  }
};

// --- a store against the marker ---------------------------------------------------------------------------------------------

enum class barrier_kind { kept, none, sets_the_mark };

// The only reference to W travels from P, which the marker has yet to scan, to H, which it scans first. Beside them it marks another object.
template <barrier_kind Barrier>
struct store_model : cycle_model {
  static constexpr std::uint64_t w = 1;
  static constexpr std::uint64_t other = 2;
  mutator_model m;
  atomic<int> p_field{1};
  atomic<int> h_field{0};
  int own = 0;

  store_model() { bits.allocated.store(w | other, memory_order_relaxed); }

  void poll() {
    const std::uint64_t done = m.port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (own != 0 && request.kind() == handshake_kind::round) m.shade(bits, w);
    hand_over(m);
    m.ack(n, request.kind());
  }
  void barrier() {
    if (Barrier == barrier_kind::none || flag.load(memory_order_relaxed) == 0) return;
    if (Barrier == barrier_kind::sets_the_mark) {
      if (!bits.mark_locked(w)) return;  // without the lock
      m.note(w);
      return;
    }
    m.shade(bits, w);
  }
  void threads(thread_list& list) {
    list.add("mutator", [this] {
      poll();
      poll();
      own = p_field.load(memory_order_relaxed);
      p_field.store(0, memory_order_relaxed);
      poll();
      if (own != 0) barrier();
      h_field.store(own, memory_order_relaxed);
      own = 0;
      while (!m.swept) {
        poll();
        model_atomics::pause();
      }
    });
    list.add("collector", [this] {
      flag.store(1, memory_order_seq_cst);
      handshake(handshake_kind::barrier_on, m);
      handshake(handshake_kind::round, m);
      if (h_field.load(memory_order_acquire) != 0) static_cast<void>(mark(w));
      static_cast<void>(mark(other));
      if (p_field.load(memory_order_acquire) != 0) static_cast<void>(mark(w));
      mark_to_the_end(w | other, m);
      handshake(handshake_kind::sweep, m);
      const auto s = bits.sweep();
      require((s.live & other) != 0, "what was marked lives");
      require((s.live & w) != 0, "what the mutator moved lives");
    });
  }
};
TEST(gc_mark_model, a_reference_that_is_moved_past_the_marker_is_found) {
  expect_holds<store_model<barrier_kind::kept>>({.preemptions = 3, .store_delays = 1});
}
TEST(gc_mark_model, breakages_of_the_barrier_are_caught) {
  expect_caught<store_model<barrier_kind::none>>({.preemptions = 3}, "lives");
  expect_caught<store_model<barrier_kind::sets_the_mark>>({.preemptions = 3}, "lives");
}

// --- a refill against a cycle -------------------------------------------------------------------------------------------------

enum class refill_kind { kept, leaves_the_run_white, refills_white };

// A mutator takes a run before, while or after a cycle marks, later an object out of it, which nothing but its stack leads to. What it holds when
// the cycle sweeps lives.
template <refill_kind Refill>
struct refill_model : cycle_model {
  static constexpr std::uint64_t cell = 1;
  mutator_model m;
  bool black = false;
  bool has_run = false;
  bool holds = false;

  void poll() {
    const std::uint64_t done = m.port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    switch (request.kind()) {
      case handshake_kind::round:
        if (!black && has_run && Refill != refill_kind::leaves_the_run_white) bits.add_born(cell);
        black = true;
        if (holds) m.shade(bits, cell);
        hand_over(m);
        break;
      case handshake_kind::sweep:
        black = false;
        if (has_run) bits.withdraw(cell);
        has_run = false;
        break;
      default: break;
    }
    m.ack(n, request.kind());
  }
  void threads(thread_list& list) {
    list.add("mutator", [this] {
      poll();
      poll();
      if (!m.swept) {  // afterwards it takes other spans
        if (black && Refill != refill_kind::refills_white) bits.add_born(cell);
        bits.add_allocated(cell);
        has_run = true;
      }
      poll();
      poll();
      if (has_run) {
        has_run = false;
        holds = true;
      }
      while (!m.swept) {
        poll();
        model_atomics::pause();
      }
    });
    list.add("collector", [this] {
      flag.store(1, memory_order_seq_cst);
      handshake(handshake_kind::barrier_on, m);
      handshake(handshake_kind::round, m);
      mark_to_the_end(cell, m);
      handshake(handshake_kind::sweep, m);
      static_cast<void>(bits.sweep());
    });
  }
  void finally() {
    require(holds == ((bits.allocated.peek() & cell) != 0), "an object that is held lives, and nothing else");
  }
};
TEST(gc_mark_model, what_is_made_while_a_cycle_marks_outlives_it) {
  expect_holds<refill_model<refill_kind::kept>>({.preemptions = 3, .store_delays = 1});
}
TEST(gc_mark_model, breakages_of_black_allocation_are_caught) {
  expect_caught<refill_model<refill_kind::leaves_the_run_white>>({.preemptions = 3}, "lives");
  expect_caught<refill_model<refill_kind::refills_white>>({.preemptions = 3}, "lives");
}

// --- a black object and a mutator that does not shade yet ---------------------------------------------------------------------

// One mutator makes H and publishes it, the other one stores the only reference to W into it. What the second one knows of the flag is as old as
// its last safepoint: a relaxed load on ARM64. The first one is idle but for that, and the collector acks for it.
template <bool AtOnce>
struct black_model : cycle_model {
  static constexpr std::uint64_t w = 1;
  static constexpr std::uint64_t h = 2;
  mutator_model writer;
  atomic<int> published{0};
  atomic<int> h_field{0};
  int own = 1;
  bool shades = false;

  black_model() { bits.allocated.store(w, memory_order_relaxed); }

  void make(bool black) {
    if (black) bits.add_born(h);
    bits.add_allocated(h);
    published.store(1, memory_order_release);
  }
  void poll() {
    const std::uint64_t done = writer.port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (own != 0 && request.kind() == handshake_kind::round) writer.shade(bits, w);
    hand_over(writer);
    shades = flag.load(memory_order_relaxed) != 0;
    writer.ack(n, request.kind());
  }
  void threads(thread_list& list) {
    list.add("writer", [this] {
      poll();
      if (published.load(memory_order_acquire) != 0) {
        if (shades) writer.shade(bits, w);
        h_field.store(1, memory_order_relaxed);
        own = 0;
      }
      while (!writer.swept) {
        poll();
        model_atomics::pause();
      }
    });
    list.add("collector and maker", [this] {
      flag.store(1, memory_order_seq_cst);
      const std::uint64_t n = request.post(handshake_kind::barrier_on);
      if (AtOnce) make(true);  // it has acked
      while (writer.port.acked() != n) model_atomics::pause();
      const std::uint64_t first = request.post(handshake_kind::round);
      if (!AtOnce) make(true);
      while (writer.port.acked() != first) model_atomics::pause();
      mark_to_the_end(w, writer);
      handshake(handshake_kind::sweep, writer);
      require((bits.sweep().live & w) != 0, "what a black object leads to lives");
    });
  }
};
TEST(gc_mark_model, black_allocation_waits_until_all_shade) {
  expect_holds<black_model<false>>({.preemptions = 3});
  expect_caught<black_model<true>>({.preemptions = 3}, "lives");
}

// --- a store into the frame of a fiber that waits -------------------------------------------------------------------------------

struct fiber_states {
  enum : std::uint32_t { free, on_cpu, saved, claimed };
};

// A was scanned and is clean. B takes W out of the heap, stores it through a reference into A's frame, drops it and ends; A goes on. Marking must
// not end before somebody has found W there.
template <bool Exposed>
struct frame_model {
  using scan = fiber_scan<fiber_states, atomic<std::uint32_t>, atomic<std::uint64_t>, model_atomics>;
  static constexpr std::uint64_t first_round = 1;
  static constexpr std::uint64_t round = 2;

  handshake_request<model_atomics> request;
  mutator_model m;
  atomic<std::uint32_t> state{fiber_states::saved};
  atomic<std::uint64_t> stamp{scan_stamp{first_round, false, Exposed}.encode()};
  atomic<int> frame{0};
  atomic<int> heap{1};
  int own = 0;
  std::uint64_t acked_round = first_round;
  bool a_runs = false;
  std::uint64_t collector_greyed = 0;

  scan a() { return scan{state, stamp}; }
  void count() { m.greyed.store(m.greyed.load(memory_order_relaxed) + 1, memory_order_relaxed); }
  void poll() {
    const std::uint64_t done = m.port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (own != 0) count();
    if (a_runs) {
      if (frame.load(memory_order_relaxed) != 0) count();
      a().stamp_running(round);
    }
    acked_round = round;
    m.port.set_acked(n);
  }
  void threads(thread_list& list) {
    list.add("B, then A", [this] {
      own = heap.load(memory_order_relaxed);
      heap.store(0, memory_order_relaxed);
      poll();
      frame.store(own, memory_order_relaxed);
      own = 0;
      poll();
      while (!a().resume_checked(acked_round, first_round, [this] {
        if (frame.load(memory_order_relaxed) != 0) count();
      }))
        model_atomics::pause();
      a_runs = true;
      while (m.port.acked() == 0) {
        poll();
        model_atomics::pause();
      }
    });
    list.add("collector", [this] {
      const bool found = heap.load(memory_order_acquire) != 0;  // the marker
      round_rule rule;
      rule.begin(m.greyed.load(memory_order_relaxed));
      const std::uint64_t n = request.post(handshake_kind::round);
      while (m.port.acked() != n) model_atomics::pause();
      const auto look = [this] {
        if (frame.load(memory_order_relaxed) != 0) ++collector_greyed;
      };
      a().scan_saved(round, first_round, look, [] { return Exposed; }, look);
      const bool ends = rule.may_end(m.greyed.load(memory_order_relaxed) + collector_greyed, true);
      require(found || !ends, "marking ends, and the frame of A holds a white object");
    });
  }
};
TEST(gc_mark_model, a_frame_that_another_fiber_writes_to_is_looked_at) {
  expect_holds<frame_model<true>>({.preemptions = 4, .store_delays = 1});
  expect_caught<frame_model<false>>({.preemptions = 3}, "white");
}

}  // namespace

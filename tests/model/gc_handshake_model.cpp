// The collector's protocols under every interleaving: ports, the hand-over of grey objects, resume against scan, the end of marking.
#include <tern/gc/handshake.hpp>

#include <array>

#include "expect.hpp"

namespace {

using namespace tern_model;
using tern::detail::gc::fiber_scan;
using tern::detail::gc::grey_exchange;
using tern::detail::gc::handshake_kind;
using tern::detail::gc::handshake_request;
using tern::detail::gc::mutator_port;
using tern::detail::gc::round_rule;
using tern::detail::gc::scan_stamp;

// --- an idle mutator is served by the collector, never by both ---------------------------------------------------------

// What is asked for travels with the number.
struct request_model {
  handshake_request<model_atomics> request;
  model_var<int> phase{0};
  void threads(thread_list& list) {
    list.add("collector", [this] {
      phase = 1;
      request.post(handshake_kind::sweep);
    });
    list.add("mutator", [this] {
      if (request.number() == 0) return;
      require(request.kind() == handshake_kind::sweep, "the kind comes with the number");
      require(phase == 1, "what the collector wrote before its request is seen");
    });
  }
};
TEST(gc_handshake_model, a_request_carries_its_kind) {
  expect_holds<request_model>({.preemptions = 4, .store_delays = 1});
}

struct port_model {
  mutator_port<model_atomics> port;
  handshake_request<model_atomics> request;
  model_var<int> field{0};  // the mutator's plain state: whoever serves changes it
  model_var<int> served{0};

  void serve(std::uint64_t n) {
    field = field + 1;
    served = served + 1;
    port.set_acked(n);
  }
  void poll() {
    const std::uint64_t done = port.acked();
    if (const std::uint64_t n = request.number(); n != done) serve(n);
  }
  void threads(thread_list& list) {
    list.add("owner", [this] {
      poll();
      port.release();
      while (!port.try_acquire()) model_atomics::pause();
      field = field + 10;
      poll();
      port.release();
    });
    list.add("collector", [this] {
      const std::uint64_t n = request.post(handshake_kind::round);
      while (port.acked() != n) {
        if (port.try_claim()) {
          if (port.acked() != n) serve(n);
          port.unclaim();
        } else {
          model_atomics::pause();
        }
      }
      require(served == 1, "a handshake is served once");
    });
  }
  void finally() { require(field == 11 && served == 1, "nothing is lost between owner and collector"); }
};
TEST(gc_handshake_model, an_idle_mutator_is_served_once) {
  expect_holds<port_model>({.preemptions = 4, .store_delays = 1});
}

// --- a plain thread that waits for a fiber, which stores the only pointer to a white object into its frame, in a round ----------

enum class leaving {
  kept,
  without_a_look,  // it goes on as the collector has answered for it
  runs_at_once,    // it looks when its port runs already
  passed_by        // the collector does not wait while it looks
};

template <leaving Way>
struct leaving_model {
  handshake_request<model_atomics> request;
  mutator_port<model_atomics> a;
  mutator_port<model_atomics> b;
  atomic<std::uint64_t> greyed{0};  // by A
  atomic<int> frame{0};
  atomic<int> stored{0};
  model_var<int> found{0};  // what A's look writes besides the count
  std::uint64_t collector_greyed = 0;

  leaving_model() { a.release(); }

  std::uint64_t sum() { return greyed.load(memory_order_relaxed) + collector_greyed; }
  void look() {
    found = found + 1;
    if (frame.load(memory_order_relaxed) != 0)
      greyed.store(greyed.load(memory_order_relaxed) + 1, memory_order_relaxed);
  }
  void poll(mutator_port<model_atomics>& port) {
    const std::uint64_t done = port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (&port == &a) look();
    port.set_acked(n);
  }
  void poll_until_acked(mutator_port<model_atomics>& port) {
    while (port.acked() == 0) {
      poll(port);
      model_atomics::pause();
    }
  }
  void threads(thread_list& list) {
    list.add("B", [this] {
      frame.store(1, memory_order_relaxed);
      stored.store(1, memory_order_release);
      poll_until_acked(b);
    });
    list.add("A", [this] {
      while (stored.load(memory_order_acquire) == 0) model_atomics::pause();
      if constexpr (Way == leaving::runs_at_once) {
        while (!a.try_acquire()) model_atomics::pause();
        if (a.acked() != 0) look();
      } else {
        while (!a.try_leave([this] {
          if (Way != leaving::without_a_look && a.acked() != 0) look();
        }))
          model_atomics::pause();
      }
      poll_until_acked(a);
    });
    list.add("collector", [this] {
      round_rule rule;
      rule.begin(sum());
      const std::uint64_t n = request.post(handshake_kind::round);
      for (;;) {
        if (a.acked() != n && a.try_claim()) {
          if (a.acked() != n) {
            look();
            a.set_acked(n);
          }
          a.unclaim();
        }
        if (a.acked() == n && b.acked() == n) break;
        model_atomics::pause();
      }
      bool is_away = false;
      const auto look_again = [&] {
        is_away = true;
        if (frame.load(memory_order_relaxed) != 0) ++collector_greyed;
      };
      if constexpr (Way != leaving::passed_by) {
        a.while_away(look_again);
      } else if (a.try_claim()) {
        look_again();
        a.unclaim();
      }
      if (Way == leaving::kept && !is_away) require(found > 0, "what the thread found on its way is visible");
      require(!rule.may_end(sum(), true), "a round does not end marking while a frame holds a white object");
    });
  }
};
TEST(gc_handshake_model, a_frame_of_a_waiting_thread_is_looked_at_after_the_acks) {
  expect_holds<leaving_model<leaving::kept>>({.preemptions = 2});
}
TEST(gc_handshake_model, breakages_of_a_thread_that_goes_on_are_caught) {
  expect_caught<leaving_model<leaving::without_a_look>>({.preemptions = 3}, "white");
  expect_caught<leaving_model<leaving::runs_at_once>>({.preemptions = 3}, "white");
  expect_caught<leaving_model<leaving::passed_by>>({.preemptions = 3}, "white");
}

// --- grey chunks --------------------------------------------------------------------------------------------------------

struct chunk {
  chunk* next = nullptr;
  model_var<int> word{0};
};
struct exchange_model {
  grey_exchange<chunk, model_atomics> exchange;
  std::array<chunk, 3> chunks{};
  int seen = 0;

  void take() {
    for (chunk* c = exchange.take_all(); c != nullptr; c = c->next) seen += c->word;
  }
  void threads(thread_list& list) {
    list.add("first", [this] {
      chunks[0].word = 1;
      exchange.push(&chunks[0]);
      chunks[1].word = 10;
      exchange.push(&chunks[1]);
    });
    list.add("second", [this] {
      chunks[2].word = 100;
      exchange.push(&chunks[2]);
    });
    list.add("marker", [this] {
      take();
      if (!exchange.is_empty()) take();
    });
  }
  void finally() {
    take();
    require(seen == 111, "each grey word is taken once");
  }
};
TEST(gc_handshake_model, grey_words_arrive_once) {
  expect_holds<exchange_model>({.preemptions = 4, .store_delays = 1});
}

// --- a fiber that ran, and holds the only pointer to a white object, in a round -----------------------------------------

enum class breakage {
  none,
  resume_without_scan,     // a processor that has acked lets the fiber run as it is
  look_away_when_claimed,  // the collector passes by a fiber that a processor scans just now
  scan_after_publication   // the processor makes the fiber on_cpu, then scans it
};

struct fiber_states {
  enum : std::uint32_t { free, on_cpu, saved, claimed };
};

template <breakage Breakage>
struct resume_model {
  using word = atomic<std::uint64_t>;
  using scan = fiber_scan<fiber_states, atomic<std::uint32_t>, word, model_atomics>;
  static constexpr std::uint64_t first_round = 1;
  static constexpr std::uint64_t round = 2;

  atomic<std::uint32_t> state{fiber_states::saved};
  word stamp{scan_stamp{first_round, true}.encode()};
  model_var<int> stack{1};  // what the fiber's stack holds: a white object
  mutator_port<model_atomics> port;
  handshake_request<model_atomics> request;
  atomic<std::uint64_t> greyed{0};  // the processor's count, written by its owner
  model_var<int> found{0};          // what the processor's scans wrote besides the count
  std::uint64_t collector_greyed = 0;
  std::uint64_t acked_round = first_round;
  bool runs = false;
  bool ended = false;

  scan fiber() { return scan{state, stamp}; }
  void count() { greyed.store(greyed.load(memory_order_relaxed) + 1, memory_order_relaxed); }
  void scan_here() {
    if (stack == 0) return;
    found = found + 1;
    count();
  }

  // The processor's part.
  void poll() {
    // The request last: a pause that follows ends when it changes.
    const std::uint64_t done = port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (runs) {
      scan_here();
      fiber().stamp_running(round);
    }
    acked_round = round;
    port.set_acked(n);
  }
  bool resume() {
    if constexpr (Breakage == breakage::resume_without_scan) {
      return fiber().resume_checked(acked_round, first_round, [] {});
    } else if constexpr (Breakage == breakage::scan_after_publication) {
      std::uint32_t expected = fiber_states::saved;
      if (!state.compare_exchange_strong(expected, fiber_states::on_cpu, memory_order_acq_rel,
                                         memory_order_relaxed))
        return false;
      const bool needed = scan_stamp::decode(stamp.load(memory_order_relaxed)).round < acked_round;
      stamp.store(scan_stamp{acked_round, true}.encode(), memory_order_relaxed);
      if (needed) scan_here();
      return true;
    } else {
      return fiber().resume_checked(acked_round, first_round, [this] { scan_here(); });
    }
  }
  void threads(thread_list& list) {
    list.add("processor", [this] {
      for (int i = 0; i < 2; ++i) {
        poll();
        if (!resume()) continue;
        require(state.load(memory_order_relaxed) == fiber_states::on_cpu, "a resumed fiber is on_cpu");
        runs = true;
        stack = 1;  // it runs: its frames are written
        poll();
        runs = false;
        state.store(fiber_states::saved, memory_order_release);
      }
      while (port.acked() == 0) {
        poll();
        model_atomics::pause();
      }
    });
    list.add("collector", [this] {
      round_rule rule;
      rule.begin(greyed.load(memory_order_relaxed) + collector_greyed);
      const std::uint64_t n = request.post(handshake_kind::round);
      while (port.acked() != n) model_atomics::pause();
      if constexpr (Breakage == breakage::look_away_when_claimed) {
        std::uint32_t expected = fiber_states::saved;
        if (scan_stamp::decode(stamp.load(memory_order_relaxed)).round < round &&
            state.compare_exchange_strong(expected, fiber_states::claimed, memory_order_acquire,
                                          memory_order_relaxed)) {
          if (stack != 0) ++collector_greyed;
          stamp.store(scan_stamp{round, false}.encode(), memory_order_relaxed);
          state.store(fiber_states::saved, memory_order_release);
        }
      } else {
        fiber().scan_saved(round, first_round, [this] {
          if (stack != 0) ++collector_greyed;
        });
      }
      ended = rule.may_end(greyed.load(memory_order_relaxed) + collector_greyed, true);
      if constexpr (Breakage == breakage::none) require(found >= 0, "the processor's finds are visible");
      require(!ended, "a round does not end marking while a stack holds a white object");
    });
  }
  void finally() {
    require(state.peek() == fiber_states::saved, "nobody keeps the fiber claimed");
    require(Breakage != breakage::none || scan_stamp::decode(stamp.peek()).round == round,
            "the fiber is stamped");
  }
};
TEST(gc_handshake_model, a_round_sees_every_stack) {
  expect_holds<resume_model<breakage::none>>({.preemptions = 4, .store_delays = 1});
}
TEST(gc_handshake_model, breakages_of_resume_against_scan_are_caught) {
  expect_caught<resume_model<breakage::resume_without_scan>>({.preemptions = 3}, "white");
  expect_caught<resume_model<breakage::look_away_when_claimed>>({.preemptions = 3}, "white");
  expect_caught<resume_model<breakage::scan_after_publication>>({.preemptions = 3}, "white");
}

// --- a fiber that a processor resumes after its ack, and that ends before the collector looks again ----------------------

struct ending_model {
  using word = atomic<std::uint64_t>;
  using scan = fiber_scan<fiber_states, atomic<std::uint32_t>, word, model_atomics>;
  static constexpr std::uint64_t first_round = 1;
  static constexpr std::uint64_t round = 2;

  atomic<std::uint32_t> state{fiber_states::saved};
  word stamp{scan_stamp{first_round, true}.encode()};
  mutator_port<model_atomics> port;
  atomic<std::uint64_t> greyed{0};
  model_var<int> found{0};  // what the processor's scan wrote besides the count

  void threads(thread_list& list) {
    list.add("processor", [this] {
      port.set_acked(1);
      const auto scan_it = [this] {
        found = 1;
        greyed.store(1, memory_order_relaxed);
      };
      if (scan{state, stamp}.resume_checked(round, first_round, scan_it))
        state.store(fiber_states::free, memory_order_release);  // it runs and ends
    });
    list.add("collector", [this] {
      while (port.acked() == 0) model_atomics::pause();
      bool here = false;
      scan{state, stamp}.scan_saved(round, first_round, [&here] { here = true; });
      if (here) return;
      require(found == 1 && greyed.load(memory_order_relaxed) == 1,
              "what a fiber held at its end was counted");
    });
  }
};
TEST(gc_handshake_model, a_fiber_that_ends_hides_nothing) {
  expect_holds<ending_model>({.preemptions = 4, .store_delays = 1});
}

// --- the end of marking: C stores P into H and drops it, B takes W out of P ----------------------------------------------

enum class rule_kind { counts, queues_empty };

template <rule_kind Rule>
struct termination_model {
  struct mutator {
    mutator_port<model_atomics> port;
    atomic<std::uint64_t> greyed{0};
    int buffered = 0;  // bit 0: P, bit 1: W
    int p = 0;         // locals
    int w = 0;
  };
  handshake_request<model_atomics> request;
  mutator b;
  mutator c;
  atomic<int> field_of_h{0};
  atomic<int> field_of_p{1};  // W
  atomic<int> marked_p{0};
  atomic<int> marked_w{0};
  atomic<int> grey{0};              // the exchange: bits of P and W
  atomic<std::uint64_t> marked{0};  // the marker's count
  atomic<int> ended{0};
  int w_marked_at_end = 0;

  termination_model() { c.p = 1; }

  void shade(mutator& m, int bit, atomic<int>& mark) {
    if (mark.load(memory_order_relaxed) != 0 || (m.buffered & bit) != 0) return;
    m.greyed.store(m.greyed.load(memory_order_relaxed) + 1, memory_order_relaxed);
    m.buffered |= bit;
  }
  void poll(mutator& m) {
    const std::uint64_t done = m.port.acked();
    const std::uint64_t n = request.number();
    if (n == done) return;
    if (m.p != 0) shade(m, 1, marked_p);
    if (m.w != 0) shade(m, 2, marked_w);
    if (m.buffered != 0) grey.fetch_or(m.buffered, memory_order_release);
    m.buffered = 0;
    m.port.set_acked(n);
  }
  // Marks what is in the exchange, as an assisting mutator does.
  void mark() {
    const int g = grey.exchange(0, memory_order_acquire);
    int more = g & 2;
    if ((g & 1) != 0 && marked_p.exchange(1, memory_order_relaxed) == 0) {
      marked.fetch_add(1, memory_order_relaxed);
      if (field_of_p.load(memory_order_acquire) != 0) more = 2;
    }
    if (more != 0 && marked_w.exchange(1, memory_order_relaxed) == 0)
      marked.fetch_add(1, memory_order_relaxed);
  }
  std::uint64_t sum() {
    return b.greyed.load(memory_order_relaxed) + c.greyed.load(memory_order_relaxed) +
           marked.load(memory_order_relaxed);
  }
  void threads(thread_list& list) {
    list.add("B", [this] {
      poll(b);
      b.p = field_of_h.load(memory_order_relaxed);
      if (b.p != 0) {
        b.w = field_of_p.load(memory_order_relaxed);
        field_of_p.store(0, memory_order_relaxed);
      }
      b.p = 0;
      while (b.port.acked() == 0) {
        poll(b);
        model_atomics::pause();
      }
    });
    list.add("C", [this] {
      shade(c, 1, marked_p);
      field_of_h.store(1, memory_order_relaxed);
      c.p = 0;
      while (c.port.acked() == 0) {
        poll(c);
        model_atomics::pause();
      }
    });
    list.add("collector", [this] {
      round_rule rule;
      rule.begin(sum());
      const std::uint64_t n = request.post(handshake_kind::round);
      while (b.port.acked() != n || c.port.acked() != n) model_atomics::pause();
      mark();
      const bool empty = grey.load(memory_order_acquire) == 0;
      const bool end = Rule == rule_kind::queues_empty ? empty : rule.may_end(sum(), empty);
      w_marked_at_end = marked_w.load(memory_order_relaxed);
      ended.store(end ? 1 : 0, memory_order_release);
    });
  }
  void finally() {
    if (ended.peek() != 0 && b.w != 0)
      require(w_marked_at_end != 0, "W is reachable and not marked at the end");
  }
};
TEST(gc_handshake_model, marking_ends_when_nothing_was_greyed_in_a_round) {
  expect_holds<termination_model<rule_kind::counts>>({.preemptions = 2});
}
TEST(gc_handshake_model, empty_queues_are_not_the_end) {
  expect_caught<termination_model<rule_kind::queues_empty>>({.preemptions = 3}, "not marked at the end");
}

TEST(gc_handshake_model, mutants) {
  // is_empty's acquire: the marker that trusts it takes the chunks by an exchange that acquires.
  // The claim's acquire: what ran before its processor's ack is ordered by the ack, what ran later is stamped and not scanned; it
  // is kept for fibers that were never armed. scan_saved's release of the state: the stamp before it releases the same accesses.
  expect_mutants_caught<request_model, port_model, exchange_model, resume_model<breakage::none>, ending_model,
                        leaving_model<leaving::kept>>(
      {.preemptions = 3, .store_delays = 1, .max_seconds = 3.0}, "handshake.hpp", [](const mutant& m) {
        return m.kind == change::weaken &&
               (m.text.find("head_.load(memory_order_acquire) == nullptr") != std::string::npos ||
                m.text.find("claimed_, memory_order_acquire") != std::string::npos ||
                m.text.find("state_.store(saved_, memory_order_release)") != std::string::npos);
      });
}

}  // namespace

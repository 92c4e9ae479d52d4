// Readiness under every interleaving: no event is lost between a call that fails and the wait, nor where a short read makes the next call needless.
//
// The real basic_readiness; the callers' loop is that of net/io.hpp. The kernel is a count of bytes, an end, and a count of edges that the poller
// takes all at once. A lost event shows as a deadlock.
#include <tern/net/readiness.hpp>

#include "expect.hpp"
#include "sync_parking.hpp"

namespace {

using namespace tern_model;
using readiness = tern::detail::basic_readiness<model_atomics, model_parking, model_mutex>;

enum class breakage {
  none,
  looks_late,       // the caller takes the count after its call has failed
  forgets_hang_up,  // the poller does not tell that the stream ends
  drained_by_late   // what is noted as drained is the count after the read
};

// `Readers` fibers take `Sends` bytes in reads of two; then the stream ends.
template <int Sends, int Readers, bool Ends, breakage Breakage = breakage::none>
struct stream_model {
  readiness r;
  atomic<std::uint32_t> available{0};
  atomic<std::uint32_t> ended{0};
  atomic<std::uint32_t> edges{0};
  atomic<std::uint32_t> taken{0};

  // One edge for the byte, and one for the end.
  static constexpr std::uint32_t all_edges = Sends + (Ends ? 1 : 0);

  void edge() {
    edges.fetch_add(1, memory_order_seq_cst);
    model_futex::wake(edges, 1);
  }
  // recv(2): bytes, 0 at the end, -1 where it would wait.
  int receive() {
    std::uint32_t n = available.load(memory_order_seq_cst);
    while (n != 0) {
      const std::uint32_t got = n > 2 ? 2 : n;
      if (available.compare_exchange_strong(n, n - got, memory_order_seq_cst, memory_order_seq_cst))
        return static_cast<int>(got);
    }
    // Bytes come before the end.
    if (ended.load(memory_order_seq_cst) != 0)
      return available.load(memory_order_seq_cst) != 0 ? receive() : 0;
    return -1;
  }
  bool is_over() { return !Ends && taken.load(memory_order_seq_cst) == Sends; }
  void read_all() {
    while (!is_over()) {
      auto seen = r.look();
      if ((seen & readiness::shut) != 0) return;
      if (!r.is_drained(seen)) {
        const int n = receive();
        if (n == 0) return;
        if (n > 0) {
          if (Breakage == breakage::drained_by_late) seen = r.look();
          if (n < 2) r.note_drained(seen);
          // The last byte ends those that wait, too: as a close() would.
          if (taken.fetch_add(static_cast<std::uint32_t>(n), memory_order_seq_cst) +
                      static_cast<std::uint32_t>(n) ==
                  Sends &&
              !Ends)
            r.notify(readiness::shut);
          continue;
        }
        if (Breakage == breakage::looks_late) seen = r.look();
        r.note_drained(seen);
      }
      require(r.wait(seen, tern::detail::os::never, "bytes"), "no deadline");
    }
  }
  void threads(thread_list& list) {
    list.add("sender", [this] {
      for (int i = 0; i < Sends; ++i) {
        available.fetch_add(1, memory_order_seq_cst);
        edge();
      }
      if (!Ends) return;
      ended.store(1, memory_order_seq_cst);
      edge();
    });
    list.add("poller", [this] {
      for (std::uint32_t seen = 0; seen < all_edges;) {
        const std::uint32_t n = edges.exchange(0, memory_order_seq_cst);
        if (n == 0) {
          model_futex::wait(edges, 0);
          continue;
        }
        seen += n;
        const bool over = ended.load(memory_order_seq_cst) != 0 && Breakage != breakage::forgets_hang_up;
        r.notify(over ? readiness::hang_up : 0);
      }
    });
    for (int i = 0; i < Readers; ++i) list.add("reader" + std::to_string(i), [this] { read_all(); });
  }
  void finally() {
    require(taken.peek() == Sends, "every byte was read once");
    require(r.count_waiting() == 0, "nobody is left");
  }
};

TEST(readiness_model, no_event_is_lost) {
  expect_holds<stream_model<1, 1, false>>({.preemptions = 3, .store_delays = 1}, "one byte");
  expect_holds<stream_model<2, 1, false>>({.preemptions = 2, .store_delays = 1}, "two bytes");
  expect_holds<stream_model<1, 1, true>>({.preemptions = 3}, "a byte and the end");
  expect_holds<stream_model<2, 2, false>>({.preemptions = 2}, "two readers");
  expect_holds<stream_model<1, 2, true>>({.preemptions = 2}, "two readers and the end");
}

TEST(readiness_model, a_missing_step_is_caught) {
  const options o{.preemptions = 3};
  expect_caught<stream_model<1, 1, false, breakage::looks_late>>(o, "deadlock");
  expect_caught<stream_model<1, 1, true, breakage::forgets_hang_up>>(o, "deadlock");
  expect_caught<stream_model<2, 1, false, breakage::drained_by_late>>(o, "deadlock");
}

// A wait with a deadline, an event and a close at the same time: the node is gone from the list however it ends, and an event that came is not
// taken for a time-out.
struct give_up_model {
  readiness r;
  atomic<std::uint32_t> woken{0};
  void threads(thread_list& list) {
    list.add("waiter", [this] {
      const auto seen = r.look();
      if (r.wait(seen, 1, "an event")) woken.store(1, memory_order_relaxed);
      if (woken.peek() == 1) require(r.look() != seen, "it is woken by what has changed");
    });
    list.add("poller", [this] { r.notify(); });
    list.add("closer", [this] { r.notify(readiness::shut); });
  }
  void finally() {
    require(r.count_waiting() == 0, "nobody is left");
    require((r.look() & readiness::shut) != 0 && r.look() / readiness::one_event == 2, "both have come");
  }
};

TEST(readiness_model, deadlines) { expect_holds<give_up_model>({.preemptions = 3, .timeouts = 1}); }

TEST(readiness_model, mutants) {
  expect_mutants_caught<stream_model<1, 1, false>, stream_model<1, 1, true>, give_up_model>(
      {.preemptions = 2, .store_delays = 1, .timeouts = 1, .max_schedules = 60'000}, "readiness.hpp",
      [](const mutant& m) {
        // The kernel, here sequentially consistent, orders the bytes; and what is drained is a hint.
        return m.kind == change::weaken ||
               (m.kind == change::drop && m.text.find("drained_.store") != std::string::npos);
      });
}

}  // namespace

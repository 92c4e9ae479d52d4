// The collector as programs steer and watch it: collect, pacing, attachment, statistics, trace lines, test switches.
#pragma once

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include <tern/gc/heap_graph.hpp>
#include <tern/gc/make.hpp>
#include <tern/gc/signal.hpp>
#include <tern/gc/verifier.hpp>

namespace tern::inline v1::detail::gc {

// Changes one setting of the pacer and what the mutators see of it.
template <class T>
void change_pacing(T pacer_settings::* setting, T value) noexcept {
  lock_scope hold{state.pacer_lock};
  pacer_settings s = state.pace.settings();
  s.*setting = value;
  state.pace.set(s);
  publish_pace_locked();
}

}  // namespace tern::inline v1::detail::gc

namespace tern::inline v1 {

namespace gc {

/// Runs one whole cycle that begins after the call, and returns when everything it found dead is swept. Destructors may still
/// be due: see wait_for_destructors(). Other mutators go on meanwhile. Throws what the first managed object would throw.
inline void collect() { detail::gc::collect_and_wait(); }

/// Waits until no destructor is due, those included that an executor has and has not run yet. Not to be called from one.
inline void wait_for_destructors() noexcept {
  detail::gc::wait_as_idle([] {
    detail::gc::destroy_queue& q = detail::gc::doomed;
    for (;;) {
      const std::uint32_t seen =
          q.idle_word.load(detail::memory_order_acquire);  // pairs-with: run_destructors_of()
      {
        detail::lock_scope hold{q.lock};
        if (q.pending.load(detail::memory_order_relaxed) == 0) return;
        // Nobody runs them in a fork child.
        if (detail::gc::state.dead.load(detail::memory_order_relaxed)) return;
      }
      detail::os::futex_wait(q.idle_word, seen);
    }
  });
}

/// Who runs destructors from now on: `executor` is called on a thread of the collector's with a batch of those that are due, to call it
/// there, or to hand it to somebody (a fiber, by a channel; a pool). It must not throw, nor wait for destructors: while it is being
/// called no other batch is given out. Empty: the collector's thread runs them itself, as at first. Returns once the former executor
/// is not being called any more, so not to be called from an executor; batches that it was given stay its own. Throws std::bad_alloc.
inline void set_destructor_executor(destructor_executor executor) {
  std::unique_ptr<destructor_executor> fresh;
  if (executor) fresh = std::make_unique<destructor_executor>(std::move(executor));
  detail::gc::wait_as_idle([&fresh] { fresh = detail::gc::change_executor(std::move(fresh)); });
}

/// The heap may grow by this many percent of the live bytes before a cycle is due. Default 100. Thread-safe, at any time.
inline void set_growth_percent(unsigned percent) noexcept {
  detail::gc::change_pacing(&detail::gc::pacer_settings::percent, percent);
}
/// No cycle begins by itself below this heap size. Default 4 MiB.
inline void set_minimum_heap(std::size_t bytes) noexcept {
  detail::gc::change_pacing(&detail::gc::pacer_settings::minimum, bytes);
}
/// A soft limit on the managed bytes in use: near it cycles begin earlier, allocating threads help more, and beyond it they are held up.
/// Allocation does not fail because of it. Where what lives leaves too little room, it gives way: the collector may take half of the CPU
/// that the process uses, with bursts of a second of each CPU; once it has taken more, the heap grows as if there were no such limit, until it
/// has taken less again (statistics::limit_releases counts). SIZE_MAX: none.
inline void set_memory_limit(std::size_t bytes) noexcept {
  detail::gc::change_pacing(&detail::gc::pacer_settings::limit, bytes);
}
/// A hard limit on the managed bytes in use, dead ones that no cycle has found yet included, and on the pages that they lie in, free cells
/// between them included: an allocation that would pass it waits for the cycle that runs, for a collection, for a second one if need be, then
/// throws std::bad_alloc where what lives leaves no room; the program may drop references and go on. Bytes overrun it by a run of cells
/// (16 KiB, less than 9 cells of larger objects) for each allocating thread or processor at most, pages by a 64th: a kind of object that has no
/// free cell may take these. Where free cells of other kinds leave no page for one, it throws after 16 collections. Cycles begin early enough
/// for most allocations not to wait, as far as the live bytes allow; where those are near the limit, collecting is all that the program does.
/// Nothing makes it give way. Thread-safe, at any time; SIZE_MAX: none. The collector's own tables, and free pages, come on top.
inline void set_hard_memory_limit(std::size_t bytes) noexcept {
  detail::gc::state.hard_limit.store(bytes,
                                     detail::memory_order_relaxed);  // relaxed: read before each refill
  detail::gc::pages.set_limit(detail::gc::pages_limit(bytes));
  detail::gc::change_pacing(&detail::gc::pacer_settings::hard_limit, bytes);
}

/// Attaches a plain thread for the scope: outside attachment it must not touch managed objects. gc::make attaches until the
/// thread's end. Does nothing in a fiber or in an attached thread. Throws std::bad_alloc, std::system_error.
class attach_thread {
 public:
  attach_thread() : was_attached_{detail::gc::current_mutator_if_any() != nullptr} {
    static_cast<void>(detail::gc::current_mutator());
  }
  ~attach_thread() {
    if (was_attached_ || detail::current_processor() != nullptr) return;
    if (detail::thread_cache* c = detail::current_cache_if_any())
      if (c->attachments[detail::thread_cache::gc_slot] != nullptr) detail::gc::on_thread_exit(c);
  }
  attach_thread(const attach_thread&) = delete;
  attach_thread& operator=(const attach_thread&) = delete;

 private:
  bool was_attached_;
};

/// Answers the collector if it waits for this thread or processor: for loops that neither allocate nor park. A few loads.
inline void safepoint() noexcept {
  if (detail::gc::mutator* m = detail::gc::own_mutator_if_any()) {
    const detail::gc::runtime_scope in{*m};
    detail::gc::poll(*m);
  }
}

/// Calls f while the collector may do without this attached plain thread: for blocking calls. f must not touch managed objects,
/// nor make any. In a fiber use tern::blocking.
template <class F>
decltype(auto) without_managed_access(F&& f) {
  detail::gc::mutator* m = detail::gc::current_mutator_if_any();
  if (m == nullptr || m->owner != nullptr) return std::forward<F>(f)();
  const detail::gc::runtime_scope in{*m};
  if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
    detail::gc::while_idle(*m, [&] { std::forward<F>(f)(); });
    detail::gc::poll(*m);
  } else {
    std::invoke_result_t<F> result{};
    detail::gc::while_idle(*m, [&] { result = std::forward<F>(f)(); });
    detail::gc::poll(*m);
    return result;
  }
}

/// Keeps a pointer's object alive up to this point, whatever the compiler makes of the pointer before.
template <class T>
TERN_ALWAYS_INLINE void keep_alive(T* const& p) noexcept {
  asm volatile("" ::"r"(p) : "memory");
}

/// Counts since the start of the process; bytes and nanoseconds. Allocation is counted in runs of cells when a mutator takes them.
struct statistics {
  std::uint64_t cycles = 0;
  std::uint64_t rounds = 0;
  std::uint64_t mark_ns = 0;
  std::uint64_t sweep_ns = 0;
  std::uint64_t handshakes = 0;
  std::uint64_t handshake_ns = 0;
  std::uint64_t handshake_p50_ns = 0;  ///< request to last acknowledgement
  std::uint64_t handshake_p99_ns = 0;
  std::uint64_t handshake_max_ns = 0;
  std::uint64_t interruptions = 0;  ///< acknowledgements by signal, of threads and fibers that computed
  std::uint64_t stack_scans = 0;
  std::uint64_t stack_scan_max_ns = 0;
  std::uint64_t assists = 0;
  std::uint64_t assist_max_ns = 0;
  std::uint64_t brakes = 0;  ///< short sleeps of an allocating thread, because the marker was outrun
  std::uint64_t collector_ns =
      0;  ///< marking and sweeping by the collector's thread, assists, and what brakes kept from the program
  std::uint64_t limit_releases =
      0;  ///< times that the soft limit gave way, since the collector had taken more than half of the CPU
  std::uint64_t allocated_bytes = 0;
  std::uint64_t freed_bytes = 0;
  std::uint64_t destroyed = 0;     ///< destructors run
  std::uint64_t live_bytes = 0;    ///< after the last cycle
  std::uint64_t live_objects = 0;  ///< marked in the last cycle
  std::uint64_t heap_bytes = 0;    ///< live then, plus allocated since
  std::uint64_t goal_bytes = 0;
  std::uint64_t trigger_bytes = 0;
  std::uint64_t mapped_bytes = 0;  ///< of the reservation, in use or free
  std::uint64_t handles = 0;
  std::uint64_t weak_references = 0;
  std::uint64_t verified_cycles = 0;  ///< after which the verifier has looked
  std::uint64_t verified = 0;         ///< objects looked at by the verifier
  std::uint64_t lost =
      0;  ///< what it found missing: not 0 is a defect of the collector or a store without a barrier
  std::uint64_t suspects = 0;  ///< stack words that lead to dead objects; stale words count too
  std::uint64_t suspects_in_objects =
      0;  ///< the same for words of managed objects that their types do not name
  std::uint64_t suspects_in_blocks = 0;  ///< and of unmanaged memory: see testing::verify_unmanaged_memory
  std::uint64_t rescued =
      0;  ///< objects that were kept only by a store into a waiting fiber's frame: forbidden, see gc/README.md
};

inline statistics read_statistics() noexcept {
  namespace internal = detail::gc;
  using detail::memory_order_relaxed;
  const internal::gc_counters& c = internal::state.counters;
  // relaxed, all: figures of slightly different moments.
  const auto get = [](const detail::atomic<std::uint64_t>& v) noexcept {
    return v.load(memory_order_relaxed);
  };
  statistics s;
  s.cycles = get(c.cycles);
  s.rounds = get(c.rounds);
  s.mark_ns = get(c.mark_ns);
  s.sweep_ns = get(c.sweep_ns);
  s.handshakes = get(c.handshakes);
  s.handshake_ns = get(c.handshake_ns);
  s.handshake_p50_ns = internal::handshakes.percentile(0.5);
  s.handshake_p99_ns = internal::handshakes.percentile(0.99);
  s.handshake_max_ns = get(c.handshake_max_ns);
  s.interruptions = get(c.interruptions);
  s.stack_scans = get(c.stack_scans);
  s.stack_scan_max_ns = get(c.stack_scan_max_ns);
  s.assists = get(c.assists);
  s.assist_max_ns = get(c.assist_max_ns);
  s.brakes = get(c.brakes);
  s.allocated_bytes = get(c.allocated_bytes);
  s.freed_bytes = get(c.freed_bytes);
  s.destroyed = get(c.destroyed);
  s.live_bytes = get(c.live_bytes);
  s.live_objects = get(c.live_objects);
  s.heap_bytes = internal::state.heap_bytes.load(memory_order_relaxed);
  {
    detail::lock_scope hold{internal::state.pacer_lock};
    s.goal_bytes = internal::state.pace.goal();
    s.trigger_bytes = internal::state.pace.trigger();
    s.collector_ns = static_cast<std::uint64_t>(internal::state.cap.taken());
    s.limit_releases = internal::state.cap.times();
  }
  s.mapped_bytes = internal::pages.statistics().mapped;
  s.handles = internal::handle_slots.used();
  s.weak_references = internal::weak_slots.used();
  s.verified_cycles = get(c.verified_cycles);
  s.verified = get(c.verified);
  s.lost = get(c.lost);
  s.suspects = get(c.suspects);
  s.suspects_in_objects = get(c.suspects_in_objects);
  s.suspects_in_blocks = get(c.suspects_in_blocks);
  s.rescued = get(c.rescued);
  return s;
}

/// One line for each group of figures.
inline std::string to_string(const statistics& s) {
  char text[1024];
  std::snprintf(
      text, sizeof text,
      "gc: cycles=%" PRIu64 " rounds=%" PRIu64
      " mark=%.3fms sweep=%.3fms\n"
      "gc: live=%" PRIu64 " heap=%" PRIu64 " goal=%" PRIu64 " trigger=%" PRIu64 " mapped=%" PRIu64
      " objects=%" PRIu64
      "\n"
      "gc: allocated=%" PRIu64 " freed=%" PRIu64 " destroyed=%" PRIu64 " handles=%" PRIu64 " weak=%" PRIu64
      "\n"
      "gc: handshakes=%" PRIu64 " mean=%.3fus p50=%.3fus p99=%.3fus max=%.3fus interruptions=%" PRIu64
      " stack_scans=%" PRIu64 " max=%.3fus assists=%" PRIu64 " max=%.3fus brakes=%" PRIu64
      " collector=%.3fms limit_releases=%" PRIu64 "\n",
      s.cycles, s.rounds, static_cast<double>(s.mark_ns) / 1e6, static_cast<double>(s.sweep_ns) / 1e6,
      s.live_bytes, s.heap_bytes, s.goal_bytes, s.trigger_bytes, s.mapped_bytes, s.live_objects,
      s.allocated_bytes, s.freed_bytes, s.destroyed, s.handles, s.weak_references, s.handshakes,
      s.handshakes == 0 ? 0.0 : static_cast<double>(s.handshake_ns) / 1e3 / static_cast<double>(s.handshakes),
      static_cast<double>(s.handshake_p50_ns) / 1e3, static_cast<double>(s.handshake_p99_ns) / 1e3,
      static_cast<double>(s.handshake_max_ns) / 1e3, s.interruptions, s.stack_scans,
      static_cast<double>(s.stack_scan_max_ns) / 1e3, s.assists, static_cast<double>(s.assist_max_ns) / 1e3,
      s.brakes, static_cast<double>(s.collector_ns) / 1e6, s.limit_releases);
  return text;
}

/// For tests of programs and of the collector itself.
namespace testing {

/// Stops the world at the end of each cycle's marking and compares (verifier.hpp). Results are in statistics. Words of managed objects that
/// their types do not name, and that are the address of an object which the cycle found dead, have a line each on stderr, up to some.
inline void verify_each_cycle(bool on) noexcept {
  detail::gc::testing.verify_each_cycle.store(on, detail::memory_order_relaxed);
}
/// Where each cycle is verified: also looks through what tern::allocate and its kin have handed out, for addresses of dead objects. Such
/// memory is no root: a line says that one was kept where the collector does not look, or that a word is stale. Takes a look at each word.
inline void verify_unmanaged_memory(bool on) noexcept {
  detail::gc::testing.verify_unmanaged_memory.store(on, detail::memory_order_relaxed);
}
/// Fills the bytes of dead objects, so that a use of one shows. Before the first object is made.
inline void poison_freed(bool on) noexcept {
  detail::gc::testing.poison_freed.store(on, detail::memory_order_relaxed);
}

}  // namespace testing
}  // namespace gc

namespace detail::gc {

TERN_COLD inline void collector::report() noexcept {
  gc_counters& c = state.counters;
  const os::nanoseconds end = os::now();
  const std::uint64_t objects = state.marked.load(memory_order_relaxed) - state.marked_objects_at_start;
  bump(c.cycles);
  bump(c.rounds, rounds_);
  bump(c.rescued, rescued_);
  bump(c.mark_ns, static_cast<std::uint64_t>(mark_end_ - cycle_begin_));
  bump(c.sweep_ns, static_cast<std::uint64_t>(end - mark_end_));
  c.live_bytes.store(live_, memory_order_relaxed);  // relaxed, both: statistics
  c.live_objects.store(objects, memory_order_relaxed);
  if (!is_traced()) return;
  name_interrupted();
  if (rescued_ != 0)
    std::fprintf(
        stderr,
        "gc: %" PRIu64
        " objects only a waiting fiber's frame led to, by a store through a reference into it: make that a "
        "gc::member or a gc::handle\n",
        rescued_);
  std::fprintf(stderr,
               "gc %" PRIu64 ": mark %.3f ms, sweep %.3f ms, %u rounds, %" PRIu64
               " objects marked, heap %zu -> %zu KiB, goal %zu KiB%s, "
               "handshake max %.1f us, p50 %.1f us, p99 %.1f us, assists %" PRIu64 "\n",
               state.started.load(memory_order_relaxed), static_cast<double>(mark_end_ - cycle_begin_) / 1e6,
               static_cast<double>(end - mark_end_) / 1e6, rounds_, objects, heap_before_ >> 10, live_ >> 10,
               goal_ >> 10, gave_way_ ? " (the soft limit gives way)" : "",
               static_cast<double>(c.handshake_max_ns.load(memory_order_relaxed)) / 1e3,
               static_cast<double>(handshakes.percentile(0.5)) / 1e3,
               static_cast<double>(handshakes.percentile(0.99)) / 1e3, c.assists.load(memory_order_relaxed));
}

}  // namespace detail::gc
}  // namespace tern::inline v1

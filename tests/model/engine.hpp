// Stateless model checker: runs real code under every interleaving of its threads up to a bound on preemptions.
//
// Context     How to write a model: README.md. model_atomics.hpp is the policy that the code under test takes; mutation.hpp breaks that code.
// Structure   Threads are coroutines; one runs at a time, on the thread that called check(). Before each operation on a
//             model atomic the running thread asks point() who goes next; a choice is one index into the runnable threads.
// Protocol    1. An execution follows the recorded choices, then takes choice 0 (go on with the same thread).
//             2. At its end the last choice that has an untried alternative is advanced, what follows it is dropped.
//             3. None left: the bound is exhausted. Bounds are raised one by one, so that a failure is found with few switches.
// Invariants  I1 an execution depends on its choices alone (a differing number of alternatives is reported).
// Ordering    Values are sequentially consistent, except that a store weaker than seq_cst may be kept back (options::store_delays)
//             until its thread's next release or seq_cst read-modify-write, seq_cst store, system call or end: that shows a missing
//             StoreLoad. A relaxed one may pass those (options::store_passes), as on ARM64. Happens-before follows the *declared* orders, by
//             vector clocks: a race on a model_var that only sequential consistency hides is reported.
// Rejected    Real threads run one at a time: two kernel switches per step. State hashing: the state is the real code's stacks.
// Limits      7 threads, atomics of at most 8 bytes, no weak reordering of loads. A weak CAS does not fail spuriously.
// References  Musuvathi, Qadeer, CHESS: iterative context bounding, 2007; Flanagan, Freund, FastTrack, 2009; tokio's loom.
#pragma once

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "coroutine.hpp"
#include "search_path.hpp"
#include "trace.hpp"
#include "types.hpp"

namespace tern_model {

class checker;
inline checker* active = nullptr;  // the checker whose model runs now

class thread_list;

class checker {
 public:
  explicit checker(options o) : options_{std::move(o)} {
    if (const char* text = std::getenv("TERN_MODEL_REPLAY"); text != nullptr && options_.replay.empty()) {
      options_.replay = text;
    }
  }

  void set_mutation(const mutation* m) noexcept { mutation_ = m; }
  void collect_sites(std::vector<seen_site>* to) noexcept { sites_ = to; }

  /// Explores Model. Not reentrant.
  template <class Model>
  result check();

  // --- the side of the code under test -------------------------------------------------------------------------------

  std::uint64_t load(location& l, memory_order o, const site& s) {
    o = at_site("load", o, s);
    point();
    std::uint64_t bits = l.bits;
    if (const delayed_store* own = self().delayed.find(l); own != nullptr)
      bits = own->bits;  // a thread sees its own stores
    else if (acquires(o))
      self().now.join(l.released);
    if (logging_) log("load", &l, bits, o, s);
    return bits;
  }

  void store(location& l, std::uint64_t bits, memory_order o, const site& s) {
    o = at_site("store", o, s);
    point();
    if (logging_) log("store", &l, bits, o, s);
    if (is_mutated(change::drop, s)) return;
    const bool may_delay = o != memory_order_seq_cst && running_ != main_thread;
    const bool may_pass = may_delay && !releases(o) && passes_ < options_.store_passes &&
                          !self().delayed.empty() && self().delayed.find(l) == nullptr;
    if (may_pass && choose(2) == 1) {
      ++passes_;
      if (logging_) note("  (passes what is kept back)");
    } else if (may_delay && (!self().delayed.empty() || delays_ < options_.store_delays)) {
      const bool delay = !self().delayed.empty() || choose(2) == 1;
      if (delay) {
        if (self().delayed.empty()) ++delays_;
        if (logging_) note("  (kept back)");
        self().delayed.push_back({&l, bits, releases(o), self().now});
        tick();
        return;
      }
    }
    if (o == memory_order_seq_cst) flush();
    commit(l, bits, releases(o), self().now);
    tick();
  }

  // fn(old) -> {new value, whether to write}
  template <class Fn>
  std::uint64_t modify(location& l, memory_order o, memory_order failure, const char* name, const site& s,
                       Fn&& fn) {
    o = at_site(name, o, s);
    if (is_mutated(change::weaken, s)) failure = memory_order_relaxed;
    point();
    if (is_mutated(change::drop, s)) {
      if (logging_) log("(dropped)", &l, l.bits, o, s);
      return l.bits;
    }
    releases(o) ? flush() : flush(&l);
    const std::uint64_t old = l.bits;
    if (is_mutated(change::tear, s)) {
      if (logging_) log("(torn) load of", &l, old, o, s);
      point();
    }
    const auto [bits, write] = fn(old);
    if (acquires(write ? o : failure)) self().now.join(l.released);
    if (write) {
      // A read-modify-write continues the release sequence that it takes part in, whatever its own order is.
      if (releases(o)) l.released.join(self().now);
      set_bits(l, bits);
      tick();
    }
    if (logging_) log(name, &l, bits, write ? o : failure, s, write ? nullptr : " (failed)");
    return old;
  }

  void pause() {
    thread& t = self();
    if (running_ == main_thread) return;
    count_step();
    flush();
    t.paused = true;
    t.pause_version = t.iteration_version;
    if (logging_) note("pause");
    hand_over(/*may_continue=*/true, /*yielding=*/true);
  }

  // False if the wait timed out.
  bool futex_wait(location& l, std::uint32_t expected, bool timed, const site& s) {
    point();
    flush();
    if (static_cast<std::uint32_t>(l.bits) != expected) {
      if (logging_) log("futex_wait (value differs)", &l, l.bits, memory_order_relaxed, s);
      return true;
    }
    if (logging_)
      log(timed ? "futex_wait (timed) sleeps" : "futex_wait sleeps", &l, l.bits, memory_order_relaxed, s);
    return block(&l, timed, /*may_be_spurious=*/true, "a futex");
  }

  void futex_wake(location& l, unsigned count, const site& s) {
    point();
    flush();
    unsigned woken = 0;
    while (woken < count && unblock_one(&l)) ++woken;
    if (logging_) log("futex_wake: woken", &l, woken, memory_order_relaxed, s);
  }

  // A primitive mutex, for code under test whose lock is not what is checked.
  void mutex_lock(location& l, const site& s) {
    point();
    flush();
    while (l.bits != 0) (void)block(&l, false, false, "a mutex");
    set_bits(l, 1);
    self().now.join(l.released);
    if (logging_) log("mutex lock", &l, 1, memory_order_acquire, s);
  }
  bool mutex_try_lock(location& l, const site& s) {
    point();
    flush();
    const bool got = l.bits == 0;
    if (got) set_bits(l, 1), self().now.join(l.released);
    if (logging_) log("mutex try_lock", &l, got ? 1 : 0, memory_order_acquire, s);
    return got;
  }
  void mutex_unlock(location& l, const site& s) {
    point();
    flush();
    if (l.bits != 1) fail("unlock of a mutex that is not locked", s);
    set_bits(l, 0);
    l.released.join(self().now);
    tick();
    while (unblock_one(&l)) {
    }
    if (logging_) log("mutex unlock", &l, 0, memory_order_release, s);
  }

  // Plain data: not a scheduling point (where there is no race, no interleaving of plain accesses can be told apart).
  void plain_read(access_history& h, const site& s) {
    if (h.write_at > self().now.at[h.writer])
      fail("data race: read not ordered after the write of ", h.writer, s);
    h.reads.at[running_] = self().now.at[running_];
  }
  void plain_write(access_history& h, const site& s) {
    if (h.write_at > self().now.at[h.writer])
      fail("data race: write not ordered after the write of ", h.writer, s);
    for (unsigned i = 0; i <= max_threads; ++i) {
      if (h.reads.at[i] > self().now.at[i]) fail("data race: write not ordered after the read of ", i, s);
    }
    h.writer = running_;
    h.write_at = self().now.at[running_];
  }

  [[noreturn]] void fail(const char* message, const site& s) {
    set_message(std::string{message} + "  [" + where(s) + "]");
    abandon();
  }
  void name(const void* p, const char* text) {
    if (logging_) trace_.name(p, text);
  }
  void note(const char* text) {
    if (logging_) trace_.note(label(running_), text);
  }
  [[nodiscard]] bool logging() const noexcept { return logging_; }
  [[nodiscard]] unsigned running() const noexcept { return running_; }

 private:
  friend void barrier_in_every_thread();
  friend class thread_list;
  enum class state : std::uint8_t { unused, runnable, blocked, finished };

  struct thread {
    coroutine context{};
    state status = state::unused;
    bool paused = false;
    bool timed = false;
    bool timed_out = false;
    bool may_be_spurious = false;
    const void* waits_for = nullptr;
    const char* waits_what = "";
    std::uint64_t queue_position = 0;
    std::uint64_t pause_version = 0;
    std::uint64_t iteration_version = 0;
    clock now{};
    store_buffer delayed{};
    std::function<void()> body{};
    std::string name{};
  };

  static constexpr const char* not_deterministic =
      "the model is not deterministic: the same choices led elsewhere";

  thread& self() noexcept { return threads_[running_]; }
  void tick() noexcept { ++self().now.at[running_]; }

  // A change of the world is what a spinning thread waits for.
  void set_bits(location& l, std::uint64_t bits) noexcept {
    version_ += l.bits != bits ? 1U : 0U;
    l.bits = bits;
  }
  void commit(location& l, std::uint64_t bits, bool release, const clock& at) noexcept {
    set_bits(l, bits);
    l.released = release ? at : clock{};  // a plain store ends the release sequence
  }
  // Makes the kept-back stores visible, in order: all, or none if `only` is given and not among them.
  void flush(const location* only = nullptr) {
    thread& t = self();
    if (t.delayed.empty()) return;
    if (only != nullptr && t.delayed.find(*only) == nullptr) return;
    point();  // others may run between the thread's last operation and this
    for (const delayed_store& d : t.delayed) commit(*d.where, d.bits, d.release, d.at);
    t.delayed.clear();
    if (logging_) note("  (kept-back stores become visible)");
  }

  bool is_mutated(change kind, const site& s) const noexcept {
    return mutation_ != nullptr && mutation_->kind == kind && mutation_->line == s.line() &&
           mutation_->column == s.column() && std::strcmp(mutation_->file, s.file_name()) == 0;
  }
  memory_order at_site(const char* operation, memory_order o, const site& s) {
    if (sites_ != nullptr) see(operation, o, s);
    if (mutation_ == nullptr) return o;
    if (is_mutated(change::weaken, s)) return memory_order_relaxed;
    if (o == memory_order_seq_cst && is_mutated(change::weaken_seq_cst, s)) {
      return operation[0] == 'l'   ? memory_order_acquire
             : operation[0] == 's' ? memory_order_release
                                   : memory_order_acq_rel;
    }
    return o;
  }
  void see(const char* operation, memory_order o, const site& s) {
    for (const seen_site& x : *sites_) {
      if (x.where.line() == s.line() && x.where.column() == s.column() &&
          std::strcmp(x.where.file_name(), s.file_name()) == 0) {
        return;
      }
    }
    sites_->push_back({s, operation, o});
  }

  // --- scheduling ----------------------------------------------------------------------------------------------------

  void count_step() {
    if (++steps_ <= options_.max_steps) return;
    set_message("livelock: more than " + std::to_string(options_.max_steps) + " steps");
    abandon();
  }

  void point() {
    if (running_ == main_thread) return;
    count_step();
    hand_over(/*may_continue=*/true, /*yielding=*/false);
  }

  bool can_run(const thread& t) const noexcept {
    return t.status == state::runnable && !(t.paused && t.pause_version == version_);
  }
  // A sleeper that may return although nobody woke it, as long as the budgets last.
  bool may_give_up(const thread& t) const noexcept {
    return t.status == state::blocked && ((t.timed && timeouts_ < options_.timeouts) ||
                                          (t.may_be_spurious && spurious_ < options_.spurious_wakes));
  }

  // Chooses who runs next, and switches. Returns when the calling thread has been chosen (again).
  void hand_over(bool may_continue, bool yielding) {
    std::array<std::uint8_t, max_threads + 1> candidates;
    std::uint8_t n = 0;
    if (may_continue && !yielding) candidates[n++] = static_cast<std::uint8_t>(running_);
    const bool may_switch = !may_continue || yielding || preemptions_ < bound_;
    if (may_switch) {
      for (unsigned k = 1; k <= thread_count_; ++k) {
        const unsigned i = (running_ + k) % thread_count_;
        if (i == running_ && running_ != main_thread) continue;
        if (can_run(threads_[i]) || may_give_up(threads_[i])) candidates[n++] = static_cast<std::uint8_t>(i);
      }
    }
    // To spin on while others could run costs as much as to preempt.
    const bool spin_on = yielding && (n == 0 || (preemptions_ < bound_ && can_run(self())));
    if (spin_on) candidates[n++] = static_cast<std::uint8_t>(running_);
    if (n == 0) n = last_resort(candidates);
    if (n == 0) return finish_execution();

    const unsigned index = choose(n);
    const unsigned next = candidates[index];
    if (may_continue && !yielding && next != running_) ++preemptions_;
    if (yielding && next == running_ && n > 1) ++preemptions_;
    resume(next);
  }

  // Nobody can run: time passes for a sleeper with a deadline, or one that spins looks again; in a fixed order.
  std::uint8_t last_resort(std::array<std::uint8_t, max_threads + 1>& candidates) {
    for (unsigned pass = 0; pass < 2; ++pass) {
      for (unsigned k = 1; k <= thread_count_; ++k) {
        const unsigned i = (running_ + k) % thread_count_;
        const thread& t = threads_[i];
        if ((pass == 0 && t.status == state::runnable) ||
            (pass == 1 && t.status == state::blocked && t.timed)) {
          candidates[0] = static_cast<std::uint8_t>(i);
          return 1;
        }
      }
    }
    return 0;
  }

  void finish_execution() {
    if (describe_deadlock()) abandon();
    switch_to(main_thread);
  }
  bool describe_deadlock() {
    std::string waiting;
    for (unsigned i = 0; i < thread_count_; ++i) {
      if (threads_[i].status != state::finished)
        waiting += " " + label(i) + " waits for " + threads_[i].waits_what + ";";
    }
    if (!waiting.empty()) set_message("deadlock:" + waiting);
    return !waiting.empty();
  }

  void resume(unsigned next) {
    thread& t = threads_[next];
    if (t.status == state::blocked) {  // chosen although nobody woke it
      const bool by_time = t.timed && (timeouts_ < options_.timeouts || !t.may_be_spurious ||
                                       spurious_ >= options_.spurious_wakes);
      ++(by_time ? timeouts_ : spurious_);
      t.timed_out = by_time;
      t.status = state::runnable;
    }
    t.paused = false;
    t.iteration_version = version_;
    switch_to(next);
  }

  void switch_to(unsigned next) {
    if (next == running_) return;
    const unsigned previous = running_;
    running_ = next;
    coroutine::switch_to(threads_[previous].context, threads_[next].context);
  }

  bool block(const void* key, bool timed, bool may_be_spurious, const char* what) {
    thread& t = self();
    if (running_ == main_thread) fail_plain("the model's constructor or finally() would block");
    t.status = state::blocked;
    t.waits_for = key;
    t.waits_what = what;
    t.timed = timed;
    t.timed_out = false;
    t.may_be_spurious = may_be_spurious;
    t.queue_position = ++queue_clock_;
    hand_over(/*may_continue=*/false, /*yielding=*/false);
    t.waits_for = nullptr;
    if (logging_) note(t.timed_out ? "wakes (time is up)" : "wakes");
    return !t.timed_out;
  }
  // Sleepers are woken in the order in which they went to sleep.
  bool unblock_one(const void* key) {
    thread* first = nullptr;
    for (unsigned i = 0; i < thread_count_; ++i) {
      thread& t = threads_[i];
      if (t.status == state::blocked && t.waits_for == key &&
          (first == nullptr || t.queue_position < first->queue_position)) {
        first = &t;
      }
    }
    if (first == nullptr) return false;
    first->status = state::runnable;
    first->waits_for = nullptr;
    return true;
  }

  unsigned choose(unsigned n) {
    const unsigned taken = path_.choose(n);
    if (taken == search_path::not_deterministic) fail_plain(not_deterministic);
    return taken;
  }

  // --- failing and telling -------------------------------------------------------------------------------------------

  [[noreturn]] void fail(const char* message, unsigned other, const site& s) {
    set_message(message + label(other) + "  [" + where(s) + "]");
    abandon();
  }
  void set_message(const std::string& message) { message_ = label(running_) + ": " + message; }
  [[noreturn]] void fail_plain(const char* message) {
    set_message(message);
    abandon();
  }
  // The code under test is noexcept: its stacks are abandoned, not unwound. Nothing on them may own memory by then.
  [[noreturn]] void abandon() {
    failed_ = true;
    for (;;) coroutine::switch_to(threads_[running_].context, explorer_);
  }

  std::string label(unsigned i) const { return i == main_thread ? std::string{"main"} : threads_[i].name; }
  void log(const char* operation, const location* l, std::uint64_t bits, memory_order o, const site& s,
           const char* suffix = nullptr) {
    trace_.line(label(running_), operation, l, bits, o, s, suffix);
  }

  static void on_abort(int) {
    if (active == nullptr) return;
    active->aborted_ = true;  // the words are put together on the explorer's stack: this is a signal handler
    active->abandon();
  }

  // --- one execution -------------------------------------------------------------------------------------------------

  static void thread_entry() {
    for (;;) {
      checker& c = *active;
      thread& t = c.self();
      t.body();
      c.flush();
      c.tick();
      t.status = state::finished;
      if (c.logging_) c.note("ends");
      c.hand_over(/*may_continue=*/false, /*yielding=*/false);
    }
  }
  static void main_entry() {
    for (;;) {
      checker& c = *active;
      c.run_model_();
      coroutine::switch_to(c.threads_[main_thread].context, c.explorer_);
    }
  }

  void run_threads() {
    tick();  // what the constructor wrote is ordered before all threads
    for (unsigned i = 0; i < thread_count_; ++i) threads_[i].now.join(threads_[main_thread].now);
    if (thread_count_ != 0) hand_over(/*may_continue=*/false, /*yielding=*/false);
    for (unsigned i = 0; i < thread_count_; ++i) threads_[main_thread].now.join(threads_[i].now);
  }

  void add_thread(std::string name, std::function<void()> body) {
    if (thread_count_ == max_threads) fail_plain("a model has at most 7 threads");
    thread& t = threads_[thread_count_++];
    t.status = state::runnable;
    t.name = std::move(name);
    t.body = std::move(body);
    t.now.at[thread_count_ - 1] = 1;
  }

  void run_once() {
    for (thread& t : threads_) {
      t.status = state::unused;
      t.paused = false;
      t.waits_for = nullptr;
      t.now = clock{};
      t.delayed.clear();
      t.iteration_version = ~std::uint64_t{0};
    }
    threads_[main_thread].now.at[main_thread] = 1;
    thread_count_ = 0;
    running_ = main_thread;
    path_.rewind();
    steps_ = 0;
    preemptions_ = delays_ = passes_ = timeouts_ = spurious_ = 0;
    version_ = queue_clock_ = 0;
    coroutine::switch_to(explorer_, threads_[main_thread].context);
    if (aborted_) set_message("the code under test called abort(): a broken assertion, see stderr");
    aborted_ = false;
    if (!failed_ && !path_.is_at_end()) {
      failed_ = true;
      set_message(not_deterministic);
    }
  }

  void start_contexts() {
    for (unsigned i = 0; i < max_threads; ++i) threads_[i].context.start(&checker::thread_entry);
    threads_[main_thread].context.start(&checker::main_entry);
  }

  void explore(result& r) {
    // Processor time: a loaded machine must not change what is explored.
    const std::clock_t begin = std::clock();
    const auto elapsed = [&] { return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC; };
    start_contexts();
    bool out_of_budget = false;
    const bool replaying = !options_.replay.empty();
    for (bound_ = replaying ? options_.preemptions : 0; bound_ <= options_.preemptions && !out_of_budget;
         ++bound_) {
      path_.clear();
      if (replaying) bound_ = path_.read(options_.replay);
      do {
        run_once();
        ++r.schedules;
        out_of_budget = r.schedules >= options_.max_schedules ||
                        ((r.schedules & 1023) == 0 && elapsed() > options_.max_seconds);
      } while (!failed_ && !out_of_budget && !replaying && path_.advance());
      if (failed_) break;
    }
    r.complete = !failed_ && !out_of_budget && !replaying;
    if (failed_) {
      r.failed = true;
      r.message = message_;
      r.schedule = path_.write(bound_);
      r.trace = trace_of_failure();
    }
    r.seconds = elapsed();
  }

  // The failing schedule once more, with a log.
  std::string trace_of_failure() {
    failed_ = false;
    logging_ = true;
    trace_.clear();
    path_.cut();
    start_contexts();
    run_once();
    logging_ = false;
    if (!failed_)
      return "(the failure did not come back: the model depends on something besides its schedule)\n" +
             trace_.text();
    return trace_.text() + "  " + message_ + "\n";
  }

  options options_;
  const mutation* mutation_ = nullptr;
  std::vector<seen_site>* sites_ = nullptr;

  std::array<thread, max_threads + 1> threads_{};
  coroutine explorer_{};
  std::function<void()> run_model_{};
  unsigned thread_count_ = 0;
  unsigned running_ = main_thread;

  search_path path_{};
  unsigned bound_ = 0;
  unsigned steps_ = 0;
  unsigned preemptions_ = 0;
  unsigned delays_ = 0;
  unsigned passes_ = 0;
  unsigned timeouts_ = 0;
  unsigned spurious_ = 0;
  std::uint64_t version_ = 0;
  std::uint64_t queue_clock_ = 0;
  bool failed_ = false;
  bool aborted_ = false;
  bool logging_ = false;
  std::string message_{};
  trace trace_{};
};

}  // namespace tern_model

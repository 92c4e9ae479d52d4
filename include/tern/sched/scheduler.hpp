// Scheduler: one runtime's processors, workers and queues, and the slow paths that move a processor from one worker to another.
//
// Context     dispatch.hpp switches between fibers on one worker; this file decides which worker runs which processor;
//             worker_loop.hpp is what a worker does between fibers; monitor.hpp watches.
// Structure   processors_[0 .. regular) are the regular ones, of which [0 .. count) are in use; behind them up to `max_extra` that the
//             monitor adds. All exist from the start; a processor gets its first worker (thread) when work first needs it.
//             A worker either holds a processor, sleeps with one (idle), lent one (tern::blocking), or is spare.
// Protocol    Wake: idle_set gives a sleeping processor. Its own worker is signalled; where it has none, a spare or new one.
//             Only lent ones left: a spare is sent to look (spares_waking_ admits one at a time). On arrival it adopts a lent
//             processor if there is work; a worker that has come back from its blocking call meanwhile has reclaimed it.
//             How many are in use: processor_count.hpp.
// Invariants  I1 a processor is run by one worker: whoever took it out of the idle set hands it over through `assigned` and a signal.
//             I2 a submit with an idle or lent processor about ends in a wake, a searcher, or a spare under way that rescans.
//             I3 a processor that is not in use is `unused` and outside the idle set, has no worker and nothing in its queues and heap.
//             I4 processor 0 is always in use: a wait's timer moves at most once, to there (park_until() relies on it).
#pragma once

#include <sys/auxv.h>

#include <cstddef>
#include <cstdint>
#include <system_error>

#include <tern/base/atomic.hpp>
#include <tern/base/function_ref.hpp>
#include <tern/ds/inject_queue.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/binding.hpp>
#include <tern/os/futex.hpp>
#include <tern/os/thread.hpp>
#include <tern/sched/blocking_gate.hpp>
#include <tern/sched/idle.hpp>
#include <tern/sched/park.hpp>
#include <tern/sched/poll_role.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/stack_guard.hpp>
#include <tern/sched/stack_pool.hpp>

namespace tern::inline v1 {

/// What the runtime does when all fibers wait and nothing can wake them.
enum class deadlock_policy : std::uint8_t {
  automatic,  ///< reports and ends the process if no foreign thread is in it, else warns once
  fatal,      ///< reports and ends the process
  warn,       ///< reports once
  ignore,
};

/// Options of a runtime. 0 means: the default.
struct runtime_options {
  unsigned processors =
      0;  ///< how many fibers run at the same time; default: the CPUs that the process may use
  unsigned max_processors =
      0;  ///< up to how many runtime::set_processors may go; default: as many as processors, or as CPUs where it is automatic
  bool automatic_processors =
      false;  ///< the monitor adds processors while work waits, and takes away those that have long been idle; see load_watch.hpp
  std::size_t stack_size =
      0;  ///< bytes of a fiber's slot, 16 KiB to 8 MiB, rounded up to a power of two; default 64 KiB
  const char* name = nullptr;  ///< of the worker threads, at most 10 characters; default "tern"
  unsigned max_extra_processors =
      0;  ///< that the monitor may add while fibers hog theirs; default: as many as processors
  unsigned max_workers =
      0;  ///< threads that run fibers or are inside tern::blocking, at least processors + extra ones + 2; default: 512 above that. Calls
          ///< of tern::blocking that find no thread left wait their turn, first come, first served
  deadlock_policy on_deadlock = deadlock_policy::automatic;
  unsigned suspect_after_seconds =
      0;  ///< of one wait, after which a dump calls the fiber a suspected leak; default 60
  bool dump_on_sigquit =
      false;  ///< SIGQUIT (Ctrl-\) writes all fibers to stderr; the process goes on. See README
  /// A promise without which tiny fibers are refused on every known machine: the program's handlers of faults, SIGABRT,
  /// SIGPROF and SIGURG, which may interrupt a worker, have SA_ONSTACK, and nobody calls setuid() or its kin. See README.
  bool signals_on_alternate_stack = false;
};

/// The status with which a deadlocked process ends.
inline constexpr int deadlock_exit_status = 97;

}  // namespace tern::inline v1

namespace tern::inline v1::detail {

inline constexpr unsigned max_processors = 256;
inline constexpr unsigned default_blocking_limit = 512;  // fibers inside tern::blocking at a time

class scheduler;
void drop_trace_buffer(trace_buffer*& b) noexcept;  // trace.hpp

// All runtimes of the process. The lock also covers the installation of collector hooks, and processors come and go under it.
struct scheduler_registry {
  spin_lock<> lock;
  scheduler* first = nullptr;        // lock
  bool wakes_are_traced = false;     // lock; trace.hpp
  atomic<std::uint64_t> next_id{1};  // fiber ids
  atomic<int> runtime_threads{0};    // workers and monitors of all runtimes
  atomic<int> parked_threads{0};     // plain threads that wait in park() without a deadline
};
inline constinit scheduler_registry schedulers;

class scheduler {
 public:
  explicit scheduler(const runtime_options& o);
  ~scheduler();
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;

  // ---- work ----

  // Makes a fiber runnable from a thread that holds no processor of this runtime.
  void inject(fiber& f) noexcept {
    if (TERN_UNLIKELY(dead_)) dead_fatal();
    // f may run and end at once, and its runtime with it: the destructor waits for us. relaxed: the queue's lock publishes it.
    injecting_.fetch_add(1, memory_order_relaxed);
    inject_.push(&f);
    work_published();
    injecting_.fetch_sub(1, memory_order_release);  // pairs-with: wait_until_empty()
  }
  // The same for a task.
  void inject_task(task_node& n) noexcept {
    if (TERN_UNLIKELY(dead_)) dead_fatal();
    injecting_.fetch_add(1, memory_order_relaxed);  // relaxed: as in inject()
    task_inject_.push(&n);
    work_published();
    injecting_.fetch_sub(1, memory_order_release);  // pairs-with: wait_until_empty()
  }
  // After any publication of work that another processor could run.
  TERN_ALWAYS_INLINE void work_published() noexcept {
    if (TERN_UNLIKELY(idle_.should_wake())) wake_slow();
  }
  void wake_slow() noexcept;

  // True if a queue holds work that a searcher could take now. `adopting` also counts what only its own processor's next
  // runner finds: timers of lent ones.
  bool any_work(bool adopting) noexcept;
  bool any_injected() noexcept { return !inject_.is_empty() || !task_inject_.is_empty(); }

  // ---- workers ----

  static void* worker_entry(void* w);
  void run_worker(worker& w) noexcept;  // worker_loop.hpp
  static void* monitor_entry(void* s);
  void run_monitor() noexcept;  // monitor.hpp

  // A spare worker, else a new one; null when the system has no more threads, or options_ allows no more. workers.hpp
  worker* take_worker() noexcept;
  // Puts the calling worker on the spare list and sleeps until it is signalled. False: the runtime is stopping.
  bool wait_as_spare(worker& w) noexcept;
  // The same without fibers that are pinned to it.
  worker* take_unpinned_worker() noexcept;
  // w has pinned fibers to run. If it is a spare, it gets a processor.
  void want_processor(worker& w) noexcept;
  // Somebody wants a processor: whoever comes to its worker loop first hands one over.
  void serve_wanting() noexcept;
  // Owner of p, awake: w runs it from now on, the caller's worker no longer. worker_loop.hpp
  void pass_on(worker& from, worker& to, bool searching) noexcept;
  // True: p has gone to a worker that wants one.
  bool hand_over(worker& from, bool searching) noexcept;
  // Hands a processor, awake and searching, to a worker that is not running.
  void start(processor& p) noexcept;
  static void signal(worker& w) noexcept {
    // acq_rel: pairs with wait_for_signal() (else it reads an old `assigned`) and wait_in_poller().
    if (w.signal.exchange(worker::signalled, memory_order_acq_rel) == worker::polls)
      return interrupt_poller();
    os::futex_wake(w.signal, 1);
  }
  // False when the deadline has passed without a signal.
  static bool wait_for_signal(worker& w, os::nanoseconds deadline) noexcept {
    for (;;) {
      // acq_rel, as one operation: pairs with signal(); a second signal at the same time merges into this one, visible too.
      if (w.signal.exchange(0, memory_order_acq_rel) != 0) return true;
      if (!os::futex_wait(w.signal, 0, deadline)) return w.signal.exchange(0, memory_order_acq_rel) != 0;
    }
  }

  // ---- processors ----

  processor& at(std::uint32_t i) noexcept { return *processors_[i]; }
  bool open_next_slots() noexcept;  // monitor.hpp
  // All that exist, extra ones included.
  std::uint32_t slots() const noexcept { return regular_ + max_extra_; }
  // Those that are not extra.
  std::uint32_t regular() const noexcept { return regular_; }
  // The regular ones that are in use, or about to be. relaxed: whoever acts on it for good holds the registry's lock.
  std::uint32_t count() const noexcept { return count_.load(memory_order_relaxed); }
  static processor& of(idle_member& m) noexcept { return *element_of<processor>(&m, &processor::idle); }
  // The heap of an extra processor would be orphaned when it retires: its fibers use a regular one's.
  processor& timer_home(processor& p) noexcept { return p.extra ? at(p.index % count()) : p; }

  // A timer that now is p's earliest was put into its heap by another processor: its sleeping worker must look.
  TERN_COLD void recheck_sleeper(processor& p) noexcept {
    if (idle_.rouse(p.idle)) return start(p);
    // relaxed: a hint; a processor that is just being lent looks at its timers itself.
    if (p.state.load(memory_order_relaxed) == processor_state::lent) wake_slow();
  }

  // Starts every processor that sleeps or is lent, once.
  TERN_COLD void rouse_all() noexcept {
    for (std::uint32_t i = 0; i < slots(); ++i)
      if (idle_.rouse(at(i).idle)) start(at(i));
    for (std::uint32_t i = 0; i < slots(); ++i) {
      idle_member* m = idle_.adopt();
      if (m == nullptr) return;
      lent_.fetch_sub(1, memory_order_seq_cst);
      of(*m).runner = nullptr;  // the lender finds it gone and becomes a spare
      start(of(*m));
    }
  }

  // How many regular processors run fibers from now on. Any thread. Throws std::system_error (EINVAL) or std::bad_alloc; then nothing
  // has changed.
  void set_count(std::uint32_t n);
  // A processor that has been asked to retire: if it sleeps or is lent, a worker is made to run it, and so retires it.
  TERN_COLD void send_off(processor& p) noexcept {
    if (idle_.rouse(p.idle)) return start(p);
    if (!idle_.adopt(p.idle)) return;
    lent_.fetch_sub(1, memory_order_seq_cst);
    p.runner = nullptr;  // the lender finds it gone and becomes a spare
    start(p);
  }

  // Makes an unused extra processor run. For the monitor.
  bool add_extra() noexcept;
  // On its own worker, between fibers: gives everything away.
  void retire(worker& w) noexcept;

  // ---- slots ----

  stack_pool& pool() noexcept { return *pool_; }
  // The pool for `bytes` or tiny_request. Throws std::system_error, also where tiny slots are refused.
  stack_pool& pool_for(std::size_t bytes) const;
  void fill_slots(processor& p);
  void drain_slots(processor& p, std::uint32_t keep) noexcept;

  // ---- state ----

  struct live_counts {
    std::uint64_t fibers;
    std::uint64_t tasks;
  };
  live_counts live() noexcept;
  std::uint64_t live_fibers() noexcept { return live().fibers; }
  bool is_empty() noexcept {
    const live_counts n = live();
    return n.fibers == 0 && n.tasks == 0;
  }
  scheduler_statistics statistics();
  bool has_timers() noexcept {
    for (std::uint32_t i = 0; i < regular_; ++i)
      if (at(i).timers.earliest() != os::never) return true;
    return false;
  }
  void watch_deadlock(os::nanoseconds now) noexcept;  // deadlock.hpp; the monitor
  // All processors idle and nothing inside blocking: then only timers and foreign threads can move it.
  bool is_quiet() noexcept {
    return idle_.awake() == 0 && gate_.count() == 0 && !any_injected() &&
           spares_waking_.load(memory_order_seq_cst) == 0 && wanting_.load(memory_order_seq_cst) == 0;
  }
  // Called by a worker that has just entered the idle set.
  void notice_idle() noexcept {
    // pairs-with: the store in wait_until_empty(), which then looks at the idle set: one of the two sees the other.
    if (TERN_UNLIKELY(closing_.load(memory_order_seq_cst) != 0)) notice_idle_slow();
  }
  void notice_idle_slow() noexcept;
  // A processor has just become awake, or could not be woken.
  void notice_awake() noexcept {
    // seq_cst: pairs with the monitor's store, after which it looks at the idle set once more.
    if (TERN_UNLIKELY(monitor_sleeps_.load(memory_order_seq_cst) != 0)) wake_monitor();
  }
  TERN_COLD void wake_monitor() noexcept {
    if (monitor_sleeps_.exchange(0, memory_order_acq_rel) == 0) return;
    monitor_signal_.store(1, memory_order_release);  // pairs-with: run_monitor()
    os::futex_wake(monitor_signal_, 1);
  }
  void wait_until_empty() noexcept;
  // In a fork child, where the threads of this runtime do not exist.
  void mark_dead() noexcept {
    dead_ = true;
    gate_.set_limit(0);
    for (std::uint32_t i = 0; i < slots(); ++i) at(i).request.fetch_or(request_dead, memory_order_relaxed);
  }

  bool is_dead() const noexcept { return dead_; }
  const runtime_options& options() const noexcept { return options_; }
  // This runtime's fibers have ids from here on; those of runtimes that were gone before it began have lower ones.
  std::uint64_t first_id() const noexcept { return first_id_; }

  idle_set<> idle_;
  inject_queue<fiber, &fiber::next> inject_;
  inject_queue<task_node, &task_node::next> task_inject_;
  blocking_gate<> gate_;                       // how many are inside tern::blocking
  atomic<std::uint32_t> lent_{0};              // processors that may be adopted; a hint
  atomic<std::uint32_t> spares_waking_{0};     // 0 or 1: a spare is under way to look for lent processors
  atomic<std::uint32_t> wanting_{0};           // workers that want a processor for pinned fibers
  atomic<std::uint64_t> external_spawned_{0};  // fibers that came from threads without a processor
  atomic<std::uint64_t> external_tasks_{0};    // tasks that did
  atomic<std::uint64_t> extra_added_{0};
  atomic<std::uint32_t> extras_{0};  // extra processors in use; monitor and retiring workers
  atomic<std::uint32_t> stopping_{0};
  atomic<std::uint32_t> closing_{0};
  atomic<std::uint32_t> injecting_{0};       // threads inside inject()
  atomic<std::uint32_t> closed_signal_{0};   // futex word of wait_until_empty()
  atomic<std::uint32_t> monitor_signal_{0};  // futex word
  atomic<std::uint32_t> monitor_sleeps_{0};  // 1: the monitor sleeps until a processor wakes
  scheduler* registry_next_ = nullptr;       // the registry's lock

 private:
  worker* new_worker() noexcept;
  worker* make_worker() noexcept;
  worker* take_wanting_locked() noexcept;
  worker* take_spare_locked() noexcept;
  bool rest(worker& w) noexcept;
  void stop_all() noexcept;
  static bool provide_cache(processor& p) noexcept;
  static void announce(processor& p) noexcept;
  void hand_over_timers(processor& p) noexcept;
  void follow_load(std::uint32_t n) noexcept;

  runtime_options options_;
  bool dead_ = false;                   // true in a fork child; written while that has one thread
  const char* tiny_refusal_ = nullptr;  // why there are no tiny fibers; null if there are
  std::uint32_t regular_ = 0;
  atomic<std::uint32_t> count_{0};  // changes under the registry's lock
  std::uint32_t max_extra_ = 0;
  std::uint32_t max_workers_ = 0;
  std::uint64_t first_id_ = schedulers.next_id.load(memory_order_relaxed);  // relaxed: ids only grow
  processor** processors_ = nullptr;
  stack_pool* pool_ = nullptr;
  pthread_t monitor_{};

  os::nanoseconds quiet_since_ = 0;     // the monitor's: 0 while something moves
  std::uint64_t quiet_dispatches_ = 0;  // the monitor's: how many then
  bool deadlock_reported_ = false;      // the monitor's: since something last moved
  bool deadlock_warned_ = false;        // the monitor's

  spin_lock<> workers_lock_;
  list<worker, &worker::hook> spares_;        // workers_lock_
  list<worker, &worker::hook> wanting_list_;  // workers_lock_
  worker* all_workers_ = nullptr;             // workers_lock_
  atomic<unsigned> worker_count_{0};
};

void register_runtime_fork_handlers() noexcept;  // fork.hpp

// ---- construction ----

inline scheduler::scheduler(const runtime_options& o) : options_{o} {
  if (const char* why = context_refusal(); why != nullptr) fatal(why);
  if (o.processors > max_processors || o.max_processors > max_processors)
    throw std::system_error(EINVAL, std::generic_category(), "tern: runtime_options.processors above 256");
  if (o.max_processors != 0 && o.processors > o.max_processors)
    throw std::system_error(EINVAL, std::generic_category(),
                            "tern: runtime_options.max_processors below processors");
  pool_ = &stack_pool::of(o.stack_size != 0 ? o.stack_size : stack_pool::default_bytes);
  std::uint32_t in_use = o.processors != 0 ? o.processors : os::usable_cpus();
  if (in_use > max_processors) in_use = max_processors;
  regular_ = o.max_processors != 0 ? o.max_processors : in_use;
  if (o.max_processors == 0 && o.automatic_processors && os::usable_cpus() > regular_)
    regular_ = os::usable_cpus() < max_processors ? os::usable_cpus() : max_processors;
  if (in_use > regular_) in_use = regular_;
  count_.store(in_use, memory_order_relaxed);  // relaxed: no other thread yet
  max_extra_ = o.max_extra_processors != 0 ? o.max_extra_processors : regular_;
  if (max_extra_ > max_processors) max_extra_ = max_processors;
  // Each processor, extra ones too, has its worker; one spare may be under way; the others are for tern::blocking.
  const unsigned running = slots() + 1;
  max_workers_ = o.max_workers != 0 ? o.max_workers : running + default_blocking_limit;
  if (max_workers_ <= running)
    throw std::system_error(EINVAL, std::generic_category(),
                            "tern: runtime_options.max_workers below max_processors + extra processors + 2");
  gate_.set_limit(max_workers_ - running);
  if (options_.name == nullptr) options_.name = "tern";
  if (!o.signals_on_alternate_stack && !tiny_slot_holds_signal(::getauxval(AT_MINSIGSTKSZ)))
    tiny_refusal_ =
        "tern: a signal frame does not fit a tiny fiber (see runtime_options.signals_on_alternate_stack)";
  else if (!os::is_program_bound())
    tiny_refusal_ = "tern: tiny fibers need a program that is linked with -z now, or LD_BIND_NOW=1";
  install_fault_handler();

  processors_ = new processor* [slots()] {};
  try {
    for (std::uint32_t i = 0; i < slots(); ++i) {
      processor* p = processors_[i] = new processor;
      p->home = this;
      p->index = i;
      p->extra = i >= regular_;
      p->random = fast_random{static_cast<std::uint64_t>(os::now()) ^ (to_word(p) * 0x9e3779b97f4a7c15u)};
      if (i < in_use && !provide_cache(*p)) throw std::bad_alloc{};
    }
    if (os::quick_barrier_in_every_thread()) static_cast<void>(open_next_slots());
    worker* first = new_worker();  // here fails a process that has no thread to spare
    if (first == nullptr)
      throw std::system_error(EAGAIN, std::generic_category(), "tern: cannot start a thread");
    schedulers.runtime_threads.fetch_add(1, memory_order_relaxed);  // relaxed: compared when all is quiet
    try {
      monitor_ = os::start_thread(&monitor_entry, this, "tern-monitor");
    } catch (...) {
      schedulers.runtime_threads.fetch_sub(1, memory_order_relaxed);
      throw;
    }
  } catch (...) {
    stop_all();
    throw;
  }
  register_runtime_fork_handlers();
  lock_scope hold{schedulers.lock};
  registry_next_ = schedulers.first;
  schedulers.first = this;
  // relaxed: no worker has a processor yet.
  for (std::uint32_t i = 0; i < slots() && !schedulers.wakes_are_traced; ++i)
    at(i).wake_home.store(this, memory_order_relaxed);
  for (std::uint32_t i = 0; i < in_use; ++i) {
    announce(at(i));
    at(i).keeps_timers = true;
    idle_.add(at(i).idle);
  }
}

// False: no memory.
TERN_COLD inline bool scheduler::provide_cache(processor& p) noexcept {
  if (p.cache != nullptr) return true;
  p.cache = create_cache();
  if (p.cache == nullptr) return false;
  p.cache->attachments[thread_cache::sched_slot] = &p;
  return true;
}

// A processor is in use from now on, and nobody runs it yet. Requires: the registry's lock.
TERN_COLD inline void scheduler::announce(processor& p) noexcept {
  if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) {
    h->processor_attach(p);
    h->processor_release(p);  // acquired by the worker when it comes
  }
  p.request.store(0, memory_order_relaxed);  // relaxed, both: the idle set's lock publishes them
  p.state.store(processor_state::idle, memory_order_relaxed);
}

inline scheduler::~scheduler() {
  if (dead_) return;
  wait_until_empty();
  {
    lock_scope hold{schedulers.lock};
    scheduler** at_link = &schedulers.first;
    while (*at_link != this) at_link = &(*at_link)->registry_next_;
    *at_link = registry_next_;
  }
  stopping_.store(1, memory_order_seq_cst);
  monitor_signal_.store(1, memory_order_seq_cst);
  os::futex_wake(monitor_signal_, 1);
  os::join_thread(monitor_);
  schedulers.runtime_threads.fetch_sub(1, memory_order_relaxed);
  stop_all();
}

// Requires: no fiber is left, and no monitor.
inline void scheduler::stop_all() noexcept {
  stopping_.store(1, memory_order_seq_cst);
  for (idle_member* m; (m = idle_.wake_any()) != nullptr;)
    if (processor& p = of(*m); p.runner != nullptr) signal(*p.runner);
  for (worker* w = all_workers_; w != nullptr; w = w->next) {
    signal(*w);
    os::join_thread(w->thread);
    schedulers.runtime_threads.fetch_sub(1, memory_order_relaxed);
  }
  // Only now: until the last has ended they link each other in the spare list.
  while (worker* w = all_workers_) {
    all_workers_ = w->next;
    delete w;
  }
  const collector_hooks* h = installed_hooks.load(memory_order_acquire);
  for (std::uint32_t i = 0; i < slots(); ++i) {
    processor* p = processors_[i];
    if (p == nullptr) continue;
    drain_slots(*p, 0);
    drop_trace_buffer(p->trace);
    if (p->cache != nullptr) {
      // An extra one that has retired is detached already. relaxed: all workers are joined.
      if (h != nullptr && p->state.load(memory_order_relaxed) != processor_state::unused)
        h->processor_detach(*p);
      destroy_cache(p->cache);
    }
    delete p;
  }
  delete[] processors_;
}

// ---- wakes ----

TERN_COLD inline void scheduler::wake_slow() noexcept {
  if (dead_) return;  // the fiber that forked goes on until it parks, and there is nobody to wake
  if (idle_member* m = idle_.wake_one(); m != nullptr) return start(of(*m));
  // pairs-with: the store of a spare that arrives and then rescans; else the last submit and it can miss each other.
  if (lent_.load(memory_order_seq_cst) == 0 || idle_.searching() != 0) return;
  std::uint32_t none = 0;
  if (!spares_waking_.compare_exchange_strong(none, 1, memory_order_seq_cst, memory_order_relaxed)) return;
  worker* w = take_worker();
  if (w == nullptr) {
    spares_waking_.store(0, memory_order_seq_cst);
    return;
  }
  w->assigned = nullptr;
  signal(*w);
}

inline bool scheduler::any_work(bool adopting) noexcept {
  if (any_injected()) return true;
  for (std::uint32_t i = 0; i < slots(); ++i) {
    processor& p = at(i);
    if (!p.ring.is_empty() || p.forks.has_public() || !p.tasks.is_empty()) return true;
    p.ask_to_share();  // and its owner wakes somebody
    // relaxed: a hint; a processor that is being lent publishes its ring first.
    if (adopting && p.state.load(memory_order_relaxed) == processor_state::lent &&
        p.timers.earliest() != os::never)
      return true;
  }
  return false;
}

// ---- processors ----

inline bool scheduler::add_extra() noexcept {
  lock_scope hold{schedulers.lock};
  for (std::uint32_t i = regular_; i < slots(); ++i) {
    processor& p = at(i);
    // acquire: pairs with the store in retire(); the retired one's fields are read below.
    if (p.state.load(memory_order_acquire) != processor_state::unused) continue;
    if (!provide_cache(p)) return false;
    worker* w = take_worker();
    if (w == nullptr) return false;
    announce(p);
    p.runner = w;
    w->assigned = &p;
    extras_.fetch_add(1, memory_order_relaxed);
    extra_added_.fetch_add(1, memory_order_relaxed);
    idle_.add_awake(p.idle);
    signal(*w);
    return true;
  }
  return false;
}

// ---- state ----

inline scheduler::live_counts scheduler::live() noexcept {
  // Finished first: a fiber that starts and ends between the two passes must not make the difference negative. All ends before all
  // starts, since fibers start tasks, and tasks fibers.
  live_counts finished{};
  live_counts spawned{};
  for (std::uint32_t i = 0; i < slots(); ++i) {
    finished.fibers += at(i).counters.finished.load(memory_order_acquire);
    finished.tasks += at(i).counters.tasks_finished.load(memory_order_acquire);
  }
  for (std::uint32_t i = 0; i < slots(); ++i) {
    spawned.fibers += at(i).counters.spawned.load(memory_order_acquire);
    spawned.tasks += at(i).counters.tasks_spawned.load(memory_order_acquire);
  }
  spawned.fibers += external_spawned_.load(memory_order_acquire);
  spawned.tasks += external_tasks_.load(memory_order_acquire);
  const auto difference = [](std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; };
  return {difference(spawned.fibers, finished.fibers), difference(spawned.tasks, finished.tasks)};
}

inline scheduler_statistics scheduler::statistics() {
  scheduler_statistics s;
  for (std::uint32_t i = 0; i < slots(); ++i) {
    processor& p = at(i);
    if (i >= count() && p.tick.load(memory_order_relaxed) == 0) continue;  // never used
    s.processors.push_back(p.counters.read(p.tick.load(memory_order_relaxed)));
    s.total += s.processors.back();
  }
  s.processor_count = count();
  s.extra_processors_added = extra_added_.load(memory_order_relaxed);
  s.workers = worker_count_.load(memory_order_relaxed);
  const live_counts n = live();
  s.live_fibers = n.fibers;
  s.live_tasks = n.tasks;
  s.total.spawned += external_spawned_.load(memory_order_relaxed);
  s.total.tasks_spawned += external_tasks_.load(memory_order_relaxed);
  return s;
}

TERN_COLD inline void scheduler::notice_idle_slow() noexcept {
  if (!is_quiet() || !is_empty()) return;
  closed_signal_.store(1, memory_order_seq_cst);  // pairs-with: wait_until_empty()
  os::futex_wake(closed_signal_, 1);
}

// Returns when every fiber and task has ended and every processor is idle.
inline void scheduler::wait_until_empty() noexcept {
  closing_.store(1, memory_order_seq_cst);  // pairs-with: notice_idle()
  schedulers.parked_threads.fetch_add(1, memory_order_seq_cst);
  while (!(is_quiet() && is_empty())) {
    // seq_cst: before the looks in one order; else a signal that comes between could be overwritten unseen.
    closed_signal_.exchange(0, memory_order_seq_cst);
    if (is_quiet() && is_empty()) break;
    wait_in_kernel([&]() noexcept { os::futex_wait(closed_signal_, 0); });
  }
  schedulers.parked_threads.fetch_sub(1, memory_order_seq_cst);
  // pairs-with: inject()
  while (injecting_.load(memory_order_acquire) != 0) ::sched_yield();
}

}  // namespace tern::inline v1::detail

// tern::job_pool: a bounded number of jobs at a time, for those who come from thread pools.
//
// Structure   queue_ of jobs; sleepers_: pool fibers without a job; blocked_: those who wait for room. Each job is one allocation that the
//             queue (or the fiber that runs it) and the handle share.
// Protocol    Submit    under lock_: no room: refuse, or wait in blocked_; queue the job; then wake a sleeper, else start a fiber while there are
//                       fewer than `most`.
//             Fiber     takes the oldest job, and lets one of blocked_ go on; none: sleeps for at most idle_time, and ends after it if
//                       more than `least` are there.
// Invariants  I1 lock_ protects all. I2 a waiter that was taken out of a list is unparked under lock_: it takes lock_ when it returns.
//             I3 queue_ not empty => somebody runs, is woken, or is being started.
// Limits      The pool's fibers are its own: what a job leaves in a fiber_local is seen by the next one on the same fiber.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/sched/cancel.hpp>
#include <tern/sched/deadline.hpp>
#include <tern/sched/runtime.hpp>
#include <tern/sched/spawn.hpp>

namespace tern::inline v1 {

/// What submit() does while the queue is full.
enum class when_full : std::uint8_t {
  block,   ///< waits for room
  refuse,  ///< throws job_refused
};

struct job_pool_options {
  std::size_t least = 0;        ///< fibers that are kept while the pool lives
  std::size_t most = 0;         ///< jobs that run at the same time; 0: as many as the runtime has processors
  std::size_t queue_bound = 0;  ///< jobs that wait; 0: any number
  when_full full = when_full::block;
  std::chrono::nanoseconds idle_time = std::chrono::seconds{1};  ///< after which a fiber above `least` ends
  std::string_view name = "job pool";                            ///< of the fibers; lives as long as the pool
};

/// Thrown by submit() when the queue is full, or the pool has been shut down.
class job_refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

// A job: what runs once, and who waits for its end.
class job_base {
 public:
  job_base() = default;
  job_base(const job_base&) = delete;
  job_base& operator=(const job_base&) = delete;
  virtual ~job_base() = default;
  virtual void run() noexcept = 0;      // once, unless abandoned
  virtual void abandon() noexcept = 0;  // instead of run()

  // True once it has run or was abandoned. acquire: pairs with finish().
  bool is_done() const noexcept { return done_.load(memory_order_acquire) != 0; }

  void finish() noexcept {
    lock_scope hold{lock_};
    done_.store(1, memory_order_release);  // pairs-with: is_done()
    // Under lock_, which the waiter takes when it returns.
    if (waiter* w = std::exchange(waiting_, nullptr)) unpark(*w);
  }

  // Until `deadline`. False: not done. Throws cancelled. One fiber or thread at a time.
  bool wait(os::nanoseconds deadline) {
    lock_.lock();
    if (done_.load(memory_order_relaxed) != 0) {  // relaxed: lock_ orders
      lock_.unlock();
      return true;
    }
    waiter w{"job", this, waiter_kind::multi};
    waiting_ = &w;
    const auto drop = [](waiter&, void* lock) noexcept -> bool {
      static_cast<spin_lock<>*>(lock)->unlock();
      return true;
    };
    if (is_cancellable(w))
      static_cast<void>(park_cancellable(w, deadline, drop, &lock_));
    else
      static_cast<void>(park_until(w, deadline, drop, &lock_));
    lock_.lock();
    waiting_ = nullptr;
    const bool done = done_.load(memory_order_relaxed) != 0;
    lock_.unlock();
    if (!done) throw_if_cancelled(w);
    return done;
  }

  void retain() noexcept { references_.fetch_add(1, memory_order_relaxed); }  // relaxed: the caller has one
  void release() noexcept {
    // acq_rel: what both did to the job comes before its end.
    if (references_.fetch_sub(1, memory_order_acq_rel) == 1) delete this;
  }

  list_hook hook{};  // the pool's lock

 private:
  spin_lock<> lock_;
  waiter* waiting_ = nullptr;  // lock_
  atomic<std::uint32_t> done_{0};
  atomic<std::uint32_t> references_{1};
};

struct no_value {};

template <class R>
class job_result : public job_base {
 public:
  R take() {
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
    if constexpr (!std::is_void_v<R>) return std::move(*value_);
  }

 protected:
  std::optional<std::conditional_t<std::is_void_v<R>, no_value, R>> value_;
  std::exception_ptr error_;
};

template <class F, class R>
class job_closure final : public job_result<R> {
 public:
  template <class G>
  explicit job_closure(G&& f) : function_{std::in_place, std::forward<G>(f)} {}

  void run() noexcept override {
    try {
      if constexpr (std::is_void_v<R>)
        static_cast<void>((*function_)());
      else
        this->value_.emplace((*function_)());
    } catch (...) {
      this->error_ = std::current_exception();
    }
    function_.reset();
    this->finish();
  }
  void abandon() noexcept override {
    function_.reset();
    this->error_ = std::make_exception_ptr(cancelled{});
    this->finish();
  }

 private:
  std::optional<F> function_;
};

}  // namespace detail

/// The result to come of a job. Moves; the handle is for one fiber or thread at a time. Dropped, the job goes on, and its result or
/// exception is dropped with it.
template <class R>
class [[nodiscard]] job {
 public:
  job() noexcept = default;
  job(job&& o) noexcept : state_{std::exchange(o.state_, nullptr)} {}
  job& operator=(job&& o) noexcept {
    std::swap(state_, o.state_);
    return *this;
  }
  job(const job&) = delete;
  job& operator=(const job&) = delete;
  ~job() {
    if (state_ != nullptr) state_->release();
  }

  /// False for a default one, and after get().
  bool valid() const noexcept { return state_ != nullptr; }
  bool is_done() const { return checked().is_done(); }
  void wait() const { static_cast<void>(checked().wait(detail::os::never)); }
  /// True if the job ended in time.
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& d) const {
    return checked().wait(detail::deadline_in(d));
  }
  /// Waits, then returns what the job returned or rethrows what it threw, once; cancelled if the pool dropped it. Without a job, as
  /// all of these: std::system_error(invalid_argument). Throws cancelled too when the caller is cancelled while it waits; then the
  /// handle keeps the job.
  R get() {
    wait();
    const job mine{std::move(*this)};
    return mine.state_->take();
  }

 private:
  friend class job_pool;
  explicit job(detail::job_result<R>* s) noexcept : state_{s} { s->retain(); }
  detail::job_result<R>& checked() const {
    if (state_ == nullptr)
      throw std::system_error(std::make_error_code(std::errc::invalid_argument), "tern::job");
    return *state_;
  }
  detail::job_result<R>* state_ = nullptr;
};

struct job_pool_statistics {
  std::size_t fibers = 0;   ///< now, idle ones included
  std::size_t running = 0;  ///< jobs
  std::size_t queued = 0;   ///< jobs that wait
  std::uint64_t done = 0;   ///< jobs that have run
};

/// Runs jobs as fibers of a runtime, at most `most` at a time, oldest first. Jobs may wait on anything that a fiber may wait on.
///
/// submit() and its kin, wait_idle() and statistics() are for any fiber or thread, also for the jobs. The pool ends before its
/// runtime. Destruction is shutdown(). Jobs that wait for room, or for other jobs, of their own pool may wait for ever: where `most` of
/// them do, none runs that could end that.
class job_pool {
 public:
  /// In the runtime of the running fiber; elsewhere std::system_error(operation_not_permitted). Starts `least` fibers; throws
  /// std::system_error (EINVAL) when least exceeds most.
  explicit job_pool(const job_pool_options& o = {})
      : job_pool(detail::home_scheduler("tern::job_pool outside a runtime: make it in a fiber"), o) {}
  job_pool(runtime& rt, const job_pool_options& o = {})
      : job_pool(detail::runtime_access::scheduler_of(rt), o) {}
  job_pool(const job_pool&) = delete;
  job_pool& operator=(const job_pool&) = delete;
  ~job_pool() { shutdown(); }

  /// Queues f() and returns the handle of its result. Full: waits or throws job_refused, as the options say. After shutdown():
  /// job_refused. Throws std::bad_alloc, and cancelled while it waits. O(1).
  template <class F>
    requires std::is_invocable_v<std::decay_t<F>&>
  auto submit(F&& f) -> job<std::invoke_result_t<std::decay_t<F>&>> {
    using result = std::invoke_result_t<std::decay_t<F>&>;
    static_assert(!std::is_reference_v<result>);
    owned<detail::job_result<result>> state{
        new detail::job_closure<std::decay_t<F>, result>(std::forward<F>(f))};
    if (!enqueue(*state, options_.full == when_full::block))
      throw job_refused{"tern: the job pool's queue is full"};
    return job<result>{state.get()};
  }
  /// As submit(); a handle without a job where the queue is full.
  template <class F>
    requires std::is_invocable_v<std::decay_t<F>&>
  auto try_submit(F&& f) -> job<std::invoke_result_t<std::decay_t<F>&>> {
    using result = std::invoke_result_t<std::decay_t<F>&>;
    static_assert(!std::is_reference_v<result>);
    owned<detail::job_result<result>> state{
        new detail::job_closure<std::decay_t<F>, result>(std::forward<F>(f))};
    if (!enqueue(*state, false)) return {};
    return job<result>{state.get()};
  }

  /// Returns when no job waits or runs. Jobs that are submitted meanwhile are waited for as well.
  void wait_idle() {
    lock_.lock();
    while (running_ != 0 || !queue_.is_empty()) wait_in(idlers_, detail::os::never, true);
    lock_.unlock();
  }

  /// No more jobs: submits throw, those that wait for room too. What is queued is run; returns after the last one, with every fiber of
  /// the pool ended. `drop_queued`: what is queued is not run, and its handles throw cancelled. A job that calls it waits for ever.
  void shutdown(bool drop_queued = false) noexcept {
    jobs dropped;
    lock_.lock();
    closed_ = true;
    if (drop_queued)
      while (detail::job_base* j = queue_.pop_front()) dropped.push_back(*j), --queued_;
    wake_all(blocked_);
    wake_all(sleepers_);
    lock_.unlock();
    while (detail::job_base* j = dropped.pop_front()) j->abandon(), j->release();
    lock_.lock();
    while (fibers_ != 0) wait_in(enders_, detail::os::never, false);
    if (running_ == 0 && queue_.is_empty()) wake_all(idlers_);
    lock_.unlock();
  }

  job_pool_statistics statistics() const noexcept {
    detail::lock_scope hold{lock_};
    return {.fibers = fibers_, .running = running_, .queued = queued_, .done = done_};
  }

 private:
  using jobs = detail::list<detail::job_base, &detail::job_base::hook>;
  using waiters = detail::list<detail::waiter, &detail::waiter::hook>;

  struct releaser {
    void operator()(detail::job_base* j) const noexcept { j->release(); }
  };
  template <class J>
  using owned = std::unique_ptr<J, releaser>;

  job_pool(detail::scheduler& s, const job_pool_options& o) : scheduler_{s}, options_{o} {
    if (options_.most == 0) options_.most = options_.least > s.count() ? options_.least : s.count();
    if (options_.least > options_.most)
      throw std::system_error(EINVAL, std::generic_category(), "tern: job_pool_options.least above most");
    if (options_.queue_bound == 0) options_.queue_bound = std::numeric_limits<std::size_t>::max();
    try {
      for (std::size_t i = 0; i < options_.least; ++i) {
        lock_.lock();
        ++fibers_;
        ++arriving_;
        lock_.unlock();
        start_fiber();
      }
    } catch (...) {
      shutdown();
      throw;
    }
  }

  // True: the job is queued, and the queue has a share in it.
  bool enqueue(detail::job_base& j, bool may_wait) {
    bool start = false;
    lock_.lock();
    for (;;) {
      if (closed_) {
        lock_.unlock();
        throw job_refused{"tern: the job pool has been shut down"};
      }
      if (has_room_locked()) break;
      if (!may_wait) {
        lock_.unlock();
        return false;
      }
      wait_in(blocked_, detail::os::never, true);
    }
    j.retain();
    queue_.push_back(j);
    ++queued_;
    if (detail::waiter* w = sleepers_.pop_back()) {  // the one that slept last is warmest
      ++arriving_;
      detail::unpark(*w);
    } else if (fibers_ < options_.most) {
      ++fibers_;
      ++arriving_;
      start = true;
    }
    lock_.unlock();
    if (!start) return true;
    try {
      start_fiber();
    } catch (...) {
      // No stack. Where other fibers are they will come to the job; else it is taken back.
      // What others have queued in the meantime, counting on that fiber, is dropped: I3.
      jobs dropped;
      lock_.lock();
      const bool stranded = fibers_ == 0 && j.hook.is_linked();
      if (stranded) {
        jobs::erase(j), --queued_;
        while (detail::job_base* other = queue_.pop_front()) dropped.push_back(*other), --queued_;
        wake_all(blocked_);
        wake_all(idlers_);
      }
      lock_.unlock();
      if (!stranded) return true;
      while (detail::job_base* other = dropped.pop_front()) other->abandon(), other->release();
      j.release();
      throw;
    }
    return true;
  }
  // What fibers that are under way will take does not count as waiting, nor what a fiber can be had for.
  bool has_room_locked() noexcept {
    const std::size_t waiting = queued_ - (queued_ < arriving_ ? queued_ : arriving_);
    return waiting < options_.queue_bound || !sleepers_.is_empty() || fibers_ < options_.most;
  }

  // Requires: fibers_ counts it. Throws std::system_error, and counts it no more.
  void start_fiber() {
    try {
      detail::spawn_fiber(&scheduler_, [this] { work(); }, {.name = options_.name, .detached = true});
    } catch (...) {
      lock_.lock();
      --arriving_;
      fiber_ended_locked();
      lock_.unlock();
      throw;
    }
  }

  void work() noexcept {
    lock_.lock();
    --arriving_;
    for (;;) {
      if (detail::job_base* j = queue_.pop_front()) {
        --queued_;
        ++running_;
        if (detail::waiter* w = blocked_.pop_front()) detail::unpark(*w);
        lock_.unlock();
        j->run();
        j->release();
        lock_.lock();
        ++done_;
        --running_;
        continue;
      }
      if (running_ == 0) wake_all(idlers_);
      if (closed_) {
        end_locals();
        break;
      }
      const bool surplus = fibers_ > options_.least;
      const auto deadline = surplus
                                ? detail::os::deadline_after(detail::os::now(), options_.idle_time.count())
                                : detail::os::never;
      const bool told = wait_in(sleepers_, deadline, false);
      if (told && !closed_) --arriving_;
      if (told || !queue_.is_empty() || fibers_ <= options_.least) continue;
      end_locals();  // meanwhile a job may have been queued that counts on this fiber
      if (queue_.is_empty() && fibers_ > options_.least) break;
    }
    fiber_ended_locked();
    lock_.unlock();
  }

  // Requires: lock_, which is dropped meanwhile. What jobs have left in fiber_locals ends before the pool does.
  void end_locals() noexcept {
    detail::fiber& self = *detail::current_fiber();
    if ((self.flags & detail::fiber::has_locals) == 0) return;
    lock_.unlock();
    detail::destroy_locals(self);
    lock_.lock();
  }

  // Requires: lock_. The last access to the pool but the unlock.
  void fiber_ended_locked() noexcept {
    if (--fibers_ == 0) wake_all(enders_);
  }

  // Requires: lock_, which is dropped and taken again. False: the deadline came first. Throws cancelled, without lock_, if `may_cancel`.
  bool wait_in(waiters& l, detail::os::nanoseconds deadline, bool may_cancel) {
    detail::waiter w{"job pool", this, detail::waiter_kind::multi};
    l.push_back(w);
    const auto drop = [](detail::waiter&, void* lock) noexcept -> bool {
      static_cast<detail::spin_lock<>*>(lock)->unlock();
      return true;
    };
    if (may_cancel && detail::is_cancellable(w))
      static_cast<void>(detail::park_cancellable(w, deadline, drop, &lock_));
    else
      static_cast<void>(detail::park_until(w, deadline, drop, &lock_));
    lock_.lock();
    const bool told = !w.hook.is_linked();
    if (!told) waiters::erase(w);
    if (!told && may_cancel && deadline == detail::os::never) {
      lock_.unlock();
      throw cancelled{};
    }
    return told;
  }
  // Requires: lock_.
  static void wake_all(waiters& l) noexcept {
    while (detail::waiter* w = l.pop_front()) detail::unpark(*w);
  }

  detail::scheduler& scheduler_;
  job_pool_options options_;
  mutable detail::spin_lock<> lock_;
  jobs queue_;              // lock_, all below
  std::size_t queued_ = 0;  // length of queue_
  std::size_t fibers_ = 0;
  std::size_t running_ = 0;
  std::size_t arriving_ =
      0;  // fibers that were started or taken out of sleepers_ and have not come to the queue yet
  std::uint64_t done_ = 0;
  bool closed_ = false;
  waiters sleepers_;  // pool fibers without a job
  waiters blocked_;   // submits without room
  waiters idlers_;    // wait_idle()
  waiters enders_;    // shutdown()
};

}  // namespace tern::inline v1

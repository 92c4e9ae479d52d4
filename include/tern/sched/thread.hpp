// tern::thread: a handle of a fiber, in the manner of std::jthread. tern::this_thread: what a fiber asks of itself.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <exception>
#include <functional>
#include <ostream>
#include <stop_token>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include <tern/os/clock.hpp>
#include <tern/sched/spawn.hpp>
#include <tern/sched/worker_loop.hpp>

namespace tern::inline v1 {

/// Names a fiber for as long as the process lives; ids are not used twice. The default one names none.
class fiber_id {
 public:
  constexpr fiber_id() noexcept = default;
  constexpr explicit fiber_id(std::uint64_t n) noexcept : number_{n} {}
  constexpr std::uint64_t number() const noexcept { return number_; }
  friend constexpr auto operator<=>(const fiber_id&, const fiber_id&) noexcept = default;
  friend std::ostream& operator<<(std::ostream& out, fiber_id id) { return out << id.number_; }

 private:
  std::uint64_t number_ = 0;
};

/// What a fiber can be given at its start.
struct thread_attributes {
  std::string_view name{};     ///< shown in reports; the first 23 characters are kept
  std::size_t stack_size = 0;  ///< bytes of its slot, as runtime_options::stack_size; 0: the runtime's
  /// A slot of 2 KiB, of which 640 bytes are the function's own, for fibers that mostly wait; no `stack_size` then (EINVAL). Nothing
  /// may throw in it. std::system_error (ENOTSUP) where such slots are refused: see README.
  bool tiny = false;
};

namespace detail {

// What spawn_options::stack_size is for these attributes. Throws std::system_error.
inline std::size_t slot_request(const thread_attributes& a) {
  if (TERN_LIKELY(!a.tiny)) {
    if (TERN_UNLIKELY(a.stack_size == tiny_request))
      throw std::system_error(EINVAL, std::generic_category(), "tern: stack size above 8 MiB");
    return a.stack_size;
  }
  if (a.stack_size != 0)
    throw std::system_error(EINVAL, std::generic_category(),
                            "tern: thread_attributes with tiny and stack_size");
  return tiny_request;
}

// The function with its arguments, decayed as std::thread does it.
template <class F, class... Args>
struct bound_call {
  std::tuple<F, Args...> parts;
  void operator()() {
    std::apply([](F& f, Args&... args) { static_cast<void>(std::invoke(std::move(f), std::move(args)...)); },
               parts);
  }
};

struct thread_access;

// A call: of the constructor inlined GCC 12 says now and then that it reads itself uninitialised.
TERN_COLD inline std::stop_source new_stop_source() { return {}; }

}  // namespace detail

/// A fiber that is joined once. Starts at once; runs on any worker of the runtime of the fiber that made it.
///
/// The handle is not thread-safe, the fiber is. An exception that leaves the function is rethrown by join(). Destroying a joinable
/// handle, and assigning to it, asks the fiber to stop and joins; an exception found then terminates the process with the fiber's name.
/// Spawning is O(1) and allocates nothing unless the function takes a std::stop_token, or the function object is larger than 2 KiB (for a
/// tiny fiber: 128 bytes).
class [[nodiscard]] thread {
  template <class F, class... Args>
  static constexpr bool takes = std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>;
  template <class F, class... Args>
  static constexpr bool takes_token = takes<F, std::stop_token, Args...>;

 public:
  using id = fiber_id;

  thread() noexcept = default;

  /// Runs std::invoke(f, token, args...) if f takes a std::stop_token first, else std::invoke(f, args...), with decayed copies. Throws
  /// std::system_error when there is no stack left (ENOMEM) or when called outside a runtime (operation_not_permitted),
  /// std::bad_alloc where there is no memory for the token's state, and what copying throws.
  template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, thread> &&
             !std::is_same_v<std::remove_cvref_t<F>, thread_attributes> &&
             (takes_token<F, Args...> || takes<F, Args...>))
  explicit thread(F&& f, Args&&... args)
      : thread(nullptr, detail::default_spawn, std::forward<F>(f), std::forward<Args>(args)...) {}

  /// The same with attributes.
  template <class F, class... Args>
    requires(takes_token<F, Args...> || takes<F, Args...>)
  thread(const thread_attributes& a, F&& f, Args&&... args)
      : thread(nullptr, detail::spawn_options{.name = a.name, .stack_size = detail::slot_request(a)},
               std::forward<F>(f), std::forward<Args>(args)...) {}

  thread(thread&& o) noexcept : fiber_{std::exchange(o.fiber_, nullptr)}, stop_{std::move(o.stop_)} {}
  thread& operator=(thread&& o) noexcept {
    if (this != &o) {
      finish();
      fiber_ = std::exchange(o.fiber_, nullptr);
      stop_ = std::move(o.stop_);
    }
    return *this;
  }
  thread(const thread&) = delete;
  thread& operator=(const thread&) = delete;
  ~thread() { finish(); }

  bool joinable() const noexcept { return fiber_ != nullptr; }

  /// Waits for the end and rethrows what left the function. Not joinable: std::system_error(invalid_argument). From the fiber
  /// itself: std::system_error(resource_deadlock_would_occur). From fibers and plain threads. Throws cancelled when the caller is
  /// cancelled meanwhile; the handle stays joinable.
  void join() {
    detail::fiber* f = fiber_;
    if (TERN_UNLIKELY(f == nullptr || !detail::has_ended(*f))) wait_for_it();
    fiber_ = nullptr;
    if (TERN_UNLIKELY((f->flags & detail::fiber::has_error) != 0))
      std::rethrow_exception(detail::take_result(*f));
    detail::release_slot(*f);
  }

  /// Lets the fiber run on by itself; an exception that leaves it terminates the process. Not joinable: std::system_error.
  void detach() {
    if (fiber_ == nullptr)
      throw std::system_error(std::make_error_code(std::errc::invalid_argument), "tern::thread::detach");
    detail::fiber& f = *std::exchange(fiber_, nullptr);
    std::uintptr_t running = detail::fiber::join_running;
    // acq_rel: pairs with finish_exit().
    if (f.join_word.compare_exchange_strong(running, detail::fiber::join_detached,
                                            detail::memory_order_acq_rel, detail::memory_order_acquire))
      return;
    if ((f.flags & detail::fiber::has_error) != 0) detail::terminate_named(f);
    detail::release_slot(f);
  }

  id get_id() const noexcept { return fiber_ == nullptr ? id{} : id{fiber_->id}; }

  /// Asks the fiber to stop, by its token. True for the first who asks; false, too, where the function takes no token.
  bool request_stop() noexcept { return stop_.request_stop(); }
  /// Without a state where the function takes no token. Of a handle that was joined or detached they stay what they were.
  std::stop_source get_stop_source() const noexcept { return stop_; }
  std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }

  void swap(thread& o) noexcept {
    std::swap(fiber_, o.fiber_);
    stop_.swap(o.stop_);
  }
  friend void swap(thread& a, thread& b) noexcept { a.swap(b); }

 private:
  friend struct detail::thread_access;

  template <class F, class... Args>
  thread(detail::scheduler* s, const detail::spawn_options& o, F&& f, Args&&... args) {
    if constexpr (takes_token<F, Args...>) {
      stop_ = detail::new_stop_source();
      fiber_ =
          &detail::spawn_fiber(s,
                               detail::bound_call<std::decay_t<F>, std::stop_token, std::decay_t<Args>...>{
                                   {std::forward<F>(f), stop_.get_token(), std::forward<Args>(args)...}},
                               o);
    } else if constexpr (sizeof...(Args) == 0 && std::is_invocable_v<std::decay_t<F>&>)
      fiber_ = &detail::spawn_fiber(s, std::forward<F>(f), o);
    else
      fiber_ = &detail::spawn_fiber(s,
                                    detail::bound_call<std::decay_t<F>, std::decay_t<Args>...>{
                                        {std::forward<F>(f), std::forward<Args>(args)...}},
                                    o);
  }

  TERN_NOINLINE void wait_for_it() const {
    if (fiber_ == nullptr)
      throw std::system_error(std::make_error_code(std::errc::invalid_argument), "tern::thread::join");
    if (fiber_ == detail::current_fiber())
      throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                              "tern::thread::join");
    if (!detail::wait_for_exit<false>(*fiber_)) throw cancelled{};
  }

  void finish() noexcept {
    if (fiber_ == nullptr) return;
    detail::fiber& f = *std::exchange(fiber_, nullptr);
    if (&f == detail::current_fiber()) detail::fatal("a tern::thread was destroyed by its own fiber");
    stop_.request_stop();
    static_cast<void>(detail::wait_for_exit<true>(f));
    if ((f.flags & detail::fiber::has_error) != 0) detail::terminate_named(f);
    static_cast<void>(detail::take_result(f));
  }

  detail::fiber* fiber_ = nullptr;
  std::stop_source stop_{std::nostopstate};
};

namespace detail {

struct thread_access {
  template <class... Args>
  static thread make(scheduler* s, const spawn_options& o, Args&&... args) {
    return thread(s, o, std::forward<Args>(args)...);
  }
};

}  // namespace detail

/// Functions that concern the running fiber; on a plain thread they do what std::this_thread does.
namespace this_thread {

/// Lets the fibers run that are queued on this processor. Does not go to another processor for work. O(1).
inline void yield() noexcept {
  if (detail::worker* w = detail::current_worker(); w != nullptr && w->current != nullptr)
    detail::yield_fiber(*w);
  else
    ::sched_yield();
}

/// The running fiber's id; the default id on a plain thread.
inline fiber_id get_id() noexcept {
  const detail::fiber* f = detail::current_fiber();
  return f == nullptr ? fiber_id{} : fiber_id{f->id};
}

/// The running fiber's name; empty if it has none, and on a plain thread. Valid while the fiber runs.
inline std::string_view get_name() noexcept {
  const detail::fiber* f = detail::current_fiber();
  return f == nullptr ? std::string_view{} : std::string_view{f->display_name()};
}

/// Renames the running fiber (the first 23 characters are kept). Nothing on a plain thread.
inline void set_name(std::string_view name) noexcept {
  if (detail::fiber* f = detail::current_fiber()) detail::set_name(*f, name);
}

namespace detail_sleep {
// `d`, which is above zero, from now.
template <class Rep, class Period>
detail::os::nanoseconds deadline_in(const std::chrono::duration<Rep, Period>& d) noexcept {
  const auto whole = std::chrono::ceil<std::chrono::duration<double, std::nano>>(d).count();
  const auto ns = whole >= 9.2e18 ? detail::os::never : static_cast<detail::os::nanoseconds>(whole);
  return detail::os::deadline_after(detail::os::now(), ns);
}
inline void sleep_until_ns(detail::os::nanoseconds deadline) {
  detail::waiter w{"sleep", nullptr, detail::waiter_kind::multi};
  if (!detail::is_cancellable(w)) return static_cast<void>(detail::park_until(w, deadline));
  static_cast<void>(detail::park_cancellable(w, deadline, nullptr, nullptr));
  detail::throw_if_cancelled(w);
}
}  // namespace detail_sleep

/// Sleeps at least `d`; other fibers run meanwhile. A `d` of zero or less returns at once. Throws cancelled when the fiber is.
template <class Rep, class Period>
void sleep_for(const std::chrono::duration<Rep, Period>& d) {
  if (d > d.zero()) detail_sleep::sleep_until_ns(detail_sleep::deadline_in(d));
}

/// Sleeps until `t` on any clock; a clock that is set meanwhile is looked at again.
template <class Clock, class Duration>
void sleep_until(const std::chrono::time_point<Clock, Duration>& t) {
  for (auto now = Clock::now(); now < t; now = Clock::now()) sleep_for(t - now);
}

}  // namespace this_thread

/// Gives a long computation's processor a chance to answer the collector and, every few milliseconds' worth of calls, to run other
/// fibers. One load when nothing is asked. Nothing on a plain thread.
inline void checkpoint() noexcept {
  detail::processor* p = detail::current_processor();
  // relaxed: a hint; what it leads to orders.
  if (p == nullptr || TERN_LIKELY(p->request.load(detail::memory_order_relaxed) == 0)) return;
  detail::poll_safepoint();
  if ((p->request.load(detail::memory_order_relaxed) & detail::request_retire) != 0) this_thread::yield();
}

}  // namespace tern::inline v1

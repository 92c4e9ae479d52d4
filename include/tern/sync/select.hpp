// Select: waits on any number of channel operations at once and performs exactly one.
//
// Structure   A case per argument, on the caller's stack: which channel, how to try, and the node that waits. One claim word for all.
// Protocol    1. Each case is tried under its channel's lock alone, in random order. None ready and `otherwise` given: that.
//                What looks possible without a lock comes first: one of those, at random.
//             2. All channels are locked, in the order of their addresses; all are tried again, so that nothing is missed between.
//             3. All nodes are queued; park; the locks are dropped once the stack is saved.
//             4. A counterpart takes a node out and claims the word with the node's index, else it leaves the node alone; the value
//                is handed over under that channel's lock. The timer's end claims the word as well.
//             5. Woken, all channels are locked again and the nodes that are still queued are taken out. After that no counterpart is
//                at work on this frame.
// Invariants  I1 the claim word changes once. I2 locks are taken in one order by all, and a lone one never while another is held.
// Ordering    The locks of step 5 pair with the counterpart's: its value and `ok` are seen.
// Rejected    Polling in turn (burns, or sleeps too long). A helper fiber per case (as many switches as cases).
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/sync/channel.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1::detail {

// Random numbers for the order of cases. Not inlined: the word is thread-local, and a caller may park between two calls.
TERN_NOINLINE inline std::uint64_t select_random() noexcept {
  static constinit thread_local fast_random random{0};
  static constinit thread_local bool seeded = false;
  if (TERN_UNLIKELY(!seeded)) {
    random =
        fast_random{static_cast<std::uint64_t>(to_word(&random)) ^ static_cast<std::uint64_t>(os::now())};
    seeded = true;
  }
  return random.next();
}

struct select_case {
  select_case() noexcept = default;
  select_case(const select_case&) = delete;
  select_case& operator=(const select_case&) = delete;

  channel_base* channel = nullptr;
  // Requires: the channel's lock. Tries the operation now.
  channel_outcome (*attempt)(select_case&, wait_core*& wake) noexcept = nullptr;
  bool is_send = false;
  channel_node node;
};

class select_engine {
 public:
  static constexpr std::size_t timed_out = SIZE_MAX;

  // Performs one of `cases` and returns its index; its node.ok tells whether the channel was open. `timed_out` when the deadline
  // came first, at once if `immediate`. `order` and `locks` are scratch of `n` each.
  static std::size_t run(select_case* const* cases, std::uint32_t* order, channel_base** locks, std::size_t n,
                         os::nanoseconds deadline, bool immediate) {
    if (const std::size_t i = choose(cases, n); i != n && tried_alone(*cases[i])) return i;
    shuffle(order, n);
    for (std::size_t i = 0; i < n; ++i)
      if (tried_alone(*cases[order[i]])) return order[i];
    if (immediate) return timed_out;
    return wait(cases, order, locks, n, deadline);
  }

 private:
  struct lock_set {
    channel_base** channels;
    std::size_t count;
    void lock() noexcept {
      for (std::size_t i = 0; i < count; ++i) channels[i]->guard_.lock();
    }
    void unlock() noexcept {
      for (std::size_t i = 0; i < count; ++i) channels[i]->guard_.unlock();
    }
  };

  // One of those that look possible, with the same chance for each, without a lock. `n` if none does, or if it takes a lock to know of one.
  TERN_ALWAYS_INLINE static std::size_t choose(select_case* const* cases, std::size_t n) noexcept {
    std::size_t possible = 0;
    std::size_t chosen = n;
    for (std::size_t i = 0; i < n; ++i) {
      const channel_base& c = *cases[i]->channel;
      if (!c.has_buffer()) return n;
      // Without a branch on what nobody can predict.
      const bool looks = cases[i]->is_send ? c.looks_sendable() : c.looks_receivable();
      chosen = looks ? i : chosen;
      possible += looks ? 1 : 0;
    }
    return TERN_LIKELY(possible < 2) ? chosen : choose_of(cases, n, possible);
  }
  // Each of `possible` has its chance as it comes by. Those that have changed meanwhile are left to the full search.
  TERN_NOINLINE static std::size_t choose_of(select_case* const* cases, std::size_t n,
                                             std::size_t possible) noexcept {
    fast_random random{select_random()};
    std::uint32_t skip = random.below(static_cast<std::uint32_t>(possible));
    for (std::size_t i = 0; i < n; ++i) {
      const channel_base& c = *cases[i]->channel;
      const bool looks = cases[i]->is_send ? c.looks_sendable() : c.looks_receivable();
      if (looks && skip-- == 0) return i;
    }
    return n;
  }

  static void shuffle(std::uint32_t* order, std::size_t n) noexcept {
    if (n == 2) {  // one bit decides
      order[0] = static_cast<std::uint32_t>(select_random() >> 63);
      order[1] = 1 - order[0];
      return;
    }
    for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<std::uint32_t>(i);
    if (n < 2) return;
    fast_random random{select_random()};
    for (std::size_t i = n; i > 1; --i)
      std::swap(order[i - 1], order[random.below(static_cast<std::uint32_t>(i))]);
  }

  // Tries under the lock of its channel.
  TERN_ALWAYS_INLINE static bool tried_alone(select_case& c) noexcept {
    c.channel->guard_.lock();
    wait_core* wake = nullptr;
    const bool done = tried(c, wake);
    c.channel->leave(wake);
    return done;
  }

  static bool tried(select_case& c, wait_core*& wake) noexcept {
    const channel_outcome o = c.attempt(c, wake);
    c.node.ok = o == channel_outcome::done;
    return o != channel_outcome::blocked;
  }

  TERN_NOINLINE static std::size_t wait(select_case* const* cases, const std::uint32_t* order,
                                        channel_base** locks, std::size_t n, os::nanoseconds deadline) {
    for (std::size_t i = 0; i < n; ++i) locks[i] = cases[i]->channel;
    std::sort(locks, locks + n, std::less<>{});
    lock_set all{locks, static_cast<std::size_t>(std::unique(locks, locks + n) - locks)};
    all.lock();
    for (std::size_t i = 0; i < n; ++i) {
      wait_core* wake = nullptr;
      if (!tried(*cases[order[i]], wake)) continue;
      all.unlock();
      if (wake != nullptr) unpark(*wake);
      return order[i];
    }
    claim_word<> claim;
    waiter me{"select", cases, waiter_kind::multi};
    for (std::size_t i = 0; i < n; ++i) {
      channel_node& node = cases[i]->node;
      node.who = &me;
      node.select = &claim;
      node.index = static_cast<std::uint32_t>(i);
      queue_of(*cases[i]).push_back(node);
    }
    const wake_reason why = is_cancellable(me) ? park_cancellable(me, deadline, &release, &all)
                                               : park_until(me, deadline, &release, &all);
    const bool late = why == wake_reason::timed_out && claim.claim(claim_word<>::timeout);
    all.lock();
    for (std::size_t i = 0; i < n; ++i)
      if (cases[i]->node.hook.is_linked()) channel_base::node_list::erase(cases[i]->node);
    all.unlock();
    if (late) throw_if_cancelled(me);
    return late ? timed_out : claim.winner();
  }

  static bool release(waiter&, void* all) noexcept {
    static_cast<lock_set*>(all)->unlock();
    return true;
  }
  static channel_base::node_list& queue_of(select_case& c) noexcept {
    return c.is_send ? c.channel->senders_ : c.channel->receivers_;
  }
};

template <class T, class F>
class receive_case : public select_case {
 public:
  static constexpr bool is_channel_case = true;

  template <class G>
  receive_case(tern::channel<T>& c, G&& f) : handler_{std::forward<G>(f)} {
    channel = &c;
    attempt = [](select_case& self, wait_core*& wake) noexcept {
      return static_cast<tern::channel<T>*>(self.channel)->receive_locked(self.node.value, wake);
    };
    node.value = room_.bytes;
  }
  void finish() { handler_(node.ok ? room_.take() : std::optional<T>{}); }

 private:
  typename tern::channel<T>::place room_;
  F handler_;
};

// V: T where the case keeps a copy, T& where it refers to the caller's rvalue, which stays as it is unless the case wins.
template <class T, class F>
class send_case : public select_case {
  static constexpr bool is_reference = std::is_reference_v<T>;
  using value_type = std::remove_reference_t<T>;

 public:
  static constexpr bool is_channel_case = true;

  template <class U, class G>
  send_case(tern::channel<value_type>& c, U&& value, G&& f)
      : value_(std::forward<U>(value)), handler_{std::forward<G>(f)} {
    channel = &c;
    is_send = true;
    attempt = [](select_case& self, wait_core*& wake) noexcept {
      return static_cast<tern::channel<value_type>*>(self.channel)
          ->send_locked(*static_cast<value_type*>(self.node.value), wake);
    };
    node.value = std::addressof(value_);
  }
  void finish() {
    if (!node.ok) throw channel_closed{};
    handler_();
  }

 private:
  T value_;
  F handler_;
};

template <class F>
struct after_case {
  static constexpr bool is_channel_case = false;
  os::nanoseconds deadline;
  F handler;
  void finish() { handler(); }
};

template <class F>
struct otherwise_case {
  static constexpr bool is_channel_case = false;
  F handler;
  void finish() { handler(); }
};

template <class>
inline constexpr bool is_otherwise = false;
template <class F>
inline constexpr bool is_otherwise<otherwise_case<F>> = true;

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// A case of select: receives from `c`, then calls f(std::optional<T>), empty when the channel is closed.
template <class T, class F>
  requires std::is_invocable_v<std::decay_t<F>&, std::optional<T>>
[[nodiscard]] auto on_receive(channel<T>& c, F&& f) {
  return detail::receive_case<T, std::decay_t<F>>{c, std::forward<F>(f)};
}

/// A case of select: sends `value` on `c`, then calls f(). A T given as an rvalue is moved from only if the case is chosen; anything
/// else is converted to a T at once. When the chosen channel is closed, select throws channel_closed.
template <class T, class U, class F>
  requires std::is_convertible_v<U&&, T> && std::is_invocable_v<std::decay_t<F>&>
[[nodiscard]] auto on_send(channel<T>& c, U&& value, F&& f) {
  if constexpr (std::is_same_v<U, T>)
    return detail::send_case<T&, std::decay_t<F>>{c, static_cast<T&>(value), std::forward<F>(f)};
  else
    return detail::send_case<T, std::decay_t<F>>{c, std::forward<U>(value), std::forward<F>(f)};
}

/// A case of select: calls f() when nothing else was possible for the time `d`, counted from here.
template <class Rep, class Period, class F>
  requires std::is_invocable_v<std::decay_t<F>&>
[[nodiscard]] auto after(const std::chrono::duration<Rep, Period>& d, F&& f) {
  return detail::after_case<std::decay_t<F>>{detail::deadline_in(d), std::forward<F>(f)};
}

/// A case of select: calls f() when nothing is possible at once.
template <class F>
  requires std::is_invocable_v<std::decay_t<F>&>
[[nodiscard]] auto otherwise(F&& f) {
  return detail::otherwise_case<std::decay_t<F>>{std::forward<F>(f)};
}

/// Waits until one of the cases is possible, performs exactly that one, calls its function, and returns its place among the
/// arguments. Among several that are possible each has the same chance. At most one after and one otherwise. From fibers and plain
/// threads. Exceptions of the function pass. O(cases log cases) when it waits, O(cases) when it does not.
template <class... Cases>
std::size_t select(Cases&&... cases) {
  static_assert(sizeof...(Cases) > 0, "a select without cases would wait for ever");
  constexpr std::size_t n = (std::size_t{0} + ... + (std::remove_cvref_t<Cases>::is_channel_case ? 1 : 0));
  constexpr std::size_t immediate =
      (std::size_t{0} + ... + (detail::is_otherwise<std::remove_cvref_t<Cases>> ? 1 : 0));
  static_assert(immediate <= 1 && sizeof...(Cases) - n - immediate <= 1,
                "at most one after and one otherwise");

  // Not initialised, as the scratch below: all that is read is written first.
  std::array<detail::select_case*, n + 1> operations;
  std::array<std::size_t, n + 1> places{};
  detail::os::nanoseconds deadline = detail::os::never;
  std::size_t fallback = 0;
  std::size_t filled = 0;
  std::size_t place = 0;
  const auto enter = [&](auto& c) {
    using type = std::remove_cvref_t<decltype(c)>;
    if constexpr (type::is_channel_case) {
      operations[filled] = &c;
      places[filled++] = place;
    } else if constexpr (detail::is_otherwise<type>) {
      fallback = place;
    } else {
      deadline = c.deadline;
      if (immediate == 0) fallback = place;
    }
    ++place;
  };
  (enter(cases), ...);

  std::array<std::uint32_t, n + 1> order;
  std::array<detail::channel_base*, n + 1> locks;
  const std::size_t won =
      detail::select_engine::run(operations.data(), order.data(), locks.data(), n, deadline, immediate != 0);
  const std::size_t chosen = won == detail::select_engine::timed_out ? fallback : places[won];
  place = 0;
  const auto finish = [&](auto& c) {
    if (place++ == chosen) c.finish();
  };
  (finish(cases), ...);
  return chosen;
}

/// A select over a number of cases that is known at run time only. The cases are kept, and may be waited for again and again.
///
/// wait() and its kin perform exactly one case, call its function and return its place in the order in which they were added. A case of
/// on_send keeps its value, and has sent it when it was chosen: clear() before the next wait. One fiber or thread at
/// a time. Each add allocates one object; a wait allocates nothing once it has been done with as many cases. Costs as for select().
class selector {
 public:
  static constexpr std::size_t none = SIZE_MAX;

  selector() = default;
  selector(const selector&) = delete;
  selector& operator=(const selector&) = delete;

  /// Adds a case, as on_receive() and on_send() make one for select(). Returns its place.
  template <class T, class F>
    requires std::is_invocable_v<std::decay_t<F>&, std::optional<T>>
  std::size_t on_receive(channel<T>& c, F&& f) {
    return add<detail::receive_case<T, std::decay_t<F>>>(c, std::forward<F>(f));
  }
  template <class T, class U, class F>
    requires std::is_convertible_v<U&&, T> && std::is_invocable_v<std::decay_t<F>&>
  std::size_t on_send(channel<T>& c, U&& value, F&& f) {
    return add<detail::send_case<T, std::decay_t<F>>>(c, std::forward<U>(value), std::forward<F>(f));
  }
  void clear() noexcept {
    entries_.clear();
    operations_.clear();
  }
  std::size_t size() const noexcept { return entries_.size(); }

  /// Waits. Without a case: for ever.
  std::size_t wait() { return run(detail::os::never, false); }
  /// `none` if nothing was possible at once, or in time.
  std::size_t try_wait() { return run(detail::os::never, true); }
  template <class Rep, class Period>
  std::size_t wait_for(const std::chrono::duration<Rep, Period>& d) {
    return run(detail::deadline_in(d), false);
  }
  template <class Clock, class Duration>
  std::size_t wait_until(const std::chrono::time_point<Clock, Duration>& t) {
    return run(detail::deadline_at(t), false);
  }

 private:
  struct entry {
    virtual ~entry() = default;
    virtual detail::select_case* operation() noexcept = 0;
    virtual void finish() = 0;
  };
  template <class Case>
  struct entry_of final : entry {
    template <class... Args>
    explicit entry_of(Args&&... args) : operation_{std::forward<Args>(args)...} {}
    detail::select_case* operation() noexcept override { return &operation_; }
    void finish() override { operation_.finish(); }
    Case operation_;
  };

  template <class Case, class... Args>
  std::size_t add(Args&&... args) {
    operations_.reserve(operations_.size() + 1);
    entries_.push_back(std::make_unique<entry_of<Case>>(std::forward<Args>(args)...));
    operations_.push_back(entries_.back()->operation());
    return entries_.size() - 1;
  }

  std::size_t run(detail::os::nanoseconds deadline, bool immediate) {
    order_.resize(entries_.size());
    locks_.resize(entries_.size());
    const std::size_t won = detail::select_engine::run(operations_.data(), order_.data(), locks_.data(),
                                                       operations_.size(), deadline, immediate);
    if (won == detail::select_engine::timed_out) return none;
    entries_[won]->finish();
    return won;
  }

  std::vector<std::unique_ptr<entry>> entries_;
  std::vector<detail::select_case*> operations_;
  std::vector<std::uint32_t> order_;
  std::vector<detail::channel_base*> locks_;
};

}  // namespace tern::inline v1

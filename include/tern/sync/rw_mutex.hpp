// Reader-writer mutex: many readers or one writer, between fibers and threads in any mixture; barging for a millisecond, then phase-fair.
//
// Structure   state_: five bits, and the number of readers above. writer; writers_wait, readers_wait: the lists are not empty; woken:
//             somebody was taken out and is under way to try again; starving: the last holder hands over. readers_ and writers_ are the lists.
// Protocol    lock           1. nobody holds it: CAS the writer in, also where others wait (barging, as in mutex). Else, under guard_:
//                            2. the same again   3. set writers_wait, queue, park. A woken one that loses goes back to the front; when it
//                            has been waiting for 1 ms it sets starving.
//             shared lock    the same, where no writer holds it, and, where one waits, nobody does: behind readers inside new ones wait.
//                            Woken ones go in beside each other, as the group that they were woken with.
//             unlock, shared unlock
//                            1. not the last, nobody to wake, or one is under way: CAS the share out. Else, under guard_: 2. after a
//                            writer take out all readers that wait, after readers the first writer   3. the first of them has waited for 1 ms, or
//                            somebody is starving: they have their shares now, else set woken   4. drop guard_, unpark.
//             giving up      under guard_ a node that is still queued goes; one that was taken out takes its turn or passes it on.
//             Whoever goes in, or gives up, wakes the readers that no writer bars any more.
// Invariants  I1 writers_wait, readers_wait <=> the list is not empty, under guard_. I2 starving => it is held: nobody barges past a hand-over.
//             I3 somebody waits => it is held, or a woken one is under way. The first of a group clears woken: it goes in, or has seen a
//                holder, whose leave wakes again.
//             I4 the CAS is the last access of an unlock that wakes nobody, so the next owner may destroy the mutex; those who are woken are
//                inside a call until they are unparked or get guard_.
//             I5 readers wait => a writer holds it or waits, or a woken one is under way: else readers that overlap could keep them out.
//             Fairness: who has waited for 1 ms is passed no more than by those of its phase rule: after a writer all readers that wait come
//             first, after readers a writer.
// Ordering    A release that lowers the word pairs with the acquire of whoever enters; the releases of several readers form one sequence, since
//             all steps are read-modify-writes. A hand-over is ordered by unpark.
// Rejected    Handing over always, phase-fair from the start: whoever is handed the mutex has yet to be scheduled, all others meet a held one and
//             park meanwhile, and so on for ever: a wake for each section once two processors have met. Handing over to the group of readers
//             alone: the same, where some sections write. Preferring readers (writers starve), or writers
//             (readers do). Distributed reader counts: 64 bytes per CPU and mutex. A CAS that is tried without a look first: a little less
//             without contention, but it takes the line from the holder each time with it (half as much CPU time again on two processors, in a
//             variant that is not kept).
// Limits      Readers share one cache line: a section shorter than a line's transfer does not scale with readers. No upgrade from shared to
//             exclusive. A shared lock taken twice by one fiber waits for ever when a writer came between.
// References  Brandenburg, Anderson: Spin-based reader-writer synchronization for multiprocessor real-time systems (2010), for phases; Go's
//             sync.Mutex (Vyukov 2016) for the 1 ms.
#pragma once

#include <chrono>
#include <cstdint>
#include <shared_mutex>

#include <tern/base/assert.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1::detail {

template <class Atomics = native_atomics, class Parking = fiber_parking, class Lock = wait_lock<Atomics>,
          unsigned Looks = 2>
class basic_rw_mutex {
 public:
  constexpr basic_rw_mutex() noexcept = default;
  basic_rw_mutex(const basic_rw_mutex&) = delete;
  basic_rw_mutex& operator=(const basic_rw_mutex&) = delete;
  ~basic_rw_mutex() {
    // relaxed: whoever destroys must have been told that all others are done.
    if (state_.load(memory_order_relaxed) != 0)
      fatal("a reader-writer mutex was destroyed while it was locked");
  }

  // All four have a branch for the usual word, as mutex has.
  void lock() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    // acquire: pairs with leave(); else the section reads what the last ones had not yet written.
    if (TERN_LIKELY(s == 0) &&
        TERN_LIKELY(state_.compare_exchange_strong(s, writer, memory_order_acquire, memory_order_relaxed)))
      return;
    if (!try_enter<exclusive>(s)) lock_slow<exclusive>();
  }
  [[nodiscard]] bool try_lock() noexcept {
    return try_enter<exclusive>(state_.load(memory_order_relaxed));  // relaxed: the CAS decides
  }
  void unlock() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    // release: pairs with all ways in.
    if (TERN_LIKELY(s == writer) &&
        TERN_LIKELY(state_.compare_exchange_strong(s, 0, memory_order_release, memory_order_relaxed)))
      return;
    leave<exclusive>(s);
  }

  void lock_shared() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    while (TERN_LIKELY(is_undisturbed(s)))
      // acquire: as in lock().
      if (TERN_LIKELY(
              state_.compare_exchange_weak(s, s + one_reader, memory_order_acquire, memory_order_relaxed)))
        return;
    if (!try_enter<shared>(s)) lock_slow<shared>();
  }
  [[nodiscard]] bool try_lock_shared() noexcept {
    return try_enter<shared>(state_.load(memory_order_relaxed));  // relaxed: the CAS decides
  }
  void unlock_shared() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    while (TERN_LIKELY(is_undisturbed(s) && s != 0))
      // release: pairs with try_enter(), and with the load in leave_slow().
      if (TERN_LIKELY(
              state_.compare_exchange_weak(s, s - one_reader, memory_order_release, memory_order_relaxed)))
        return;
    leave<shared>(s);
  }

  [[nodiscard]] bool try_lock_until_ns(os::nanoseconds deadline) noexcept {
    return try_lock() || lock_slow_until<exclusive>(deadline);
  }
  [[nodiscard]] bool try_lock_shared_until_ns(os::nanoseconds deadline) noexcept {
    return try_lock_shared() || lock_slow_until<shared>(deadline);
  }

 private:
  using node = wait_node<Parking>;
  enum : std::uint32_t {
    writer = 1,
    writers_wait = 2,
    readers_wait = 4,
    woken = 8,
    starving = 16,
    one_reader = 32
  };
  static constexpr std::uint32_t somebody_waits = writers_wait | readers_wait;
  static constexpr os::nanoseconds starvation = 1'000'000;
  static constexpr unsigned first_pauses = 64;

  // The two ways to hold it. `was_woken`: the caller comes with the group of its phase.
  struct exclusive {
    static constexpr const char* what = "reader-writer mutex";
    static constexpr std::uint32_t share = writer, waits = writers_wait;
    static bool may_enter(std::uint32_t s, bool) noexcept {
      return (s & (writer | starving)) == 0 && s < one_reader;
    }
    static bool is_held(std::uint32_t s) noexcept { return (s & writer) != 0; }
  };
  struct shared {
    static constexpr const char* what = "reader-writer mutex (shared)";
    static constexpr std::uint32_t share = one_reader, waits = readers_wait;
    static bool may_enter(std::uint32_t s, bool was_woken) noexcept {
      return (s & (writer | starving)) == 0 && ((s & writers_wait) == 0 || s < one_reader || was_woken);
    }
    static bool is_held(std::uint32_t s) noexcept { return s >= one_reader; }
  };
  template <class Way>
  wait_list<Parking>& list_of() noexcept {
    if constexpr (Way::share == writer)
      return writers_;
    else
      return readers_;
  }

  // Readers alone, or nobody.
  static bool is_undisturbed(std::uint32_t s) noexcept { return (s & (one_reader - 1)) == 0; }

  template <class Way>
  bool try_enter(std::uint32_t s) noexcept {
    while (Way::may_enter(s, false))
      // acquire: pairs with leave(); else the section reads what the last ones had not yet written.
      if (state_.compare_exchange_weak(s, s + Way::share, memory_order_acquire, memory_order_relaxed))
        return true;
    return false;
  }

  // The last holder has somebody to wake: nobody is under way, or the mutex is to be handed over.
  static bool must_wake(std::uint32_t s) noexcept {
    return (s & somebody_waits) != 0 && s < 2 * one_reader && (s & (woken | starving)) != woken;
  }
  template <class Way>
  void leave(std::uint32_t s) noexcept {
    do {
      if (TERN_UNLIKELY(!Way::is_held(s)))
        fatal("a reader-writer mutex was unlocked that is not locked that way");
      if (TERN_UNLIKELY(must_wake(s))) return leave_slow<Way>();
      // release: pairs with all ways in, and with the acquire in leave_slow().
    } while (!state_.compare_exchange_weak(s, s - Way::share, memory_order_release, memory_order_relaxed));
  }

  template <class Way>
  TERN_NOINLINE void lock_slow() noexcept {
    if (spin<Way>()) return;
    node me{Way::what, this};
    me.since = Parking::now();
    for (bool first = true;; first = false) {
      const bool starved = !first && Parking::now() - me.since > starvation;
      guard_.lock();
      if (enter_or_announce<Way>(!first, starved)) return guard_.unlock();
      queue<Way>(me, first);
      Parking::park(me.wait, guard_);
      if (me.granted) return;
      me.wait.rearm();
    }
  }

  template <class Way>
  TERN_NOINLINE bool lock_slow_until(os::nanoseconds deadline) noexcept {
    node me{Way::what, this};
    me.since = Parking::now();
    guard_.lock();
    for (bool first = true, mine = false;; first = false) {
      const bool starved = !first && Parking::now() - me.since > starvation;
      mine = enter_or_announce<Way>(!first, starved);
      if (!mine) {
        queue<Way>(me, first);
        const bool in_time = Parking::park_until(me.wait, deadline, guard_);
        guard_.lock();
        if (in_time && !me.granted) {
          me.wait.rearm();
          continue;
        }
        mine = me.granted || give_up<Way>(me);
      }
      guard_.unlock();
      return mine;
    }
  }

  // Few looks, far apart, as in basic_mutex.
  template <class Way>
  bool spin() noexcept {
    if constexpr (Looks != 0) {
      if (!Parking::has_time()) return false;
      for (unsigned look = 0, pauses = first_pauses; look < Looks; ++look, pauses *= 2) {
        for (unsigned i = 0; i < pauses; ++i) Atomics::pause();
        if (try_enter<Way>(state_.load(memory_order_relaxed))) return true;
        // relaxed: a hint.
        if ((state_.load(memory_order_relaxed) & somebody_waits) != 0) return false;
      }
    }
    return false;
  }

  // Requires: guard_. True: the caller has its share. False: the last holder's leave() will see that somebody waits.
  template <class Way>
  bool enter_or_announce(bool was_woken, bool starved) noexcept {
    const std::uint32_t own = was_woken ? std::uint32_t{woken} : 0;
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    for (;;) {
      if (Way::may_enter(s, was_woken)) {
        // acquire: as in try_enter().
        if (state_.compare_exchange_weak(s, (s & ~own) + Way::share, memory_order_acquire,
                                         memory_order_relaxed)) {
          if (was_woken) let_readers_in();
          return true;
        }
      } else {
        const std::uint32_t next = ((s | Way::waits) & ~own) | (starved ? std::uint32_t{starving} : 0);
        // relaxed: the lists are read under guard_.
        if (state_.compare_exchange_weak(s, next, memory_order_relaxed, memory_order_relaxed)) return false;
      }
    }
  }
  template <class Way>
  void queue(node& me, bool first) noexcept {
    if (first)
      list_of<Way>().push_back(me);
    else
      list_of<Way>().push_front(me);
  }

  // After a writer the readers that wait, after readers the first writer: woken, or, where somebody starves, handed their shares.
  template <class Way>
  TERN_NOINLINE void leave_slow() noexcept {
    wait_list<Parking> later;
    guard_.lock();
    // acquire: what the readers before us did is handed on.
    const std::uint32_t s = state_.load(memory_order_acquire);
    if (TERN_UNLIKELY(
            !must_wake(s))) {  // those who waited have given up, or others are inside or under way by now
      guard_.unlock();
      return leave<Way>(s);
    }
    const bool to_readers = Way::share == writer && !readers_.is_empty();
    TERN_ASSERT(to_readers || !writers_.is_empty(), "rw_mutex: readers wait for readers alone");
    const os::nanoseconds now = Parking::now();
    const bool hand_over = (s & starving) != 0 || is_overdue(to_readers ? readers_ : writers_, now);
    std::uint32_t next = hand_over ? (s & woken) : std::uint32_t{woken};
    if (to_readers) {
      const std::uint32_t n = take_readers(hand_over, later);
      if (hand_over) next += n * one_reader;
    } else {
      take(*writers_.pop_front(), hand_over, later);
      if (hand_over) next += writer;
    }
    next |= waits_now();
    if (hand_over && (is_overdue(readers_, now) || is_overdue(writers_, now))) next |= starving;
    // No RMW: while a writer leaves, or waits for the only reader, nobody else writes the word but under guard_. release: pairs with all ways in.
    state_.store(next, memory_order_release);
    guard_.unlock();
    unpark_all(later);
  }

  // Requires, all four: guard_.
  std::uint32_t waits_now() const noexcept {
    return (writers_.is_empty() ? 0 : std::uint32_t{writers_wait}) |
           (readers_.is_empty() ? 0 : std::uint32_t{readers_wait});
  }
  static bool is_overdue(wait_list<Parking>& l, os::nanoseconds now) noexcept {
    const node* n = l.front();
    return n != nullptr && now - n->since > starvation;
  }
  void take(node& n, bool grant, wait_list<Parking>& later) noexcept {
    n.granted = grant;
    wake_or_keep(n, later);
  }
  // How many.
  std::uint32_t take_readers(bool grant, wait_list<Parking>& later) noexcept {
    std::uint32_t n = 0;
    for (; node* r = readers_.pop_front(); ++n) take(*r, grant, later);
    return n;
  }

  // Requires: guard_, not granted; the deadline came first, or so it seemed. True: the caller has its share all the same.
  template <class Way>
  bool give_up(node& me) noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the RMWs decide
    if (me.hook.is_linked()) {
      wait_list<Parking>::erase(me);
      const std::uint32_t waits = waits_now();
      const std::uint32_t gone = (somebody_waits & ~waits) | (waits == 0 ? std::uint32_t{starving} : 0);
      // relaxed: the lists are read under guard_.
      while (!state_.compare_exchange_weak(s, s & ~gone, memory_order_relaxed, memory_order_relaxed)) {
      }
      let_readers_in();
      return false;
    }
    // A leave() has taken it out: the turn is taken if it can be, else it passes to whoever leaves next.
    for (;;) {
      const bool free = Way::may_enter(s, true);
      // acquire: as in try_enter().
      if (state_.compare_exchange_weak(s, (s & ~std::uint32_t{woken}) + (free ? Way::share : 0),
                                       memory_order_acquire, memory_order_relaxed)) {
        let_readers_in();
        return free;
      }
    }
  }

  // Requires: guard_. Wakes the readers that would wait behind readers alone, who may keep it for ever; I5.
  void let_readers_in() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the RMWs decide
    if ((s & (writer | writers_wait)) != 0 || readers_.is_empty()) return;
    wait_list<Parking> later;
    static_cast<void>(take_readers(false, later));
    // relaxed: the lists are read under guard_.
    while (!state_.compare_exchange_weak(s, (s & ~std::uint32_t{readers_wait | starving}) | woken,
                                         memory_order_relaxed, memory_order_relaxed)) {
    }
    unpark_all(later);
  }

  typename Atomics::template atomic<std::uint32_t> state_{0};
  Lock guard_;
  wait_list<Parking> readers_;  // guard_
  wait_list<Parking> writers_;  // guard_
};

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// SharedTimedLockable (std::shared_lock, std::unique_lock, std::lock_guard). 40 bytes, constant-initialised. Not recursive.
///
/// From fibers and plain threads, of any runtime. While a writer waits no reader joins those that are inside. Whoever finds it free takes it,
/// but a waiter that has waited for 1 ms is served phase-fair: a reader after at most one writer, a writer after those before it and one
/// group of readers before each; neither can starve. Uncontended each call is one atomic operation.
/// Unlocking what is not locked that way and destroying a locked one end the process. At most 2^27 - 1 readers at a time.
class rw_mutex : detail::basic_rw_mutex<> {
  using base = detail::basic_rw_mutex<>;

 public:
  using base::lock;
  using base::lock_shared;
  using base::try_lock;
  using base::try_lock_shared;
  using base::unlock;
  using base::unlock_shared;

  /// True if the lock was taken in time.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& d) noexcept {
    return try_lock_until_ns(detail::deadline_in(d));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& t) noexcept {
    return try_lock_until_ns(detail::deadline_at(t));
  }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& d) noexcept {
    return try_lock_shared_until_ns(detail::deadline_in(d));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& t) noexcept {
    return try_lock_shared_until_ns(detail::deadline_at(t));
  }
};

}  // namespace tern::inline v1

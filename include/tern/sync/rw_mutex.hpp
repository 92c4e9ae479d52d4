// Reader-writer mutex: many readers or one writer, phase-fair, between fibers and threads in any mixture.
//
// Structure   state_: writer (1), waiting (2): one of the lists is not empty, and the number of readers above. readers_ and writers_ are the
//             lists of those who wait.
// Protocol    shared lock    1. nobody writes or waits: CAS one reader in. Else, under guard_: 2. the same again   3. set waiting, queue, park.
//             lock           1. CAS 0 -> writer. Else, under guard_: 2. the same again   3. set waiting, queue, park.
//             unlock         1. CAS writer -> 0. Else, under guard_: 2. all readers that wait are let in together; where none waits the
//                               first writer   3. drop guard_, unpark. Whoever is unparked owns its share: it is handed over.
//             shared unlock  1. not the last, or nobody waits: CAS one reader out. Else, under guard_: 2. the first writer owns it.
//             giving up      under guard_ a node that is still queued goes; the last writer that goes lets the readers behind it in.
// Invariants  I1 waiting <=> one of the lists is not empty, under guard_. I2 waiting => somebody holds the mutex and will see it: it is set while
//                held, and while it is set the last holder leaves under guard_. I3 readers_ not empty => a writer holds it or waits.
//             I4 the CAS, or the unlock of guard_, is the last access of an unlock, so the next owner may destroy the mutex.
//             Fairness: while a writer waits no new reader enters, and after a writer all readers that wait come first. So a reader waits for
//             at most one writer's section after those that are inside, and a writer for the writers before it and one group of readers
//             before each of them.
// Ordering    A release that lowers the word pairs with the acquire of whoever enters; the releases of several readers form one sequence, since
//             all steps are read-modify-writes. A hand-over is ordered by unpark.
// Rejected    Preferring readers (writers starve), or writers (readers do). Barging as in mutex: a reader's section is often as short as a
//             wake, and a writer would lose against the readers for ever. Distributed reader counts: 64 bytes per CPU and mutex.
// Limits      Readers share one cache line: a section shorter than a line's transfer does not scale with readers. No upgrade from shared to
//             exclusive. A shared lock taken twice by one fiber waits for ever when a writer came between.
// References  Brandenburg, Anderson: Spin-based reader-writer synchronization for multiprocessor real-time systems (2010).
#pragma once

#include <chrono>
#include <cstdint>
#include <shared_mutex>

#include <tern/base/assert.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1::detail {

template <class Atomics = native_atomics, class Parking = fiber_parking, class Lock = wait_lock<Atomics>>
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

  void lock() noexcept {
    if (TERN_UNLIKELY(!try_lock())) lock_slow();
  }
  [[nodiscard]] bool try_lock() noexcept {
    std::uint32_t expected = 0;
    // acquire: pairs with unlock() and unlock_shared(); else the section reads what the last ones had not yet written.
    return state_.compare_exchange_strong(expected, writer, memory_order_acquire, memory_order_relaxed);
  }
  void unlock() noexcept {
    std::uint32_t expected = writer;
    // release: pairs with the acquires of all ways in.
    if (TERN_UNLIKELY(
            !state_.compare_exchange_strong(expected, 0, memory_order_release, memory_order_relaxed)))
      unlock_slow(expected);
  }

  void lock_shared() noexcept {
    if (TERN_UNLIKELY(!try_lock_shared())) lock_shared_slow();
  }
  [[nodiscard]] bool try_lock_shared() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    while ((s & (writer | waiting)) == 0)
      // acquire: pairs with unlock().
      if (state_.compare_exchange_weak(s, s + one_reader, memory_order_acquire, memory_order_relaxed))
        return true;
    return false;
  }
  void unlock_shared() noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    do {
      if (TERN_UNLIKELY(s < one_reader))
        fatal("a reader-writer mutex was unlocked that is not locked that way");
      if (TERN_UNLIKELY((s & waiting) != 0 && s < 2 * one_reader)) return unlock_shared_slow();
      // release: pairs with try_lock(), and with the load in unlock_shared_slow().
    } while (!state_.compare_exchange_weak(s, s - one_reader, memory_order_release, memory_order_relaxed));
  }

  [[nodiscard]] bool try_lock_until_ns(os::nanoseconds deadline) noexcept {
    if (try_lock()) return true;
    node me{"reader-writer mutex", this};
    guard_.lock();
    if (enter_or_announce(0, writer)) {
      guard_.unlock();
      return true;
    }
    writers_.push_back(me);
    static_cast<void>(Parking::park_until(me.wait, deadline, guard_));
    guard_.lock();
    if (!me.granted) give_up(me);
    guard_.unlock();
    return me.granted;
  }
  [[nodiscard]] bool try_lock_shared_until_ns(os::nanoseconds deadline) noexcept {
    if (try_lock_shared()) return true;
    node me{"reader-writer mutex (shared)", this};
    guard_.lock();
    if (enter_or_announce(~(writer | waiting), one_reader)) {
      guard_.unlock();
      return true;
    }
    readers_.push_back(me);
    static_cast<void>(Parking::park_until(me.wait, deadline, guard_));
    guard_.lock();
    if (!me.granted) give_up(me);
    guard_.unlock();
    return me.granted;
  }

 private:
  using node = wait_node<Parking>;
  static constexpr std::uint32_t writer = 1;
  static constexpr std::uint32_t waiting = 2;
  static constexpr std::uint32_t one_reader = 4;

  TERN_NOINLINE void lock_slow() noexcept {
    node me{"reader-writer mutex", this};
    guard_.lock();
    if (enter_or_announce(0, writer)) return guard_.unlock();
    writers_.push_back(me);
    Parking::park(me.wait, guard_);
  }
  TERN_NOINLINE void lock_shared_slow() noexcept {
    node me{"reader-writer mutex (shared)", this};
    guard_.lock();
    if (enter_or_announce(~(writer | waiting), one_reader)) return guard_.unlock();
    readers_.push_back(me);
    Parking::park(me.wait, guard_);
  }

  // Requires: guard_. True: nothing but `may` was set, and `in` is added. False: waiting is set, the caller queues.
  bool enter_or_announce(std::uint32_t may, std::uint32_t in) noexcept {
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the CAS decides
    for (;;) {
      if ((s & ~may) == 0) {
        // acquire: as in the fast paths.
        if (state_.compare_exchange_weak(s, s + in, memory_order_acquire, memory_order_relaxed)) return true;
        // relaxed: the lists are read under guard_.
      } else if (state_.compare_exchange_weak(s, s | waiting, memory_order_relaxed, memory_order_relaxed)) {
        return false;
      }
    }
  }

  TERN_NOINLINE void unlock_slow(std::uint32_t s) noexcept {
    if ((s & writer) == 0) fatal("a reader-writer mutex was unlocked that is not locked that way");
    wait_list<Parking> later;
    guard_.lock();
    // A waiter may have given up just now. While the writer's bit is ours and guard_ is held nobody else writes the word.
    if (!readers_.is_empty()) {
      const std::uint32_t in = take_readers(later) * one_reader;
      // release: pairs with a reader that enters by CAS from here on.
      state_.store(in | (writers_.is_empty() ? 0 : waiting), memory_order_release);
    } else if (!writers_.is_empty()) {
      hand_to_writer(later);
    } else {
      state_.store(0, memory_order_release);  // pairs-with: every way in
    }
    guard_.unlock();
    unpark_all(later);
  }

  // The last reader, and somebody waits.
  TERN_NOINLINE void unlock_shared_slow() noexcept {
    wait_list<Parking> later;
    guard_.lock();
    // acquire: what the readers before us did is handed on to the writer.
    std::uint32_t s = state_.load(memory_order_acquire);
    // A writer may have given up meanwhile, and readers have been let in: then we are not the last, or nobody waits.
    while ((s & waiting) == 0 || s >= 2 * one_reader)
      if (state_.compare_exchange_weak(s, s - one_reader, memory_order_release, memory_order_acquire))
        return guard_.unlock();
    hand_to_writer(later);
    guard_.unlock();
    unpark_all(later);
  }

  // Requires: guard_; a writer waits, and whoever holds the mutex gives it up with this call.
  void hand_to_writer(wait_list<Parking>& later) noexcept {
    node* n = writers_.pop_front();
    TERN_ASSERT(n != nullptr, "rw_mutex: readers wait without a writer");
    // relaxed: unpark orders; nobody enters by CAS while the writer's bit is set.
    state_.store(writer | (writers_.is_empty() && readers_.is_empty() ? 0 : waiting), memory_order_relaxed);
    n->granted = true;
    wake_or_keep(*n, later);
  }
  // Requires: guard_. How many.
  std::uint32_t take_readers(wait_list<Parking>& later) noexcept {
    std::uint32_t n = 0;
    while (node* r = readers_.pop_front()) {
      r->granted = true;
      wake_or_keep(*r, later);
      ++n;
    }
    return n;
  }

  // Requires: guard_; the node is queued.
  void give_up(node& me) noexcept {
    wait_list<Parking>::erase(me);
    std::uint32_t s = state_.load(memory_order_relaxed);  // relaxed: the RMWs below decide
    if (!writers_.is_empty() || ((s & writer) != 0 && !readers_.is_empty())) return;
    // No writer waits any more: behind readers nobody has to. The last of those cannot leave before guard_ is free.
    wait_list<Parking> later;
    const std::uint32_t in = (s & writer) != 0 ? 0 : take_readers(later) * one_reader;
    // acquire: what the last writer did is handed on to the readers. No release: the step belongs to the sequence of that writer's.
    while (
        !state_.compare_exchange_weak(s, (s & ~waiting) + in, memory_order_acquire, memory_order_relaxed)) {
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
/// From fibers and plain threads, of any runtime. Phase-fair: a reader waits for at most one writer after those that are inside, a writer
/// for the writers before it and one group of readers before each; neither can starve. Uncontended each call is one atomic operation.
/// Unlocking what is not locked that way and destroying a locked one end the process. At most 2^30 - 1 readers at a time.
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

// Idle protocol: which processors sleep, and who wakes one when work appears.
//
// Context     One idle_set per runtime. A processor is awake (a worker runs fibers with it, or searches for some), asleep, or
//             lent (its worker is inside tern::blocking and left it for whoever needs it).
// Structure   word: away << 16 | searching. `away` counts those asleep and lent, `searching` the awake ones that look for work in other
//             queues. So the word is 0 where all are at work, which is all that most submits have to see.
// Protocol    Submit   1. publish the work (a seq_cst store or RMW)   2. load word: searching == 0 and away != 0?
//                      3. then take a sleeper under the lock, counted as awake and searching, and signal it.
//             Search   begin_search() admits at most half of the awake, so that a burst does not turn into a stampede. A searcher
//                      that finds work calls end_search(); the last one wakes another, since more may follow.
//             Sleep    1. enter the list and leave the word in one locked step (RMW)   2. where no searcher is left, rescan all
//                      queues   3. where it finds something it takes itself out again (rouse) and searches on.
//             Doze     A sleep that ends by itself, of one that has seen the others' rings move: begin_doze, sleep without step 2, end_doze when
//                      awake again, search. Submits of woken fibers wake nobody meanwhile (should_wake_soon). Another one that has seen the
//                      same asks is_dozing() in step 2 and leaves the rings to the dozer.
// Invariants  I1 a processor is in exactly one of awake, sleeping_, lent_: awake + |sleeping_| + |lent_| = total. Asserted.
//             I2 work published while nobody searches is seen by a rescan or leads to a wake, by the StoreLoad on both sides.
// Ordering    Submit: store work, load word. Sleep: RMW word, load work. All four seq_cst, so one of the two sees the other.
//             Who leaves searchers behind sleeps without a rescan: the last of them rescans later.
//             Doze: submit stores work, loads the word, loads dozing; a dozer stores dozing and later sleeps for good with RMW and rescan.
// Rejected    An RMW by each submit: one contended line for all spawns. Waking always: a ping-pong of two fibers would bounce
//             between cores. Sleeper sets as bit masks: a limit on processors.
// References  The Go scheduler (Vyukov 2012) and tokio's idle set have the same two counters.
#pragma once

#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1::detail {

// A processor's place in the set. Protected by the set's lock.
struct idle_member {
  enum class place : std::uint8_t { awake, asleep, lent, outside };
  list_hook hook{};
  place where = place::outside;
  const void* lender = nullptr;  // the worker that lent it
};

template <class Atomics = native_atomics, class Lock = spin_lock<Atomics>>
class idle_set {
  using word_type = typename Atomics::template atomic<std::uint32_t>;
  static constexpr std::uint32_t one_searching = 1;
  static constexpr std::uint32_t one_away = 1u << 16;
  static constexpr std::uint32_t searching_in(std::uint32_t v) noexcept { return v & (one_away - 1); }
  static constexpr std::uint32_t away_in(std::uint32_t v) noexcept { return v >> 16; }
  std::uint32_t awake_in(std::uint32_t v) const noexcept {
    return total_.load(memory_order_relaxed) - away_in(v);  // relaxed: as in total()
  }

 public:
  // How a processor enters: asleep.
  void add(idle_member& m) noexcept {
    guard g{lock_};
    sleeping_.push_back(m);
    enter_locked(m, idle_member::place::asleep, one_away);
  }
  // How an extra processor enters: awake and searching, run by its caller.
  void add_awake(idle_member& m) noexcept {
    guard g{lock_};
    enter_locked(m, idle_member::place::awake, one_searching);
  }
  // Requires: awake, not searching.
  void remove(idle_member& m) noexcept {
    guard g{lock_};
    TERN_ASSERT(m.where == idle_member::place::awake, "idle: only an awake processor leaves");
    m.where = idle_member::place::outside;
    total_.store(total_.load(memory_order_relaxed) - 1, memory_order_relaxed);
  }

  // After publishing work. pairs-with: the RMW in sleep(); else a submit and the last sleeper can miss each other.
  bool should_wake() const noexcept {
    const std::uint32_t v = word_.load(memory_order_seq_cst);
    return TERN_UNLIKELY(v != 0) && searching_in(v) == 0;
  }

  // The same after work that a fiber has woken or put off itself: not while a dozer is about, who comes by in a moment.
  // seq_cst: pairs with end_doze(); after it the dozer looks at all queues before it sleeps for good.
  bool should_wake_soon() const noexcept { return should_wake() && dozing_.load(memory_order_seq_cst) == 0; }
  // Before sleep(), for a sleep that ends by itself after a moment. False: another one dozes already.
  [[nodiscard]] bool begin_doze() noexcept {
    std::uint32_t none = 0;
    return dozing_.compare_exchange_strong(none, 1, memory_order_seq_cst, memory_order_relaxed);
  }
  // Asked after sleep(): true if somebody dozes, who looks at all queues when that ends. seq_cst: pairs with end_doze(); else the dozer is
  // relied on by one that it does not know of any more.
  bool is_dozing() const noexcept { return dozing_.load(memory_order_seq_cst) != 0; }
  // When it is awake and searching again.
  void end_doze() noexcept { dozing_.store(0, memory_order_seq_cst); }

  // Takes the processor that fell asleep last, now awake and searching; the caller starts it. Null where another submit was first,
  // or where only lent ones are left.
  idle_member* wake_one() noexcept {
    guard g{lock_};
    if (!should_wake()) return nullptr;
    return take_sleeper_locked();
  }
  // The same whether or not somebody searches: for the monitor and for shutdown.
  idle_member* wake_any() noexcept {
    guard g{lock_};
    return take_sleeper_locked();
  }

  bool begin_search() noexcept {
    std::uint32_t v = word_.load(memory_order_relaxed);  // relaxed: the CAS decides
    do {
      if (2 * searching_in(v) >= awake_in(v) && searching_in(v) != 0) return false;
    } while (!word_.compare_exchange_weak(v, v + one_searching, memory_order_seq_cst, memory_order_relaxed));
    return true;
  }
  // Whatever the others do: for a processor that is handed over, since its next worker begins as a searcher.
  void join_search() noexcept { word_.fetch_add(one_searching, memory_order_seq_cst); }
  // True: it was the last one, and the caller wakes another (it found work, and more may be there).
  [[nodiscard]] bool end_search() noexcept {
    return searching_in(word_.fetch_sub(one_searching, memory_order_seq_cst)) == 1;
  }

  // True: the caller must rescan all queues, since no searcher is left. Whether it was one itself does not matter: the searcher on
  // whose account it was refused may have found work and published more meanwhile, when it saw nobody asleep.
  [[nodiscard]] bool sleep(idle_member& m, bool searching) noexcept {
    guard g{lock_};
    sleeping_.push_front(m);
    return fall_asleep_locked(m, searching ? one_searching : 0);
  }
  // The same for one that was awake and searching and for which there is no thread: behind the others, so that the next wake is for one
  // that may have its own. The caller sees to the rescan.
  void sleep_behind(idle_member& m) noexcept {
    guard g{lock_};
    sleeping_.push_back(m);
    static_cast<void>(fall_asleep_locked(m, one_searching));
  }
  // The sleeper takes itself out, awake and searching. False: somebody has taken it already, its signal is under way, and it is
  // counted as awake and searching all the same.
  bool rouse(idle_member& m) noexcept {
    guard g{lock_};
    if (m.where != idle_member::place::asleep) return false;
    sleeping_.erase(m);
    become_awake_locked(m, one_searching);
    return true;
  }

  // Blocking: the processor stays with its worker, the lender, unless it is adopted.
  void lend(idle_member& m, const void* lender) noexcept {
    guard g{lock_};
    TERN_ASSERT(m.where == idle_member::place::awake, "idle: lent twice");
    m.where = idle_member::place::lent;
    m.lender = lender;
    lent_.push_back(m);
    word_.fetch_add(one_away, memory_order_seq_cst);  // pairs-with: should_wake(), as in sleep()
  }
  // True: still the lender's, awake again. It may have been adopted and lent by another since: hence the lender's name.
  bool reclaim(idle_member& m, const void* lender) noexcept {
    guard g{lock_};
    if (m.where != idle_member::place::lent || m.lender != lender) return false;
    lent_.erase(m);
    become_awake_locked(m, 0);
    return true;
  }
  // Takes this one, awake and searching, if it is lent.
  bool adopt(idle_member& m) noexcept {
    guard g{lock_};
    if (m.where != idle_member::place::lent) return false;
    lent_.erase(m);
    become_awake_locked(m, one_searching);
    return true;
  }
  // Takes any lent processor, awake and searching; null where there is none.
  idle_member* adopt() noexcept {
    guard g{lock_};
    idle_member* m = lent_.pop_front();
    if (m != nullptr) become_awake_locked(*m, one_searching);
    return m;
  }

  // Approximate unless the caller knows that nothing changes.
  std::uint32_t awake() const noexcept { return awake_in(word_.load(memory_order_seq_cst)); }
  std::uint32_t searching() const noexcept { return searching_in(word_.load(memory_order_seq_cst)); }
  std::uint32_t total() const noexcept { return total_.load(memory_order_relaxed); }

 private:
  struct guard {
    Lock& lock;
    explicit guard(Lock& l) noexcept : lock{l} { lock.lock(); }
    ~guard() { lock.unlock(); }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
  };

  void enter_locked(idle_member& m, idle_member::place where, std::uint32_t entry) noexcept {
    TERN_ASSERT(m.where == idle_member::place::outside, "idle: added twice");
    // relaxed: what others read of it is a hint.
    total_.store(total_.load(memory_order_relaxed) + 1, memory_order_relaxed);
    m.where = where;
    word_.fetch_add(entry, memory_order_seq_cst);
  }
  bool fall_asleep_locked(idle_member& m, std::uint32_t leaves) noexcept {
    TERN_ASSERT(m.where == idle_member::place::awake, "idle: slept twice");
    m.where = idle_member::place::asleep;
    // pairs-with: should_wake().
    return searching_in(word_.fetch_add(one_away - leaves, memory_order_seq_cst)) == leaves;
  }
  idle_member* take_sleeper_locked() noexcept {
    idle_member* m = sleeping_.pop_front();
    if (m != nullptr) become_awake_locked(*m, one_searching);
    return m;
  }
  void become_awake_locked(idle_member& m, std::uint32_t searching) noexcept {
    m.where = idle_member::place::awake;
    const std::uint32_t before = word_.fetch_sub(one_away - searching, memory_order_seq_cst);
    TERN_ASSERT(away_in(before) != 0, "idle: more awake than there are");
    static_cast<void>(before);
  }

  alignas(cache_line_size) word_type word_{0};
  word_type total_{0};
  word_type dozing_{0};  // 0 or 1
  alignas(cache_line_size) Lock lock_{};
  list<idle_member, &idle_member::hook> sleeping_{};
  list<idle_member, &idle_member::hook> lent_{};
};

}  // namespace tern::inline v1::detail

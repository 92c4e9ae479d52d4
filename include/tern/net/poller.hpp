// Poller: the one set of descriptors that the kernel reports on, for all runtimes of the process, and the records of these descriptors.
//
// Context     sched calls it through poller_hooks (sched/poll_role.hpp): a sleeping worker waits here, busy ones and the monitor look in.
//             io.hpp registers what fibers wait for.
// Structure   A `descriptor` is a record of 128 bytes in a block that is never given back: an event may still name one whose file is closed.
//             Then it wakes somebody for nothing.
//             use: how many calls are inside, above the bits `closed` and `orphaned` (its handle is gone). interest: the directions for which
//             it is registered, in the set with the number above them.
// Protocol    Registered when first waited for, for reading with all that ends a stream; for writing when a write first waits. Edge-triggered,
//             and never changed afterwards; closing the file takes it out.
//             Close  1. set `closed`: no call enters any more   2. wake who waits   3. the last call that leaves closes the file, or
//                    close() itself where none is inside   4. the handle sets `orphaned`; the last one out, it or a call, frees the record.
// Invariants  I1 the file is closed by whoever makes {closed, no call inside} true, once; a file number is not used after that.
//             I2 a record is free only when it is orphaned and nobody is inside.
// Ordering    The RMWs of `use`: a leaver's release with the acquire of whoever closes or frees.
// Rejected    A set and a role per processor, into which the idle ones look by turns; a connection stays where it was first waited for.
//             Tried in a prototype that is not kept, in interleaved runs on two CPUs: the CPU time of a round trip between fibers over
//             loopback is 1.00 of this one's with 64 connections and 1.57 with 1,000, since processors go to sleep beside the sets of
//             busy ones.
//             io_uring in place of epoll. Tried with bare echo loops in the same way: with 64 and 1,000 connections a message takes 0.99 to 1.09 of
//             the CPU time, by receives of one shot and of many, and every connection that waits would hold a buffer or share a ring of them.
//             EPOLL_CTL_DEL at close: a system call per connection, for files of which there is a copy elsewhere (adopted ones do it).
// Limits      A fork child has a set of its own from its first wait on.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/net/readiness.hpp>
#include <tern/os/epoll.hpp>
#include <tern/os/fork_handlers.hpp>
#include <tern/sched/poll_role.hpp>

namespace tern::inline v1::detail {

enum class io_side : std::uint32_t { in = 1, out = 2 };

struct alignas(cache_line_size) descriptor {
  static constexpr std::uint32_t closed = 1;
  static constexpr std::uint32_t orphaned = 2;
  static constexpr std::uint32_t one_call = 4;

  readiness in;
  readiness out;
  atomic<std::uint32_t> use{0};
  atomic<std::uint32_t> interest{0};  // written under the poller's lock
  int fd = -1;                        // written while nobody is inside
  bool adopted = false;               // there may be copies of it elsewhere
  bool is_stream = false;             // a read or write that does less than was asked has done all it can
  descriptor* next_free = nullptr;    // the poller's lock

  readiness& side(io_side s) noexcept { return s == io_side::in ? in : out; }

  // False: it is closed.
  [[nodiscard]] bool enter() noexcept {
    std::uint32_t u = use.load(memory_order_relaxed);  // relaxed: the CAS decides
    do {
      if (TERN_UNLIKELY((u & closed) != 0)) return false;
      // acquire: pairs with whoever opened it.
    } while (!use.compare_exchange_weak(u, u + one_call, memory_order_acquire, memory_order_relaxed));
    return true;
  }
  void leave() noexcept;
  void close() noexcept;
  void orphan() noexcept;
};

class poller {
 public:
  // A record for `fd`, which it owns from now on. Throws std::bad_alloc; then fd is still the caller's.
  static descriptor& adopt(int fd, bool is_stream, bool may_have_copies) {
    descriptor* d;
    static_cast<void>(handle_forks());  // watch() tells of its failure
    {
      lock_scope hold{state.lock};
      d = state.free;
      if (d != nullptr) state.free = d->next_free;
    }
    if (d == nullptr) d = new_records();
    d->in.reset();
    d->out.reset();
    d->interest.store(0, memory_order_relaxed);  // relaxed, both: published with the handle
    d->fd = fd;
    d->is_stream = is_stream;
    d->adopted = may_have_copies;
    d->use.store(0, memory_order_relaxed);
    return *d;
  }
  static void free(descriptor& d) noexcept {
    lock_scope hold{state.lock};
    d.next_free = state.free;
    state.free = &d;
  }

  // Makes events of this direction come. 0 or an errno: EMFILE, ENFILE, ENOMEM, ENOSPC; EPERM for a regular file.
  static int watch(descriptor& d, io_side s) noexcept {
    // relaxed: whoever set it did so by a system call that made the events come to whoever polls.
    if (TERN_LIKELY((d.interest.load(memory_order_relaxed) & mask(s)) == mask(s))) return 0;
    return watch_slow(d, s);
  }
  // The file is about to be closed or given away.
  static void forget(descriptor& d) noexcept {
    if (d.interest.load(memory_order_relaxed) == 0) return;  // relaxed: nobody is inside who would change it
    lock_scope hold{state.lock};
    if (registered(d.interest.load(memory_order_relaxed)) != 0) {
      if (d.adopted) static_cast<void>(os::epoll_change(state.set, EPOLL_CTL_DEL, d.fd, 0, nullptr));
      state.watched.fetch_sub(1, memory_order_relaxed);  // relaxed: a hint
    }
    d.interest.store(0, memory_order_relaxed);
  }

  // For tests: fibers that wait, and whether a call on this file is under way. O(descriptors).
  static std::size_t count_waiting() noexcept {
    std::size_t n = 0;
    for_each([&n](descriptor& d) noexcept {
      n += d.in.count_waiting() + d.out.count_waiting();
      return true;
    });
    return n;
  }
  static bool is_inside(int fd) noexcept {
    return !for_each([fd](descriptor& d) noexcept {
      return d.fd != fd || d.use.load(memory_order_relaxed) < descriptor::one_call;  // relaxed: a hint
    });
  }

 private:
  static constexpr std::uint32_t sides = 3;
  static constexpr std::uint32_t one_set = 4;

  struct block {
    static constexpr std::size_t count = 64;  // some 8 KiB
    block* next = nullptr;
    descriptor records[count];
  };
  // Constant-initialised.
  struct shared_state {
    spin_lock<> lock;
    descriptor* free = nullptr;  // lock
    block* blocks = nullptr;     // lock
    int set = -1;                // lock; read without it by whoever got the hooks, which come later
    int wake = -1;               // likewise
    os::fork_handlers forks;
    atomic<std::uint32_t> number{0};   // the set's, in steps of one_set; changes in a fork child
    atomic<std::uint32_t> watched{0};  // descriptors in the set
  };
  static shared_state state;

  static std::uint32_t mask(io_side s) noexcept {
    // relaxed: changes in a child that has one thread.
    return state.number.load(memory_order_relaxed) | static_cast<std::uint32_t>(s);
  }
  // The directions for which it is registered in this process's set.
  static std::uint32_t registered(std::uint32_t interest) noexcept {
    return (interest & ~sides) == state.number.load(memory_order_relaxed) ? interest & sides : 0;
  }

  TERN_COLD static descriptor* new_records() {
    block* b = new block;
    lock_scope hold{state.lock};
    b->next = state.blocks;
    state.blocks = b;
    for (std::size_t i = 1; i < block::count; ++i) {
      b->records[i].next_free = state.free;
      state.free = &b->records[i];
    }
    return &b->records[0];
  }

  TERN_COLD static int watch_slow(descriptor& d, io_side s) noexcept {
    if (const int error = handle_forks(); error != 0) return error;
    lock_scope hold{state.lock};
    if (state.set < 0)
      if (const int error = open_locked(); error != 0) return error;
    // relaxed: the lock orders.
    const std::uint32_t before = registered(d.interest.load(memory_order_relaxed));
    const std::uint32_t now = before | static_cast<std::uint32_t>(s);
    if (now == before) return 0;
    std::uint32_t events = EPOLLET;
    if ((now & static_cast<std::uint32_t>(io_side::in)) != 0) events |= EPOLLIN | EPOLLRDHUP | EPOLLPRI;
    if ((now & static_cast<std::uint32_t>(io_side::out)) != 0) events |= EPOLLOUT;
    // Where it is ready already, that is an event.
    const int error =
        os::epoll_change(state.set, before == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, d.fd, events, &d);
    if (error != 0) return error;
    if (before == 0) state.watched.fetch_add(1, memory_order_relaxed);  // relaxed: a hint
    d.interest.store(state.number.load(memory_order_relaxed) | now, memory_order_relaxed);
    return 0;
  }

  // Requires: the lock.
  TERN_COLD static int open_locked() noexcept {
    const int set = os::epoll_open();
    if (set < 0) return -set;
    const int wake = os::wake_open();
    const int error =
        wake < 0 ? -wake : os::epoll_change(set, EPOLL_CTL_ADD, wake, EPOLLIN | EPOLLET, nullptr);
    if (error != 0) {
      ::close(set);
      if (wake >= 0) ::close(wake);
      return error;
    }
    state.set = set;
    state.wake = wake;
    installed_poller.store(&hooks, memory_order_release);  // pairs-with: watching_poller()
    return 0;
  }

  // 0 or ENOMEM. Before the lock is taken.
  static int handle_forks() noexcept { return state.forks.ensure(&before_fork, &after_fork, &in_child); }
  static void before_fork() noexcept {
    state.forks.before([]() noexcept { state.lock.lock(); });
  }
  static void after_fork() noexcept {
    state.forks.after([]() noexcept { state.lock.unlock(); });
  }
  static void in_child() noexcept { state.forks.after(&leave_set_to_parent); }
  // It would report to the parent and the child in turns.
  static void leave_set_to_parent() noexcept {
    if (state.set >= 0) ::close(state.set);
    if (state.wake >= 0) ::close(state.wake);
    state.set = state.wake = -1;
    // relaxed: there is no other thread.
    installed_poller.store(nullptr, memory_order_relaxed);
    state.number.fetch_add(one_set, memory_order_relaxed);
    state.watched.store(0, memory_order_relaxed);
    poller_role.reset();
    state.lock.unlock();
  }

  // ---- hooks ----

  static bool is_watching() noexcept { return state.watched.load(memory_order_relaxed) != 0; }
  static void wait(os::epoll_batch& b, os::nanoseconds deadline) noexcept {
    os::epoll_wait_until(state.set, b, deadline);
  }
  static void interrupt() noexcept { os::wake_write(state.wake); }
  static void dispatch(const os::epoll_batch& b) noexcept {
    for (int i = 0; i < b.count; ++i) {
      auto* d = static_cast<descriptor*>(b.events[i].data.ptr);
      if (d == nullptr) continue;  // an interrupt
      const std::uint32_t e = b.events[i].events;
      constexpr std::uint32_t broken = EPOLLERR | EPOLLHUP;
      constexpr std::uint32_t ending = broken | EPOLLRDHUP | EPOLLPRI;
      if ((e & (EPOLLIN | ending)) != 0) d->in.notify((e & ending) != 0 ? readiness::hang_up : 0);
      if ((e & (EPOLLOUT | broken)) != 0) d->out.notify((e & broken) != 0 ? readiness::hang_up : 0);
    }
  }
  static bool is_awaited() noexcept {
    return !for_each(
        [](descriptor& d) noexcept { return d.in.count_waiting() + d.out.count_waiting() == 0; });
  }
  // While f returns true.
  template <class F>
  static bool for_each(F f) noexcept {
    lock_scope hold{state.lock};
    for (block* b = state.blocks; b != nullptr; b = b->next)
      for (descriptor& d : b->records)
        if (!f(d)) return false;
    return true;
  }
  static constexpr poller_hooks hooks{&is_watching, &wait, &dispatch, &interrupt, &is_awaited};
};

inline constinit poller::shared_state poller::state{};

inline void descriptor::leave() noexcept {
  std::uint32_t u = use.load(memory_order_relaxed);  // relaxed: the RMWs decide
  for (;;) {
    if (TERN_UNLIKELY(u < 2 * one_call && (u & closed) != 0)) {
      // The last one, and nobody enters any more.
      poller::forget(*this);
      ::close(fd);
      u = use.fetch_sub(one_call, memory_order_acq_rel);  // pairs-with: orphan()
      if ((u & orphaned) != 0) poller::free(*this);
      return;
    }
    // release: pairs with whoever closes the file.
    if (use.compare_exchange_weak(u, u - one_call, memory_order_acq_rel, memory_order_acquire)) return;
  }
}

inline void descriptor::close() noexcept {
  const std::uint32_t u = use.fetch_or(closed, memory_order_acq_rel);  // pairs-with: enter(), leave()
  if ((u & closed) != 0) return;
  if (u < one_call) {
    poller::forget(*this);
    ::close(fd);
    return;
  }
  in.notify(readiness::shut);
  out.notify(readiness::shut);
}

inline void descriptor::orphan() noexcept {
  close();
  if (use.fetch_or(orphaned, memory_order_acq_rel) < one_call) poller::free(*this);  // pairs-with: leave()
}

}  // namespace tern::inline v1::detail

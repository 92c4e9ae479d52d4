// Turns: how the collector's thread shares the CPUs with mutators that want all of them.
//
// Context     Of two threads that compute on one CPU each waits for whole time slices of the kernel: beside as many busy mutators as there are CPUs, a
//             thread that marks on and on would stall each of them for so long again and again.
// Protocol    The collector calls rest() between pieces of work. Where every CPU has a mutator it works for at most `turn`, then sleeps for `pause`: a
//             sleeper that wakes gets a CPU ahead of those that compute, so a turn is what a mutator loses. What the thread leaves undone the
//             mutators mark as they allocate (assists). Where a CPU is left over it does not sleep.
// Rejected    A lower priority, or SCHED_IDLE: on a busy machine the marker starves, and mutators run into the brake. Pauses as long as a turn: mutators that
//             allocate on a schedule fall behind it several times as far. Larger pieces of marking where a CPU is left over: no difference that
//             could be told from noise (variants that are not kept).
// Limits      An attached thread that blocks in the kernel and has not said so (gc::without_managed_access) counts as busy: cycles take longer.
#pragma once

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>

#include <tern/gc/state.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/thread.hpp>

namespace tern::inline v1::detail::gc {

class turns {
 public:
  // The collector's thread, once.
  void start() noexcept {
    cpus_ = os::usable_cpus();
    ::prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);  // ns: the default of 50 us is a turn
    ask_for_short_slices();
  }

  void begin() noexcept { since_ = os::now(); }

  void rest() noexcept {
    const os::nanoseconds now = os::now();
    if (now - since_ < turn) return;
    if (mutators_want_every_cpu()) {
      const timespec t{0, pause};
      ::nanosleep(&t, nullptr);
    }
    since_ = os::now();
  }

  static constexpr os::nanoseconds turn = 50'000;
  static constexpr os::nanoseconds pause = 150'000;

 private:
  bool mutators_want_every_cpu() const noexcept {
    unsigned running = 0;
    lock_scope hold{state.mutators_lock};
    for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m))
      if (m->port.is_running() && ++running >= cpus_) return true;
    return false;
  }

  // From Linux 6.12 on a thread may ask for slices of its own: who wakes with a shorter one gets the CPU at once. Others ignore it.
  static void ask_for_short_slices() noexcept {
    struct {
      std::uint32_t size = 0;
      std::uint32_t policy = 0;
      std::uint64_t flags = 0;
      std::int32_t nice = 0;
      std::uint32_t priority = 0;
      std::uint64_t slice = 0;
      std::uint64_t deadline = 0;
      std::uint64_t period = 0;
    } attributes;
    if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0U) != 0) return;
    attributes.slice = 100'000;  // ns, the least
    ::syscall(SYS_sched_setattr, 0, &attributes, 0U);
  }

  unsigned cpus_ = 1;
  os::nanoseconds since_ = 0;
};

}  // namespace tern::inline v1::detail::gc

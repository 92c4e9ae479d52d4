// Late mutators: what the collector does when an acknowledgement does not come.
//
// Context     A plain thread that made an object and then computes or sleeps in the kernel polls nothing. After some milliseconds
//             it gets a signal, and the handler acknowledges for it.
// Protocol    Inside runtime code (mutator::in_runtime) the handler returns: an acknowledgement comes soon. Elsewhere it serves the
//             handshake on the interrupted stack: the kernel has put all registers, vectors included, between the handler's frame and
//             the interrupted one, and skipped the red zone, so [sp, top) covers everything.
// Invariants  Every acknowledgement by signal scans registers and stack, also that of barrier_on: the thread may be between its look
//             at the flag and its store, and the value in a register is then shaded here instead (modelled).
//             The sweep acknowledgement leaves the bins as they are, since the thread may be in the middle of taking a cell: held spans
//             are swept in place; the rest of each run is born and so survives.
// Limits      SIGURG, which by default does nothing; a handler of the program's is called after ours. Installed when first needed.
//             A thread that blocks SIGURG is waited for. System calls that SA_RESTART does not restart return EINTR.
//             TSan delivers signals late, at its own interceptors.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <cstdio>

#include <tern/gc/collector.hpp>

namespace tern::inline v1::detail::gc {

inline constexpr int late_signal = SIGURG;

struct late_handler_state {
  bool installed = false;  // the collector's thread
  struct sigaction previous{};
};
inline constinit late_handler_state late_handler{};

inline void sweep_held_in_place(mutator& m) noexcept {
  for (std::uint32_t i = 0; i < m.used_count; ++i)
    if (span* s = m.bins[m.table->used[i]].held) sweep_span(*s);
}

// Requires: the port is running, not in_runtime, on the thread's own stack.
inline void acknowledge_interrupted(mutator& m, std::uintptr_t sp) noexcept {
  const runtime_scope in{m};
  for (;;) {
    const std::uint64_t n = state.request.number();
    if (n == m.port.acked()) return;
    const handshake_kind kind = state.request.kind();
    const stack_view stack{sp, m.stack_high, current_fake_stack(), nullptr};
    switch (kind) {
      case handshake_kind::barrier_on:
        serve(m, kind, stack);
        scan_stack(m, stack.low, stack.high, stack.fake_stack);
        hand_over(m);
        break;
      case handshake_kind::round: serve(m, kind, stack); break;
      case handshake_kind::sweep:
        m.allocate_black = false;
        m.epoch = state.epoch.load(memory_order_acquire);  // pairs-with: the end of marking
        sweep_held_in_place(m);
        if (m.buffer != nullptr) m.buffer->count = 0;
        break;
      case handshake_kind::stop:  // the verifier waits for an ordinary safepoint
      case handshake_kind::none: return;
    }
    m.port.set_acked(n);
    wake_collector();
  }
}

inline void on_late_signal(int number, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  mutator* m = current_mutator_if_any();
  if (m != nullptr && m->owner == nullptr && !m->in_runtime.load(memory_order_relaxed) &&
      m->port.is_running()) {
    const std::uintptr_t sp = stack_pointer();
    // On an alternate stack, or on a stack of the program's own making, nothing is known of the thread's frames.
    if (sp >= m->stack_low && sp < m->stack_high) acknowledge_interrupted(*m, sp);
  }
  const struct sigaction& p = late_handler.previous;
  if ((p.sa_flags & SA_SIGINFO) != 0) {
    if (p.sa_sigaction != nullptr) p.sa_sigaction(number, info, context);
  } else if (p.sa_handler != SIG_DFL && p.sa_handler != SIG_IGN) {
    p.sa_handler(number);
  }
  errno = saved;
}

inline void collector::kick_late(std::uint64_t n) noexcept {
  scheduler* sleeping = nullptr;
  const bool traced = the_collector().is_traced();
  char name[16] = {};  // of one that was not told of yet
  {
    lock_scope hold{state.mutators_lock};
    for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m)) {
      if (m->port.acked() == n || !m->port.is_running()) continue;
      if (m->owner != nullptr) {
        sleeping = m->owner->home;
        continue;
      }
      if (!late_handler.installed) {
        struct sigaction a{};
        a.sa_sigaction = &on_late_signal;
        a.sa_flags = SA_SIGINFO | SA_RESTART;
        ::sigaction(late_signal, &a, &late_handler.previous);
        late_handler.installed = true;
      }
      ::pthread_kill(m->thread, late_signal);  // under the lock: the thread has not ended
      if (traced && !m->named_late && name[0] == 0) {
        m->named_late = true;
        ::pthread_getname_np(m->thread, name, sizeof name);
      }
    }
  }
  if (name[0] != 0)
    std::fprintf(
        stderr, "gc: thread '%s' keeps a handshake waiting: from here on signals acknowledge for it\n", name);
  if (sleeping == nullptr) return;
  // Asleep since before the hooks were there, for want of a thread: once awake it passes a safepoint. The runtime may have ended.
  // Only if the lock is free: a processor that retires holds it until its port is its own again, and while the verifier has the world
  // stopped it is the caller who keeps that port. The next kick comes soon.
  if (!schedulers.lock.try_lock()) return;
  for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_)
    if (s == sleeping) {
      s->wake_slow();
      break;
    }
  schedulers.lock.unlock();
}

}  // namespace tern::inline v1::detail::gc

// Late mutators: what the collector does when an acknowledgement does not come.
//
// Context     A plain thread that made an object and then computes or sleeps in the kernel polls nothing, nor does a fiber that computes
//             without a call that waits or allocates. After some milliseconds their thread gets a signal, and the handler acknowledges
//             for the thread, or for the processor that the fiber runs on.
// Protocol    1. The handler runs on the thread's alternate signal stack, if it has one, else on the interrupted one.
//             2. It returns, and the next signal comes soon, where an acknowledgement comes by itself or would not be true:
//                   inside runtime code (mutator::in_runtime): whoever is there polls, or has what a handler needs
//                   in the scheduler, where a fiber leaves or has just come (interrupted_fiber() in dispatch.hpp)
//                   the port is not running; the stack is not the thread's nor the fiber's own
//             3. Elsewhere it serves the handshake: it scans the interrupted stack from 128 bytes (the red zone, where there is one) below
//                its pointer up to the end of the thread's stack or of the fiber's slot, the closure included, and the registers: the kernel
//                has put all of them, vectors too, above the handler's frame. Then it acks.
// Invariants  Why an acknowledgement between any two instructions of a fiber is one at a safepoint.
//             I1 Every acknowledgement by signal scans registers and stack, also that of barrier_on: the fiber may be between its look
//                at the flag and its store, and the value, in a register or on the stack, is then shaded here instead (modelled). So a
//                round's rule (handshake.hpp, I3) holds as well: at this moment the stack holds nothing white that was not counted.
//             I2 What is on its way from one stack to another is on one of them. A crossing shades before the words are gone from where they came
//                from. If its look at the flag was made before the flag was set, the words were still there when barrier_on was acked, and I1 has
//                shaded them, or they had moved, to where the first round scans: in the frame of a fiber that is saved (R3 comes after the acks), or
//                in a registered range. The closure of a fiber that is being made lies in neither: its slot counts as free until
//                the spawner publishes it. But until then the spawner needs the slot's address, in a register or on its stack, so the
//                scan follows words that lead to a slot without a fiber, and scans what is below its control block.
//                A closure on the C++ heap is a registered range for so long (spawn.hpp).
//             I3 No fiber is resumed by a rule that an ack has made old. A processor that has acked resumes by a claim and looks at the round
//                it has acked (fiber_scan). A worker that has taken a fiber out of a queue, before the flag was set or after, and has not
//                switched to it is one whose running fiber leaves: 2 leaves it alone. Nothing else that a fiber calls takes a fiber out of a queue to run it.
//                After the switch the fiber that was left stays on_cpu until it is published, and R3 waits for that, or for its end.
//             I4 The port stays running: it is released by this thread only, and not meanwhile. Who has it claimed acts for a processor
//                that runs nothing. The processor is the worker's as long as the handler runs, and the fiber the processor's.
//             I5 The handler takes two locks, that of the chunks and, to sweep, that of the destructors' queue. Threads that it may interrupt hold
//                neither outside runtime code, but for foreign ones under foreign_lock, which it tries first. It allocates from the
//                collector's own pool only.
//             The sweep acknowledgement leaves the bins as they are, since the thread may be in the middle of taking a cell: held spans
//             are swept in place; the rest of each run is born and so survives.
// Rejected    A flag that the scheduler sets around what a handler must not interrupt: two stores in each switch and spawn. What it has
//             instead, that the fiber which leaves is noted before another is taken out of a queue, is one, in some of them.
//             Asking the code address: what is inlined has none.
// Limits      SIGURG, which by default does nothing; a handler of the program's is called after ours. Installed when first needed.
//             A thread that blocks SIGURG is waited for, and so is a fiber on a stack of the program's own making. System calls that
//             SA_RESTART does not restart return EINTR. The verifier's stop is not acknowledged so.
//             TSan delivers signals late, at its own interceptors, on the stack that the thread stands on then.
//             A register of a vector extension whose state the kernel keeps outside the frame is not scanned: there is none on Linux.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include <tern/arch/interruption.hpp>
#include <tern/gc/collector.hpp>
#include <tern/sched/dispatch.hpp>

namespace tern::inline v1::detail::gc {

struct late_handler_state {
  bool installed = false;  // the collector's thread
  struct sigaction previous{};
};
inline constinit late_handler_state late_handler{};

inline void sweep_held_in_place(mutator& m) noexcept {
  for (std::uint32_t i = 0; i < m.used_count; ++i)
    if (span* s = m.bins[m.table->used[i]].held) sweep_span(*s);
}

// What was interrupted. `registers` is empty where the handler runs on the interrupted stack, whose part they are then.
struct interruption {
  stack_view stack;
  std::uintptr_t registers_low = 0;
  std::uintptr_t registers_high = 0;
};

// The closure of a fiber that is being made (I2). Slots that nobody fills just now may be found as well, by words that have grown old.
inline void scan_slots_in_the_making(mutator& m, std::uintptr_t low, std::uintptr_t high) noexcept {
  constexpr std::uintptr_t most_closure = 2048 + 1024;  // spawn_fiber(): with its alignment
  const void* last = nullptr;
  auto look = [&](std::uintptr_t w) noexcept {
    void* const control = stack_pool::control_of(w);
    if (control == nullptr || control == last) return;
    last = control;
    // relaxed: a fiber that is being made here is this thread's; what others have published they tell of themselves.
    if (static_cast<fiber*>(control)->stack_state.load(memory_order_relaxed) != fiber::free) return;
    const std::uintptr_t top = to_word(control);
    scan_words(m, std::max(to_word(stack_pool::stack_limit(control)), top - most_closure), top, nullptr);
  };
  for_each_stack_word(low, high, nullptr, look);
}

inline void scan_interrupted(mutator& m, const interruption& at) noexcept {
  scan_words(m, at.registers_low, at.registers_high, at.stack.fake_stack);
  scan_slots_in_the_making(m, at.registers_low, at.registers_high);
  scan_slots_in_the_making(m, at.stack.low - red_zone_size, at.stack.high);
  hand_over(m);
}

// Requires: the port is running, not in_runtime; see above.
inline void acknowledge_interrupted(mutator& m, const interruption& at) noexcept {
  const runtime_scope in{m};
  for (;;) {
    const std::uint64_t n = state.request.number();
    if (n == m.port.acked()) return;
    const handshake_kind kind = state.request.kind();
    switch (kind) {
      case handshake_kind::barrier_on:
        serve(m, kind, at.stack);
        scan_stack(m, at.stack.low - red_zone_size, at.stack.high, at.stack.fake_stack);
        if (at.stack.runs != nullptr) scan_heap_closure(m, *at.stack.runs);
        scan_interrupted(m, at);
        break;
      case handshake_kind::round:
        serve(m, kind, at.stack);
        scan_interrupted(m, at);
        break;
      case handshake_kind::sweep:
        m.end_black();
        m.epoch = state.epoch.load(memory_order_acquire);  // pairs-with: the end of marking
        sweep_held_in_place(m);
        if (m.buffer != nullptr) m.buffer->count = 0;
        break;
      case handshake_kind::stop:  // the verifier waits for an ordinary safepoint
      case handshake_kind::none: return;
    }
    if (at.stack.runs != nullptr) m.late_fiber.note(*at.stack.runs);
    state.counters.interruptions.fetch_add(1, memory_order_relaxed);  // relaxed: a statistic
    m.port.set_acked(n);
    wake_collector();
  }
}

// The mutator that this thread, interrupted, may be acknowledged for; null where it may not.
inline mutator* interrupted_mutator() noexcept {
  mutator* m = current_mutator_if_any();
  if (const processor* p = current_processor(); m == nullptr && p != nullptr) {
    // It has run on since before the collector came, and its cache does not know its mutator: it acts as a foreign thread, and what it may hold
    // is to be had by this one only if it does not.
    if (!state.foreign_lock.try_lock()) return nullptr;
    state.foreign_lock.unlock();
    if (!state.mutators_lock.try_lock()) return nullptr;
    for (mutator* x = state.mutators.front(); x != nullptr && m == nullptr; x = state.mutators.next(*x))
      if (x->owner == p) m = x;
    state.mutators_lock.unlock();
  }
  // relaxed: this thread's own.
  return m != nullptr && !m->in_runtime.load(memory_order_relaxed) && m->port.is_running() ? m : nullptr;
}

// False where the interrupted stack is not one that is known.
inline bool describe_interruption(const mutator& m, const void* context, interruption& at) noexcept {
  const auto known = [&](std::uintptr_t sp) noexcept {
    if (m.owner == nullptr) {
      if (sp < m.stack_low || sp >= m.stack_high) return false;
      at.stack = {sp, m.stack_high, current_fake_stack(), nullptr};
      return true;
    }
    fiber* f = interrupted_fiber(sp);
    if (f == nullptr) return false;
    at.stack = {sp, f->stack_top(), current_fake_stack(), f};
    return true;
  };
  const std::uintptr_t here = stack_pointer();
  if (known(here)) return true;
  at.registers_low = here;
  at.registers_high = alternate_stack_end(context, here);
  return at.registers_high != 0 && known(interrupted_sp(context));
}

inline void on_late_signal(int number, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  if (mutator* m = interrupted_mutator())
    // A sanitizer may have called this from one of its own functions: what that one has saved of the registers is above.
    with_registers_saved([&](std::uintptr_t) noexcept {
      interruption at;
      if (describe_interruption(*m, context, at)) acknowledge_interrupted(*m, at);
    });
  const struct sigaction& p = late_handler.previous;
  if ((p.sa_flags & SA_SIGINFO) != 0) {
    if (p.sa_sigaction != nullptr) p.sa_sigaction(number, info, context);
  } else if (p.sa_handler != SIG_DFL && p.sa_handler != SIG_IGN) {
    p.sa_handler(number);
  }
  errno = saved;
}

inline void install_late_handler() noexcept {
  if (late_handler.installed) return;
  struct sigaction a{};
  a.sa_sigaction = &on_late_signal;
  a.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;  // a fiber's slot may have no room for it
  ::sigaction(interrupt_signal, &a, &late_handler.previous);
  late_handler.installed = true;
}

inline void collector::kick_late(std::uint64_t n) noexcept {
  install_late_handler();
  constexpr unsigned most = 64;
  int workers[most];
  unsigned count = 0;
  scheduler* sleeping = nullptr;
  const bool traced = the_collector().is_traced();
  char name[16] = {};  // of one that was not told of yet
  {
    lock_scope hold{state.mutators_lock};
    for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m)) {
      if (m->port.acked() == n || !m->port.is_running()) continue;
      if (const processor* p = m->owner) {
        // relaxed, both: hints. A handler that has nothing to do returns.
        const int id = p->thread_id.load(memory_order_relaxed);
        if (p->state.load(memory_order_relaxed) != processor_state::running || id == 0)
          sleeping = p->home;
        else if (count < most)
          workers[count++] = id;
        continue;
      }
      ::pthread_kill(m->thread, interrupt_signal);  // under the lock: the thread has not ended
      if (traced && !m->named_late && name[0] == 0) {
        m->named_late = true;
        ::pthread_getname_np(m->thread, name, sizeof name);
      }
    }
  }
  // Not under the lock, for which the handler may ask.
  for (unsigned i = 0; i < count; ++i) os::signal_thread(workers[i], interrupt_signal);
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

// Fibers for which signals have acknowledged, each told of once. The collector's thread, traced, at the end of a cycle.
inline void collector::name_interrupted() noexcept {
  for (;;) {
    std::uint64_t id = 0;
    char name[late_fiber_note::name_capacity] = {};
    {
      lock_scope hold{state.mutators_lock};
      for (mutator* m = state.mutators.front(); m != nullptr && id == 0; m = state.mutators.next(*m))
        id = m->late_fiber.take(name);
    }
    if (id == 0) return;
    std::fprintf(stderr,
                 "gc: fiber #%" PRIu64
                 " '%s' keeps a handshake waiting: from here on signals acknowledge for it\n",
                 id, name);
  }
}

}  // namespace tern::inline v1::detail::gc

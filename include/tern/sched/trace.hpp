// Trace: what the scheduler does, event by event, into a buffer per processor.
//
// Context     dispatch.hpp, spawn.hpp, worker_loop.hpp and blocking.hpp record from their cold paths; trace_writer.hpp makes a file of it.
// Structure   Events of one size in a buffer per processor, filled from 0 upwards and never wrapped: what does not fit is counted. One more
//             buffer, under a lock, takes what threads without a processor do.
// Protocol    Writer   the worker that holds the processor; a buffer of another session is begun anew, else the event is written and then
//                      published by `count`. Reader: takes `count`, reads what lies below. Also while the writers go on.
// Invariants  I1 an event below `count` does not change while its session lasts. I2 buffers are never freed: a writer that was stopped in
//                the middle of the last session finds its own, and nobody reads it (its session is not the reader's).
// Ordering    count's release with the reader's acquire; session's release publishes the buffer's beginning.
// Rejected    A test of its own on the hot paths. Switches and spawns test hooks_armed anyway; a wake compares its processor's runtime
//             with the fiber's, and while a trace runs that copy (processor::wake_home) is null, which leads to the cold side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/memory.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/hooks.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/scheduler.hpp>

namespace tern::inline v1::detail {

enum class trace_kind : std::uint32_t {
  spawn,  // fiber: the new one
  name,   // text: its name
  run,    // fiber: switched to next
  leave,  // fiber: left; value: leave_action; what, object: of a park
  exit,   // fiber: ended
  wake,   // fiber: made ready
  timer,  // fiber: its deadline ends a wait
  steal,  // fiber: the first of `value` that came from processor `other`
  lend,   // fiber: enters tern::blocking, the processor is given away
  adopt,  // the processor was taken over by another worker
  sleep,  // the worker goes to sleep
};

struct trace_detail {
  const char* what;
  const void* object;
  std::uint32_t value;
  std::uint32_t other;
};

struct trace_event {
  os::nanoseconds time;
  std::uint64_t fiber;
  union {
    trace_detail detail;
    char text[fiber::name_capacity];
  };
  trace_kind kind;
  std::uint32_t flow;  // the writer's: number of the arrow that begins or ends here
};

struct trace_buffer {
  trace_event* events = nullptr;
  std::uint32_t capacity = 0;
  trace_buffer* next = nullptr;  // all buffers; set before it is pushed
  atomic<bool> in_use{true};     // false: its processor is gone
  // Written by the owner before `session`.
  const void* runtime = nullptr;  // compared, not followed; null: threads without a processor
  char runtime_name[16] = {};
  std::uint32_t index = 0;
  bool extra = false;
  os::nanoseconds last = 0;  // so that times within a buffer rise
  atomic<std::uint32_t> session{0};
  atomic<std::uint32_t> count{0};
  atomic<std::uint64_t> dropped{0};
};

struct tracer_state {
  atomic<std::uint32_t> session{0};  // 0: off
  atomic<std::uint32_t> capacity{0};
  atomic<trace_buffer*> buffers{nullptr};
  atomic<std::uint64_t> without_buffer{0};  // events for which there was no memory
  spin_lock<> foreign_lock;
  trace_buffer* foreign = nullptr;  // foreign_lock
  spin_lock<> control_lock;         // starting and stopping
  std::uint32_t sessions = 0;       // control_lock
  os::nanoseconds begin = 0;        // control_lock
};
inline constinit tracer_state tracer{};

// One that nobody owns, or a new one. Null: no memory.
TERN_COLD inline trace_buffer* take_trace_buffer(std::uint32_t session) noexcept {
  // relaxed: set before the session.
  const std::uint32_t capacity = tracer.capacity.load(memory_order_relaxed);
  for (trace_buffer* b = tracer.buffers.load(memory_order_acquire); b != nullptr; b = b->next) {
    bool free = false;
    // acquire: pairs with drop_trace_buffer(). What this session has recorded in it is kept.
    if (b->capacity == capacity && b->session.load(memory_order_relaxed) != session &&
        b->in_use.compare_exchange_strong(free, true, memory_order_acquire, memory_order_relaxed))
      return b;
  }
  void* events = os::reserve(capacity * sizeof(trace_event));
  if (events == nullptr) return nullptr;
  auto* b = new (std::nothrow) trace_buffer;
  if (b == nullptr) {
    os::unreserve(events, capacity * sizeof(trace_event));
    return nullptr;
  }
  b->events = static_cast<trace_event*>(events);
  b->capacity = capacity;
  b->next = tracer.buffers.load(memory_order_relaxed);  // relaxed: the CAS validates it
  // release: pairs with the loads of `buffers`.
  while (!tracer.buffers.compare_exchange_weak(b->next, b, memory_order_release, memory_order_relaxed)) {
  }
  return b;
}

inline void drop_trace_buffer(trace_buffer*& b) noexcept {
  if (b != nullptr) b->in_use.store(false, memory_order_release);  // pairs-with: take_trace_buffer()
  b = nullptr;
}

// The place for one event, to be filled in and published. Owner of `b` only. Null: off, or full.
inline trace_event* begin_event(trace_buffer*& b, const processor* p) noexcept {
  const std::uint32_t session = tracer.session.load(memory_order_acquire);  // pairs-with: start_trace()
  if (session == 0) return nullptr;
  if (b == nullptr || b->session.load(memory_order_relaxed) != session) {
    // relaxed: set before the session.
    if (b != nullptr && b->capacity != tracer.capacity.load(memory_order_relaxed)) drop_trace_buffer(b);
    if (b == nullptr && (b = take_trace_buffer(session)) == nullptr) {
      tracer.without_buffer.fetch_add(1, memory_order_relaxed);
      return nullptr;
    }
    b->runtime = p != nullptr ? p->home : nullptr;
    b->index = p != nullptr ? p->index : 0;
    b->extra = p != nullptr && p->extra;
    std::snprintf(b->runtime_name, sizeof b->runtime_name, "%s",
                  p != nullptr ? p->home->options().name : "other threads");
    b->count.store(0, memory_order_relaxed);
    b->dropped.store(0, memory_order_relaxed);
    b->session.store(session, memory_order_release);  // pairs-with: write_trace()
  }
  const std::uint32_t n = b->count.load(memory_order_relaxed);  // relaxed, both: own words
  if (n == b->capacity) {
    bump(b->dropped);
    return nullptr;
  }
  trace_event* e = b->events + n;
  const os::nanoseconds now = os::now();
  e->time = b->last = now > b->last ? now : b->last + 1;
  e->flow = 0;
  return e;
}
inline void publish_event(trace_buffer& b) noexcept {
  // release: pairs with write_trace().
  b.count.store(b.count.load(memory_order_relaxed) + 1, memory_order_release);
}

struct trace_facts {
  std::uint64_t fiber = 0;
  const char* what = nullptr;
  const void* object = nullptr;
  std::uint32_t value = 0;
  std::uint32_t other = 0;
};

inline void record_into(trace_buffer*& b, const processor* p, trace_kind kind,
                        const trace_facts& x) noexcept {
  trace_event* e = begin_event(b, p);
  if (e == nullptr) return;
  e->kind = kind;
  e->fiber = x.fiber;
  e->detail = {x.what, x.object, x.value, x.other};
  publish_event(*b);
}
inline void record_name_into(trace_buffer*& b, const processor* p, const fiber& f) noexcept {
  trace_event* e = begin_event(b, p);
  if (e == nullptr) return;
  e->kind = trace_kind::name;
  e->fiber = f.id;
  std::memcpy(e->text, f.name, sizeof e->text);
  publish_event(*b);
}

// By the thread that holds `p`; null: by one that holds none.
TERN_COLD inline void record(processor* p, trace_kind kind, const trace_facts& x) noexcept {
  if (p != nullptr) return record_into(p->trace, p, kind, x);
  lock_scope hold{tracer.foreign_lock};
  record_into(tracer.foreign, nullptr, kind, x);
}
TERN_COLD inline void record_spawn(processor* p, const fiber& f) noexcept {
  record(p, trace_kind::spawn, {.fiber = f.id});
  if ((f.flags & fiber::has_name) == 0) return;
  if (p != nullptr) return record_name_into(p->trace, p, f);
  lock_scope hold{tracer.foreign_lock};
  record_name_into(tracer.foreign, nullptr, f);
}

// For the cold paths that a trace shares with others.
inline bool is_tracing() noexcept {
  // relaxed: an event more or less at the ends.
  return TERN_UNLIKELY((hooks_armed.load(memory_order_relaxed) & armed_trace) != 0);
}

// ---- control ----

// Wakes of every processor take the cold side, or no longer. Under the registry's lock new runtimes ask wakes_are_traced().
inline void divert_wakes(bool on) noexcept {
  lock_scope hold{schedulers.lock};
  schedulers.wakes_are_traced = on;
  for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_)
    for (std::uint32_t i = 0; i < s->slots(); ++i)
      s->at(i).wake_home.store(on ? nullptr : s, memory_order_relaxed);  // relaxed: see is_tracing()
}

// False: one is on.
inline bool start_trace(std::size_t events) noexcept {
  lock_scope hold{tracer.control_lock};
  if (tracer.session.load(memory_order_relaxed) != 0) return false;
  constexpr std::size_t most = std::size_t{1} << 26;
  tracer.capacity.store(static_cast<std::uint32_t>(events < 1      ? 1
                                                   : events > most ? most
                                                                   : events),
                        memory_order_relaxed);  // relaxed, all: published by the session
  tracer.without_buffer.store(0, memory_order_relaxed);
  tracer.begin = os::now();
  tracer.session.store(++tracer.sessions, memory_order_release);  // pairs-with: begin_event()
  hooks_armed.fetch_or(armed_trace, memory_order_seq_cst);
  divert_wakes(true);
  return true;
}

}  // namespace tern::inline v1::detail

// Trace writer: the recorded events as Chrome trace JSON, which Perfetto and chrome://tracing show.
//
// Structure   A process per runtime, a track per processor; on it a slice for each time that a fiber runs, whose end says why it left;
//             an arrow from each spawn or wake to where the fiber runs next; instants for the rest.
// Protocol    1. gather what is published of every buffer   2. order by time   3. match each wake with the next run of its fiber
//             4. write, a line per event.
//             An event of a switch is recorded before it (the next fiber is known, not yet why the last one leaves), so the reason is
//             looked up in the event that follows.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include <tern/base/debug_options.hpp>
#include <tern/os/clock.hpp>
#include <tern/sched/trace.hpp>

namespace tern::inline v1::trace {

struct options {
  /// Room for so many events of each processor, 48 bytes each, touched as they come. What comes later is dropped and counted.
  std::size_t events_per_processor = std::size_t{1} << 18;
};

struct summary {
  std::uint64_t events = 0;   ///< recorded
  std::uint64_t dropped = 0;  ///< that did not fit
};

}  // namespace tern::inline v1::trace

namespace tern::inline v1::detail {

class trace_writer {
 public:
  explicit trace_writer(std::FILE* to) noexcept : to_{to} {}
  ~trace_writer() {
    std::free(all_);
    std::free(fibers_);
  }
  trace_writer(const trace_writer&) = delete;
  trace_writer& operator=(const trace_writer&) = delete;

  // What `session` has recorded so far. Without memory for the order nothing but an empty trace is written.
  trace::summary write(std::uint32_t session, os::nanoseconds begin) noexcept {
    begin_ = begin;
    gather(session);
    match();
    put_all();
    return sum_;
  }

 private:
  static constexpr std::uint32_t most_buffers = 1024;

  struct track {
    const trace_buffer* buffer;
    std::uint32_t count;
    int process;
    unsigned thread;
    trace_event* open;  // the run that is a slice now
  };
  struct placed {
    trace_event* event;
    std::uint32_t track;
  };
  struct known_fiber {
    std::uint64_t id;
    const trace_event* name;
    trace_event* wake;  // without its run yet
  };

  void gather(std::uint32_t session) noexcept {
    // acquire: pairs with take_trace_buffer().
    for (const trace_buffer* b = tracer.buffers.load(memory_order_acquire); b != nullptr; b = b->next) {
      if (b->session.load(memory_order_acquire) != session) continue;  // pairs-with: begin_event()
      const std::uint32_t n = b->count.load(memory_order_acquire);     // pairs-with: publish_event()
      sum_.dropped += b->dropped.load(memory_order_relaxed);
      if (n == 0) continue;
      if (tracks_ == most_buffers) {
        sum_.dropped += n;
        continue;
      }
      track_[tracks_] = {b, n, process_of(b), b->runtime == nullptr ? 0 : b->index, nullptr};
      ++tracks_;
      sum_.events += n;
    }
    sum_.dropped += tracer.without_buffer.load(memory_order_relaxed);
    while (fiber_slots_ < 2 * sum_.events) fiber_slots_ *= 2;
    all_ = static_cast<placed*>(std::malloc((sum_.events + 1) * sizeof(placed)));
    fibers_ = static_cast<known_fiber*>(std::calloc(fiber_slots_, sizeof(known_fiber)));
    if (all_ == nullptr || fibers_ == nullptr) {
      sum_.dropped += sum_.events;
      sum_.events = 0;
      return;
    }
    for (std::uint32_t t = 0; t < tracks_; ++t)
      for (std::uint32_t i = 0; i < track_[t].count; ++i) all_[n_++] = {track_[t].buffer->events + i, t};
    // Runs last among equals: their wake may be of the same nanosecond, of another processor. Within a buffer no two are equal.
    std::qsort(all_, n_, sizeof(placed), [](const void* a, const void* b) noexcept {
      const trace_event& x = *static_cast<const placed*>(a)->event;
      const trace_event& y = *static_cast<const placed*>(b)->event;
      if (x.time != y.time) return x.time < y.time ? -1 : 1;
      return static_cast<int>(x.kind == trace_kind::run) - static_cast<int>(y.kind == trace_kind::run);
    });
  }

  int process_of(const trace_buffer* b) noexcept {
    for (std::uint32_t t = 0; t < tracks_; ++t)
      if (track_[t].buffer->runtime == b->runtime) return track_[t].process;
    return ++processes_;
  }

  known_fiber& find(std::uint64_t id) noexcept {
    std::size_t i = id * 0x9e3779b97f4a7c15u >> 20;
    while (fibers_[i & (fiber_slots_ - 1)].id != 0 && fibers_[i & (fiber_slots_ - 1)].id != id) ++i;
    known_fiber& f = fibers_[i & (fiber_slots_ - 1)];
    f.id = id;
    return f;
  }

  void match() noexcept {
    std::uint32_t flows = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      trace_event& e = *all_[i].event;
      if (e.fiber == 0) continue;
      known_fiber& f = find(e.fiber);
      switch (e.kind) {
        case trace_kind::name: f.name = &e; break;
        case trace_kind::spawn:
        case trace_kind::wake:
          e.flow = 0;
          f.wake = &e;
          break;
        case trace_kind::run:
          e.flow = f.wake != nullptr ? ++flows : 0;
          if (f.wake != nullptr) f.wake->flow = flows;
          f.wake = nullptr;
          break;
        default: break;
      }
    }
  }

  // ---- text ----

  void put_head(char phase, const track& t, os::nanoseconds time) noexcept {
    const os::nanoseconds at = time > begin_ ? time - begin_ : 0;
    std::fprintf(to_, ",\n{\"ph\":\"%c\",\"pid\":%d,\"tid\":%u,\"ts\":%" PRId64 ".%03d", phase, t.process,
                 t.thread, at / 1000, static_cast<int>(at % 1000));
  }
  void put_string(const char* s) noexcept {
    std::fputc('"', to_);
    for (; *s != 0; ++s) {
      const auto c = static_cast<unsigned char>(*s);
      if (c == '"' || c == '\\')
        std::fprintf(to_, "\\%c", c);
      else if (c < 0x20 || c >= 0x7f)  // a name may have been cut within a character
        std::fprintf(to_, "\\u%04x", c);
      else
        std::fputc(c, to_);
    }
    std::fputc('"', to_);
  }
  void put_fiber_name(std::uint64_t id) noexcept {
    char text[fiber::name_capacity + 32];
    const trace_event* name = find(id).name;
    std::snprintf(text, sizeof text, "%.*s%s#%" PRIu64, static_cast<int>(fiber::name_capacity),
                  name != nullptr ? name->text : "", name != nullptr ? " " : "", id);
    put_string(text);
  }
  void put_instant(const track& t, const trace_event& e, const char* name) noexcept {
    put_head('i', t, e.time);
    std::fprintf(to_, ",\"s\":\"t\",\"name\":\"%s\",\"args\":{\"fiber\":%" PRIu64, name, e.fiber);
    if (e.kind == trace_kind::steal)
      std::fprintf(to_, ",\"count\":%u,\"from\":%u", e.detail.value, e.detail.other);
    std::fputs("}}", to_);
  }
  void put_flow(char phase, const track& t, const trace_event& e) noexcept {
    if (e.flow == 0) return;
    put_head(phase, t, e.time);
    std::fprintf(to_, ",\"cat\":\"wake\",\"name\":\"wake\",\"id\":%u%s}", e.flow,
                 phase == 'f' ? ",\"bp\":\"e\"" : "");
  }

  void open(track& t, trace_event& e) noexcept {
    t.open = &e;
    put_head('B', t, e.time);
    std::fputs(",\"name\":", to_);
    put_fiber_name(e.fiber);
    std::fprintf(to_, ",\"args\":{\"fiber\":%" PRIu64 "}}", e.fiber);
    put_flow('f', t, e);
  }
  // `why`: a leave, exit or lend of the fiber that was running; null: not known.
  void close(track& t, os::nanoseconds time, const trace_event* why) noexcept {
    if (t.open == nullptr) return;
    put_head('E', t, time);
    const char* left = "unknown";
    bool waits = false;
    if (why != nullptr && why->fiber == t.open->fiber) {
      if (why->kind == trace_kind::exit) left = "end";
      if (why->kind == trace_kind::lend) left = "blocking";
      if (why->kind == trace_kind::leave) {
        waits = why->detail.value == static_cast<std::uint32_t>(leave_action::park);
        left = waits ? "park" : "yield";
      }
    }
    std::fprintf(to_, ",\"args\":{\"left\":\"%s\"", left);
    if (waits && why->detail.what != nullptr) {
      std::fputs(",\"for\":", to_);
      put_string(why->detail.what);
      std::fprintf(to_, ",\"object\":\"%p\"", why->detail.object);
    }
    std::fputs("}}", to_);
    t.open = nullptr;
  }

  void put_event(track& t, trace_event& e) noexcept {
    const trace_event* end = t.buffer->events + t.count;
    const trace_event* after = &e + 1 < end ? &e + 1 : nullptr;
    switch (e.kind) {
      case trace_kind::name: break;
      case trace_kind::run:
        close(t, e.time, after != nullptr && after->kind == trace_kind::leave ? after : nullptr);
        open(t, e);
        break;
      case trace_kind::leave:  // of the one before, if its successor's run has closed it already
        if (t.open != nullptr && t.open->fiber == e.fiber) close(t, e.time, &e);
        break;
      case trace_kind::exit:
      case trace_kind::lend: close(t, e.time, &e); break;
      case trace_kind::spawn:
      case trace_kind::wake:
        if (t.open == nullptr) {  // an arrow needs a slice to begin in
          put_head('X', t, e.time);
          std::fputs(",\"dur\":0.001,\"name\":\"wake\",\"args\":{}}", to_);
        }
        if (e.kind == trace_kind::spawn) put_instant(t, e, "spawn");
        put_flow('s', t, e);
        break;
      case trace_kind::timer: put_instant(t, e, "timer"); break;
      case trace_kind::steal: put_instant(t, e, "steal"); break;
      case trace_kind::adopt: put_instant(t, e, "hand-off"); break;
      case trace_kind::sleep: put_instant(t, e, "sleep"); break;
    }
  }

  void put_all() noexcept {
    std::fprintf(to_,
                 "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"events\":%" PRIu64 ",\"dropped\":%" PRIu64
                 "},\"traceEvents\":[\n{\"ph\":\"M\",\"pid\":0,\"name\":\"trace\",\"args\":{}}",
                 sum_.events, sum_.dropped);
    for (std::uint32_t i = 0; i < tracks_; ++i) {
      const track& t = track_[i];
      std::fprintf(to_,
                   ",\n{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{\"name\":", t.process);
      put_string(t.buffer->runtime_name);
      std::fprintf(
          to_,
          "}},\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"name\":\"thread_name\",\"args\":{\"name\":\"%s %u\"}}",
          t.process, t.thread,
          t.buffer->runtime == nullptr ? "threads"
          : t.buffer->extra            ? "extra processor"
                                       : "processor",
          t.thread);
    }
    os::nanoseconds last = begin_;
    for (std::size_t i = 0; i < n_; ++i) {
      last = all_[i].event->time;
      put_event(track_[all_[i].track], *all_[i].event);
    }
    for (std::uint32_t i = 0; i < tracks_; ++i) close(track_[i], last + 1, nullptr);
    std::fputs("\n]}\n", to_);
    // Under the lock that a fork takes: a child that is forked later and ends by exit() must not write it once more.
    std::fflush(to_);
  }

  std::FILE* to_;
  os::nanoseconds begin_ = 0;
  track track_[most_buffers];
  std::uint32_t tracks_ = 0;
  int processes_ = 0;
  placed* all_ = nullptr;
  std::size_t n_ = 0;
  known_fiber* fibers_ = nullptr;
  std::size_t fiber_slots_ = 64;
  trace::summary sum_;
};

// What the session has recorded so far; null counts only. Requires: control_lock, or a session that nobody starts or ends.
inline trace::summary write_trace_locked(std::FILE* to, std::uint32_t session) noexcept {
  auto* w = new (std::nothrow) trace_writer{to};
  if (w == nullptr) return {};
  const trace::summary s = w->write(session, tracer.begin);
  delete w;
  return s;
}

// ---- TERN_DEBUG=trace=FILE ----

struct environment_trace {
  spin_lock<> lock;
  unsigned runtimes = 0;  // lock
  int process = 0;        // lock; that asked for it: a fork child leaves its parent's file alone
  char path[512] = {};    // lock; empty: not asked for
};
inline constinit environment_trace the_environment_trace{};

// A function of its own: of a local summary GCC 12 says that it dangles here.
inline void report_dropped(const trace::summary& s) noexcept {
  if (s.dropped != 0)
    std::fprintf(stderr, "tern: trace: %" PRIu64 " events, %" PRIu64 " dropped\n", s.events, s.dropped);
}

inline void write_environment_trace() noexcept {
  lock_scope hold{tracer.control_lock};
  // relaxed: written under this lock.
  const std::uint32_t session = tracer.session.load(memory_order_relaxed);
  if (the_environment_trace.path[0] == 0 || session == 0) return;
  std::FILE* to = std::fopen(the_environment_trace.path, "w");
  if (to == nullptr) {
    std::fprintf(stderr, "tern: the trace cannot be written to %s\n", the_environment_trace.path);
    return;
  }
  report_dropped(write_trace_locked(to, session));
  std::fclose(to);
}

// A member of each runtime. The file is written whenever the last runtime has ended, each time with all that was recorded since the first
// began, and before a deadlock ends the process.
class environment_trace_scope {
 public:
  environment_trace_scope() noexcept {
    lock_scope hold{the_environment_trace.lock};
    if (the_environment_trace.runtimes++ == 0 &&
        debug_text("trace", the_environment_trace.path, sizeof the_environment_trace.path)) {
      the_environment_trace.process = ::getpid();
      static_cast<void>(start_trace(trace::options{}.events_per_processor));
    }
  }
  ~environment_trace_scope() {
    lock_scope hold{the_environment_trace.lock};
    if (--the_environment_trace.runtimes == 0 && the_environment_trace.process == ::getpid())
      write_environment_trace();
  }
  environment_trace_scope(const environment_trace_scope&) = delete;
  environment_trace_scope& operator=(const environment_trace_scope&) = delete;
};

}  // namespace tern::inline v1::detail

namespace tern::inline v1::trace {

/// Begins to record what every runtime of the process does. False: it is recorded already. Any thread; the hot paths go through cold ones
/// until stop(), which costs some 50 ns per event.
inline bool start(const options& o = {}) noexcept { return detail::start_trace(o.events_per_processor); }

/// Ends the recording and writes it to `to`, which is flushed, as Chrome trace JSON (for Perfetto or chrome://tracing); null discards it. Nothing was
/// recorded: an empty trace. Events of a thread that is just recording one may be missing. Any thread, not a signal handler.
inline summary stop(std::FILE* to) noexcept {
  detail::lock_scope hold{detail::tracer.control_lock};
  // relaxed: written under this lock.
  const std::uint32_t session = detail::tracer.session.load(detail::memory_order_relaxed);
  detail::divert_wakes(false);
  detail::hooks_armed.fetch_and(~detail::armed_trace, detail::memory_order_seq_cst);
  detail::tracer.session.store(0, detail::memory_order_release);
  if (to == nullptr) return {};
  return detail::write_trace_locked(to, session);
}

/// The same into a file, which is overwritten. Throws std::system_error where it cannot be opened or written.
inline summary stop(const char* path) {
  std::FILE* to = std::fopen(path, "w");
  if (to == nullptr) {
    const int error = errno;
    static_cast<void>(stop(static_cast<std::FILE*>(nullptr)));
    throw std::system_error(error, std::generic_category(), "tern: the trace cannot be written");
  }
  const summary s = stop(to);
  const bool failed = std::ferror(to) != 0;
  if ((std::fclose(to) != 0) | failed)
    throw std::system_error(EIO, std::generic_category(), "tern: the trace cannot be written");
  return s;
}

}  // namespace tern::inline v1::trace

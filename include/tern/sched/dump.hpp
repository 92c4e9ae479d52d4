// Dump: every fiber with its state, what it waits for, for how long, and its stack.
//
// Context     runtime::dump, the deadlock report, SIGQUIT (sigquit.hpp).
// Protocol    Park times   The monitor visits a few slots per round and notes each wait that it has not seen yet with its clock. A wait is thus
//                          known to be at least so old as its note; a park itself writes nothing for it.
//             Stacks       Fiber by fiber: claim it (inspect.hpp), copy its facts and return addresses, give it back, then print.
// Limits      Stacks are those of fibers that wait, and the caller's own. One that runs elsewhere or is queued has a line without: a
//             debugger shows it. Each line is true at some moment, all lines at none, unless nothing runs.
#pragma once

#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <tern/arch/unwind.hpp>
#include <tern/base/atomic.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/symbols.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/inspect.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/registry.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/stack_pool.hpp>

namespace tern::inline v1 {

/// How much dump() tells of each fiber.
enum class dump_detail : std::uint8_t {
  lines,   ///< one line
  stacks,  ///< and the functions on its stack
};

}  // namespace tern::inline v1

namespace tern::inline v1::detail {

// ---- how long they have waited ----

inline constexpr std::uint32_t survey_slots = 256;  // per monitor round: about 10 us

inline void note_wait(fiber& f, os::nanoseconds now) noexcept {
  // relaxed, all: the note goes with the very wait that the CAS finds; when it is an hour old nobody asks for the order of some stores.
  const char* what = f.wait_what.load(memory_order_relaxed);
  if (what == nullptr || fiber::is_noted(what)) return;
  f.parked_since.store(now, memory_order_relaxed);
  // release: pairs with fiber_facts; else a note is seen with the time of another. The fiber may have gone on and wait for the same again:
  // then the note is of this wait, and a moment too old.
  f.wait_what.compare_exchange_strong(what, fiber::noted(what), memory_order_release, memory_order_relaxed);
}

// ---- facts ----

inline constexpr std::size_t dump_depth = 64;

struct fiber_facts {
  std::uint64_t id = 0;
  std::uint32_t state = fiber::free;
  std::uint32_t flags = 0;
  const char* what = nullptr;  // null: it does not wait
  const void* object = nullptr;
  os::nanoseconds since = 0;  // 0: not noted yet
  char name[fiber::name_capacity] = {};
  void* frames[dump_depth];
  std::size_t depth = 0;

  // Not instrumented: a fiber that is not claimed runs, starts or ends meanwhile. Its words stay readable, and what is
  // printed of them is as true as a dump of running fibers can be.
  TERN_NO_SANITIZE void read(const fiber& f) noexcept {
    state = f.stack_state.load(memory_order_acquire);
    id = static_cast<const volatile std::uint64_t&>(f.id);
    flags = static_cast<const volatile std::uint32_t&>(f.flags);
    const char* word = f.wait_what.load(memory_order_acquire);  // pairs-with: note_wait()
    what = fiber::text_of(word);
    since = fiber::is_noted(word) ? f.parked_since.load(memory_order_relaxed) : 0;
    object = f.wait_object.load(memory_order_relaxed);
    if ((flags & fiber::has_name) == 0) return;
    for (std::size_t i = 0; i + 1 < sizeof name; ++i) name[i] = static_cast<const volatile char&>(f.name[i]);
  }

  const char* state_text() const noexcept {
    if (state == fiber::free) return "ended";
    if (state == fiber::on_cpu) return "running";
    if ((flags & fiber::in_blocking) != 0) return "in tern::blocking";
    if (what != nullptr) return "waiting";
    return (flags & fiber::started) != 0 ? "runnable" : "not started";
  }
};

inline fiber_facts look_at(fiber& f, const inspection* stacks) noexcept {
  fiber_facts x;
  if (stacks != nullptr && &f == current_fiber()) {
    x.read(f);
    x.depth = unwind_here(x.frames, dump_depth);
  } else if (stacks != nullptr && stacks->try_claim(f)) {
    x.read(f);
    x.state = fiber::saved;
    // Between the look and the claim the slot may have got a new fiber: one that was never switched to has no frames. Or the fiber went on, into
    // tern::blocking: there it runs, and of its context sp alone is of now.
    if ((x.flags & (fiber::started | fiber::in_blocking)) == fiber::started)
      x.depth = unwind_saved(f.saved_context, x.frames, dump_depth);
    inspection::give_back(f);
  } else {
    x.read(f);
  }
  return x;
}

// ---- text ----

inline void print_fiber(std::FILE* to, const fiber_facts& f, os::nanoseconds now,
                        os::nanoseconds suspect_after, os::symbolizer& names) noexcept {
  std::fprintf(to, "  fiber #%" PRIu64, f.id);
  if (f.name[0] != 0) std::fprintf(to, " '%s'", f.name);
  std::fprintf(to, ": %s", f.state_text());
  if (f.what != nullptr) std::fprintf(to, " for %s %p", f.what, f.object);
  if (f.what != nullptr && f.since != 0) {
    const os::nanoseconds parked = now - f.since;
    if (parked >= 1'000'000'000)
      std::fprintf(to, ", parked %lld s", static_cast<long long>(parked / 1'000'000'000));
    if (parked >= suspect_after) std::fputs(", suspected leak", to);
  }
  std::fputc('\n', to);
  for (std::size_t i = 0; i < f.depth; ++i) {
    const char* name = names.describe(f.frames[i]);
    std::fprintf(to, "      %s\n", name);
    // What comes above is the instruction that called it, in whatever function make_context() was inlined into.
    if (std::strncmp(name, "tern::v1::detail::fiber_entry", 29) == 0) break;
  }
  if (f.depth == dump_depth) std::fputs("      ...\n", to);
}

// What a dump needs of a runtime that may end meanwhile.
struct dump_subject {
  const scheduler* runtime = nullptr;  // compared, not followed
  os::nanoseconds suspect_after = os::never;
  char name[16] = {};

  dump_subject() noexcept = default;
  explicit dump_subject(const scheduler& s) noexcept
      : runtime{&s},
        suspect_after{s.options().suspect_after_seconds == 0
                          ? os::nanoseconds{60'000'000'000}
                          : os::nanoseconds{s.options().suspect_after_seconds} * 1'000'000'000} {
    std::snprintf(name, sizeof name, "%s", s.options().name);
  }
};

// Not instrumented: as fiber_facts::read().
TERN_NO_SANITIZE inline const scheduler* home_of(const fiber& f) noexcept {
  return fiber::untagged(static_cast<scheduler* const volatile&>(f.home));
}

// How many fibers.
inline std::size_t dump_fibers(const dump_subject& s, std::FILE* to, dump_detail detail) noexcept {
  std::size_t n = 0;
  os::symbolizer names;
  const os::nanoseconds now = os::now();
  const auto all = [&](const inspection* stacks) {
    for_each_fiber([&](fiber& f) {
      if (home_of(f) != s.runtime) return;
      fiber_facts facts = look_at(f, stacks);
      if (facts.state == fiber::free) return;
      ++n;
      print_fiber(to, facts, now, s.suspect_after, names);
    });
  };
  if (detail == dump_detail::stacks) {
    const inspection stacks;
    all(&stacks);
  } else {
    all(nullptr);
  }
  return n;
}

// Every runtime of the process.
inline void dump_everything(std::FILE* to, dump_detail detail) noexcept {
  constexpr std::size_t most = 64;
  dump_subject runtimes[most];
  std::size_t count = 0;
  std::size_t left_out = 0;
  {
    lock_scope hold{schedulers.lock};
    for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_)
      if (count < most)
        runtimes[count++] = dump_subject{*s};
      else
        ++left_out;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::fprintf(to, "tern: runtime '%s'\n", runtimes[i].name);
    const std::size_t n = dump_fibers(runtimes[i], to, detail);
    std::fprintf(to, "tern: %zu fiber(s)\n", n);
  }
  if (left_out != 0) std::fprintf(to, "tern: %zu more runtime(s)\n", left_out);
}

}  // namespace tern::inline v1::detail

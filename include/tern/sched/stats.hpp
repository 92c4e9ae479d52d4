// Scheduler statistics: counters per processor, and their sum as a struct with a text form.
#pragma once

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>

namespace tern::inline v1 {

/// What one processor, or a whole runtime, has done. Counts since the runtime's start; approximate while it runs.
struct scheduler_counters {
  std::uint64_t spawned = 0;         ///< fibers started from here
  std::uint64_t finished = 0;        ///< fibers that ended here
  std::uint64_t tasks_spawned = 0;   ///< tasks started from here by spawn_task
  std::uint64_t tasks_finished = 0;  ///< of these, that ended here
  std::uint64_t dispatched = 0;      ///< switches into a fiber
  std::uint64_t parks = 0;           ///< waits that suspended a fiber
  std::uint64_t yields = 0;          ///< yields that switched
  std::uint64_t wakes = 0;           ///< fibers made runnable from here
  std::uint64_t stolen = 0;          ///< fibers and ready tasks taken from other processors
  std::uint64_t steals = 0;          ///< successful steals
  std::uint64_t stolen_next = 0;     ///< of these, from a run-next slot
  std::uint64_t injected = 0;        ///< fibers taken from the inject queue
  std::uint64_t overflowed = 0;      ///< fibers that did not fit the ring
  std::uint64_t handed_off = 0;      ///< times that the processor was taken over from a blocked worker
  std::uint64_t blocking_calls = 0;  ///< tern::blocking entered
  std::uint64_t sleeps = 0;          ///< times that its worker went to sleep
  std::uint64_t timers_fired = 0;    ///< timed waits ended by their deadline

  scheduler_counters& operator+=(const scheduler_counters& o) noexcept {
    spawned += o.spawned;
    finished += o.finished;
    tasks_spawned += o.tasks_spawned;
    tasks_finished += o.tasks_finished;
    dispatched += o.dispatched;
    parks += o.parks;
    yields += o.yields;
    wakes += o.wakes;
    stolen += o.stolen;
    steals += o.steals;
    stolen_next += o.stolen_next;
    injected += o.injected;
    overflowed += o.overflowed;
    handed_off += o.handed_off;
    blocking_calls += o.blocking_calls;
    sleeps += o.sleeps;
    timers_fired += o.timers_fired;
    return *this;
  }
};

/// Statistics of a runtime.
struct scheduler_statistics {
  std::vector<scheduler_counters> processors;  ///< one per processor that is or was in use, extra ones last
  scheduler_counters total;
  unsigned processor_count = 0;              ///< as runtime::processors()
  std::uint64_t extra_processors_added = 0;  ///< by the monitor, because of fibers that hog
  unsigned workers = 0;                      ///< OS threads that run fibers, sleeping ones included
  std::uint64_t live_fibers = 0;             ///< spawned and not ended
  std::uint64_t live_tasks =
      0;  ///< the same of tasks; those that another one awaits directly are a part of it

  /// A few lines of text, one per processor and one for the sum.
  std::string text() const {
    std::string out;
    char line[512];
    const auto put = [&](const char* name, const scheduler_counters& c) {
      std::snprintf(line, sizeof line,
                    "%s spawned=%" PRIu64 " finished=%" PRIu64 " tasks=%" PRIu64 "/%" PRIu64
                    " dispatched=%" PRIu64 " parks=%" PRIu64 " yields=%" PRIu64 " wakes=%" PRIu64
                    " stolen=%" PRIu64 "/%" PRIu64 " stolen_next=%" PRIu64 " injected=%" PRIu64
                    " overflowed=%" PRIu64 " handed_off=%" PRIu64 " blocking=%" PRIu64 " sleeps=%" PRIu64
                    " timers=%" PRIu64 "\n",
                    name, c.spawned, c.finished, c.tasks_finished, c.tasks_spawned, c.dispatched, c.parks,
                    c.yields, c.wakes, c.stolen, c.steals, c.stolen_next, c.injected, c.overflowed,
                    c.handed_off, c.blocking_calls, c.sleeps, c.timers_fired);
      out += line;
    };
    for (std::size_t i = 0; i < processors.size(); ++i) {
      char name[32];
      std::snprintf(name, sizeof name, "processor %zu:", i);
      put(name, processors[i]);
    }
    put("total:", total);
    std::snprintf(line, sizeof line,
                  "processors=%u workers=%u live_fibers=%" PRIu64 " live_tasks=%" PRIu64
                  " extra_processors_added=%" PRIu64 "\n",
                  processor_count, workers, live_fibers, live_tasks, extra_processors_added);
    out += line;
    return out;
  }
};

}  // namespace tern::inline v1

namespace tern::inline v1::detail {

// The live form: the processor's owner writes with bump(), anybody reads.
struct processor_counters {
  atomic<std::uint64_t> spawned{0}, finished{0}, tasks_spawned{0}, tasks_finished{0}, parks{0}, yields{0},
      wakes{0}, stolen{0}, steals{0}, stolen_next{0}, injected{0}, overflowed{0}, handed_off{0},
      blocking_calls{0}, sleeps{0}, timers_fired{0};

  // `tick` counts the dispatches.
  scheduler_counters read(std::uint64_t tick) const noexcept {
    // relaxed: single writer, approximate by contract.
    const auto get = [](const atomic<std::uint64_t>& c) { return c.load(memory_order_relaxed); };
    scheduler_counters r;
    r.spawned = get(spawned);
    r.finished = get(finished);
    r.tasks_spawned = get(tasks_spawned);
    r.tasks_finished = get(tasks_finished);
    r.dispatched = tick;
    r.parks = get(parks);
    r.yields = get(yields);
    r.wakes = get(wakes);
    r.stolen = get(stolen);
    r.steals = get(steals);
    r.stolen_next = get(stolen_next);
    r.injected = get(injected);
    r.overflowed = get(overflowed);
    r.handed_off = get(handed_off);
    r.blocking_calls = get(blocking_calls);
    r.sleeps = get(sleeps);
    r.timers_fired = get(timers_fired);
    return r;
  }
};

}  // namespace tern::inline v1::detail

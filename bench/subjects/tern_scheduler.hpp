// tern's scheduler with its own synchronisation.
#pragma once

#include <string>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "bench/subjects/concepts.hpp"
#include "bench/subjects/pthread.hpp"

namespace tern_bench {

struct tern_scheduler {
  static constexpr const char* name = "tern";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }
  static std::string unfit(const row_params& p) { return on_processors::unfit(p); }

  /// fn is the main fiber of a runtime of its own, with the row's processors and the default slots of 64 KiB.
  template <class F>
  static void run(const row_params& params, F&& fn) {
    const confine here(on_processors::count(params));
    become_threaded();
    // In wake_latency plain threads, of which the runtime knows nothing, wake the only fiber: no deadlock.
    tern::runtime rt{{.processors = static_cast<unsigned>(on_processors::count(params)),
                      .on_deadlock = tern::deadlock_policy::ignore}};
    rt.run(fn);
  }

  using thread = tern::thread;
  static void yield() { tern::this_thread::yield(); }
  using mutex = tern::mutex;
  using wait_group = tern::wait_group;
  template <class T>
  using channel = tern::channel<T>;
};
static_assert(scheduler_subject<tern_scheduler>);

}  // namespace tern_bench

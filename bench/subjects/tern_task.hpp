// tern's coroutines: tern::task<> on the scheduler's processors. A case has a second form of its workload for it, with co_await.
#pragma once

#include <string>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "bench/subjects/tern_scheduler.hpp"

namespace tern_bench {

struct tern_task {
  static constexpr const char* name = "tern_task";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }
  static std::string unfit(const row_params& p) { return on_processors::unfit(p); }

  /// fn is the main fiber of a runtime, as for tern; it starts the tasks and joins them.
  template <class F>
  static void run(const row_params& params, F&& fn) {
    tern_scheduler::run(params, fn);
  }
};

}  // namespace tern_bench

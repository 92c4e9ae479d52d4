// The scheduler's face: runtime, run, thread, nursery, this_thread, blocking, checkpoint and their options and statistics.
#pragma once

#include <tern/sched/fork_join.hpp>
#include <tern/sched/nursery.hpp>
#include <tern/sched/runtime.hpp>
#include <tern/sched/stats.hpp>
#include <tern/sched/thread.hpp>

// The scheduler's face: runtime, run, thread, nursery, fiber_local, job_pool, this_thread, blocking, checkpoint and their options and statistics.
#pragma once

#include <tern/sched/cancel.hpp>
#include <tern/sched/fiber_local.hpp>
#include <tern/sched/fork_join.hpp>
#include <tern/sched/job_pool.hpp>
#include <tern/sched/nursery.hpp>
#include <tern/sched/runtime.hpp>
#include <tern/sched/stats.hpp>
#include <tern/sched/task.hpp>
#include <tern/sched/thread.hpp>

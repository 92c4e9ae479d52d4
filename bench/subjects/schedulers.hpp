// The schedulers. A new one: an adapter beside this file and an entry in the lists whose cases it fits.
#pragma once

#include "bench/subjects/boost_fiber.hpp"
#include "bench/subjects/go_peer.hpp"
#include "bench/subjects/pthread.hpp"
#include "bench/subjects/pthread_pool.hpp"
#include "bench/subjects/tern_scheduler.hpp"
#include "bench/subjects/tern_task.hpp"

namespace tern_bench {

/// Tasks may wait for one another.
using blocking_schedulers = subjects<tern_scheduler, pthread_subject, go_peer, boost_fiber_subject>;
/// And share a lock as readers and writers.
using rw_schedulers = subjects<tern_scheduler, pthread_subject, go_peer>;
/// And tasks whose stack need not hold more than one wait.
using parked_schedulers =
    subjects<tern_scheduler, tern_tiny, tern_task, pthread_subject, go_peer, boost_fiber_subject>;
/// Tasks only spawn and join.
using fork_join_schedulers =
    subjects<tern_scheduler, pthread_subject, pthread_pool_subject, go_peer, boost_fiber_subject>;
/// The same for cases that have a form for coroutines.
using blocking_schedulers_and_tasks =
    subjects<tern_scheduler, tern_task, pthread_subject, go_peer, boost_fiber_subject>;
using fork_join_schedulers_and_tasks =
    subjects<tern_scheduler, tern_task, pthread_subject, pthread_pool_subject, go_peer, boost_fiber_subject>;

}  // namespace tern_bench

// The schedulers. A new one: an adapter beside this file and an entry in the lists whose cases it fits.
#pragma once

#include "bench/subjects/go_peer.hpp"
#include "bench/subjects/pthread.hpp"
#include "bench/subjects/pthread_pool.hpp"
#if __has_include(<tern/sync.hpp>)
#include "bench/subjects/tern_scheduler.hpp"
#endif

namespace tern_bench {

#if __has_include(<tern/sync.hpp>)
/// Tasks may wait for one another.
using blocking_schedulers = subjects<tern_scheduler, pthread_subject, go_peer>;
/// Tasks only spawn and join.
using fork_join_schedulers = subjects<tern_scheduler, pthread_subject, pthread_pool_subject, go_peer>;
#else
using blocking_schedulers = subjects<pthread_subject, go_peer>;
using fork_join_schedulers = subjects<pthread_subject, pthread_pool_subject, go_peer>;
#endif

}  // namespace tern_bench

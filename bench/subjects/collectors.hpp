// The ways to manage memory. A new one: an adapter beside this file and an entry in the lists whose cases it fits.
#pragma once

#include "bench/subjects/boehm.hpp"
#include "bench/subjects/go_peer.hpp"
#include "bench/subjects/reference_counting.hpp"
#include "bench/subjects/tern_collector.hpp"

namespace tern_bench {

/// Objects with one owner at a time.
using owning_collectors =
    subjects<tern_collector, shared_ptr_subject, shared_ptr_plain_subject, intrusive_subject,
             intrusive_plain_subject, manual_subject, boehm_subject, go_peer>;
/// Objects that are shared, in one thread.
using sharing_collectors = subjects<tern_collector, shared_ptr_subject, shared_ptr_plain_subject,
                                    intrusive_subject, intrusive_plain_subject, boehm_subject, go_peer>;
/// References alone: the objects outlive the row.
using reference_collectors = subjects<tern_collector, shared_ptr_subject, shared_ptr_plain_subject,
                                      intrusive_subject, intrusive_plain_subject, raw_subject, go_peer>;
/// Objects that several threads share.
using threaded_collectors =
    subjects<tern_collector, shared_ptr_subject, intrusive_subject, raw_subject, go_peer>;
/// For latencies: the atomic form, and no collection or counting at all as the control.
using steady_collectors =
    subjects<tern_collector, shared_ptr_subject, manual_subject, boehm_subject, go_peer>;
/// What can be told to collect.
using marking_collectors = subjects<tern_collector, boehm_subject, go_peer>;
/// What has a pacer that is set at run time.
using paced_collectors = subjects<tern_collector, go_peer>;

}  // namespace tern_bench

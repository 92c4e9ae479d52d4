// The allocators. A new one: an adapter beside this file and an entry here.
#pragma once

#include "bench/subjects/malloc.hpp"
#include "bench/subjects/preloaded.hpp"
#include "bench/subjects/tern_allocator.hpp"

namespace tern_bench {

/// Linked in.
using linked_allocators = subjects<tern_allocator, malloc_subject>;

/// Those, and by preloading.
using allocators =
    subjects<tern_allocator, malloc_subject, tern_preload, glibc, mimalloc, jemalloc, tcmalloc>;

}  // namespace tern_bench

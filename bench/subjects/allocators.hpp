// The allocators that a program can be linked to. A new one: an adapter beside this file and an entry here.
#pragma once

#include "bench/subjects/malloc.hpp"
#if __has_include(<tern/alloc.hpp>)
#include "bench/subjects/tern_allocator.hpp"
#endif

namespace tern_bench {

#if __has_include(<tern/alloc.hpp>)
using allocators = subjects<tern_allocator, malloc_subject>;
#else
using allocators = subjects<malloc_subject>;
#endif

}  // namespace tern_bench

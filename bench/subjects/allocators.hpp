// The allocators that a program can be linked to. A new one: an adapter beside this file and an entry here.
#pragma once

#include "bench/subjects/malloc.hpp"
#include "bench/subjects/tern_allocator.hpp"

namespace tern_bench {

using allocators = subjects<tern_allocator, malloc_subject>;

}  // namespace tern_bench

#pragma once

// The face of the allocator: everything that a program needs of it.

#include <tern/alloc/allocator.hpp>
#include <tern/alloc/arena.hpp>
#include <tern/alloc/heap_profile.hpp>
#include <tern/alloc/memory_resource.hpp>
#include <tern/alloc/pool.hpp>
#include <tern/alloc/statistics.hpp>

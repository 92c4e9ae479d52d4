// Everything of tern.
#pragma once

#include <tern/alloc.hpp>
#include <tern/sched.hpp>

#if __has_include(<tern/sync.hpp>)
#include <tern/sync.hpp>
#endif
#if __has_include(<tern/gc.hpp>)
#include <tern/gc.hpp>
#endif

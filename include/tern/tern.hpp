// Everything of tern.
#pragma once

#include <tern/alloc.hpp>
#include <tern/gc.hpp>
#include <tern/net.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

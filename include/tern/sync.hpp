#pragma once

// tern/sync.hpp: what fibers and threads wait on. See sync/README.md.

#include <tern/sync/async_channel.hpp>
#include <tern/sync/channel.hpp>
#include <tern/sync/condition_variable.hpp>
#include <tern/sync/mutex.hpp>
#include <tern/sync/once.hpp>
#include <tern/sync/rw_mutex.hpp>
#include <tern/sync/select.hpp>
#include <tern/sync/semaphore.hpp>
#include <tern/sync/wait_group.hpp>

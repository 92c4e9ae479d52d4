// Waiting for a fiber to wait.
#pragma once

#include <tern/sched.hpp>

#include <cstring>

namespace tern_test {

// Returns once a fiber of that name is parked, and which: it is in its primitive's queue then, whichever processor ran it. For fibers
// and plain threads.
inline tern::detail::fiber& wait_until_parked(const char* name) {
  using tern::detail::fiber;
  for (;;) {
    fiber* found = nullptr;
    tern::detail::for_each_fiber([&](fiber& f) {
      if (f.stack_state.load() == fiber::saved && f.wait_what.load() != nullptr &&
          std::strcmp(f.display_name(), name) == 0)
        found = &f;
    });
    if (found != nullptr) return *found;
    tern::this_thread::yield();
  }
}

}  // namespace tern_test

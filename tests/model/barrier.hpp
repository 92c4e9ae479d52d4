// os::barrier_in_every_thread() under the model checker: no store of any thread stays back. It gives no happens-before.
#pragma once

#include "checker.hpp"

namespace tern_model {

inline void barrier_in_every_thread() {
  checker& c = *active;
  c.point();
  for (auto& t : c.threads_) {
    for (const auto& d : t.delayed) c.commit(*d.where, d.bits, d.release, d.at);
    t.delayed.clear();
  }
  if (c.logging_) c.note("barrier in every thread");
}

}  // namespace tern_model

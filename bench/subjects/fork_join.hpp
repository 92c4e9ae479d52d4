// How each subject runs two functions that may run at once, for the fork-join cases: fork_both<S>(f, g).
#pragma once

#include <utility>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {

/// tern has a function for it. The others start a task for the one and run the other themselves.
template <class S, class F, class G>
inline void fork_both(F&& f, G&& g) {
  if constexpr (std::is_same_v<S, tern_scheduler>) {
    tern::fork_join(std::forward<F>(f), std::forward<G>(g));
  } else {
    typename S::thread second([&g] { g(); });
    f();
    second.join();
  }
}

/// Who has a row in the fork-join cases: a thread of the system per task allows none of their sizes.
using fork_join_subjects = subjects<tern_scheduler, pthread_pool_subject, go_peer>;

}  // namespace tern_bench

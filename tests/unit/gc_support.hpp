// What the collector's tests share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <utility>

#include <tern/gc.hpp>

#include "tests/support/managed_list.hpp"

namespace gc_test {

// Runs f on a thread of its own: when it is gone, so are the words that its stack held.
template <class F>
void on_thread(F&& f) {
  std::thread t{std::forward<F>(f)};
  t.join();
}

// A whole cycle, and what destructors it made due.
inline void collect_all() {
  tern::gc::collect();
  tern::gc::wait_for_destructors();
}

inline std::uint64_t live_objects() {
  tern::gc::collect();
  return tern::gc::read_statistics().live_objects;
}

// Verifies each cycle of the scope; `ok()` afterwards.
class verified {
 public:
  verified() : before_{tern::gc::read_statistics()} {
    tern::gc::testing::verify_each_cycle(true);
    tern::gc::testing::poison_freed(true);
  }
  ~verified() { tern::gc::testing::verify_each_cycle(false); }
  verified(const verified&) = delete;
  verified& operator=(const verified&) = delete;
  std::uint64_t lost() const { return tern::gc::read_statistics().lost - before_.lost; }
  std::uint64_t cycles() const { return tern::gc::read_statistics().cycles - before_.cycles; }

 private:
  tern::gc::statistics before_;
};

// As testing.at: where hold_next is set, the marker is held once in the middle of marking, until `holding` is cleared.
inline std::atomic<bool> hold_next{false};
inline std::atomic<bool> holding{false};
inline void hold_marker(tern::detail::gc::test_point p) noexcept {
  if (p != tern::detail::gc::test_point::mid_mark || !hold_next.exchange(false)) return;
  holding = true;
  while (holding) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace gc_test

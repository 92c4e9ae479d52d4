// Waiting for what other threads bring about.
#pragma once

#include <unistd.h>

#include <chrono>

namespace tern_test {

// False if `f` has not become true within a minute.
template <class F>
bool comes_true(F&& f) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes{1};
  while (!f()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::usleep(200);
  }
  return true;
}

}  // namespace tern_test

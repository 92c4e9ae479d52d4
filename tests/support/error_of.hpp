// What a call that may be refused was refused with.
#pragma once

#include <system_error>

namespace tern_test {

// The code of the std::system_error that f throws; none if it throws nothing.
template <class F>
std::error_code error_of(F&& f) {
  try {
    f();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace tern_test

// Debug options: the numbers in the environment variable TERN_DEBUG, as in TERN_DEBUG=schedtrace=1000,gctrace=1.
#pragma once

#include <cstdlib>
#include <cstring>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

// The value of `name`; 0 where it is absent or no number. Reads the environment: not for hot paths, and not while another thread
// changes it.
TERN_COLD inline long debug_option(const char* name) noexcept {
  const char* s = std::getenv("TERN_DEBUG");
  const std::size_t length = std::strlen(name);
  while (s != nullptr && *s != 0) {
    if (std::strncmp(s, name, length) == 0 && s[length] == '=')
      return std::strtol(s + length + 1, nullptr, 10);
    s = std::strchr(s, ',');
    if (s != nullptr) ++s;
  }
  return 0;
}

}  // namespace tern::inline v1::detail

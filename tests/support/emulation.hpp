// Whether this test runs under an emulator, as ctest says in cross builds (TERN_EMULATED).
#pragma once

#include <cstdlib>

namespace tern_test {

// qemu-user cannot start the emulated program anew (gtest's "threadsafe" death tests), counts its own threads and memory in
// /proc/self, and reports signals on stderr itself.
inline bool is_emulated() { return std::getenv("TERN_EMULATED") != nullptr; }

inline constexpr const char* no_reexec = "a death test starts the program anew, which the emulator cannot do";

}  // namespace tern_test

// SHA-256 (FIPS 180-4), to name the very binaries that a run measured.
#pragma once

#include <string>
#include <string_view>

namespace ternbench {

/// 64 hexadecimal digits.
[[nodiscard]] std::string sha256(std::string_view bytes);

}  // namespace ternbench

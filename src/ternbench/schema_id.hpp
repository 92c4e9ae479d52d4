// Schema names as files carry them: "<name>/<major>".
#pragma once

#include <string>
#include <string_view>

namespace ternbench {

inline constexpr const char* manifest_schema = "tern.manifest/1";
inline constexpr const char* summary_schema = "tern.summary/1";
inline constexpr const char* duet_schema = "tern.duet/1";
inline constexpr const char* gate_schema = "tern.gate/1";

/// Throws a one-line tool_error unless `id` is the version of `name` that this tool reads: failed for an older or foreign
/// one, not_comparable for a newer one.
void require_schema(std::string_view id, std::string_view name, const std::string& label);

}  // namespace ternbench

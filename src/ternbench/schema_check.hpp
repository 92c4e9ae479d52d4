// Documents against the schemas of results/schema/, which are built into the tool.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "json_io.hpp"

namespace ternbench {

struct embedded_schema {
  std::string_view name;  // manifest, summary, google-benchmark, hist, duet, gate, claims
  std::string_view text;
};
/// Defined in a source file that CMake makes from results/schema/*.schema.json.
[[nodiscard]] const std::vector<embedded_schema>& embedded_schemas();

/// Which schema a document claims: by its "schema" key, by context.tern_schema, else by the shape of a Google Benchmark
/// file. Throws tool_error for an older or newer version and for anything else.
[[nodiscard]] std::string schema_of(const ordered_json& document, const std::string& label);

/// What is wrong with `document`, one line each ("/rows/3/name: ..."); empty when it is valid.
[[nodiscard]] std::vector<std::string> check_schema(const ordered_json& document,
                                                    std::string_view schema_text);

/// The same by the schema's name.
[[nodiscard]] std::vector<std::string> schema_errors(std::string_view name, const ordered_json& document);

}  // namespace ternbench

#include "schema_check.hpp"

#include <fmt/format.h>

#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "error.hpp"
#include "schema_id.hpp"

namespace ternbench {
namespace {

/// The library says "[key]" per step; a JSON pointer reads better.
std::string pointer(const std::vector<std::string>& steps) {
  std::string out;
  for (const std::string& step : steps) {
    if (step == "<root>") continue;
    std::string bare = step;
    if (bare.size() >= 2 && bare.front() == '[' && bare.back() == ']') bare = bare.substr(1, bare.size() - 2);
    if (bare.size() >= 2 && bare.front() == '"' && bare.back() == '"') bare = bare.substr(1, bare.size() - 2);
    out += "/" + escape_step(bare);
  }
  return out.empty() ? "/" : out;
}

}  // namespace

std::string schema_of(const ordered_json& document, const std::string& label) {
  if (!document.is_object()) throw tool_error(fmt::format("{}: is not an object", label));
  if (const std::string id = text_at(document, "schema"); !id.empty()) {
    for (const embedded_schema& known : embedded_schemas()) {
      const std::string full = "tern." + std::string(known.name);
      if (!id.starts_with(full + "/")) continue;
      require_schema(id, full, label);
      return std::string(known.name);
    }
    throw tool_error(fmt::format("{}: unknown schema \"{}\"", label, id));
  }
  const auto context = document.find("context");
  if (context != document.end() && context->is_object() && document.contains("benchmarks")) {
    const std::string id = text_at(*context, "tern_schema");
    if (id.empty()) return "google-benchmark";
    require_schema(id, "tern.summary", label);
    return "summary";
  }
  throw tool_error(fmt::format("{}: names no schema and is not a Google Benchmark file", label));
}

std::vector<std::string> check_schema(const ordered_json& document, std::string_view schema_text) {
  const json schema_json = json::parse(schema_text);
  const json plain = document;
  valijson::Schema schema;
  valijson::SchemaParser parser;
  parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(schema_json), schema);
  valijson::Validator validator;
  valijson::ValidationResults results;
  std::vector<std::string> lines;
  if (validator.validate(schema, valijson::adapters::NlohmannJsonAdapter(plain), &results)) return lines;
  valijson::ValidationResults::Error error;
  while (results.popError(error))
    lines.push_back(fmt::format("{}: {}", pointer(error.context), error.description));
  return lines;
}

std::vector<std::string> schema_errors(std::string_view name, const ordered_json& document) {
  for (const embedded_schema& schema : embedded_schemas()) {
    if (schema.name == name) return check_schema(document, schema.text);
  }
  throw tool_error(fmt::format("this tool has no schema \"{}\"", name));
}

}  // namespace ternbench

#include "schema_id.hpp"

#include <fmt/format.h>

#include <charconv>

#include "error.hpp"

namespace ternbench {

void require_schema(std::string_view id, std::string_view name, const std::string& label) {
  constexpr int ours = 1;
  const auto slash = id.find('/');
  int major = -1;
  if (slash != std::string_view::npos && id.substr(0, slash) == name) {
    const char* const end = id.data() + id.size();
    const auto parsed = std::from_chars(id.data() + slash + 1, end, major);
    if (parsed.ec != std::errc{} || parsed.ptr != end) major = -1;
  }
  if (major == ours) return;
  if (major < 0) throw tool_error(fmt::format("{}: schema \"{}\" is not {}/{}", label, id, name, ours));
  if (major < ours) {
    throw tool_error(
        fmt::format("{}: schema {} is older than {}/{}, which this tool reads; run the suite again", label,
                    id, name, ours));
  }
  throw tool_error(
      fmt::format("{}: schema {} is newer than {}/{}, which this tool reads; use a newer ternbench", label,
                  id, name, ours),
      exit_code::not_comparable);
}

}  // namespace ternbench

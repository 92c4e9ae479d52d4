#include "bench/harness/row.hpp"

#include <cstdio>
#include <cstdlib>

namespace tern_bench {

const char* to_string(tier t) noexcept {
  switch (t) {
    case tier::quick: return "quick";
    case tier::standard: return "default";
    case tier::full: return "full";
  }
  return "full";
}

const char* to_string(role r) noexcept {
  switch (r) {
    case role::subject: return "subject";
    case role::baseline: return "baseline";
    case role::peer: return "peer";
  }
  return "peer";
}

const param_value* row_params::find(std::string_view name) const noexcept {
  for (const auto& [key, value] : values_) {
    if (key == name) return &value;
  }
  return nullptr;
}

const param_value& row_params::at(std::string_view name) const {
  if (const param_value* const found = find(name)) return *found;
  std::fprintf(stderr, "tern bench: a case reads the parameter '%.*s', which its row does not have\n",
               static_cast<int>(name.size()), name.data());
  std::abort();
}

std::int64_t row_params::operator[](std::string_view name) const { return at(name).number(); }

std::string row_params::word(std::string_view name) const { return at(name).text(); }

std::int64_t row_params::value_or(std::string_view name, std::int64_t otherwise) const noexcept {
  const param_value* const found = find(name);
  return found != nullptr ? found->number() : otherwise;
}

std::string row_params::suffix() const {
  std::string text;
  for (const auto& [key, value] : values_) text += "/" + key + ":" + value.text();
  return text;
}

std::vector<row>& all_rows() {
  static std::vector<row> rows;
  return rows;
}

}  // namespace tern_bench

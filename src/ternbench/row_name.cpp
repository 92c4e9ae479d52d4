#include "row_name.hpp"

#include <algorithm>
#include <array>

namespace ternbench {
namespace {

std::vector<std::string_view> split(std::string_view s, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = s.find(separator);
    parts.push_back(s.substr(0, at));
    if (at == std::string_view::npos) return parts;
    s.remove_prefix(at + 1);
  }
}

constexpr std::array plain_suffixes{"manual_time", "real_time", "process_time"};
constexpr std::array valued_suffixes{"iterations", "repeats", "min_time", "min_warmup_time"};

bool is_suffix(std::string_view part) {
  const auto colon = part.find(':');
  const auto is = [&](const char* s) { return part.substr(0, colon) == s; };
  return colon == std::string_view::npos ? std::any_of(plain_suffixes.begin(), plain_suffixes.end(), is)
                                         : std::any_of(valued_suffixes.begin(), valued_suffixes.end(), is);
}

bool is_thread_suffix(std::string_view part) { return part.starts_with("threads:"); }

std::string_view cut_last(std::string_view name, bool (*droppable)(std::string_view)) {
  const auto slash = name.rfind('/');
  if (slash == std::string_view::npos || !droppable(name.substr(slash + 1))) return name;
  return name.substr(0, slash);
}

}  // namespace

std::string row_name::group() const {
  std::string s = area;
  if (!case_name.empty()) s += "/" + case_name;
  for (const auto& [key, value] : params) s += "/" + key + ":" + value;
  return s;
}

std::string row_name::with_subject(std::string_view other) const {
  std::string s = area + "/" + case_name + "/" + std::string(other);
  for (const auto& [key, value] : params) s += "/" + key + ":" + value;
  return s;
}

std::string row_name::params_text() const {
  std::string s;
  for (const auto& [key, value] : params) {
    if (!s.empty()) s += ' ';
    s += key + ":" + value;
  }
  return s;
}

row_name parse_row_name(std::string_view name) {
  const auto parts = split(name, '/');
  row_name row;
  const auto plain = [](std::string_view p) { return !p.empty() && p.find(':') == std::string_view::npos; };
  bool valid = parts.size() >= 3 && plain(parts[0]) && plain(parts[1]) && plain(parts[2]);
  for (std::size_t i = 3; valid && i < parts.size(); ++i) {
    const auto colon = parts[i].find(':');
    valid = colon != std::string_view::npos && colon > 0 && colon + 1 < parts[i].size();
    if (valid) row.params.emplace_back(parts[i].substr(0, colon), parts[i].substr(colon + 1));
  }
  if (!valid) return row_name{std::string(name), {}, {}, {}};
  row.area = parts[0];
  row.case_name = parts[1];
  row.subject = parts[2];
  return row;
}

std::string strip_suffixes(std::string_view name) {
  for (;;) {
    const std::string_view shorter = cut_last(name, is_suffix);
    if (shorter.size() == name.size()) return std::string(name);
    name = shorter;
  }
}

std::string match_known(std::string_view name, const std::vector<std::string>& known) {
  const auto is_known = [&](std::string_view s) {
    return std::find(known.begin(), known.end(), s) != known.end();
  };
  for (;;) {
    if (is_known(name)) return std::string(name);
    const std::string_view shorter =
        cut_last(name, [](std::string_view part) { return is_suffix(part) || is_thread_suffix(part); });
    if (shorter.size() == name.size()) return {};
    name = shorter;
  }
}

std::string filter_for(const std::vector<std::string>& names) {
  std::string filter = "^(";
  bool threads_is_a_param = false;
  for (const std::string& name : names) {
    if (filter.size() > 2) filter += '|';
    for (const char c : name) {
      if (std::string_view(".^$*+?()[]{}|\\").find(c) != std::string_view::npos) filter += '\\';
      filter += c;
    }
    threads_is_a_param = threads_is_a_param || name.find("/threads:") != std::string::npos;
  }
  filter += ")(/(manual_time|real_time|process_time|(iterations|repeats|min_time|min_warmup_time";
  if (!threads_is_a_param) filter += "|threads";
  return filter + "):[0-9.]+))*$";
}

}  // namespace ternbench

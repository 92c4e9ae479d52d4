#include "json_io.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>
#include <vector>

#include "error.hpp"

namespace ternbench {
namespace {

struct position {
  std::size_t line = 1;
  std::size_t column = 1;
};

position locate(std::string_view text, std::size_t byte) {
  position p;
  for (std::size_t i = 0; i < std::min(byte, text.size()); ++i) {
    if (text[i] == '\n') {
      ++p.line;
      p.column = 1;
    } else {
      ++p.column;
    }
  }
  return p;
}

/// What a person would call the mistake at `byte`, where it is one of the usual ones.
std::string diagnose(std::string_view text, std::size_t byte) {
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  if (std::all_of(text.begin(), text.end(), blank)) return "is empty";
  const char first = *std::find_if_not(text.begin(), text.end(), blank);
  if (first != '{' && first != '[') return "is not JSON";
  auto last = text.size();
  while (last > 0 && blank(text[last - 1])) --last;
  std::size_t start = std::min(byte, text.size());
  while (start > 0 &&
         (std::isalpha(static_cast<unsigned char>(text[start - 1])) != 0 || text[start - 1] == '-'))
    --start;
  std::string word;
  for (std::size_t i = start; i < text.size() && word.size() < 12; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (std::isalpha(c) == 0 && text[i] != '-') break;
    word += static_cast<char>(std::tolower(c));
  }
  const position p = locate(text, start + 1);
  for (const char* token : {"nan", "-nan", "inf", "-inf", "infinity", "-infinity"}) {
    if (word == token) return fmt::format("holds {} at line {}, which JSON has no number for", word, p.line);
  }
  if (byte > text.size())
    return fmt::format("is truncated: it ends at line {} inside a value", locate(text, last).line);
  const position q = locate(text, byte > 0 ? byte - 1 : 0);
  return fmt::format("is not valid JSON at line {}, column {}", q.line, q.column);
}

/// Steps through the text of valid JSON.
class json_scanner {
 public:
  explicit json_scanner(std::string_view text) : text_(text) { skip_blanks(); }

  [[nodiscard]] std::size_t at() const { return at_; }

  /// From the start of an object or array to that of its member `step`; false, and somewhere else, where there is none.
  bool enter(std::string_view step) {
    const char open = text_[at_];
    if (open != '{' && open != '[') return false;
    next(1);
    for (std::size_t index = 0; text_[at_] != '}' && text_[at_] != ']'; ++index) {
      std::string_view name;
      if (open == '{') {
        const std::size_t start = at_;
        skip_string();
        name = text_.substr(start + 1, at_ - start - 2);
        skip_blanks();
        next(1);  // the colon
      }
      if (open == '{' ? name == step : std::to_string(index) == step) return true;
      skip_value();
      if (text_[at_] == ',') next(1);
    }
    return false;
  }

 private:
  void next(std::size_t count) {
    at_ += count;
    skip_blanks();
  }
  void skip_blanks() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  void skip_string() {
    for (++at_; text_[at_] != '"'; ++at_) at_ += text_[at_] == '\\' ? 1U : 0U;
    ++at_;
  }
  void skip_value() {
    std::size_t depth = 0;
    do {
      const char c = text_[at_];
      if (c == '"') {
        skip_string();
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') {
        if (depth == 0) break;  // a number or a word ended with its object
        --depth;
      }
      if (c == ',' && depth == 0) break;
      ++at_;
    } while (at_ < text_.size());
    skip_blanks();
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::size_t line_of(std::string_view text, std::string_view pointer) {
  json_scanner scanner(text);
  std::size_t found = scanner.at();
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const auto slash = std::min(pointer.find('/'), pointer.size());
    std::string step(pointer.substr(0, slash));
    pointer.remove_prefix(slash);
    for (std::size_t at = step.find("~1"); at != std::string::npos; at = step.find("~1", at + 1))
      step.replace(at, 2, "/");
    if (step.empty() || !scanner.enter(step)) break;
    found = scanner.at();
  }
  return locate(text, found).line;
}

std::string escape_step(std::string key) {
  for (auto slash = key.find('/'); slash != std::string::npos; slash = key.find('/', slash + 2))
    key.replace(slash, 1, "~1");
  return key;
}

ordered_json parse_json(std::string_view text, const std::string& label) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  const auto watch = [&](int depth, ordered_json::parse_event_t event, ordered_json& parsed) {
    // The parser does not recurse, but what walks a document, copies or frees it does.
    constexpr int deepest = 100;
    if (depth > deepest) throw tool_error(fmt::format("{}: is nested more than {} deep", label, deepest));
    switch (event) {
      case ordered_json::parse_event_t::object_start: keys.emplace_back(); break;
      case ordered_json::parse_event_t::object_end: keys.pop_back(); break;
      case ordered_json::parse_event_t::key: {
        const auto& name = parsed.get_ref<const std::string&>();
        if (!keys.back().insert(name).second && duplicate.empty()) duplicate = name;
        break;
      }
      default: break;
    }
    return true;
  };
  ordered_json value;
  try {
    value = ordered_json::parse(text.begin(), text.end(), watch);
  } catch (const ordered_json::parse_error& e) {
    throw tool_error(fmt::format("{}: {}", label, diagnose(text, e.byte)));
  } catch (const ordered_json::exception&) {
    throw tool_error(fmt::format("{}: holds a number that no double can hold", label));
  }
  if (!duplicate.empty())
    throw tool_error(fmt::format("{}: has the key \"{}\" twice in one object", label, duplicate));
  return value;
}

std::string printable(std::string text) {
  constexpr auto is = [](char c, unsigned char least, unsigned char most) {
    return static_cast<unsigned char>(c) >= least && static_cast<unsigned char>(c) <= most;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is(text[i], 0, 0x1f) || text[i] == 0x7f) text[i] = ' ';
    // U+0080 to U+009F are control characters as well: two bytes in UTF-8.
    if (is(text[i], 0xc2, 0xc2) && i + 1 < text.size() && is(text[i + 1], 0x80, 0x9f))
      text[i] = text[i + 1] = ' ';
  }
  return text;
}

void make_printable(ordered_json& value) {
  if (value.is_string()) value = printable(value.get<std::string>());
  if (!value.is_structured()) return;
  for (ordered_json& inner : value) make_printable(inner);
}

std::string text_at(const ordered_json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::string read_file(const std::filesystem::path& file) {
  std::error_code ignored;
  if (std::filesystem::is_directory(file, ignored)) {
    throw tool_error(fmt::format("{}: is a directory", file.string()));
  }
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in) throw tool_error(fmt::format("{}: {}", file.string(), std::strerror(errno != 0 ? errno : EIO)));
  std::ostringstream out;
  out << in.rdbuf();
  if (in.bad()) throw tool_error(fmt::format("{}: read error", file.string()));
  return out.str();
}

ordered_json read_json(const std::filesystem::path& file) {
  return parse_json(read_file(file), file.string());
}

void write_file(const std::filesystem::path& file, std::string_view content) {
  const auto write = [&](const std::filesystem::path& to) -> std::error_code {
    errno = 0;
    std::ofstream out(to, std::ios::binary | std::ios::trunc);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    out.close();
    return out ? std::error_code() : std::error_code(errno != 0 ? errno : EIO, std::generic_category());
  };
  std::error_code error;
  const std::filesystem::file_status there = std::filesystem::status(file, error);
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) {
    error = write(file);  // a device or a pipe takes the content; a rename would put a file in its place
  } else {
    // A link stays one: what it leads to is replaced.
    std::filesystem::path target = std::filesystem::weakly_canonical(file, error);
    if (error) target = file;
    std::filesystem::path temporary = target;
    temporary += ".tmp";
    error = write(temporary);
    if (!error) std::filesystem::rename(temporary, target, error);
    std::error_code ignored;
    if (error) std::filesystem::remove(temporary, ignored);
  }
  if (error) throw tool_error(fmt::format("{}: cannot write: {}", file.string(), error.message()));
}

std::string to_text(const ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, ordered_json::error_handler_t::replace);
}

void write_json(const std::filesystem::path& file, const ordered_json& value) {
  write_file(file, to_text(value, 1) + "\n");
}

}  // namespace ternbench

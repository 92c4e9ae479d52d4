// JSON, one document per line, for the case log_agent: a parser (RFC 8259) and a serialiser over a memory of the caller's choice.
//
// Structure   A document is a tree of json_value in lists: the members of an object and the items of an array by `next`. Strings and numbers
//             are views: into the line, or into bytes of the memory where the caller wants its own, or where escapes had to be decoded.
// Memory      node() -> json_value*, bytes(n) -> char*. Nothing is given back one by one here; see drop_json.
// Limits      Nested at most 32 deep. Bytes above 0x7f pass as they are, without a look at their UTF-8. Numbers keep their text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace tern_bench {

struct json_value {
  enum class kind : std::uint8_t { null, boolean, number, string, array, object };
  kind type = kind::null;
  bool truth = false;     // of a boolean
  bool owns_key = false;  // the bytes of `key`, `text` are from the memory
  bool owns_text = false;
  std::string_view key{};   // in an object: decoded
  std::string_view text{};  // string: decoded; number: as it stands
  json_value* first = nullptr;
  json_value* next = nullptr;
};

template <class Memory>
class json_parser {
 public:
  /// `owns`: strings and numbers get bytes of their own.
  json_parser(Memory& memory, bool owns) noexcept : memory_(memory), owns_(owns) {}

  /// The document that is the whole of `line`; null: it is none, and what was made of it hangs on `*made` for drop_json.
  json_value* parse(std::string_view line, json_value*& made) {
    at_ = line.data();
    end_ = at_ + line.size();
    made = nullptr;
    if (!parse_value(made, 0)) return nullptr;
    skip_space();
    return at_ == end_ ? made : nullptr;
  }
  /// Bytes that were copied out of the lines so far.
  [[nodiscard]] std::uint64_t copied() const noexcept { return copied_; }

 private:
  static constexpr int deepest = 32;

  void skip_space() noexcept {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r' || *at_ == '\n')) ++at_;
  }
  bool take(char c) noexcept {
    skip_space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) noexcept {
    if (static_cast<std::size_t>(end_ - at_) < word.size() || std::memcmp(at_, word.data(), word.size()) != 0)
      return false;
    at_ += word.size();
    return true;
  }
  std::string_view keep_text(std::string_view text, bool& owns) {
    owns = owns_ && !text.empty();
    if (!owns) return text;
    char* const own = memory_.bytes(text.size());
    std::memcpy(own, text.data(), text.size());
    copied_ += text.size();
    return {own, text.size()};
  }

  bool parse_value(json_value*& where, int depth) {
    json_value* const v = where = memory_.node();
    skip_space();
    if (at_ == end_ || depth > deepest) return false;
    switch (*at_) {
      case '{': return parse_object(*v, depth);
      case '[': return parse_array(*v, depth);
      case '"': v->type = json_value::kind::string; return parse_string(v->text, v->owns_text);
      case 't':
        v->type = json_value::kind::boolean;
        v->truth = true;
        return take_word("true");
      case 'f': v->type = json_value::kind::boolean; return take_word("false");
      case 'n': return take_word("null");
      default: v->type = json_value::kind::number; return parse_number(*v);
    }
  }
  bool parse_object(json_value& v, int depth) {
    v.type = json_value::kind::object;
    ++at_;
    if (take('}')) return true;
    for (json_value** where = &v.first;; where = &(*where)->next) {
      std::string_view key;
      bool owns = false;
      skip_space();
      if (at_ == end_ || *at_ != '"') return false;
      const bool has_key = parse_string(key, owns);
      const bool has_value = has_key && take(':') && parse_value(*where, depth + 1);
      if (*where == nullptr) *where = memory_.node();  // so that the key has an owner
      (*where)->key = key;
      (*where)->owns_key = owns;
      if (!has_value) return false;
      if (take('}')) return true;
      if (!take(',')) return false;
    }
  }
  bool parse_array(json_value& v, int depth) {
    v.type = json_value::kind::array;
    ++at_;
    if (take(']')) return true;
    for (json_value** where = &v.first;; where = &(*where)->next) {
      if (!parse_value(*where, depth + 1)) return false;
      if (take(']')) return true;
      if (!take(',')) return false;
    }
  }
  bool digits() noexcept {
    const char* const before = at_;
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ != before;
  }
  bool parse_number(json_value& v) {
    const char* const begin = at_;
    if (*at_ == '-') ++at_;
    const char* const whole = at_;
    if (!digits() || (*whole == '0' && at_ - whole > 1)) return false;
    if (at_ != end_ && *at_ == '.') {
      ++at_;
      if (!digits()) return false;
    }
    if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
      ++at_;
      if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
      if (!digits()) return false;
    }
    v.text = keep_text({begin, static_cast<std::size_t>(at_ - begin)}, v.owns_text);
    return true;
  }
  bool parse_string(std::string_view& text, bool& owns) {
    const char* const begin = ++at_;
    while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<unsigned char>(*at_) >= 0x20) ++at_;
    if (at_ != end_ && *at_ == '"') {
      text = keep_text({begin, static_cast<std::size_t>(at_ - begin)}, owns);
      ++at_;
      return true;
    }
    return parse_escaped(begin, text, owns);
  }
  // From `begin`, with an escape at at_. What is decoded is never longer than what stands there.
  bool parse_escaped(const char* begin, std::string_view& text, bool& owns) {
    const char* close = at_;
    while (close != end_ && *close != '"') close += *close == '\\' && close + 1 != end_ ? 2 : 1;
    if (close == end_) return false;
    char* const own = memory_.bytes(static_cast<std::size_t>(close - begin));
    char* out = own + (at_ - begin);
    std::memcpy(own, begin, static_cast<std::size_t>(at_ - begin));
    bool is_good = true;
    while (is_good && at_ != close) {
      if (*at_ == '\\') {
        is_good = decode(out);
      } else {
        is_good = static_cast<unsigned char>(*at_) >= 0x20;
        *out++ = *at_++;
      }
    }
    owns = true;
    text = {own, static_cast<std::size_t>(out - own)};
    copied_ += text.size();
    if (is_good) ++at_;
    return is_good;
  }
  bool hex(std::uint32_t& code) noexcept {
    if (end_ - at_ < 4) return false;
    code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = *at_;
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return false;
      code = code * 16 + static_cast<std::uint32_t>(digit);
    }
    return true;
  }
  bool decode(char*& out) noexcept {
    ++at_;
    static constexpr std::string_view letters = "\"\\/bfnrt";
    static constexpr std::string_view meant = "\"\\/\b\f\n\r\t";
    const char c = *at_++;
    if (const std::size_t i = letters.find(c); i != std::string_view::npos) {
      *out++ = meant[i];
      return true;
    }
    std::uint32_t code = 0;
    if (c != 'u' || !hex(code)) return false;
    if (code >= 0xdc00 && code < 0xe000) return false;
    if (code >= 0xd800 && code < 0xdc00) {
      std::uint32_t low = 0;
      if (!take_word("\\u") || !hex(low) || low < 0xdc00 || low >= 0xe000) return false;
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    if (code < 0x80) {
      *out++ = static_cast<char>(code);
      return true;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *out++ = static_cast<char>((0xff00U >> (more + 1) & 0xffU) | code >> 6 * more);
    for (int i = more; i-- > 0;) *out++ = static_cast<char>(0x80U | (code >> 6 * i & 0x3fU));
    return true;
  }

  Memory& memory_;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
  std::uint64_t copied_ = 0;
  bool owns_;
};

/// Gives a tree back: free_node(v) and free_bytes(pointer) for each of its parts.
template <class Memory>
void drop_json(Memory& memory, json_value* v) {
  while (v != nullptr) {
    json_value* const next = v->next;
    if (v->owns_key) memory.free_bytes(v->key.data());
    if (v->owns_text) memory.free_bytes(v->text.data());
    drop_json(memory, v->first);
    memory.free_node(v);
    v = next;
  }
}

/// Text that grows in a memory: bytes(n), and free_bytes(pointer) for what has become too small.
template <class Memory>
class json_output {
 public:
  json_output(Memory& memory, std::size_t bytes)
      : memory_(memory), text_(memory.bytes(bytes)), room_(bytes) {}

  void raw(std::string_view s) {
    if (room_ - size_ < s.size()) grow(s.size());
    std::memcpy(text_ + size_, s.data(), s.size());
    size_ += s.size();
  }
  void string(std::string_view s) {
    copied_ += s.size();
    raw("\"");
    std::size_t plain = 0;
    for (std::size_t i = 0; i < s.size(); ++i) {
      const auto c = static_cast<unsigned char>(s[i]);
      if (c >= 0x20 && c != '"' && c != '\\') continue;
      raw(s.substr(plain, i - plain));
      plain = i + 1;
      escape(c);
    }
    raw(s.substr(plain));
    raw("\"");
  }
  void value(const json_value& v) {
    switch (v.type) {
      case json_value::kind::null: raw("null"); break;
      case json_value::kind::boolean: raw(v.truth ? "true" : "false"); break;
      case json_value::kind::number:
        copied_ += v.text.size();
        raw(v.text);
        break;
      case json_value::kind::string: string(v.text); break;
      case json_value::kind::array:
        raw("[");
        for (const json_value* item = v.first; item != nullptr; item = item->next) {
          if (item != v.first) raw(",");
          value(*item);
        }
        raw("]");
        break;
      case json_value::kind::object:
        raw("{");
        for (const json_value* member = v.first; member != nullptr; member = member->next) {
          if (member != v.first) raw(",");
          this->member(*member);
        }
        raw("}");
        break;
    }
  }
  /// With its key.
  void member(const json_value& v) {
    string(v.key);
    raw(":");
    value(v);
  }
  [[nodiscard]] std::string_view text() const noexcept { return {text_, size_}; }
  /// Bytes of strings and numbers that were copied into it.
  [[nodiscard]] std::uint64_t copied() const noexcept { return copied_; }

 private:
  void escape(unsigned char c) {
    static constexpr std::string_view letters = "\b\t\n\f\r\"\\";
    static constexpr std::string_view names = "btnfr\"\\";
    static constexpr std::string_view digits = "0123456789abcdef";
    if (const std::size_t i = letters.find(static_cast<char>(c)); i != std::string_view::npos) {
      const char two[] = {'\\', names[i]};
      return raw({two, sizeof two});
    }
    const char six[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15U]};
    raw({six, sizeof six});
  }
  void grow(std::size_t more) {
    const std::size_t room = 2 * (room_ + more);
    char* const larger = memory_.bytes(room);
    std::memcpy(larger, text_, size_);
    memory_.free_bytes(text_);
    text_ = larger;
    room_ = room;
  }

  Memory& memory_;
  char* text_;
  std::size_t size_ = 0;
  std::size_t room_;
  std::uint64_t copied_ = 0;
};

}  // namespace tern_bench

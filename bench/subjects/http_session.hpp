// HTTP/1.1 with keep-alive, as much of it as the case gateway needs, and no less: requests may come in pieces or several at a time, with or without
// a body of known length; the answer to each is the same small one. Anything else ends the connection.
#pragma once

#include <array>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace tern_bench {

/// What a request head says that matters here. `length`: of head and body together.
struct http_request {
  std::size_t length = 0;
  bool keep_alive = true;
};

enum class http_parse { complete, incomplete, bad };

inline bool http_same(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(a[i])) != lower[i]) return false;
  return true;
}

/// Parses the first request of `in` (RFC 9112): request line, fields, the body's length. Chunked bodies are bad here.
inline http_parse parse_http(std::string_view in, http_request& r) {
  const std::size_t end = in.find("\r\n\r\n");
  if (end == std::string_view::npos) return http_parse::incomplete;
  const std::string_view head = in.substr(0, end);
  const std::size_t line_end = head.find("\r\n");
  const std::string_view line = head.substr(0, line_end);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == 0 || last == first) return http_parse::bad;
  if (line[first + 1] != '/' || line.substr(first + 1, last - first - 1).find(' ') != std::string_view::npos)
    return http_parse::bad;
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return http_parse::bad;
  r.keep_alive = version == "HTTP/1.1";
  std::size_t body = 0;
  bool has_host = false;
  for (std::size_t at = line_end; at != std::string_view::npos && at < head.size();) {
    at += 2;
    const std::size_t next = head.find("\r\n", at);
    const std::string_view field = head.substr(at, next == std::string_view::npos ? next : next - at);
    at = next;
    const std::size_t colon = field.find(':');
    // No folded lines, no blank before the colon.
    if (colon == std::string_view::npos || colon == 0 || field[0] == ' ' || field[0] == '\t' ||
        field[colon - 1] == ' ')
      return http_parse::bad;
    const std::string_view name = field.substr(0, colon);
    std::string_view value = field.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    if (http_same(name, "host")) {
      has_host = true;
    } else if (http_same(name, "content-length")) {
      const auto parsed = std::from_chars(value.data(), value.data() + value.size(), body);
      if (parsed.ec != std::errc{} || parsed.ptr != value.data() + value.size()) return http_parse::bad;
    } else if (http_same(name, "transfer-encoding")) {
      return http_parse::bad;
    } else if (http_same(name, "connection")) {
      if (http_same(value, "close")) r.keep_alive = false;
    }
  }
  if (version == "HTTP/1.1" && !has_host) return http_parse::bad;
  if (body > in.max_size() / 2) return http_parse::bad;
  r.length = end + 4 + body;
  return in.size() < r.length ? http_parse::incomplete : http_parse::complete;
}

/// Buffers for requests and answers of a connection, inside the session: on the stack of the task that serves it, or beside it in the heap.
class http_inline_buffers {
 public:
  static constexpr std::size_t bytes = 4096;  // each
  http_inline_buffers() noexcept {}           // NOLINT: they are written before they are read
  void begin() noexcept {}
  void end() noexcept {}
  char* in() noexcept { return in_.data(); }
  char* out() noexcept { return out_.data(); }

 private:
  std::array<char, bytes> in_;
  std::array<char, bytes> out_;
};

/// Buffers: bytes each for in() and out(), from begin(), before the first bytes of a request are awaited, until end(), when its answer has gone.
template <class Buffers>
struct basic_http_session {
  static constexpr const char* go_name = "http";
  static constexpr std::string_view text =
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nhello, "
      "world\n";

  std::span<char> room() {
    if (end == 0) buffers.begin();
    return {buffers.in() + end, Buffers::bytes - end};
  }
  bool accept(std::size_t n) noexcept {
    end += n;
    return !over;
  }
  std::span<const char> answer() noexcept {
    std::size_t used = 0;
    std::size_t made = 0;
    while (!over && made + text.size() <= Buffers::bytes) {
      http_request r;
      const http_parse p = parse_http({buffers.in() + used, end - used}, r);
      if (p == http_parse::incomplete) {
        over = used == 0 && end == Buffers::bytes;  // longer than we take
        break;
      }
      over = p == http_parse::bad || !r.keep_alive;
      if (p == http_parse::bad) break;
      std::memcpy(buffers.out() + made, text.data(), text.size());
      made += text.size();
      used += r.length;
    }
    std::memmove(buffers.in(), buffers.in() + used, end - used);
    end -= used;
    const std::span<const char> made_now{buffers.out(), made};
    if (made == 0 && end == 0) buffers.end();
    return made_now;
  }

  Buffers buffers{};
  std::size_t end = 0;
  bool over = false;  // hangs up at the next bytes
};
using http_session = basic_http_session<http_inline_buffers>;

}  // namespace tern_bench

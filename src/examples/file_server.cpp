// Static file server: HTTP/1.1 with keep-alive over the regular files below a folder. GET and HEAD; a request head of at most 8 KiB, which must come
// within ten seconds, so that slow clients hold no fiber for long.
//
//   file_server FOLDER [address]
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <tern/net.hpp>
#include <tern/sched.hpp>

using namespace std::chrono_literals;

struct request {
  std::string_view method;
  std::string_view path;
  bool keep_alive = true;
};

// The head without its empty line. Nothing: it is no request.
static std::optional<request> parse(std::string_view head) {
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || last == first) return std::nullopt;
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return std::nullopt;
  request r{line.substr(0, first), line.substr(first + 1, last - first - 1), version == "HTTP/1.1"};
  if (r.path.empty() || r.path[0] != '/') return std::nullopt;
  for (std::string_view rest = head.substr(std::min(line.size() + 2, head.size())); !rest.empty();) {
    const std::string_view field = rest.substr(0, rest.find("\r\n"));
    rest.remove_prefix(std::min(field.size() + 2, rest.size()));
    std::string name{field.substr(0, field.find(':'))};
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    // A body would be taken for the next request.
    if (name == "content-length" || name == "transfer-encoding") return std::nullopt;
    if (name == "connection") r.keep_alive = field.find("close") == std::string_view::npos && r.keep_alive;
  }
  return r;
}

static void answer(tern::tcp_stream& s, std::string_view status, std::size_t length, bool keep_alive,
                   std::string_view body) {
  char head[160];
  const int n = std::snprintf(head, sizeof head, "HTTP/1.1 %.*s\r\nContent-Length: %zu\r\n%s\r\n",
                              static_cast<int>(status.size()), status.data(), length,
                              keep_alive ? "" : "Connection: close\r\n");
  s.write_all(std::string{head, static_cast<std::size_t>(n)}.append(body), 30s);
}

// -1: no such file, or none to show.
static int open_below(int folder, std::string_view path, struct stat& info) {
  std::string name{path.substr(1, path.find('?') - 1)};
  if (name.empty() || name.back() == '/') name += "index.html";
  if (name.find("..") != std::string::npos || name.find('%') != std::string::npos || name[0] == '/')
    return -1;
  const int file = ::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file >= 0 && (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode))) return ::close(file), -1;
  return file;
}

static void send_file(tern::tcp_stream& s, int folder, const request& r) {
  struct stat info{};
  // Files block, whatever epoll says of sockets.
  const int file = tern::blocking([&] { return open_below(folder, r.path, info); });
  if (file < 0) return answer(s, "404 Not Found", 10, r.keep_alive, r.method == "HEAD" ? "" : "not found\n");
  const std::shared_ptr<const int> closing{&file, [](const int* f) { ::close(*f); }};
  auto left = static_cast<std::size_t>(info.st_size);
  answer(s, "200 OK", left, r.keep_alive, "");
  std::array<std::byte, 32 * 1024> buffer;
  while (r.method == "GET" && left != 0) {
    const ssize_t n =
        tern::blocking([&] { return ::read(file, buffer.data(), std::min(buffer.size(), left)); });
    if (n <= 0)
      return s.close();  // it has become shorter; the client must not take the next answer for the rest
    s.write_all(std::span{buffer}.first(static_cast<std::size_t>(n)), 30s);
    left -= static_cast<std::size_t>(n);
  }
}

static void serve(tern::tcp_stream& s, int folder) {
  std::string got;
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const auto until = std::chrono::steady_clock::now() + 10s;
    std::size_t end;
    while ((end = got.find("\r\n\r\n")) == std::string::npos) {
      if (got.size() > 8192) return answer(s, "431 Request Header Fields Too Large", 0, false, "");
      const std::size_t n = s.read(buffer, until);
      if (n == 0) return;
      got.append(reinterpret_cast<const char*>(buffer.data()), n);
    }
    const std::optional<request> r = parse(std::string_view{got}.substr(0, end));
    if (!r) return answer(s, "400 Bad Request", 0, false, "");
    if (r->method != "GET" && r->method != "HEAD") return answer(s, "405 Method Not Allowed", 0, false, "");
    send_file(s, folder, *r);
    if (!r->keep_alive || !s.is_open()) return;
    got.erase(0, end + 4);  // the next request may be here already
  }
}

int main(int argc, char** argv) {
  const int folder = argc > 1 ? ::open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (folder < 0) return std::fprintf(stderr, "usage: file_server FOLDER [address]\n"), 1;
  try {
    const tern::endpoint at = argc > 2 ? tern::endpoint::parse(argv[2]) : tern::endpoint::loopback(0);
    tern::run(tern::runtime_options{.stack_size = 128 * 1024}, [&] {
      tern::tcp_listener listener{at};
      std::printf("listening on %s\n", listener.local_endpoint().text().c_str());
      std::fflush(stdout);
      for (;;) {
        std::error_code error;
        tern::tcp_stream s = listener.accept(error);
        if (error) {  // EMFILE and the like
          tern::this_thread::sleep_for(100ms);
          continue;
        }
        tern::thread{[folder, s = std::make_unique<tern::tcp_stream>(std::move(s))] {
          try {
            serve(*s, folder);
          } catch (const std::system_error&) {  // the client has gone, or is too slow
          }
        }}.detach();
      }
    });
  } catch (const std::exception& e) {
    return std::fprintf(stderr, "file_server: %s\n", e.what()), 1;
  }
}

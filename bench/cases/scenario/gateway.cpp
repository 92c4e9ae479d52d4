// scenario/gateway/connections:C
//
// One operation  one HTTP/1.1 request (GET, five fields, 160 bytes) over a connection that is kept, and its small answer. C connections; the client writes
//                a request to each, reads the answer of each, and begins anew.
// Kept equal     as in scenario/echo. tern, raw and pthread share one parser and one answer (subjects/http_session.hpp); 4 KiB each for
//                requests and answers of a connection.
// Best form      tern: a fiber per connection, its buffers on its stack. raw: buffers in the heap. pthread: on the thread's stack. go: net/http,
//                which also adds a date and starts a goroutine that watches each connection: what a Go program would have.
// Also           bytes_per_op: by how much the server's resident memory and page tables have grown per connection, without the kernel's part.
#include <string>
#include <string_view>

#include "bench/subjects/http_session.hpp"
#include "bench/subjects/servers.hpp"

namespace tern_bench {
namespace {

constexpr std::string_view request =
    "GET /users/17/orders?limit=20 HTTP/1.1\r\nHost: gateway.example.com\r\nUser-Agent: bench/1.0\r\n"
    "Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Request-Id: 0123456789abcdef\r\n\r\n";
constexpr std::string_view body = "hello, world\n";

// Reads one answer; throws unless it is the one that is due.
void read_answer(int fd, std::string& buffer) {
  buffer.clear();
  for (std::size_t end = std::string::npos;;) {
    char bytes[2048];
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) throw std::runtime_error("an answer did not come");
    buffer.append(bytes, static_cast<std::size_t>(n));
    if (end == std::string::npos) end = buffer.find("\r\n\r\n");
    if (end == std::string::npos || buffer.size() < end + 4 + body.size()) continue;
    if (!buffer.starts_with("HTTP/1.1 200 OK\r\n") || buffer.substr(end + 4) != body ||
        buffer.find("Content-Length: 13\r\n") == std::string::npos)
      throw std::runtime_error("an answer is not what was asked for");
    return;
  }
}

template <class S>
class gateway {
 public:
  explicit gateway(const row_params& p) : clients_(p.size_of("connections")) {
    rounds_ = 512 / clients_.size();
    if (rounds_ == 0) rounds_ = 1;
  }
  static std::string unfit(const row_params& p) { return unfit_for_connections(p["connections"]); }
  static std::uint64_t fixed_operations(const row_params&, std::int64_t time_ms) {
    return static_cast<std::uint64_t>(20 * time_ms);
  }
  std::uint64_t operations() const { return rounds_ * clients_.size(); }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::size_t round = 0; round < rounds_; ++round) {
      for (std::size_t i = 0; i < clients_.size(); ++i)
        if (send(clients_[i], request.data(), request.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(request.size()))
          throw std::runtime_error("a request was not sent");
      for (std::size_t i = 0; i < clients_.size(); ++i) {
        read_answer(clients_[i], answer_);
        sum = fold(sum, round * 131 + i);
      }
    }
    clients_.count(operations());
    return sum;
  }
  void finish(measurement& m) {
    m.cpu_seconds = clients_.cpu_seconds_each() * static_cast<double>(m.operations);
    m.counters["bytes_per_op"] = clients_.bytes_each();
  }

 private:
  connected_clients<S> clients_;
  std::string answer_;
  std::size_t rounds_ = 0;
};

const registration<gateway, servers<http_session>> gateway_registered{{
    .area = "scenario",
    .name = "gateway",
    .smoke = {{"connections", 4}},
    .points = {{{{"connections", 10}}, tier::quick, false, 100},
               {{{"connections", 1000}}, tier::quick, false, 300},
               {{{"connections", 10'000}}, tier::full, false, 3000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

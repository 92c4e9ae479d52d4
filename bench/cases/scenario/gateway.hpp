// The HTTP client of the gateway cases, and their closed loop.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "bench/subjects/http_session.hpp"
#include "bench/subjects/servers.hpp"

namespace tern_bench {

inline constexpr std::string_view gateway_request =
    "GET /users/17/orders?limit=20 HTTP/1.1\r\nHost: gateway.example.com\r\nUser-Agent: bench/1.0\r\n"
    "Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Request-Id: 0123456789abcdef\r\n\r\n";
inline constexpr std::string_view gateway_body = "hello, world\n";

/// The length of the answer that `got` begins with; 0 while it is not all there. Throws unless it is the one that is due.
inline std::size_t answer_length(std::string_view got) {
  const std::size_t end = got.find("\r\n\r\n");
  if (end == std::string_view::npos || got.size() < end + 4 + gateway_body.size()) return 0;
  const std::string_view head = got.substr(0, end + 2);
  if (!head.starts_with("HTTP/1.1 200 OK\r\n") || got.substr(end + 4, gateway_body.size()) != gateway_body ||
      head.find("Content-Length: 13\r\n") == std::string_view::npos)
    throw std::runtime_error("an answer is not what was asked for");
  return end + 4 + gateway_body.size();
}

/// Reads one answer, and nothing may be left; throws unless it is the one that is due.
inline void read_answer(int fd, std::string& buffer) {
  buffer.clear();
  for (;;) {
    char bytes[2048];
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) throw std::runtime_error("an answer did not come");
    buffer.append(bytes, static_cast<std::size_t>(n));
    const std::size_t length = answer_length(buffer);
    if (length != 0 && length != buffer.size()) throw std::runtime_error("more came than was asked for");
    if (length != 0) return;
  }
}

inline void send_request(int fd) {
  if (send(fd, gateway_request.data(), gateway_request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(gateway_request.size()))
    throw std::runtime_error("a request was not sent");
}

/// A request to each of C connections, then their answers, and so on.
template <class S>
class closed_gateway {
 public:
  explicit closed_gateway(const row_params& p) : clients_(p.size_of("connections")) {
    rounds_ = std::max<std::size_t>(512 / clients_.size(), 1);
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
        if (!check(i, [](int fd) { send_request(fd); })) send_request(clients_[i]);
      for (std::size_t i = 0; i < clients_.size(); ++i) {
        check(i, [&](int fd) { read_answer(fd, answer_); });
        sum = fold(sum, round * 131 + i);
      }
    }
    clients_.count(operations());
    return sum;
  }
  void finish(measurement& m) {
    m.cpu_seconds = clients_.cpu_seconds_each() * static_cast<double>(m.operations);
    m.counters["bytes_per_op"] = clients_.bytes_each();
    m.counters["qps"] = static_cast<double>(m.operations) / m.seconds;
    m.counters["errors"] = static_cast<double>(errors_);
  }

 private:
  // A request that fails is an error of the row's; a server that fails often is one that does not work.
  template <class F>
  bool check(std::size_t i, F&& f) {
    try {
      f(clients_[i]);
      return true;
    } catch (const std::runtime_error&) {
      if (++errors_ > 10 + operations() / 100) throw;
      clients_.renew(i);
      return false;
    }
  }

  connected_clients<S> clients_;
  std::string answer_;
  std::size_t rounds_ = 0;
  std::uint64_t errors_ = 0;
};

}  // namespace tern_bench

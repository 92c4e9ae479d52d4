// Endpoint: where a socket is bound or connected to.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

namespace tern::inline v1 {

/// An address of a socket: IPv4 or IPv6 with a port, or a UNIX path. A value. Names are not resolved: getaddrinfo blocks, call it inside
/// tern::blocking.
class endpoint {
 public:
  /// 0.0.0.0:0, for listeners: any address, any port.
  endpoint() noexcept { set_ipv4(INADDR_ANY, 0); }

  /// "127.0.0.1:80", "[::1]:80", or "unix:/path"; "unix:@name" is in the abstract name space. Throws std::system_error(EINVAL).
  static endpoint parse(std::string_view text) {
    endpoint e;
    if (text.substr(0, 5) == "unix:") {
      if (!e.set_unix(text.substr(5))) fail();
      return e;
    }
    const std::size_t colon = text.rfind(':');
    std::uint16_t port = 0;
    if (colon == std::string_view::npos) fail();
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
    if (parsed.ec != std::errc{} || parsed.ptr != end) fail();
    std::string host{text.substr(0, colon)};
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
      auto& a = e.as<::sockaddr_in6>();
      a = {};
      a.sin6_family = AF_INET6;
      a.sin6_port = htons(port);
      host = host.substr(1, host.size() - 2);
      if (::inet_pton(AF_INET6, host.c_str(), &a.sin6_addr) != 1) fail();
      e.bytes_ = sizeof a;
      return e;
    }
    ::in_addr address{};
    if (::inet_pton(AF_INET, host.c_str(), &address) != 1) fail();
    e.set_ipv4(ntohl(address.s_addr), port);
    return e;
  }
  /// 127.0.0.1. Port 0: a listener takes any that is free.
  static endpoint loopback(std::uint16_t port) noexcept {
    endpoint e;
    e.set_ipv4(INADDR_LOOPBACK, port);
    return e;
  }
  /// As the kernel gives it.
  static endpoint from(const ::sockaddr* address, ::socklen_t bytes) noexcept {
    endpoint e;
    e.bytes_ = bytes < sizeof e.storage_ ? bytes : static_cast<::socklen_t>(sizeof e.storage_);
    std::memcpy(&e.storage_, address, e.bytes_);
    return e;
  }

  /// What parse() reads.
  std::string text() const {
    char host[INET6_ADDRSTRLEN] = "";
    switch (family()) {
      case AF_INET:
        ::inet_ntop(AF_INET, &as<::sockaddr_in>().sin_addr, host, sizeof host);
        return std::string{host} + ":" + std::to_string(port());
      case AF_INET6:
        ::inet_ntop(AF_INET6, &as<::sockaddr_in6>().sin6_addr, host, sizeof host);
        return "[" + std::string{host} + "]:" + std::to_string(port());
      case AF_UNIX: {
        std::string path{as<::sockaddr_un>().sun_path, path_bytes()};
        if (!path.empty() && path[0] == 0) path[0] = '@';
        while (!path.empty() && path.back() == 0) path.pop_back();
        return "unix:" + path;
      }
      default: return "?";
    }
  }
  /// 0 for a UNIX path.
  std::uint16_t port() const noexcept {
    if (family() == AF_INET) return ntohs(as<::sockaddr_in>().sin_port);
    return family() == AF_INET6 ? ntohs(as<::sockaddr_in6>().sin6_port) : std::uint16_t{0};
  }
  int family() const noexcept { return storage_.ss_family; }
  const ::sockaddr* data() const noexcept { return reinterpret_cast<const ::sockaddr*>(&storage_); }
  ::socklen_t size() const noexcept { return bytes_; }

 private:
  [[noreturn]] static void fail() {
    throw std::system_error(EINVAL, std::generic_category(), "tern: no address of a socket");
  }
  template <class T>
  T& as() noexcept {
    return reinterpret_cast<T&>(storage_);
  }
  template <class T>
  const T& as() const noexcept {
    return reinterpret_cast<const T&>(storage_);
  }
  std::size_t path_bytes() const noexcept {
    constexpr std::size_t head = offsetof(::sockaddr_un, sun_path);
    return bytes_ > head ? bytes_ - head : 0;
  }
  void set_ipv4(std::uint32_t address, std::uint16_t port) noexcept {
    auto& a = as<::sockaddr_in>();
    a = {};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(address);
    bytes_ = sizeof a;
  }
  bool set_unix(std::string_view path) noexcept {
    auto& a = as<::sockaddr_un>();
    a = {};
    a.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof a.sun_path) return false;
    std::memcpy(a.sun_path, path.data(), path.size());
    const bool is_abstract = path[0] == '@';
    if (is_abstract) a.sun_path[0] = 0;
    bytes_ =
        static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + path.size() + (is_abstract ? 0 : 1));
    return true;
  }

  ::sockaddr_storage storage_{};
  ::socklen_t bytes_ = 0;
};

}  // namespace tern::inline v1

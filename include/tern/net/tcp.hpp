// TCP connections and listeners.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <system_error>
#include <utility>

#include <tern/net/stream.hpp>

namespace tern::inline v1 {

/// A TCP connection. Small writes are sent at once (TCP_NODELAY), as set_no_delay(false) undoes.
class tcp_stream : public stream_socket {
 public:
  tcp_stream() noexcept = default;

  /// Throws std::system_error: ECONNREFUSED, ETIMEDOUT, and those of stream_socket.
  static tcp_stream connect(const endpoint& to, io_deadline deadline = {}) {
    return tcp_stream{connect_to(to, deadline, true)};
  }
  /// Takes a connected TCP socket.
  static tcp_stream adopt(int fd) {
    detail::descriptor_handle file{fd, true, true};
    if (const int r = detail::os::set_nonblocking(fd); r < 0) detail::throw_io_error(r, "tern: adopt");
    return tcp_stream{std::move(file)};
  }

  void set_no_delay(bool on) {
    const int r = file_.apply(
        [on](int fd) { return detail::os::socket_set(fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0); });
    if (r < 0) detail::throw_io_error(r, "tern: TCP_NODELAY");
  }

 private:
  friend class tcp_listener;
  explicit tcp_stream(detail::descriptor_handle f) : stream_socket{std::move(f)} {
    static_cast<void>(
        file_.apply([](int fd) { return detail::os::socket_set(fd, IPPROTO_TCP, TCP_NODELAY, 1); }));
  }
};

struct listen_options {
  int backlog = 4096;       ///< connections that wait to be accepted; the kernel's somaxconn bounds it
  bool reuse_port = false;  ///< several listeners share the port (SO_REUSEPORT)
};

class tcp_listener : public stream_listener {
 public:
  tcp_listener() noexcept = default;
  /// Binds and listens. Throws std::system_error: EADDRINUSE, EACCES, ...
  explicit tcp_listener(const endpoint& at, listen_options o = {})
      : stream_listener{at, o.backlog, o.reuse_port} {}

  /// The next connection. Any number of fibers may wait here. EMFILE and ENFILE are thrown, the connection stays in the queue, and the
  /// listener goes on being usable: wait a moment before the next try.
  tcp_stream accept(io_deadline deadline = {}) {
    const auto fd = static_cast<int>(detail::checked(accept_one(deadline), "tern: accept"));
    return tcp_stream{detail::descriptor_handle{fd, true, false}};
  }
  /// The same; with `error` set the stream is not open.
  tcp_stream accept(std::error_code& error, io_deadline deadline = {}) {
    const ssize_t fd = accept_one(deadline);
    static_cast<void>(detail::checked(fd, error));
    return fd < 0 ? tcp_stream{} : tcp_stream{detail::descriptor_handle{static_cast<int>(fd), true, false}};
  }
};

/// A connection over a UNIX socket.
class unix_stream : public stream_socket {
 public:
  unix_stream() noexcept = default;
  /// Throws std::system_error: ENOENT, ECONNREFUSED, and those of stream_socket. Where the listener's queue is full it tries again.
  static unix_stream connect(const endpoint& to, io_deadline deadline = {}) {
    return unix_stream{connect_to(to, deadline, false)};
  }
  /// Takes a connected UNIX socket.
  static unix_stream adopt(int fd) {
    detail::descriptor_handle file{fd, false, true};
    if (const int r = detail::os::set_nonblocking(fd); r < 0) detail::throw_io_error(r, "tern: adopt");
    return unix_stream{std::move(file)};
  }
  /// Two ends of a connection.
  static std::pair<unix_stream, unix_stream> pair() {
    int ends[2];
    if (const int r = detail::os::socket_pair(ends); r < 0) detail::throw_io_error(r, "tern: socketpair");
    unix_stream first;
    try {
      first = unix_stream{detail::descriptor_handle{ends[0], false, false}};
    } catch (...) {
      ::close(ends[1]);
      throw;
    }
    return {std::move(first), unix_stream{detail::descriptor_handle{ends[1], false, false}}};
  }

 private:
  friend class unix_listener;
  explicit unix_stream(detail::descriptor_handle f) noexcept : stream_socket{std::move(f)} {}
};

/// Does not remove the path: neither a stale one before nor its own at the end.
class unix_listener : public stream_listener {
 public:
  unix_listener() noexcept = default;
  explicit unix_listener(const endpoint& at, int backlog = 4096) : stream_listener{at, backlog, false} {}

  /// As tcp_listener's.
  unix_stream accept(io_deadline deadline = {}) {
    const auto fd = static_cast<int>(detail::checked(accept_one(deadline), "tern: accept"));
    return unix_stream{detail::descriptor_handle{fd, false, false}};
  }
};

}  // namespace tern::inline v1

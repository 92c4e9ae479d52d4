// Stream sockets: a connection, and what accepts connections; TCP and UNIX alike.
//
// Protocol    io.hpp. connect: a call that goes on in the background, a wait for writing, and the socket's error.
// Limits      One fiber reads and another writes at the same time: yes. Several that read: each byte goes to one of them.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <tern/net/endpoint.hpp>
#include <tern/net/io.hpp>
#include <tern/os/socket.hpp>
#include <tern/sched/thread.hpp>

namespace tern::inline v1::detail {

inline endpoint name_of(const descriptor_handle& file, os::socket_end end) {
  ::sockaddr_storage a{};
  auto* const address = reinterpret_cast<::sockaddr*>(&a);
  ::socklen_t bytes = sizeof a;
  const int r = file.apply([&](int fd) noexcept { return os::socket_name(fd, end, address, bytes); });
  if (r < 0) throw_io_error(r, "tern: socket name");
  return endpoint::from(address, bytes);
}

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// A connection: bytes in order, both ways. Movable; its destructor closes it. Any fiber or plain thread; one reader and one writer may
/// be inside at the same time, and close() or shutdown() come from anywhere. Every operation without an error_code throws
/// std::system_error, with: EBADF after close(); ECANCELED if close() comes while it waits; ETIMEDOUT at the deadline; ECONNRESET or EPIPE
/// where the peer is gone; EMFILE, ENOMEM and the like where the kernel has nothing left. A wait of a cancelled fiber throws
/// tern::cancelled. SIGPIPE is not raised.
class stream_socket {
 public:
  stream_socket() noexcept = default;

  /// At least one byte, at most to.size(); 0: the peer has ended its side (or `to` is empty).
  std::size_t read(std::span<std::byte> to, io_deadline deadline = {}) {
    return detail::checked(do_read(to, deadline), "tern: read");
  }
  std::size_t read(std::span<std::byte> to, std::error_code& error, io_deadline deadline = {}) {
    return detail::checked(do_read(to, deadline), error);
  }
  /// At least one byte; as many as the kernel takes at once.
  std::size_t write(std::span<const std::byte> from, io_deadline deadline = {}) {
    return detail::checked(do_write(from, deadline), "tern: write");
  }
  std::size_t write(std::span<const std::byte> from, std::error_code& error, io_deadline deadline = {}) {
    return detail::checked(do_write(from, deadline), error);
  }
  /// All. Where it throws, an unknown part has been written.
  void write_all(std::span<const std::byte> from, io_deadline deadline = {}) {
    while (!from.empty()) from = from.subspan(write(from, deadline));
  }
  void write_all(std::string_view text, io_deadline deadline = {}) {
    write_all(std::as_bytes(std::span{text}), deadline);
  }
  /// Returns how many were written: all, or with `error` set fewer.
  std::size_t write_all(std::span<const std::byte> from, std::error_code& error, io_deadline deadline = {}) {
    std::size_t done = 0;
    error.clear();
    while (done < from.size() && !error) done += write(from.subspan(done), error, deadline);
    return done;
  }
  /// The same into and from several buffers (at most IOV_MAX, 1024: else EMSGSIZE), in one system call.
  std::size_t read_vectored(std::span<const ::iovec> to, io_deadline deadline = {}) {
    const ssize_t n =
        file_.perform(detail::io_side::in, deadline, bytes_of(to), "socket read",
                      [&](int fd) noexcept { return detail::os::socket_receive(fd, to.data(), to.size()); });
    return detail::checked(n, "tern: read");
  }
  std::size_t write_vectored(std::span<const ::iovec> from, io_deadline deadline = {}) {
    const ssize_t n =
        file_.perform(detail::io_side::out, deadline, bytes_of(from), "socket write",
                      [&](int fd) noexcept { return detail::os::socket_send(fd, from.data(), from.size()); });
    return detail::checked(n, "tern: write");
  }

  /// Half-close: the peer reads the end; reading goes on.
  void shutdown_write() { shut(SHUT_WR); }
  /// What has come stays readable; a reader that waits reads the end.
  void shutdown_read() { shut(SHUT_RD); }
  void shutdown() { shut(SHUT_RDWR); }

  /// Ends it for all: who waits gets ECANCELED, later operations EBADF. The file is closed when the last of them has returned. Does nothing a
  /// second time.
  void close() noexcept { file_.close(); }
  bool is_open() const noexcept { return file_.is_open(); }
  /// -1 if it is not open. For setsockopt and the like; it stays this object's.
  int native_handle() const noexcept { return file_.fd(); }

  endpoint local_endpoint() const { return detail::name_of(file_, detail::os::socket_end::local); }
  endpoint remote_endpoint() const { return detail::name_of(file_, detail::os::socket_end::remote); }

 protected:
  explicit stream_socket(detail::descriptor_handle f) noexcept : file_{std::move(f)} {}

  // A connected socket. `short_is_all`: TCP. A read from a UNIX socket ends early where the sender's credentials or files change.
  static detail::descriptor_handle connect_to(const endpoint& to, io_deadline deadline, bool short_is_all) {
    using namespace detail;
    const int fd = os::socket_open(to.family());
    if (fd < 0) throw_io_error(fd, "tern: socket");
    descriptor_handle file{fd, short_is_all, false};
    bool under_way = false;
    for (auto pause = std::chrono::milliseconds{1};;) {
      const ssize_t r =
          file.perform(io_side::out, deadline, 0, "socket connect", [&](int f) noexcept -> ssize_t {
            if (std::exchange(under_way, true)) return os::socket_error(f);
            const int first = os::socket_connect(f, to.data(), to.size());
            // A signal does not end it either.
            if (first == -EINPROGRESS || first == -EINTR) return -EAGAIN;
            // A UNIX listener whose queue is full; perform() would wait for an event that never comes.
            return first == -EAGAIN ? -ENOBUFS : first;
          });
      if (r == 0) return file;
      if (r != -ENOBUFS || to.family() != AF_UNIX) throw_io_error(r, "tern: connect");
      under_way = false;
      if (deadline.ns() <= os::now()) throw_io_error(-ETIMEDOUT, "tern: connect");
      tern::this_thread::sleep_for(pause);
      if (pause < std::chrono::milliseconds{50}) pause *= 2;
    }
  }

  detail::descriptor_handle file_;

 private:
  ssize_t do_read(std::span<std::byte> to, io_deadline deadline) {
    return file_.perform(detail::io_side::in, deadline, to.size(), "socket read", [&](int fd) noexcept {
      return detail::os::socket_receive(fd, to.data(), to.size());
    });
  }
  ssize_t do_write(std::span<const std::byte> from, io_deadline deadline) {
    return file_.perform(detail::io_side::out, deadline, from.size(), "socket write", [&](int fd) noexcept {
      return detail::os::socket_send(fd, from.data(), from.size());
    });
  }
  void shut(int how) {
    const int r = file_.apply([how](int fd) { return detail::os::socket_shutdown(fd, how); });
    if (r < 0 && r != -ENOTCONN) detail::throw_io_error(r, "tern: shutdown");
  }
  static std::size_t bytes_of(std::span<const ::iovec> parts) noexcept {
    std::size_t n = 0;
    for (const ::iovec& p : parts) n += p.iov_len;
    return n;
  }
};

/// What accepts connections. As stream_socket otherwise.
class stream_listener {
 public:
  stream_listener() noexcept = default;

  /// Ends it: who waits in accept() gets ECANCELED.
  void close() noexcept { file_.close(); }
  bool is_open() const noexcept { return file_.is_open(); }
  int native_handle() const noexcept { return file_.fd(); }

  endpoint local_endpoint() const { return detail::name_of(file_, detail::os::socket_end::local); }

 protected:
  stream_listener(const endpoint& at, int backlog, bool reuse_port) {
    using namespace detail;
    const int fd = os::socket_open(at.family());
    if (fd < 0) throw_io_error(fd, "tern: socket");
    file_ = descriptor_handle{fd, false, false};
    int r = at.family() == AF_UNIX ? 0 : os::socket_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && reuse_port) r = os::socket_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (r == 0) r = os::socket_bind_listen(fd, at.data(), at.size(), backlog);
    if (r < 0) throw_io_error(r, "tern: listen");
  }

  // A descriptor or -errno. Errors of a connection that broke before it was accepted are passed over.
  ssize_t accept_one(io_deadline deadline) {
    return file_.perform(detail::io_side::in, deadline, 0, "socket accept", [](int fd) noexcept -> ssize_t {
      for (;;) {
        const int got = detail::os::socket_accept(fd);
        switch (-got) {
          case ECONNABORTED:
          case EPROTO:
          case ENETDOWN:
          case ENOPROTOOPT:
          case EHOSTDOWN:
          case ENONET:
          case EHOSTUNREACH:
          case ENETUNREACH: continue;
          default: return got;
        }
      }
    });
  }

  detail::descriptor_handle file_;
};

}  // namespace tern::inline v1

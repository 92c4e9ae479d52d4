#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include <tern/base/config.hpp>
#include <tern/os/clock.hpp>

// System calls that answer -errno. Not inlined: a caller that waits goes on on another thread, and compilers keep errno's address.
namespace tern::inline v1::detail::os {

TERN_NOINLINE inline ssize_t socket_receive(int fd, void* to, std::size_t bytes) noexcept {
  const ssize_t n = ::recv(fd, to, bytes, 0);
  return n >= 0 ? n : -errno;
}
// Without SIGPIPE.
TERN_NOINLINE inline ssize_t socket_send(int fd, const void* from, std::size_t bytes) noexcept {
  const ssize_t n = ::send(fd, from, bytes, MSG_NOSIGNAL);
  return n >= 0 ? n : -errno;
}
TERN_NOINLINE inline ssize_t socket_receive(int fd, const ::iovec* parts, std::size_t count) noexcept {
  ::msghdr m{};
  m.msg_iov = const_cast<::iovec*>(parts);
  m.msg_iovlen = count;
  const ssize_t n = ::recvmsg(fd, &m, 0);
  return n >= 0 ? n : -errno;
}
TERN_NOINLINE inline ssize_t socket_send(int fd, const ::iovec* parts, std::size_t count) noexcept {
  ::msghdr m{};
  m.msg_iov = const_cast<::iovec*>(parts);
  m.msg_iovlen = count;
  const ssize_t n = ::sendmsg(fd, &m, MSG_NOSIGNAL);
  return n >= 0 ? n : -errno;
}
TERN_NOINLINE inline ssize_t file_read(int fd, void* to, std::size_t bytes) noexcept {
  const ssize_t n = ::read(fd, to, bytes);
  return n >= 0 ? n : -errno;
}
TERN_NOINLINE inline ssize_t file_write(int fd, const void* from, std::size_t bytes) noexcept {
  const ssize_t n = ::write(fd, from, bytes);
  return n >= 0 ? n : -errno;
}
TERN_NOINLINE inline int set_nonblocking(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  return (flags & O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}
TERN_NOINLINE inline int socket_open(int family) noexcept {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return fd >= 0 ? fd : -errno;
}
TERN_NOINLINE inline int socket_accept(int fd) noexcept {
  const int got = ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return got >= 0 ? got : -errno;
}
TERN_NOINLINE inline int socket_connect(int fd, const ::sockaddr* to, socklen_t bytes) noexcept {
  return ::connect(fd, to, bytes) == 0 ? 0 : -errno;
}
TERN_NOINLINE inline int socket_bind_listen(int fd, const ::sockaddr* at, socklen_t bytes,
                                            int backlog) noexcept {
  return ::bind(fd, at, bytes) == 0 && ::listen(fd, backlog) == 0 ? 0 : -errno;
}
TERN_NOINLINE inline int socket_shutdown(int fd, int how) noexcept {
  return ::shutdown(fd, how) == 0 ? 0 : -errno;
}
TERN_NOINLINE inline int socket_set(int fd, int level, int option, int value) noexcept {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0 ? 0 : -errno;
}
enum class socket_end : bool { local, remote };
TERN_NOINLINE inline int socket_name(int fd, socket_end of, ::sockaddr* to, socklen_t& bytes) noexcept {
  const int r = of == socket_end::local ? ::getsockname(fd, to, &bytes) : ::getpeername(fd, to, &bytes);
  return r == 0 ? 0 : -errno;
}
// Two connected ones.
TERN_NOINLINE inline int socket_pair(int (&ends)[2]) noexcept {
  return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : -errno;
}
// The error that a connect has ended with, 0 where it has succeeded; or the -errno of asking.
TERN_NOINLINE inline int socket_error(int fd) noexcept {
  int error = 0;
  socklen_t bytes = sizeof error;
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 ? -error : -errno;
}
// Waits until the file is ready, the time is over or a signal came.
TERN_NOINLINE inline void wait_for_file(int fd, bool writing, nanoseconds time) noexcept {
  ::pollfd set{fd, static_cast<short>(writing ? POLLOUT : POLLIN), 0};
  const timespec t = to_timespec(time < 0 ? 0 : time);
  static_cast<void>(::ppoll(&set, 1, &t, nullptr));
}

}  // namespace tern::inline v1::detail::os

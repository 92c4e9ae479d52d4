// Pollable: any descriptor that epoll takes - an eventfd, a pipe, a timerfd, a device, another library's socket.
#pragma once

#include <cstddef>
#include <span>
#include <system_error>
#include <utility>

#include <tern/net/io.hpp>

namespace tern::inline v1 {

/// Owns a descriptor and makes it non-blocking (which its copies in other processes then are, too). Operations and errors are those of
/// stream_socket; EPERM from a wait for what epoll does not take (a regular file: use tern::blocking). A write to a pipe that nobody reads
/// raises SIGPIPE. One that shares its file with a pollable that exists already gives EEXIST.
class pollable {
 public:
  pollable() noexcept = default;
  explicit pollable(int fd) : file_{fd, false, true} {
    if (const int r = detail::os::set_nonblocking(fd); r < 0) detail::throw_io_error(r, "tern: pollable");
  }

  /// read(2): 0 is the end of the file.
  std::size_t read(std::span<std::byte> to, io_deadline deadline = {}) {
    const ssize_t n =
        file_.perform(detail::io_side::in, deadline, 0, "descriptor read",
                      [&](int fd) noexcept { return detail::os::file_read(fd, to.data(), to.size()); });
    return detail::checked(n, "tern: read");
  }
  /// write(2).
  std::size_t write(std::span<const std::byte> from, io_deadline deadline = {}) {
    const ssize_t n =
        file_.perform(detail::io_side::out, deadline, 0, "descriptor write",
                      [&](int fd) noexcept { return detail::os::file_write(fd, from.data(), from.size()); });
    return detail::checked(n, "tern: write");
  }
  /// For calls of one's own: `call(fd)` returns -EAGAIN to wait until the descriptor is readable (writable) and be called again, -EINTR to be
  /// called again, or what this returns. It must not wait, nor rely on errno across calls.
  template <class Call>
  ssize_t when_readable(Call&& call, io_deadline deadline = {}) {
    return file_.perform(detail::io_side::in, deadline, 0, "descriptor", call);
  }
  template <class Call>
  ssize_t when_writable(Call&& call, io_deadline deadline = {}) {
    return file_.perform(detail::io_side::out, deadline, 0, "descriptor", call);
  }

  void close() noexcept { file_.close(); }
  bool is_open() const noexcept { return file_.is_open(); }
  int native_handle() const noexcept { return file_.fd(); }

 private:
  detail::descriptor_handle file_;
};

}  // namespace tern::inline v1

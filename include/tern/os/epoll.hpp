#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/config.hpp>
#include <tern/os/clock.hpp>

namespace tern::inline v1::detail::os {

// What one wait has found. Lies on the waiting worker's stack.
struct epoll_batch {
  static constexpr int capacity = 128;
  epoll_batch() noexcept {}  // NOLINT: the kernel fills events[0 .. count)
  int count = 0;
  ::epoll_event events[capacity];
};

// A descriptor or -errno.
inline int epoll_open() noexcept {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  return fd >= 0 ? fd : -errno;
}
// A counter whose every write is an edge, or -errno.
inline int wake_open() noexcept {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd >= 0 ? fd : -errno;
}
inline void wake_write(int fd) noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(fd, &one, sizeof one));  // a full counter has been written often enough
}
// 0 or an errno. `operation`: EPOLL_CTL_*. `data` comes back with the events.
TERN_NOINLINE inline int epoll_change(int epoll, int operation, int fd, std::uint32_t events,
                                      void* data) noexcept {
  ::epoll_event e{};
  e.events = events;
  e.data.ptr = data;
  return ::epoll_ctl(epoll, operation, fd, &e) == 0 ? 0 : errno;
}

// Whether the kernel (5.11; not qemu-user 7.2) takes a time-out in ns. Asked once.
inline constinit atomic<bool> has_epoll_pwait2{true};

// Waits for events until `deadline` (0: not at all), a signal, or any event. Never fails: what it was told is its own.
TERN_NOINLINE inline void epoll_wait_until(int epoll, epoll_batch& b, nanoseconds deadline) noexcept {
  b.count = 0;
  nanoseconds left = 0;
  if (deadline == never) {
    left = -1;
  } else if (deadline != 0) {
    left = deadline - now();
    if (left < 0) left = 0;
  }
  int n;
  // relaxed: says nothing of other memory.
  if (left > 0 && has_epoll_pwait2.load(memory_order_relaxed)) {
    const timespec t = to_timespec(left);
    n = static_cast<int>(::syscall(SYS_epoll_pwait2, epoll, b.events, epoll_batch::capacity, &t, nullptr, 0));
    if (n >= 0 || errno != ENOSYS) {
      if (n > 0) b.count = n;
      return;
    }
    has_epoll_pwait2.store(false, memory_order_relaxed);
  }
  if (left > 0) {
    // To the nanosecond, too: the set itself is waited for, then asked.
    const timespec t = to_timespec(left);
    pollfd set{epoll, POLLIN, 0};
    if (::ppoll(&set, 1, &t, nullptr) <= 0) return;
    left = 0;
  }
  n = ::epoll_wait(epoll, b.events, epoll_batch::capacity, left < 0 ? -1 : 0);
  if (n > 0) b.count = n;
}

}  // namespace tern::inline v1::detail::os

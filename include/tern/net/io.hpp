// Input and output on a descriptor: try the call, and wait only where it would block.
//
// Protocol    readiness.hpp. A fiber waits in the poller, a plain thread in poll(2), which it leaves now and then to see if the
//             descriptor was closed.
// Limits      Inside tern::blocking a fiber that would have to wait ends the process, as everywhere. A plain thread notices a close() after up to
//             100 ms; nothing cancels its wait.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <tern/base/config.hpp>
#include <tern/net/poller.hpp>
#include <tern/os/clock.hpp>
#include <tern/os/socket.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1 {

/// Until when an operation may wait: a duration from now, a point in time, or, by default, for ever. Converts from either.
class io_deadline {
 public:
  constexpr io_deadline() noexcept = default;
  template <class Rep, class Period>
  io_deadline(const std::chrono::duration<Rep, Period>& d) noexcept
      : at_{detail::deadline_in(d)} {}  // NOLINT
  template <class Clock, class Duration>
  io_deadline(const std::chrono::time_point<Clock, Duration>& t) noexcept  // NOLINT
      : at_{detail::deadline_at(t)} {}

  /// CLOCK_MONOTONIC, in ns.
  constexpr detail::os::nanoseconds ns() const noexcept { return at_; }

 private:
  detail::os::nanoseconds at_ = detail::os::never;
};

}  // namespace tern::inline v1

namespace tern::inline v1::detail {

inline constexpr os::nanoseconds thread_look_period = 100'000'000;

// 0 or -errno. Throws cancelled.
TERN_NOINLINE inline int wait_ready(descriptor& d, io_side side, readiness::count seen,
                                    os::nanoseconds deadline, const char* what) {
  if (TERN_LIKELY(current_fiber() != nullptr)) {
    if (const int error = poller::watch(d, side); TERN_UNLIKELY(error != 0)) return -error;
    return TERN_LIKELY(d.side(side).wait(seen, deadline, what)) ? 0 : -ETIMEDOUT;
  }
  const os::nanoseconds now = os::now();
  if (now >= deadline) return -ETIMEDOUT;
  const os::nanoseconds left = deadline - now;
  wait_in_kernel([&]() noexcept {
    os::wait_for_file(d.fd, side == io_side::out, left < thread_look_period ? left : thread_look_period);
  });
  return 0;
}

// Calls `call(fd)`, which answers -errno, until it does something. `asked`: the bytes that it would move at most; 0 where that says nothing.
// The result, or -errno: EBADF where it is closed, ECANCELED where it is closed meanwhile, ETIMEDOUT. Throws cancelled.
template <class Call>
ssize_t perform(descriptor& d, io_side side, os::nanoseconds deadline, std::size_t asked, const char* what,
                Call&& call) {
  struct inside {
    descriptor& d;
    ~inside() { d.leave(); }
  };
  if (TERN_UNLIKELY(!d.enter())) return -EBADF;
  const inside scope{d};
  readiness& r = d.side(side);
  bool in_fiber = true;
  for (;;) {
    const readiness::count seen = r.look();
    if (TERN_UNLIKELY((seen & readiness::shut) != 0)) return -ECANCELED;
    // A plain thread does not see the poller's events, if anybody polls at all.
    if (!r.is_drained(seen) || !in_fiber || current_fiber() == nullptr) {
      const ssize_t n = call(d.fd);
      if (TERN_LIKELY(n >= 0)) {
        if (static_cast<std::size_t>(n) < asked && n != 0 && d.is_stream) r.note_drained(seen);
        return n;
      }
      if (n == -EINTR) continue;
      if (n != -EAGAIN) return n;
      r.note_drained(seen);
    }
    if (const int error = wait_ready(d, side, seen, deadline, what); TERN_UNLIKELY(error != 0)) return error;
  }
}

[[noreturn]] TERN_COLD inline void throw_io_error(ssize_t negative, const char* what) {
  throw std::system_error(static_cast<int>(-negative), std::generic_category(), what);
}
// The result of an operation that throws.
inline std::size_t checked(ssize_t n, const char* what) {
  if (TERN_UNLIKELY(n < 0)) throw_io_error(n, what);
  return static_cast<std::size_t>(n);
}
// The result of one that tells.
inline std::size_t checked(ssize_t n, std::error_code& error) noexcept {
  if (TERN_LIKELY(n >= 0)) {
    error.clear();
    return static_cast<std::size_t>(n);
  }
  error.assign(static_cast<int>(-n), std::generic_category());
  return 0;
}

// Owns a record. Moving leaves an empty one, on which every operation is EBADF.
class descriptor_handle {
 public:
  descriptor_handle() noexcept = default;
  // Takes `fd`, which is closed where there is no memory (std::bad_alloc).
  descriptor_handle(int fd, bool is_stream, bool may_have_copies) {
    try {
      d_ = &poller::adopt(fd, is_stream, may_have_copies);
    } catch (...) {
      ::close(fd);
      throw;
    }
  }
  descriptor_handle(descriptor_handle&& o) noexcept : d_{std::exchange(o.d_, nullptr)} {}
  descriptor_handle& operator=(descriptor_handle&& o) noexcept {
    if (this != &o) {
      reset();
      d_ = std::exchange(o.d_, nullptr);
    }
    return *this;
  }
  ~descriptor_handle() { reset(); }

  // For as long as it is open.
  descriptor* get() const noexcept { return d_; }
  bool is_open() const noexcept {
    return d_ != nullptr && (d_->use.load(memory_order_relaxed) & descriptor::closed) == 0;
  }
  int fd() const noexcept { return is_open() ? d_->fd : -1; }
  void close() noexcept {
    if (d_ != nullptr) d_->close();
  }

  template <class Call>
  ssize_t perform(io_side side, io_deadline deadline, std::size_t asked, const char* what,
                  Call&& call) const {
    return d_ == nullptr ? -EBADF : detail::perform(*d_, side, deadline.ns(), asked, what, call);
  }
  // A call that does not wait.
  template <class Call>
  int apply(Call&& call) const {
    if (d_ == nullptr || !d_->enter()) return -EBADF;
    const int r = call(d_->fd);
    d_->leave();
    return r;
  }

 private:
  void reset() noexcept {
    if (d_ != nullptr) std::exchange(d_, nullptr)->orphan();
  }
  descriptor* d_ = nullptr;
};

}  // namespace tern::inline v1::detail

// Servers of the case im_fanout: connections join a room, and what one of them says goes to all of its room.
//
// Protocol    Frames of 32 bytes. A client sends `join` once, which comes back, then `say`; the server sends each `say` on to all members of the
//             room, the sender too, and `beat` to a connection from which nothing has come for beat_ms.
// Structure   tern, pthread and go: a task per connection reads with that time as its limit, and whoever has read a frame writes it to the members
//             himself, under the room's lock. raw: one loop over epoll; connections in the order in which they were last heard.
// Limits      A member that does not read stalls its room, but for raw, which ends its connection: fine for a benchmark, whose client reads.
#pragma once

#include <algorithm>
#include <array>
#include <list>
#include <mutex>
#include <vector>

#include <tern/sync.hpp>

#include "bench/subjects/servers.hpp"

namespace tern_bench {

enum class im_kind : std::uint32_t { join = 1, say = 2, beat = 3 };
struct im_frame {
  im_kind kind{};
  std::uint32_t room = 0;
  std::int64_t intended = 0;
  std::uint64_t number = 0;
  std::uint64_t unused = 0;
};
static_assert(sizeof(im_frame) == 32);
inline constexpr int im_beat_ms = 250;

/// Of the server that is forked next.
struct im_settings {
  bool pinned = false;
  std::size_t rooms = 1;
};
inline im_settings im_next;

using im_reader = frame_reader<im_frame>;

template <class Link, class Mutex>
struct im_room {
  Mutex lock;
  std::vector<Link*> members;  // lock
};

/// One connection, by the task that is its own. Link: read(span) gives the bytes, 0 at the end, -1 after beat_ms; write(frame).
template <class Link, class Mutex>
void im_serve(Link& link, std::vector<im_room<Link, Mutex>>& rooms) {
  im_reader reader;
  im_room<Link, Mutex>* room = nullptr;
  for (ssize_t n; (n = link.read(reader.room())) != 0;) {
    if (n < 0) {
      if (room == nullptr) continue;
      const std::lock_guard hold(room->lock);
      link.write({.kind = im_kind::beat});
      continue;
    }
    reader.take(static_cast<std::size_t>(n), [&](const im_frame& f) {
      if (f.kind == im_kind::join && room == nullptr && f.room < rooms.size()) {
        room = &rooms[f.room];
        const std::lock_guard hold(room->lock);
        room->members.push_back(&link);
        link.write(f);
      } else if (f.kind == im_kind::say && room != nullptr) {
        const std::lock_guard hold(room->lock);
        for (Link* const member : room->members) member->write(f);
      }
    });
  }
  if (room == nullptr) return;
  const std::lock_guard hold(room->lock);
  std::erase(room->members, &link);
}

struct im_tern : server_subject<im_tern> {
  static constexpr const char* name = "tern";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }

  struct link {
    tern::tcp_stream stream;
    ssize_t read(std::span<char> to) {
      std::error_code error;
      const std::size_t n =
          stream.read(std::as_writable_bytes(to), error, std::chrono::milliseconds{im_beat_ms});
      return error == std::errc::timed_out ? -1 : static_cast<ssize_t>(n);
    }
    void write(const im_frame& f) {
      std::error_code gone;
      stream.write_all(std::as_bytes(std::span{&f, 1}), gone);
    }
  };
  static void serve(int pipe) {
    tern::run(tern::runtime_options{.processors = 1, .stack_size = 16 * 1024}, [pipe] {
      std::vector<im_room<link, tern::mutex>> rooms(im_next.rooms);
      tern::tcp_listener listener{tern::endpoint::loopback(0)};
      tell_port(pipe, listener.local_endpoint().port());
      for (;;)
        tern::thread{[&rooms, l = std::make_unique<link>(link{listener.accept()})] {
          if (im_next.pinned) tern::this_thread::pin();
          im_serve(*l, rooms);
        }}.detach();
    });
  }
};

struct im_pthread : server_subject<im_pthread> {
  static constexpr const char* name = "pthread";
  static constexpr role subject_role = role::baseline;
  static constexpr bool tasks_are_threads = true;
  static std::string version() { return pthread_subject::version(); }

  struct link {
    int fd;
    ssize_t read(std::span<char> to) const {
      for (;;) {
        const ssize_t n = recv(fd, to.data(), to.size(), 0);
        if (n >= 0) return n;
        if (errno != EINTR) return errno == EAGAIN ? -1 : 0;
      }
    }
    void write(const im_frame& f) const {
      // 32 bytes go whole or not at all: the buffer of a socket is longer.
      while (send(fd, &f, sizeof f, MSG_NOSIGNAL) < 0 && errno == EINTR) {
      }
    }
  };
  static void serve(int pipe) {
    static std::vector<im_room<link, std::mutex>> rooms(im_next.rooms);
    const int listener = listen_on_loopback(pipe);
    for (;;) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      set_no_delay(fd);
      const timeval limit{0, im_beat_ms * 1000};
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      pthread_subject::thread{[fd] {
        link l{fd};
        im_serve(l, rooms);
        close(fd);
      }}.detach();
    }
  }
};

struct im_raw : server_subject<im_raw> {
  static constexpr const char* name = "raw";
  static constexpr role subject_role = role::baseline;
  static std::string version() { return "epoll"; }

  struct connection;
  using order = std::list<connection*>;
  struct connection {
    int fd;
    std::int64_t heard;
    im_reader reader{};
    std::int64_t room = -1;
    order::iterator place{};
  };
  static void serve(int pipe) {
    std::vector<std::vector<connection*>> rooms(im_next.rooms);
    order by_hearing;  // the longest silent first
    const int listener = listen_on_loopback(pipe);
    const int set = epoll_create1(EPOLL_CLOEXEC);
    epoll_event e{};
    e.events = EPOLLIN;
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &e);
    const auto write = [](connection& c, const im_frame& f) {
      // Who does not read is shut out, and dropped when the end is read.
      if (send(c.fd, &f, sizeof f, MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(sizeof f))
        shutdown(c.fd, SHUT_RDWR);
    };
    const auto accept_one = [&] {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      set_no_delay(fd);
      auto* const c = new connection{fd, now_ns()};
      c->place = by_hearing.insert(by_hearing.end(), c);
      e.data.ptr = c;
      epoll_ctl(set, EPOLL_CTL_ADD, fd, &e);
    };
    const auto heard = [&](connection& c) {
      c.heard = now_ns();
      by_hearing.splice(by_hearing.end(), by_hearing, c.place);
    };
    const auto take = [&](connection& c, const im_frame& f) {
      if (f.kind == im_kind::join && c.room < 0 && f.room < rooms.size()) {
        c.room = f.room;
        rooms[f.room].push_back(&c);
        write(c, f);
      } else if (f.kind == im_kind::say && c.room >= 0) {
        for (connection* const member : rooms[static_cast<std::size_t>(c.room)]) write(*member, f);
      }
    };
    std::array<epoll_event, 128> events{};
    for (;;) {
      int wait_ms = -1;
      const std::int64_t now = now_ns();
      while (!by_hearing.empty()) {
        connection& c = *by_hearing.front();
        const std::int64_t left = c.heard + std::int64_t{im_beat_ms} * 1'000'000 - now;
        wait_ms = static_cast<int>(std::max<std::int64_t>(left, 0) / 1'000'000 + 1);
        if (left > 0) break;
        if (c.room >= 0) write(c, {.kind = im_kind::beat});
        heard(c);
      }
      const int n = epoll_wait(set, events.data(), static_cast<int>(events.size()), wait_ms);
      for (int i = 0; i < n; ++i) {
        auto* const c = static_cast<connection*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (c == nullptr) {
          accept_one();
          continue;
        }
        const ssize_t got = recv(c->fd, c->reader.room().data(), c->reader.room().size(), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got <= 0) {
          if (c->room >= 0) std::erase(rooms[static_cast<std::size_t>(c->room)], c);
          by_hearing.erase(c->place);
          close(c->fd);
          delete c;
          continue;
        }
        heard(*c);
        c->reader.take(static_cast<std::size_t>(got), [&](const im_frame& f) { take(*c, f); });
      }
    }
  }
};

struct im_go : go_server<void> {
  static void serve(int pipe) { serve_by_go(pipe, im_next.pinned ? "im_pinned" : "im"); }
};

}  // namespace tern_bench

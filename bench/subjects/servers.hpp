// Servers in a process of their own, for the cases of scenario/: how each subject serves TCP connections, and how its process is started,
// confined, billed and ended.
//
// Context     A subject here has `serve(pipe)`: it listens on a free port of 127.0.0.1, writes the port (2 bytes) to the pipe, and serves until
//             it is killed. `raw` is a loop over epoll in one thread, `pthread` a thread per connection. What is said on a connection is a
//             `session`, the same for all but Go: room() is where bytes are read to; accept(n) takes them, false to hang up; answer() is what to
//             send now, asked until it is empty. world(), if there is one, makes what they share.
// Kept equal  TCP_NODELAY, buffers of 4 KiB per connection, the first usable CPU alone. The client runs in the measuring process on the
//             second one.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <tern/net.hpp>
#include <tern/sched.hpp>

#include "bench/harness/fresh.hpp"
#include "bench/subjects/go_peer.hpp"
#include "bench/subjects/pthread.hpp"

namespace tern_bench {

/// Whatever comes goes back.
struct echo_session {
  static constexpr const char* go_name = "echo";
  std::array<char, 4096> buffer;
  std::size_t end = 0;
  echo_session() noexcept {}  // NOLINT: the buffer is written before it is read
  std::span<char> room() noexcept { return buffer; }
  bool accept(std::size_t n) noexcept {
    end = n;
    return true;
  }
  std::span<const char> answer() noexcept { return std::span{buffer}.first(std::exchange(end, 0)); }
};

inline void tell_port(int pipe, std::uint16_t port) {
  if (write(pipe, &port, sizeof port) != sizeof port) _exit(1);
  close(pipe);
}

inline void set_no_delay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// A listening socket on a free port of 127.0.0.1; the process ends where there is none.
inline int listen_on_loopback(int pipe) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof at;
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || listen(fd, 4096) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&at), &bytes) != 0)
    _exit(1);
  tell_port(pipe, ntohs(at.sin_port));
  return fd;
}

/// What a session's connections share, if it has such a thing: made on the stack that serves, before the server can be reached.
template <class Session>
auto world_of() {
  if constexpr (requires { Session::world(); }) {
    return Session::world();
  } else {
    return 0;
  }
}

/// Common to all: no world is needed around the workload, whose server is elsewhere.
template <class S>
struct server_subject {
  template <class F>
  static void run(const row_params&, F&& fn) {
    fn();
  }
};

template <class Session>
struct tern_server : server_subject<tern_server<Session>> {
  static constexpr const char* name = "tern";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }
  static void serve(int pipe) {
    tern::run(tern::runtime_options{.processors = 1, .stack_size = 16 * 1024}, [pipe] {
      [[maybe_unused]] auto shared = world_of<Session>();
      tern::tcp_listener listener{tern::endpoint::loopback(0)};
      tell_port(pipe, listener.local_endpoint().port());
      for (;;)
        tern::thread{[s = std::make_unique<tern::tcp_stream>(listener.accept())] {
          Session said;
          std::error_code error;
          for (std::size_t n;
               (n = s->read(std::as_writable_bytes(said.room()), error)) != 0 && said.accept(n);)
            for (auto out = said.answer(); !out.empty(); out = said.answer())
              s->write_all(std::as_bytes(out), error);
        }}.detach();
    });
  }
};

template <class Session>
struct raw_server : server_subject<raw_server<Session>> {
  static constexpr const char* name = "raw";
  static constexpr role subject_role = role::baseline;
  static std::string version() { return "epoll"; }
  static void serve(int pipe) {
    // Level-triggered, so that one read and one write serve an event. What the peer does not take waits in the connection's buffer, and the
    // connection is not read from meanwhile.
    struct connection {
      int fd;
      Session said{};
      std::span<const char> unsent{};
    };
    [[maybe_unused]] auto shared = world_of<Session>();
    const int listener = listen_on_loopback(pipe);
    const int set = epoll_create1(EPOLL_CLOEXEC);
    const auto watch = [set](int operation, int fd, std::uint32_t events, void* data) {
      epoll_event e{};
      e.events = events;
      e.data.ptr = data;
      epoll_ctl(set, operation, fd, &e);
    };
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, nullptr);
    std::array<epoll_event, 128> events{};
    for (;;) {
      const int n = epoll_wait(set, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < n; ++i) {
        auto* c = static_cast<connection*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (c == nullptr) {
          const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
          if (fd < 0) continue;
          set_no_delay(fd);
          watch(EPOLL_CTL_ADD, fd, EPOLLIN, new connection{fd});
          continue;
        }
        const bool was_full = !c->unsent.empty();
        if (!was_full) {
          const std::span<char> room = c->said.room();
          const ssize_t got = recv(c->fd, room.data(), room.size(), 0);
          if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
          if (got <= 0 || !c->said.accept(static_cast<std::size_t>(got))) {
            close(c->fd);
            delete c;
            continue;
          }
          c->unsent = c->said.answer();
        }
        while (!c->unsent.empty()) {
          const ssize_t sent = send(c->fd, c->unsent.data(), c->unsent.size(), MSG_NOSIGNAL);
          if (sent < 0 && errno == EINTR) continue;
          if (sent < 0 && errno == EAGAIN) break;
          // Where it failed otherwise the next read tells of the end.
          c->unsent = c->unsent.subspan(sent < 0 ? c->unsent.size() : static_cast<std::size_t>(sent));
          if (c->unsent.empty()) c->unsent = c->said.answer();
        }
        const bool is_full = !c->unsent.empty();
        if (is_full != was_full) watch(EPOLL_CTL_MOD, c->fd, is_full ? EPOLLOUT : EPOLLIN, c);
      }
    }
  }
};

template <class Session>
struct pthread_server : server_subject<pthread_server<Session>> {
  static constexpr const char* name = "pthread";
  static constexpr role subject_role = role::baseline;
  static constexpr bool tasks_are_threads = true;
  static std::string version() { return pthread_subject::version(); }
  static void serve(int pipe) {
    [[maybe_unused]] auto shared = world_of<Session>();
    const int listener = listen_on_loopback(pipe);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    for (;;) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      set_no_delay(fd);
      pthread_t t;
      const auto echo = [](void* argument) -> void* {
        const int c = static_cast<int>(reinterpret_cast<std::intptr_t>(argument));
        Session said;
        const auto receive = [&] { return recv(c, said.room().data(), said.room().size(), 0); };
        for (ssize_t n; (n = receive()) > 0 && said.accept(static_cast<std::size_t>(n));)
          for (auto out = said.answer(); !out.empty(); out = said.answer())
            while (!out.empty()) {
              const ssize_t k = send(c, out.data(), out.size(), MSG_NOSIGNAL);
              if (k <= 0) break;
              out = out.subspan(static_cast<std::size_t>(k));
            }
        close(c);
        return nullptr;
      };
      if (pthread_create(&t, &small, echo, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd))) != 0)
        close(fd);
    }
  }
};

/// Becomes the Go peer in its other part: it serves `what` on a port that it writes to its standard output.
[[noreturn]] inline void serve_by_go(int pipe, const std::string& what) {
  dup2(pipe, STDOUT_FILENO);
  const std::string program = program_folder() + "/go_peer";
  execl(program.c_str(), program.c_str(), "-serve", what.c_str(), static_cast<char*>(nullptr));
  _exit(1);
}

template <class Session>
struct go_server : server_subject<go_server<Session>> {
  static constexpr const char* name = "go";
  static constexpr role subject_role = role::peer;
  static std::string version() { return go_peer::version(); }
  static std::string unfit(const row_params&) {
    return is_beside_us("go_peer")
               ? ""
               : "no Go program beside this one: there was no Go toolchain for this machine at build time";
  }
  static void serve(int pipe) { serve_by_go(pipe, Session::go_name); }
};

/// A subject's server in a child of this process, on the first usable CPU, until this object ends.
template <class S>
class server_process {
 public:
  server_process() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(ends[0]);
      const confine here(1);
      S::serve(ends[1]);
      _exit(1);
    }
    close(ends[1]);
    const bool told = read(ends[0], &port_, sizeof port_) == sizeof port_;
    close(ends[0]);
    if (child_ < 0 || !told) {
      end();
      throw std::runtime_error("the server did not start");
    }
    if (clock_getcpuclockid(child_, &clock_) != 0) clock_ = CLOCK_PROCESS_CPUTIME_ID;
  }
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;
  ~server_process() { end(); }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// Its resident memory and page tables; what the kernel keeps per socket is not in it.
  [[nodiscard]] double resident_bytes() const {
    return static_cast<double>(status_number(child_, "VmRSS:") + status_number(child_, "VmPTE:"));
  }
  [[nodiscard]] double threads() const { return static_cast<double>(status_number(child_, "Threads:")); }
  /// CPU time that it has used.
  [[nodiscard]] double cpu_seconds() const noexcept {
    timespec t{};
    clock_gettime(clock_, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }
  /// Connection number `i` of this process. An address has ports for some 28,000: each 20,000 come from one of their own, 127.0.0.1 and on.
  [[nodiscard]] int connect_to(std::size_t i) const {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    if (i >= 20'000) {
      const int late = 1;  // the port is chosen when it is known where to
      at.sin_family = AF_INET;
      at.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(i / 20'000));
      setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
      if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0)
        throw std::runtime_error("cannot bind to an address of the loopback");
    }
    at.sin_family = AF_INET;
    at.sin_port = htons(port_);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{20, 0};
    if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
      throw std::runtime_error("cannot connect to the server");
    set_no_delay(fd);
    return fd;
  }

 private:
  void end() noexcept {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  pid_t child_ = -1;
  std::uint16_t port_ = 0;
  clockid_t clock_{};
};

/// Why so many connections cannot be had here, or "". Raises the limit of this process, and so of the servers that it forks.
inline std::string unfit_for_connections(std::int64_t connections) {
  const auto need = static_cast<rlim_t>(connections + 64);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < need && limit.rlim_max >= need) {
    limit.rlim_cur = need;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur >= need) return "";
  return "needs " + std::to_string(need) + " file descriptors, this process may have " +
         std::to_string(limit.rlim_cur);
}

/// Connections to a server, from this process; the calling thread is put on the second CPU.
template <class S>
class connected_clients {
 public:
  explicit connected_clients(std::size_t count) {
    if (usable_cpus() > 1) pin_to(1);
    bytes_before_ = server_.resident_bytes();
    while (files_.size() < count) add();
  }
  connected_clients(const connected_clients&) = delete;
  connected_clients& operator=(const connected_clients&) = delete;
  ~connected_clients() {
    for (const int fd : files_)
      if (fd >= 0) close(fd);
  }
  /// One more.
  int add() {
    files_.push_back(server_.connect_to(files_.size()));
    return files_.back();
  }
  /// A new connection in place of one that has broken.
  void renew(std::size_t i) {
    close(files_[i]);
    files_[i] = -1;
    files_[i] = server_.connect_to(i);
  }
  [[nodiscard]] std::size_t size() const noexcept { return files_.size(); }
  [[nodiscard]] int operator[](std::size_t i) const noexcept { return files_[i]; }
  /// By which the server has grown for each of them.
  [[nodiscard]] double bytes_each() const {
    return (server_.resident_bytes() - bytes_before_) / static_cast<double>(files_.size());
  }
  [[nodiscard]] double cpu_seconds() const noexcept { return server_.cpu_seconds(); }
  [[nodiscard]] double threads() const { return server_.threads(); }
  [[nodiscard]] double resident_bytes() const { return server_.resident_bytes(); }
  /// After each batch. The first one warms up: it and the connections' setting up are billed only where there is no other.
  void count(std::uint64_t operations) noexcept {
    counted_ += operations;
    if (counted_ != operations || first_ != 0) return;
    first_ = operations;
    cpu_first_ = cpu_seconds();
  }
  [[nodiscard]] double cpu_seconds_each() const noexcept {
    if (counted_ == first_) return cpu_first_ / static_cast<double>(first_);
    return (cpu_seconds() - cpu_first_) / static_cast<double>(counted_ - first_);
  }

 private:
  server_process<S> server_;
  double bytes_before_ = 0;
  std::uint64_t counted_ = 0;
  std::uint64_t first_ = 0;
  double cpu_first_ = 0;
  std::vector<int> files_;
};

/// Which of some clients' connections have something to read.
class readable_set {
 public:
  template <class S>
  explicit readable_set(const connected_clients<S>& clients) {
    for (std::size_t i = 0; i < clients.size(); ++i) {
      epoll_event e{};
      e.events = EPOLLIN;
      e.data.u64 = i;
      if (epoll_ctl(set_, EPOLL_CTL_ADD, clients[i], &e) != 0) throw std::runtime_error("epoll_ctl failed");
    }
  }
  readable_set(const readable_set&) = delete;
  readable_set& operator=(const readable_set&) = delete;
  ~readable_set() { close(set_); }
  /// f(i) for those that have something now; does not wait.
  template <class F>
  void for_each_ready(F&& f) const {
    std::array<epoll_event, 64> events;
    const int n = epoll_wait(set_, events.data(), static_cast<int>(events.size()), 0);
    for (int k = 0; k < n; ++k) f(static_cast<std::size_t>(events[static_cast<std::size_t>(k)].data.u64));
  }

 private:
  int set_ = epoll_create1(EPOLL_CLOEXEC);
};

/// Bytes of a stream that become frames, which are copied as they are.
template <class Frame>
class frame_reader {
 public:
  static constexpr std::size_t bytes = 1024;
  frame_reader() noexcept {}  // NOLINT: the bytes are written before they are read
  /// Where the next ones are read to.
  [[nodiscard]] std::span<char> room() noexcept { return std::span{bytes_}.subspan(end_); }
  /// n have come: each(frame) for those that are whole.
  template <class F>
  void take(std::size_t n, F&& each) {
    end_ += n;
    std::size_t at = 0;
    for (; end_ - at >= sizeof(Frame); at += sizeof(Frame)) {
      Frame f;
      std::memcpy(&f, bytes_.data() + at, sizeof f);
      each(f);
    }
    if (at != 0) std::memmove(bytes_.data(), bytes_.data() + at, end_ - at);
    end_ -= at;
  }
  /// Takes what a client has now; throws where the connection has ended.
  template <class F>
  void receive(int fd, F&& each) {
    const ssize_t n = recv(fd, room().data(), room().size(), 0);
    if (n <= 0) throw std::runtime_error("a connection has ended");
    take(static_cast<std::size_t>(n), each);
  }

 private:
  std::array<char, bytes> bytes_;
  std::size_t end_ = 0;
};

template <class Frame>
void send_frame(int fd, const Frame& f) {
  if (send(fd, &f, sizeof f, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof f))
    throw std::runtime_error("a message was not sent");
}

template <class Session>
using servers =
    subjects<tern_server<Session>, raw_server<Session>, pthread_server<Session>, go_server<Session>>;

}  // namespace tern_bench

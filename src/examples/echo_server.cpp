// Echo server: a fiber per connection, deadlines for peers that say nothing, a pause where file numbers run out, an orderly end.
//
//   echo_server [address]      such as 127.0.0.1:7007 (the default is any free port), [::]:7007 or unix:/run/echo; ends on SIGINT or SIGTERM
#include <sys/signalfd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <system_error>

#include <tern/net.hpp>
#include <tern/sched.hpp>

using namespace std::chrono_literals;

// Returns when the peer has ended its side, has gone, or has been silent for a minute.
static void echo(tern::stream_socket& s) {
  std::array<std::byte, 16 * 1024> buffer;
  std::error_code error;
  while (const std::size_t n = s.read(buffer, error, 1min)) {
    s.write_all(std::span{buffer}.first(n), error, 1min);
    if (error) return;
  }
}

template <class Listener>
static void serve(const tern::endpoint& at) {
  Listener listener{at};
  std::printf("listening on %s\n", listener.local_endpoint().text().c_str());
  std::fflush(stdout);

  // Signals as a descriptor: a fiber waits for them as for any other.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  tern::pollable signals{::signalfd(-1, &ends, SFD_CLOEXEC)};

  tern::nursery nursery;
  nursery.spawn([&] {
    for (;;) {
      try {
        nursery.spawn([s = std::make_shared<decltype(listener.accept())>(listener.accept())] { echo(*s); });
      } catch (const std::system_error& e) {
        if (e.code() == std::errc::operation_canceled) return;  // closed, below
        // No file number or memory left: connections wait in the queue until some have ended.
        std::fprintf(stderr, "accept: %s\n", e.what());
        tern::this_thread::sleep_for(100ms);
      }
    }
  });
  signalfd_siginfo signal{};
  static_cast<void>(signals.read(std::as_writable_bytes(std::span{&signal, 1})));
  listener.close();
  nursery.cancel();
  try {
    nursery.wait();
  } catch (const tern::cancelled&) {  // that is what was asked for
  }
  std::puts("bye");
}

int main(int argc, char** argv) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);  // the runtime's threads have them blocked as well
  try {
    const tern::endpoint at = argc > 1 ? tern::endpoint::parse(argv[1]) : tern::endpoint::loopback(0);
    tern::run([&] {
      if (at.family() == AF_UNIX)
        serve<tern::unix_listener>(at);
      else
        serve<tern::tcp_listener>(at);
    });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "echo_server: %s\n", e.what());
    return 1;
  }
  return 0;
}

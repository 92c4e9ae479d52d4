// Streams and listeners as their users see them: what is read and written, how each operation ends, and that no file stays open.
#include "tests/unit/net_support.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <csignal>

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace net_test;
using tern_test::error_of;

std::error_code is(std::errc e) { return std::make_error_code(e); }

NET_TEST_AT_ALL_SIZES(NetStream);

template <class Listener, class Stream>
void echo_among_many(const tern::endpoint& at, int clients, int rounds) {
  Listener l{at};
  const tern::endpoint to = l.local_endpoint();
  tern::nursery n;
  n.spawn([&] {
    for (int i = 0; i < clients; ++i)
      n.spawn([s = std::make_shared<Stream>(l.accept())] {
        std::array<std::byte, 512> b;
        while (const std::size_t k = s->read(b)) s->write_all(std::span{b}.first(k));
      });
  });
  for (int i = 0; i < clients; ++i)
    n.spawn([&, i] {
      Stream s = Stream::connect(to);
      for (int k = 0; k < rounds; ++k) {
        const std::string text = "client " + std::to_string(i) + " round " + std::to_string(k);
        s.write_all(text);
        EXPECT_EQ(read_text(s, text.size()), text);
      }
      s.shutdown_write();
      EXPECT_EQ(read_text(s, 1), "");
    });
  n.wait();
}

TEST_P(NetStream, EchoesToManyClients) {
  run([] { echo_among_many<tern::tcp_listener, tern::tcp_stream>(tern::endpoint::loopback(0), 20, 50); });
}

TEST_P(NetStream, EchoesOverUnixSockets) {
  run([] {
    const auto at = tern::endpoint::parse("unix:@tern-test-" + std::to_string(::getpid()) + "-" +
                                          std::to_string(GetParam()));
    echo_among_many<tern::unix_listener, tern::unix_stream>(at, 20, 50);
  });
}

TEST_P(NetStream, MegabytesPassASlowReader) {
  run([] {
    auto p = connected();
    constexpr std::size_t size = 4 << 20;
    tern::thread writer{[&] {
      std::vector<std::byte> data(size);
      for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>(i * 7 + (i >> 12));
      p.client.write_all(data);
      p.client.shutdown_write();
    }};
    std::vector<std::byte> some(10'000);
    std::size_t at = 0;
    bool same = true;
    while (const std::size_t n = p.server.read(some)) {
      for (std::size_t i = 0; i < n; ++i, ++at)
        same = same && some[i] == static_cast<std::byte>(at * 7 + (at >> 12));
      tern::this_thread::yield();
    }
    writer.join();
    EXPECT_EQ(at, size);
    EXPECT_TRUE(same);
  });
}

TEST_P(NetStream, VectoredReadsAndWrites) {
  run([] {
    auto p = connected();
    char a[] = "one ";
    char b[] = "two ";
    char c[] = "three";
    const ::iovec out[] = {{a, 4}, {b, 4}, {c, 5}};
    EXPECT_EQ(p.client.write_vectored(out), 13u);
    char first[6] = {};
    char rest[32] = {};
    const ::iovec in[] = {{first, 5}, {rest, 31}};
    EXPECT_EQ(p.server.read_vectored(in), 13u);
    EXPECT_STREQ(first, "one t");
    EXPECT_STREQ(rest, "wo three");
  });
}

TEST_P(NetStream, HalfClose) {
  run([] {
    auto p = connected();
    tern::thread server{[&] {
      EXPECT_EQ(read_text(p.server, 100), "question");  // to the end of the client's side
      p.server.write_all("answer");
      p.server.close();
    }};
    p.client.write_all("question");
    p.client.shutdown_write();
    EXPECT_EQ(read_text(p.client, 100), "answer");
    server.join();
    EXPECT_EQ(error_of([&] { p.client.write_all("late"); }), is(std::errc::broken_pipe));
  });
}

// The end of the stream comes with the bytes before it, so that a short read is not followed by an event of its own.
TEST_P(NetStream, TheEndIsSeenAfterAShortRead) {
  run([] {
    for (int i = 0; i < 50; ++i) {
      auto p = connected();
      p.client.write_all("x");
      p.client.close();
      EXPECT_EQ(read_text(p.server, 100), "x");
    }
  });
}

TEST_P(NetStream, AResetIsAnError) {
  run([] {
    auto p = connected();
    tern::thread reader{[&] {
      std::array<std::byte, 8> b;
      EXPECT_EQ(error_of([&] { static_cast<void>(p.server.read(b)); }), is(std::errc::connection_reset));
      EXPECT_EQ(error_of([&] { p.server.write_all("x"); }), is(std::errc::broken_pipe));
    }};
    const ::linger at_once{1, 0};
    ::setsockopt(p.client.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    p.client.close();
    reader.join();
  });
}

TEST_P(NetStream, ConnectIsRefused) {
  run([] {
    // A port that is taken, so that no other program gets it meanwhile, and where nobody listens.
    const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::sockaddr_in nobody{};
    nobody.sin_family = AF_INET;
    nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::socklen_t size = sizeof nobody;
    auto* const address = reinterpret_cast<::sockaddr*>(&nobody);
    ASSERT_EQ(::bind(taken, address, size), 0);
    ASSERT_EQ(::getsockname(taken, address, &size), 0);
    EXPECT_EQ(error_of([&] { tern::tcp_stream::connect(tern::endpoint::loopback(ntohs(nobody.sin_port))); }),
              is(std::errc::connection_refused));
    ::close(taken);
    EXPECT_EQ(error_of([] { tern::unix_stream::connect(tern::endpoint::parse("unix:/no/such/path")); }),
              is(std::errc::no_such_file_or_directory));
  });
}

TEST_P(NetStream, DeadlinesEndWaits) {
  run([] {
    auto p = connected();
    std::array<std::byte, 8> b;
    EXPECT_EQ(error_of([&] { static_cast<void>(p.server.read(b, 1ms)); }), is(std::errc::timed_out));
    EXPECT_EQ(error_of([&] { static_cast<void>(p.server.read(b, std::chrono::steady_clock::now())); }),
              is(std::errc::timed_out));
    std::vector<std::byte> much(16 << 20);
    EXPECT_EQ(error_of([&] { p.server.write_all(much, 5ms); }), is(std::errc::timed_out));
    std::error_code error;
    EXPECT_EQ(p.server.read(b, error, 1ms), 0u);
    EXPECT_EQ(error, is(std::errc::timed_out));
    p.client.write_all("there");
    EXPECT_EQ(read_text(p.server, 5, 1min), "there");  // a deadline that does not come
    tern::tcp_listener l{tern::endpoint::loopback(0)};
    EXPECT_EQ(error_of([&] { l.accept(1ms); }), is(std::errc::timed_out));
  });
}

TEST_P(NetStream, CloseEndsTheWaitsOfOthers) {
  run([] {
    auto p = connected();
    tern::tcp_listener l{tern::endpoint::loopback(0)};
    std::vector<tern::thread> all;
    for (int i = 0; i < 3; ++i) {
      all.emplace_back([&] {
        std::array<std::byte, 8> b;
        EXPECT_EQ(error_of([&] { static_cast<void>(p.server.read(b)); }), is(std::errc::operation_canceled));
      });
      all.emplace_back([&] { EXPECT_EQ(error_of([&] { l.accept(); }), is(std::errc::operation_canceled)); });
    }
    while (tern::detail::poller::count_waiting() != 6) tern::this_thread::yield();
    p.server.close();
    l.close();
    for (auto& t : all) t.join();
    std::array<std::byte, 8> b;
    EXPECT_EQ(error_of([&] { static_cast<void>(p.server.read(b)); }), is(std::errc::bad_file_descriptor));
    EXPECT_EQ(error_of([&] { p.server.write_all("x"); }), is(std::errc::bad_file_descriptor));
    EXPECT_EQ(error_of([&] { l.accept(); }), is(std::errc::bad_file_descriptor));
    EXPECT_EQ(error_of([&] { p.server.shutdown(); }), is(std::errc::bad_file_descriptor));
    p.server.close();  // a second time: nothing
    EXPECT_FALSE(p.server.is_open());
    EXPECT_EQ(read_text(p.client, 1), "");
  });
}

TEST_P(NetStream, AMovedFromStreamIsNotOpen) {
  run([] {
    auto p = connected();
    tern::tcp_stream s{std::move(p.client)};
    std::array<std::byte, 8> b;
    EXPECT_EQ(error_of([&] { static_cast<void>(p.client.read(b)); }),  // NOLINT(bugprone-use-after-move)
              is(std::errc::bad_file_descriptor));
    EXPECT_EQ(p.client.native_handle(), -1);
    s.write_all("x");
    EXPECT_EQ(read_text(p.server, 1), "x");
  });
}

TEST_P(NetStream, CancellationEndsWaits) {
  run([] {
    auto p = connected();
    tern::tcp_listener l{tern::endpoint::loopback(0)};
    std::atomic<int> ended{0};
    tern::nursery n;
    n.spawn([&] {
      std::array<std::byte, 8> b;
      EXPECT_THROW(static_cast<void>(p.server.read(b)), tern::cancelled);
      ++ended;
    });
    n.spawn([&] {
      EXPECT_THROW(l.accept(1min), tern::cancelled);
      ++ended;
    });
    while (tern::detail::poller::count_waiting() != 2) tern::this_thread::yield();
    n.cancel();
    n.wait();
    EXPECT_EQ(ended, 2);
    // What they waited on goes on.
    p.client.write_all("x");
    EXPECT_EQ(read_text(p.server, 1), "x");
  });
}

TEST_P(NetStream, ManyAccept) {
  run([] {
    tern::tcp_listener l{tern::endpoint::loopback(0)};
    constexpr int acceptors = 4;
    constexpr int each = 10;
    std::vector<tern::thread> all;
    for (int i = 0; i < acceptors; ++i)
      all.emplace_back([&] {
        for (int k = 0; k < each; ++k) {
          tern::tcp_stream s = l.accept();
          s.write_all("hello");
        }
      });
    for (int i = 0; i < acceptors * each; ++i) {
      auto s = tern::tcp_stream::connect(l.local_endpoint());
      EXPECT_EQ(read_text(s, 100), "hello");
    }
    for (auto& t : all) t.join();
  });
}

// No file number is left; the connection stays in the listener's queue.
TEST_P(NetStream, NoFileNumberLeft) {
  run([] {
    tern::tcp_listener l{tern::endpoint::loopback(0)};
    auto client = tern::tcp_stream::connect(l.local_endpoint());
    ::rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    ::rlimit none = before;
    none.rlim_cur = 0;
    ::setrlimit(RLIMIT_NOFILE, &none);
    const std::error_code accepting = error_of([&] { l.accept(); });
    const std::error_code connecting = error_of([&] { tern::tcp_stream::connect(l.local_endpoint()); });
    ::setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_EQ(accepting, is(std::errc::too_many_files_open));
    EXPECT_EQ(connecting, is(std::errc::too_many_files_open));
    auto server = l.accept();
    server.write_all("here");
    EXPECT_EQ(read_text(client, 4), "here");
  });
}

// A signal may end any system call of any thread.
TEST_P(NetStream, Interrupted) {
  struct sigaction handler{};
  struct sigaction before{};
  handler.sa_handler = [](int) {};  // without SA_RESTART
  ASSERT_EQ(sigaction(SIGPROF, &handler, &before), 0);
  std::atomic<bool> over{false};
  std::thread storm{[&] {
    while (!over) {
      ::kill(::getpid(), SIGPROF);
      ::usleep(100);
    }
  }};
  run([] { echo_among_many<tern::tcp_listener, tern::tcp_stream>(tern::endpoint::loopback(0), 5, 100); });
  over = true;
  storm.join();
  sigaction(SIGPROF, &before, nullptr);
}

// Clients that send a byte now and then and never a whole request: each byte ends the wait of a read, so that a duration for each would never
// end them; a point in time for the request does. Others are served meanwhile.
TEST_P(NetStream, ClientsThatDripAreEndedByTheirDeadline) {
  run([] {
    constexpr int drips = 20;
    std::atomic<int> begun{0};
    std::atomic<int> ended{0};
    auto quick = connected();
    tern::nursery n;
    for (int i = 0; i < drips; ++i) {
      auto p = std::make_shared<tcp_pair>(connected());
      n.spawn([p, &begun, &ended] {
        const auto deadline = std::chrono::steady_clock::now() + 50ms;
        ++begun;
        std::array<std::byte, 64> b;
        EXPECT_EQ(error_of([&] {
                    while (p->server.read(b, deadline) != 0) {
                    }
                  }),
                  is(std::errc::timed_out));
        p->server.close();
        ++ended;
      });
      n.spawn([p] {
        std::error_code error;
        while (!error) {
          p->client.write_all(bytes("x"), error);
          tern::this_thread::sleep_for(1ms);
        }
        EXPECT_TRUE(error == is(std::errc::broken_pipe) || error == is(std::errc::connection_reset)) << error;
      });
    }
    n.spawn([&] {
      while (begun != drips) tern::this_thread::yield();
      std::array<std::byte, 64> b;
      while (const std::size_t k = quick.server.read(b)) quick.server.write_all(std::span{b}.first(k));
    });
    for (int i = 0; i < 50; ++i) {
      quick.client.write_all("question");
      EXPECT_EQ(read_text(quick.client, 8), "question");
    }
    quick.client.close();
    n.wait();
    EXPECT_EQ(ended, drips);
  });
}

// The fiber that accepts waits on processors that are all held by fibers which never give way.
TEST_P(NetStream, HogsOnTheAcceptingProcessor) {
  run([] {
    constexpr int connections = 5;
    tern::tcp_listener l{tern::endpoint::loopback(0)};
    std::atomic<bool> over{false};
    std::atomic<unsigned> hogging{0};
    tern::nursery n;
    n.spawn([&] {
      for (int i = 0; i < connections; ++i) l.accept().write_all("hello");
      over = true;
    });
    while (tern::detail::poller::count_waiting() != 1) tern::this_thread::yield();
    std::thread outside{[&, to = l.local_endpoint()] {
      while (hogging != GetParam()) std::this_thread::yield();
      for (int i = 0; i < connections; ++i) {
        auto s = tern::tcp_stream::connect(to);
        EXPECT_EQ(read_text(s, 100), "hello");
      }
    }};
    for (unsigned i = 0; i < GetParam(); ++i)
      n.spawn([&] {
        ++hogging;
        while (!over) {
        }
      });
    n.wait();
    tern::blocking([&] { outside.join(); });
  });
}

TEST_P(NetStream, PlainThreadsTakePart) {
  run([] {
    tern::tcp_listener l{tern::endpoint::loopback(0)};
    std::thread plain{[&] {
      tern::tcp_stream s = l.accept();
      while (true) {
        const std::string text = read_text(s, 4);
        if (text.empty()) return;
        s.write_all(text);
      }
    }};
    auto s = tern::tcp_stream::connect(l.local_endpoint());
    for (int i = 0; i < 100; ++i) {
      s.write_all("ping");
      EXPECT_EQ(read_text(s, 4), "ping");
    }
    s.close();
    tern::blocking([&] { plain.join(); });
    std::atomic<bool> timed{false};
    std::thread late{[&] {
      EXPECT_EQ(error_of([&] { l.accept(1ms); }), is(std::errc::timed_out));
      timed = true;
      EXPECT_EQ(error_of([&] { l.accept(); }), is(std::errc::operation_canceled));
    }};
    while (!timed || !tern::detail::poller::is_inside(l.native_handle())) tern::this_thread::yield();
    l.close();
    tern::blocking([&] { late.join(); });
  });
}

TEST(NetEndpoint, Texts) {
  for (const char* text : {"127.0.0.1:80", "[::1]:8080", "[2001:db8::1]:65535", "unix:run/x", "unix:@name"})
    EXPECT_EQ(tern::endpoint::parse(text).text(), text);
  for (const char* text : {"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80",
                           "[::1]", "localhost:80", "unix:"})
    EXPECT_EQ(error_of([&] { tern::endpoint::parse(text); }), is(std::errc::invalid_argument)) << text;
  EXPECT_EQ(error_of([] { tern::endpoint::parse("unix:" + std::string(200, 'x')); }),
            is(std::errc::invalid_argument));
  EXPECT_EQ(tern::endpoint::loopback(8).port(), 8);
}

}  // namespace

// Connections of all kinds at once: what is sent comes back, each wait ends in one of the ways that its user asked for, and no fiber or file is
// left. Processors come and go, fibers block their threads, hog them and are cancelled meanwhile.
#include <gtest/gtest.h>

#include <dirent.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <tern/base/random.hpp>
#include <tern/net.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/support/seed.hpp"

namespace {

using namespace std::chrono_literals;

int files_now() {
  DIR* d = ::opendir("/proc/self/fd");
  if (d == nullptr) return -1;
  int n = 0;
  while (::readdir(d) != nullptr) ++n;
  ::closedir(d);
  return n;
}

struct tally {
  std::atomic<std::uint64_t> echoed{0};
  std::atomic<std::uint64_t> timed_out{0};
  std::atomic<std::uint64_t> closed{0};
  std::atomic<std::uint64_t> cancelled{0};
  std::atomic<std::uint64_t> broken{0};
};

// To the end of the stream; resets count as one.
void echo(tern::tcp_stream s, tally& t) {
  std::array<std::byte, 2000> b;
  std::error_code error;
  for (;;) {
    const std::size_t n = s.read(b, error);
    if (n == 0) break;
    s.write_all(std::span{b}.first(n), error);
    if (error) break;
  }
  if (error) ++t.broken;
}

void write_and_read_back(tern::tcp_stream& s, tern::detail::fast_random& random, tally& t) {
  const std::size_t size = random.next() % 4 == 0 ? random.next() % 300'000 : random.next() % 3000;
  std::vector<std::byte> out(size);
  const std::uint64_t salt = random.next();
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>((salt >> (i % 8 * 8)) + i);
  tern::thread writer{[&] { s.write_all(out); }};
  std::vector<std::byte> in(size);
  for (std::size_t got = 0; got < size;) {
    const std::size_t n = s.read(std::span{in}.subspan(got), 1min);
    ASSERT_NE(n, 0u);
    got += n;
  }
  writer.join();
  ASSERT_EQ(in, out);
  t.echoed += size;
}

// Two that read one stream which says nothing; who is first to be ended how is open, but each is ended.
void wait_in_vain(tern::tcp_stream& s, tern::detail::fast_random& random, tally& t) {
  const auto patience = std::chrono::microseconds{random.next() % 2000};
  const bool closes = random.next() % 2 == 0;
  const auto after = std::chrono::microseconds{random.next() % 1000};
  const auto reader = [&] {
    std::array<std::byte, 16> b;
    std::error_code error;
    const std::size_t n = s.read(b, error, patience);
    EXPECT_EQ(n, 0u);
    if (error == std::errc::timed_out)
      ++t.timed_out;
    else if (error == std::errc::operation_canceled || error == std::errc::bad_file_descriptor)
      ++t.closed;
    else
      ADD_FAILURE() << error.message();
  };
  tern::nursery n;
  n.spawn([&] {
    try {
      reader();
    } catch (const tern::cancelled&) {
      ++t.cancelled;
      throw;
    }
  });
  tern::thread other{reader};
  tern::this_thread::sleep_for(after);
  if (closes)
    s.close();
  else
    n.cancel();
  n.wait();
  other.join();
}

void mix(unsigned processors, std::uint64_t seed) {
  tally t;
  const int files = files_now();
  {
    tern::runtime rt{{.processors = processors, .max_processors = 4}};
    rt.run([&] {
      tern::tcp_listener l{tern::endpoint::loopback(0)};
      const tern::endpoint at = l.local_endpoint();
      std::atomic<bool> over{false};
      tern::nursery servers;
      for (int i = 0; i < 3; ++i)
        servers.spawn([&] {
          for (;;) {
            std::error_code error;
            tern::tcp_stream s = l.accept(error);
            if (error) return;
            servers.spawn(
                [&t, s = std::make_shared<tern::tcp_stream>(std::move(s))] { echo(std::move(*s), t); });
          }
        });
      tern::thread disturbs{[&, random = tern::detail::fast_random{seed}]() mutable {
        while (!over) {
          switch (random.next() % 4) {
            case 0: rt.set_processors(1 + static_cast<unsigned>(random.next() % 4)); break;
            case 1: tern::blocking([&] { ::usleep(static_cast<unsigned>(random.next() % 3000)); }); break;
            case 2:
              for (const auto end = std::chrono::steady_clock::now() + 2ms;
                   std::chrono::steady_clock::now() < end;) {
              }
              break;
            default: tern::this_thread::sleep_for(std::chrono::microseconds{random.next() % 2000}); break;
          }
        }
      }};
      tern::nursery clients;
      for (unsigned c = 0; c < 12; ++c)
        clients.spawn([&, c] {
          tern::detail::fast_random random{seed + 1 + c};
          for (int i = tern_test::scale(12); i > 0; --i) {
            tern::tcp_stream s = tern::tcp_stream::connect(at);
            for (std::uint64_t k = random.next() % 4; k > 0; --k) write_and_read_back(s, random, t);
            if (random.next() % 3 == 0) wait_in_vain(s, random, t);
            if (random.next() % 8 == 0 && s.is_open()) {
              const ::linger at_once{1, 0};
              ::setsockopt(s.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            }
          }
        });
      clients.wait();
      over = true;
      disturbs.join();
      l.close();
      servers.wait();
    });
    EXPECT_TRUE(tern_test::comes_true([&] { return rt.statistics().live_fibers == 0; }));
  }
  EXPECT_EQ(tern::detail::poller::count_waiting(), 0u);
  // The poller's own two come with its first use.
  EXPECT_LE(files_now(), files + 2);
  std::printf("%u processors: %llu bytes, %llu timed out, %llu closed, %llu cancelled, %llu broken\n",
              processors, static_cast<unsigned long long>(t.echoed),
              static_cast<unsigned long long>(t.timed_out), static_cast<unsigned long long>(t.closed),
              static_cast<unsigned long long>(t.cancelled), static_cast<unsigned long long>(t.broken));
  EXPECT_GT(t.echoed, 0u);
}

TEST(NetStress, Mix) {
  for (const unsigned processors : {1U, 2U, 4U}) mix(processors, tern_test::seed() + processors);
}

}  // namespace

#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include <tern/net.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/comes_true.hpp"
#include "tests/support/error_of.hpp"

namespace net_test {

// Files that this process has open.
inline int open_files() {
  DIR* d = ::opendir("/proc/self/fd");
  if (d == nullptr) return -1;
  int n = 0;
  while (const dirent* e = ::readdir(d))
    if (e->d_name[0] != '.' && std::atoi(e->d_name) != ::dirfd(d)) ++n;
  ::closedir(d);
  return n;
}

// The poller's own two files come with the first wait and stay: makes them come.
inline void warm_up() {
  tern::run([] {
    auto [a, b] = tern::unix_stream::pair();
    std::array<std::byte, 1> to;
    static_cast<void>(
        tern_test::error_of([&s = a, &to] { static_cast<void>(s.read(to, std::chrono::microseconds{1})); }));
  });
}

// At 1, 2 and 4 processors; no fiber and no file is left.
class processors : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    warm_up();
    files_ = open_files();
  }
  void TearDown() override {
    EXPECT_TRUE(tern_test::comes_true([this] { return open_files() == files_; }));
  }

  template <class F>
  void run(F f) {
    tern::runtime rt{{.processors = GetParam()}};
    rt.run(f);
    EXPECT_TRUE(tern_test::comes_true([&] { return rt.statistics().live_fibers == 0; }));
  }

 private:
  int files_ = 0;
};

inline std::string processors_name(const testing::TestParamInfo<unsigned>& i) {
  return "p" + std::to_string(i.param);
}

inline std::span<const std::byte> bytes(std::string_view s) { return std::as_bytes(std::span{s}); }

// Until `n` bytes or the end.
template <class Stream>
std::string read_text(Stream& s, std::size_t n, tern::io_deadline deadline = {}) {
  std::string text(n, '\0');
  std::size_t got = 0;
  while (got < n) {
    const std::size_t k = s.read(std::as_writable_bytes(std::span{text}).subspan(got), deadline);
    if (k == 0) break;
    got += k;
  }
  text.resize(got);
  return text;
}

struct tcp_pair {
  tern::tcp_stream client;
  tern::tcp_stream server;
};
inline tcp_pair connected() {
  tern::tcp_listener l{tern::endpoint::loopback(0)};
  tcp_pair p;
  p.client = tern::tcp_stream::connect(l.local_endpoint());
  p.server = l.accept();
  return p;
}

}  // namespace net_test

#define NET_TEST_AT_ALL_SIZES(suite)  \
  using suite = net_test::processors; \
  INSTANTIATE_TEST_SUITE_P(at, suite, testing::Values(1u, 2u, 4u), net_test::processors_name)

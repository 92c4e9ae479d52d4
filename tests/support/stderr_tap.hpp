// Waiting for what the library says on stderr, instead of for the time in which it should have said it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

namespace tern_test {

// From its construction on it reads what the process writes to stderr, and passes it on.
class stderr_tap {
 public:
  stderr_tap() : before_{::dup(2)} {
    int ends[2];
    if (before_ < 0 || ::pipe2(ends, O_CLOEXEC) != 0 || ::dup2(ends[1], 2) < 0) std::_Exit(99);
    ::close(ends[1]);
    from_ = ends[0];
  }
  stderr_tap(const stderr_tap&) = delete;
  stderr_tap& operator=(const stderr_tap&) = delete;
  ~stderr_tap() {
    ::dup2(before_, 2);  // the pipe's last writer: what is left in it has an end
    while (pass_on()) {
    }
    ::close(from_);
    ::close(before_);
  }

  // Returns once `text` has been written, and what has been written so far. One thread's.
  const std::string& wait_for(std::string_view text) {
    while (seen_.find(text) == std::string::npos && pass_on()) {
    }
    return seen_;
  }

 private:
  bool pass_on() {
    char some[4096];
    const ssize_t n = ::read(from_, some, sizeof some);
    if (n <= 0) return false;
    seen_.append(some, static_cast<std::size_t>(n));
    [[maybe_unused]] const auto written = ::write(before_, some, static_cast<std::size_t>(n));
    return true;
  }

  int before_;
  int from_ = -1;
  std::string seen_;
};

}  // namespace tern_test

#include "bench/harness/turns.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "bench/harness/process.hpp"

namespace tern_bench {
namespace {

[[noreturn]] void end_alone() {
  std::fputs("tern bench: the other end of --tern_turns is gone\n", stderr);
  std::_Exit(1);
}

}  // namespace

void turns::tell() const {
  const char byte = 't';
  while (write(socket_, &byte, 1) != 1) {
    if (errno != EINTR) end_alone();
  }
}

bool turns::parse(std::string_view text) {
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, socket_);
  // Programs that a row starts are not to hold it open.
  return error == std::errc{} && last == end && socket_ >= 0 && fcntl(socket_, F_SETFD, FD_CLOEXEC) == 0;
}

void turns::take() {
  if (socket_ < 0) return;
  if (!ready_) tell();
  ready_ = true;
  unsigned char byte = 0;
  for (ssize_t got = -1; got != 1;) {
    got = read(socket_, &byte, 1);
    if (got == 0 || (got < 0 && errno != EINTR)) end_alone();
  }
  // It only begins there: then the kernel may move it as ever, and threads that it starts go where they like.
  const confine to_all(usable_cpus());
  static_cast<void>(pin_to(byte % usable_cpus()));
}

void turns::pass() {
  if (socket_ >= 0) tell();
}

}  // namespace tern_bench

#include "bench/harness/turns.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>

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

// The calling thread goes on on that CPU; from there the kernel may move it as ever, and threads that it starts go where they like.
void turns::begin_on(unsigned cpu) {
  cpu_set_t usual;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (sched_getaffinity(0, sizeof usual, &usual) != 0 || sched_setaffinity(0, sizeof one, &one) != 0) return;
  static_cast<void>(sched_setaffinity(0, sizeof usual, &usual));
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
  if (byte != 0) begin_on(byte - 1U);
}

void turns::pass() {
  if (socket_ >= 0) tell();
}

}  // namespace tern_bench

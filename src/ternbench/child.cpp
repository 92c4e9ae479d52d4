#include "child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "error.hpp"
#include "json_io.hpp"

namespace ternbench {

struct pipe_pair {
  int read_end = -1;
  int write_end = -1;

  pipe_pair() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0)
      throw tool_error(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
    read_end = ends[0];
    write_end = ends[1];
    fcntl(read_end, F_SETFL, O_NONBLOCK);
  }
  pipe_pair(const pipe_pair&) = delete;
  pipe_pair& operator=(const pipe_pair&) = delete;
  ~pipe_pair() {
    close_write();
    close_read();
  }
  void close_write() {
    if (write_end >= 0) close(write_end);
    write_end = -1;
  }
  void close_read() {
    if (read_end >= 0) close(read_end);
    read_end = -1;
  }
};

struct socket_pair {
  int ours = -1;
  int theirs = -1;

  socket_pair() = default;
  socket_pair(const socket_pair&) = delete;
  socket_pair& operator=(const socket_pair&) = delete;
  ~socket_pair() {
    close_theirs();
    if (ours >= 0) close(ours);
  }
  void open() {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
      throw tool_error(fmt::format("cannot make a pair of sockets: {}", std::strerror(errno)));
    ours = ends[0];
    theirs = ends[1];
  }
  void close_theirs() {
    if (theirs >= 0) close(theirs);
    theirs = -1;
  }
};

namespace {

volatile std::sig_atomic_t interrupt_flag = 0;

void on_interrupt(int) { interrupt_flag = 1; }

constexpr std::size_t kept_errors = 64 * 1024;

/// Reads what there is; closes the pipe at its end.
void drain(pipe_pair& from, std::string& into) {
  std::array<char, 65536> buffer{};
  while (from.read_end >= 0) {
    const ssize_t n = read(from.read_end, buffer.data(), buffer.size());
    if (n > 0) {
      into.append(buffer.data(), static_cast<std::size_t>(n));
    } else if (n == 0) {
      from.close_read();
    } else if (errno != EINTR) {
      return;
    }
  }
}

[[noreturn]] void become(const child_command& command, const pipe_pair& out, const pipe_pair& err) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) std::signal(signal, SIG_DFL);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, STDIN_FILENO);
  dup2(out.write_end, STDOUT_FILENO);
  dup2(err.write_end, STDERR_FILENO);
  std::vector<std::string> added = command.environment;
  for (std::string& variable : added) putenv(variable.data());
  std::vector<std::string> words = command.launcher;
  words.push_back(words.empty() ? command.program.filename().string() : command.program.string());
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  if (command.launcher.empty()) {
    execv(command.program.c_str(), argv.data());
  } else {
    execvp(argv[0], argv.data());
  }
  const char* const reason = std::strerror(errno);
  static_cast<void>(!write(STDERR_FILENO, reason, std::strlen(reason)));
  _exit(127);
}

}  // namespace

std::string child_result::describe() const {
  switch (how) {
    case ending::exited: return fmt::format("exit status {}", code);
    case ending::signalled: return fmt::format("signal {} ({})", code, strsignal(code));
    case ending::timed_out: return fmt::format("{} {:.0f} s", timed_out_words, seconds);
    case ending::interrupted: return std::string(interrupted_words);
    case ending::not_started: break;
  }
  return "could not be started";
}

std::string child_result::last_error_line() const { return last_line_of(err); }

std::string last_line_of(const std::string& text) {
  const auto end = text.find_last_not_of(" \n\r");
  if (end == std::string::npos) return {};
  const auto start = text.rfind('\n', end);
  std::string line = text.substr(start == std::string::npos ? 0 : start + 1,
                                 end - (start == std::string::npos ? 0 : start + 1) + 1);
  std::size_t longest = 160;
  if (line.size() > longest) {
    while (longest > 0 && (static_cast<unsigned char>(line[longest]) & 0xC0U) == 0x80U)
      --longest;  // whole letters
    line.resize(longest);
  }
  return printable(line);  // it is shown on a terminal
}

struct child_process::state {
  using clock = std::chrono::steady_clock;

  child_command command;
  pipe_pair out;
  pipe_pair err;
  socket_pair turns;
  pid_t pid = -1;  // -1: reaped
  bool killed = false;
  clock::time_point started = clock::now();
  child_result result;

  [[nodiscard]] static double since(clock::time_point start) {
    return std::chrono::duration<double>(clock::now() - start).count();
  }

  bool wait(bool for_word, const std::function<void()>& tick);
  void reap(int status);
};

void child_process::state::reap(int status) {
  kill(-pid, SIGKILL);  // what it may have left behind in its group
  pid = -1;
  drain(out, result.out);
  drain(err, result.err);
  result.seconds = since(started);
  if (killed) return;
  if (WIFSIGNALED(status)) {
    result.how = child_result::ending::signalled;
    result.code = WTERMSIG(status);
  } else {
    result.how = child_result::ending::exited;
    result.code = WEXITSTATUS(status);
  }
}

/// Until it writes a byte to its turns (true), or the end (false), which comes at the latest after the command's seconds.
bool child_process::state::wait(bool for_word, const std::function<void()>& tick) {
  const auto begun = clock::now();
  while (pid >= 0) {
    std::array<pollfd, 3> waiting{pollfd{out.read_end, POLLIN, 0}, pollfd{err.read_end, POLLIN, 0},
                                  pollfd{for_word ? turns.ours : -1, POLLIN, 0}};
    const bool open = out.read_end >= 0 || err.read_end >= 0;
    constexpr int tick_ms = 250;
    constexpr int closed_ms = 5;
    const int ready = poll(waiting.data(), waiting.size(), open ? tick_ms : closed_ms);
    if (char word = 0; for_word && ready > 0 && (waiting[2].revents & POLLIN) != 0 &&
                       recv(turns.ours, &word, 1, MSG_DONTWAIT) == 1)
      return true;
    drain(out, result.out);
    drain(err, result.err);
    if (result.err.size() > 2 * kept_errors) result.err.erase(0, result.err.size() - kept_errors);
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      reap(status);
      break;
    }
    if (tick) tick();
    if (killed) continue;
    if (interrupted()) {
      result.how = child_result::ending::interrupted;
    } else if (since(begun) > command.timeout_seconds) {
      result.how = child_result::ending::timed_out;
    } else {
      continue;
    }
    kill(-pid, SIGKILL);
    killed = true;
  }
  return false;
}

child_process::child_process(const child_command& command, bool takes_turns)
    : state_(std::make_unique<state>()) {
  state_->command = command;
  if (takes_turns) {
    state_->turns.open();
    state_->command.arguments.push_back(fmt::format("--tern_turns={}", state_->turns.theirs));
  }
  state_->pid = fork();
  if (state_->pid < 0) throw tool_error(fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (state_->pid == 0) {
    if (takes_turns) fcntl(state_->turns.theirs, F_SETFD, 0);
    become(state_->command, state_->out, state_->err);
  }
  setpgid(state_->pid, state_->pid);  // in both processes: whichever comes first
  state_->out.close_write();
  state_->err.close_write();
  state_->turns.close_theirs();
}

child_process::~child_process() {
  if (state_->pid < 0) return;
  kill(-state_->pid, SIGKILL);
  while (waitpid(state_->pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool child_process::wait_ready(const std::function<void()>& tick) { return state_->wait(true, tick); }

bool child_process::take_turn(unsigned char cpu, const std::function<void()>& tick) {
  if (state_->pid < 0) return false;
  static_cast<void>(
      send(state_->turns.ours, &cpu, 1, MSG_NOSIGNAL));  // where it fails, the end is what follows
  return state_->wait(true, tick);
}

child_result child_process::finish(const std::function<void()>& tick) {
  static_cast<void>(state_->wait(false, tick));
  return state_->result;
}

child_result run_child(const child_command& command, const std::function<void()>& tick) {
  return child_process(command).finish(tick);
}

void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() noexcept { return interrupt_flag != 0; }

}  // namespace ternbench

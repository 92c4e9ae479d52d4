// A child process with its output captured, a time limit, and an end that always comes.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ternbench {

/// How describe() begins where a process was ended because it took too long, or because we were interrupted.
inline constexpr std::string_view timed_out_words = "timed out after";
inline constexpr std::string_view interrupted_words = "interrupted";

struct child_command {
  std::filesystem::path program;      // what is executed
  std::vector<std::string> launcher;  // put before it (an emulator), found on PATH; usually empty
  std::vector<std::string> arguments;
  double timeout_seconds = 60;
  std::vector<std::string> environment{};  // "NAME=value", added to ours
};

struct child_result {
  enum class ending { exited, signalled, timed_out, interrupted, not_started };
  ending how = ending::not_started;
  int code = 0;  // exit status or signal
  double seconds = 0;
  std::string out;
  std::string err;  // the last 64 KiB

  [[nodiscard]] bool succeeded() const { return how == ending::exited && code == 0; }
  /// "exit status 3", "signal 11 (Segmentation fault)", "no end within 60 s" ...
  [[nodiscard]] std::string describe() const;
  [[nodiscard]] std::string last_error_line() const;
};

/// The last line of what a process said, cut where it is long.
[[nodiscard]] std::string last_line_of(const std::string& text);

/// A running program, in a process group of its own that is killed as a whole on a time-out, an interruption or by the destructor.
/// argv[0] is the bare file name, so that no path is recorded. `tick` is called about four times a second of a wait.
class child_process {
 public:
  /// With `takes_turns` its last argument is --tern_turns=FD: see bench/harness/turns.hpp. Throws tool_error.
  explicit child_process(const child_command& command, bool takes_turns = false);
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;
  ~child_process();

  /// Waits until it is ready for its first turn. False: it has ended, or was ended.
  [[nodiscard]] bool wait_ready(const std::function<void()>& tick);
  /// Gives it a turn, which begins on that CPU modulo their number, and waits until it is over. False: it has ended, or was ended.
  [[nodiscard]] bool take_turn(unsigned char cpu, const std::function<void()>& tick);
  /// Waits for its end.
  [[nodiscard]] child_result finish(const std::function<void()>& tick);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Runs a program to its end.
[[nodiscard]] child_result run_child(const child_command& command, const std::function<void()>& tick = {});

/// From here on SIGINT and SIGTERM set a flag instead of ending the tool.
void catch_interrupts();
[[nodiscard]] bool interrupted() noexcept;

}  // namespace ternbench

// scenario/startup/linkage:static|dynamic
//
// One operation  the start of a program that prints a line, until it has ended: posix_spawn to waitpid, by the harness's clock.
// Kept equal     what the programs do, besides raw's (bench/peers/startup, bench/peers/go/hello): they start a task, which makes an object and a
//                block of memory and prints. Standard input is empty. Files without symbols. Warm: every page of them is in the page cache.
// Best form      raw: C++ that only prints. pthread: a std::thread, a shared_ptr, new. tern: a runtime with its defaults (as many processors as the
//                machine has), a fiber, a managed object, a block. go: a goroutine and an object in the heap; without cgo it is linked
//                statically only.
// Also           to_output_ns: until the line could be read. rss_bytes: peak resident memory and page tables while the program waits after it
//                has printed; rss_file_bytes: of that, pages of files, which other processes share. binary_bytes: the file's size. cpu_time
//                is the program's, kernel included.
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "bench/harness/host_facts.hpp"
#include "bench/harness/process.hpp"
#include "bench/subjects/go_peer.hpp"
#include "bench/subjects/pthread.hpp"

namespace tern_bench {
namespace {

template <class S>
struct startup_subject {
  template <class F>
  static void run(const row_params&, F&& fn) {
    fn();
  }
  static std::string program(const std::string& linkage) {
    return program_folder() + "/hello_" + S::name + "_" + linkage;
  }
};
struct startup_tern : startup_subject<startup_tern> {
  static constexpr const char* name = "tern";
  static constexpr role subject_role = role::subject;
  static std::string version() { return tern_version; }
};
struct startup_raw : startup_subject<startup_raw> {
  static constexpr const char* name = "raw";
  static constexpr role subject_role = role::baseline;
  static std::string version() { return ""; }
};
struct startup_pthread : startup_subject<startup_pthread> {
  static constexpr const char* name = "pthread";
  static constexpr role subject_role = role::baseline;
  static std::string version() { return pthread_subject::version(); }
};
struct startup_go : startup_subject<startup_go> {
  static constexpr const char* name = "go";
  static constexpr role subject_role = role::peer;
  static std::string version() { return go_peer::version(); }
};

// A program that has been started, with the ends of its input and output.
class started {
 public:
  // With `waits` it lives until finish(), else its input is empty.
  started(const std::string& program, bool waits) {
    int out[2];
    int in[2] = {-1, -1};
    if (pipe2(out, O_CLOEXEC) != 0 || (waits && pipe2(in, O_CLOEXEC) != 0))
      throw std::runtime_error("pipe2 failed");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (waits) {
      posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    } else {
      posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    }
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    char* argv[] = {const_cast<char*>(program.c_str()), nullptr};
    const int error = posix_spawn(&child_, program.c_str(), &actions, nullptr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    if (waits) close(in[0]);
    output_ = out[0];
    input_ = in[1];
    if (error != 0) throw std::system_error(error, std::generic_category(), "a program cannot be started");
  }
  started(const started&) = delete;
  started& operator=(const started&) = delete;
  ~started() {
    if (input_ >= 0) close(input_);
    if (output_ >= 0) close(output_);
    if (child_ > 0) waitpid(child_, nullptr, 0);
  }
  std::string line() const {
    std::string text;
    for (char c = 0; read(output_, &c, 1) == 1;) {
      text += c;
      if (c == '\n') break;
    }
    return text;
  }
  [[nodiscard]] std::int64_t status(const char* key) const { return status_number(child_, key); }
  void finish() {
    if (input_ >= 0) close(std::exchange(input_, -1));
    int status = -1;
    if (waitpid(std::exchange(child_, -1), &status, 0) < 0 || status != 0)
      throw std::runtime_error("a program has not ended well");
  }

 private:
  pid_t child_ = -1;
  int output_ = -1;
  int input_ = -1;
};

double cpu_seconds_of_children() {
  rusage use{};
  getrusage(RUSAGE_CHILDREN, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

template <class S>
class startup_hello {
 public:
  explicit startup_hello(const row_params& p) : program_(S::program(p.word("linkage"))) {}
  static std::string unfit(const row_params& p) {
    // Not the emulator but the kernel would be asked to run it.
    if (is_emulated()) return "an emulator starts no further program";
    const std::string linkage = p.word("linkage");
    if (access(S::program(linkage).c_str(), X_OK) == 0) return "";
    if (std::string_view{S::name} == "go")
      return linkage == "dynamic" ? "a Go program without cgo is linked statically"
                                  : "there was no Go toolchain for this machine at build time";
    return "no program of this linkage could be built: there are no static libraries, or a sanitizer is on";
  }
  static std::uint64_t fixed_operations(const row_params&, std::int64_t time_ms) {
    return static_cast<std::uint64_t>(time_ms / 5 + 1);
  }
  std::uint64_t operations() const { return 1; }
  std::uint32_t run() {
    if (runs_++ == 1) cpu_before_ = cpu_seconds_of_children();  // the first one warms up
    const std::int64_t begin = now_ns();
    started hello(program_, false);
    const std::string line = hello.line();
    if (line != "hello\n") throw std::runtime_error("a program has not printed its line");
    to_output_ns_ += static_cast<double>(now_ns() - begin);
    hello.finish();
    return fold(0, line.size());
  }
  void finish(measurement& m) {
    m.counters["to_output_ns"] = to_output_ns_ / static_cast<double>(runs_);
    if (runs_ > 1) m.cpu_seconds = cpu_seconds_of_children() - cpu_before_;
    started hello(program_, true);
    if (hello.line() != "hello\n") throw std::runtime_error("a program has not printed its line");
    m.counters["rss_bytes"] = static_cast<double>(hello.status("VmHWM:") + hello.status("VmPTE:"));
    m.counters["rss_file_bytes"] = static_cast<double>(hello.status("RssFile:"));
    hello.finish();
    struct stat info{};
    if (stat(program_.c_str(), &info) == 0) m.counters["binary_bytes"] = static_cast<double>(info.st_size);
  }

 private:
  std::string program_;
  std::uint64_t runs_ = 0;
  double to_output_ns_ = 0;
  double cpu_before_ = 0;
};

const registration<startup_hello, subjects<startup_tern, startup_raw, startup_pthread, startup_go>>
    startup_hello_registered{{
        .area = "scenario",
        .name = "startup",
        .smoke = {{"linkage", "dynamic"}},
        .points = {{{{"linkage", "dynamic"}}, tier::quick, false, 10},
                   {{{"linkage", "static"}}, tier::quick, false, 10}},
    }};

}  // namespace
}  // namespace tern_bench

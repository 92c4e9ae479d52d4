#include "bench/harness/fresh.hpp"

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "bench/harness/host_facts.hpp"
#include "bench/harness/latency.hpp"

namespace tern_bench {
namespace {

using nlohmann::json;

int request_fd = -1;
int reply_fd = -1;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "tern bench: %s: %s\n", what, std::strerror(errno));
  std::_Exit(1);
}

bool write_all(int fd, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

// Up to and without a newline; empty at the end of the stream.
std::string read_line(int fd) {
  std::string line;
  char c = 0;
  for (;;) {
    const ssize_t n = read(fd, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || c == '\n') return line;
    line.push_back(c);
  }
}

std::string read_to_end(int fd) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

std::string to_line(const measurement& m) {
  json counters = json::object();
  for (const auto& [name, value] : m.counters) {
    if (std::isfinite(value)) counters[name] = value;
  }
  json j = {{"seconds", m.seconds},   {"cpu_seconds", m.cpu_seconds}, {"operations", m.operations},
            {"checksum", m.checksum}, {"counters", counters},         {"error", m.error}};
  if (m.latencies) {
    // Whole buckets, with the exact ends: what the reader rebuilds differs by less than a bucket's width.
    json buckets = json::array();
    m.latencies->for_each_bucket([&](std::int64_t lower, std::int64_t upper, std::uint64_t count) {
      const std::int64_t middle = lower + (upper - lower) / 2;
      buckets.push_back({std::min(std::max(middle, m.latencies->min()), m.latencies->max()), count});
    });
    j["latencies_ns"] = buckets;
  }
  return j.dump() + "\n";
}

measurement failed(std::string why) {
  measurement m;
  m.error = std::move(why);
  return m;
}

measurement from_line(const std::string& line, const std::string& who) {
  const json j = json::parse(line, nullptr, false);
  if (!j.is_object()) return failed(who + " gave no measurement");
  measurement m;
  try {
    m.error = j.value("error", "");
    m.seconds = j.value("seconds", 0.0);
    m.cpu_seconds = j.value("cpu_seconds", 0.0);
    m.operations = j.value("operations", std::uint64_t{0});
    m.checksum = j.value("checksum", std::uint32_t{0});
    if (const auto latencies = j.find("latencies_ns"); latencies != j.end()) {
      auto h = std::make_shared<histogram>();
      for (const json& entry : *latencies) {
        h->record_n(entry.at(0).get<std::int64_t>(), entry.at(1).get<std::uint64_t>());
      }
      add_latencies(m, *h);
    }
    if (const auto counters = j.find("counters"); counters != j.end()) {
      for (const auto& [name, value] : counters->items()) m.counters[name] = value.get<double>();
    }
  } catch (const json::exception& e) {
    return failed(who + " gave a measurement that cannot be read: " + e.what());
  }
  if (m.error.empty() && m.operations == 0) return failed(who + " did nothing");
  return m;
}

// One child: measure, write a line, end without running exit handlers of the parent's state.
[[noreturn]] void child_main(const json& request, int fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const row& r = all_rows()[request.at("row").get<std::size_t>()];
  const row_params& params = request.at("smoke").get<bool>() ? r.smoke_params : r.params;
  const run_budget budget{request.at("operations").get<std::uint64_t>(), request.at("warm").get<bool>()};
  const measurement m = r.measure(params, budget);
  const bool ok = write_all(fd, to_line(m));
  std::fflush(nullptr);
  std::_Exit(ok ? 0 : 1);
}

std::string describe_status(int status) {
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  return "ended with status " + std::to_string(WEXITSTATUS(status));
}

[[noreturn]] void serve(int requests, int replies) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    const std::string line = read_line(requests);
    if (line.empty()) std::_Exit(0);
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0) give_up("pipe");
    const pid_t child = fork();
    if (child < 0) give_up("fork");
    if (child == 0) {
      close(pipe_fds[0]);
      child_main(json::parse(line), pipe_fds[1]);
    }
    close(pipe_fds[1]);
    std::string answer = read_to_end(pipe_fds[0]);
    close(pipe_fds[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0 || answer.empty()) {
      answer = to_line(failed("the row's own process " + describe_status(status)));
    }
    if (!write_all(replies, answer)) std::_Exit(0);
  }
}

}  // namespace

void start_fresh_processes() {
  int down[2];
  int up[2];
  if (pipe(down) != 0 || pipe(up) != 0) give_up("pipe");
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) give_up("fork");
  if (child == 0) {
    close(down[1]);
    close(up[0]);
    serve(down[0], up[1]);
  }
  close(down[0]);
  close(up[1]);
  request_fd = down[1];
  reply_fd = up[0];
  signal(SIGPIPE, SIG_IGN);
}

measurement measure_fresh(std::size_t index, const row_params& params, run_budget budget) {
  const row& r = all_rows()[index];
  const json request = {{"row", index},
                        {"smoke", params.suffix() != r.params.suffix()},
                        {"operations", budget.operations},
                        {"warm", budget.warm}};
  if (!write_all(request_fd, request.dump() + "\n")) return failed("the nursery process is gone");
  return from_line(read_line(reply_fd), "the row's own process");
}

measurement measure_program(const std::vector<std::string>& arguments, const std::string& preload) {
  int out[2];
  if (pipe(out) != 0) give_up("pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_addclose(&actions, out[0]);
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::string preload_entry = "LD_PRELOAD=" + preload;
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (preload.empty() || std::strncmp(*entry, "LD_PRELOAD=", 11) != 0) environment.push_back(*entry);
  }
  if (!preload.empty()) environment.push_back(preload_entry.data());
  environment.push_back(nullptr);
  pid_t child = 0;
  const int error = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  if (error != 0) {
    close(out[0]);
    return failed(std::string("the peer program cannot be started: ") + std::strerror(error));
  }
  const std::string text = read_to_end(out[0]);
  close(out[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return failed("the peer program " + describe_status(status));
  const std::size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) return failed("the peer program printed nothing");
  const std::size_t begin = text.rfind('\n', end);
  return from_line(text.substr(begin == std::string::npos ? 0 : begin + 1, end + 1), "the peer program");
}

bool is_beside_us(const std::string& file) {
  return access((program_folder() + '/' + file).c_str(), R_OK) == 0;
}

// By its name, and not /proc/self/exe, which under valgrind leads to valgrind.
static std::string program_path() {
  char path[4096];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  return n <= 0 ? "" : std::string(path, static_cast<std::size_t>(n));
}

measurement measure_preloaded(const std::string& file, const std::string& row_name, run_budget budget) {
  if (is_emulated()) return failed("skipped: an emulator does not start this program as a child of itself");
  std::string library;
  if (!file.empty()) {
    if (!is_beside_us(file)) return failed("skipped: " + file + " was not found at build time");
    library = program_folder() + '/' + file;
  }
  const json request = {
      {"row", row_name}, {"operations", budget.operations}, {"warm", budget.warm}, {"preload", library}};
  return measure_program({program_path(), "--tern_child=" + request.dump()}, library);
}

int measure_as_child(const std::string& text) {
  const json request = json::parse(text);
  const std::string name = request.at("row");
  const run_budget budget{request.at("operations").get<std::uint64_t>(), request.at("warm").get<bool>()};
  const std::string preload = request.at("preload");
  measurement m = failed("there is no row " + name);
  Dl_info found{};
  if (!preload.empty() &&
      (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &found) == 0 || preload != found.dli_fname)) {
    m = failed("malloc is not that of " + preload + ": it cannot be preloaded");
  } else {
    for (const row& r : all_rows()) {
      const bool is_smoke = r.in_smoke && r.name(r.smoke_params) == name;
      if (!is_smoke && r.name(r.params) != name) continue;
      m = r.measure(is_smoke ? r.smoke_params : r.params, budget);
      break;
    }
  }
  const bool ok = write_all(1, to_line(m));
  // As at the end of a real program, so that an allocator's own exit code has its turn.
  return ok ? 0 : 1;
}

std::string program_folder() {
  const std::string path = program_path();
  const std::size_t end = path.rfind('/');
  return end == std::string::npos ? "." : path.substr(0, end);
}

}  // namespace tern_bench

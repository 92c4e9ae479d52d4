// scenario/idle_connections/connections:C
//
// One operation  one TCP connection that is made over loopback, says one message of 64 bytes, gets it back, and stays open and idle with all the
//                others: the time is that of setting up.
// Kept equal     the servers of scenario/echo, with 4 KiB of buffer per connection. Each 20,000 connections come from an address of their own, since
//                an address has ports for some 28,000.
// Also           bytes_per_op: growth of the server's resident memory and page tables per connection. kernel_bytes_per_op: growth of the kernel's slabs
//                and kernel stacks per connection, of both ends and of the whole machine, which must be quiet. os_threads: of the server. cpu_time
//                is the server's.
// Limits         C descriptors in the server and in the client: where RLIMIT_NOFILE does not allow them the row is skipped.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "bench/subjects/servers.hpp"

namespace tern_bench {
namespace {

double kernel_bytes() {
  std::ifstream info("/proc/meminfo");
  double sum = 0;
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("Slab:") || line.starts_with("KernelStack:"))
      sum += std::strtod(line.c_str() + line.find(':') + 1, nullptr) * 1024;
  return sum;
}

// When it no longer shrinks: the kernel frees the sockets of the rows before some time after their end. Two seconds at most.
double settled_kernel_bytes() {
  double least = kernel_bytes();
  int quiet = 0;
  for (int looks = 0; quiet < 4 && looks < 40; ++looks) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const double now = kernel_bytes();
    quiet = now < least - 64 * 1024 ? 0 : quiet + 1;
    least = std::min(least, now);
  }
  return least;
}

template <class S>
class idle_connections {
 public:
  static constexpr bool cold = true;
  static constexpr bool evolves = true;

  explicit idle_connections(const row_params& p)
      : count_(p.size_of("connections")), clients_(0), kernel_before_(settled_kernel_bytes()) {}
  static std::string unfit(const row_params& p) {
    if (const std::string why = unfit_for_connections(p["connections"]); !why.empty()) return why;
    return unfit_for_tasks<S>(p["connections"]);
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t) {
    return static_cast<std::uint64_t>(p["connections"]);
  }
  std::uint64_t operations() const { return count_; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    std::array<char, 64> data{};
    std::array<char, 64> back{};
    for (std::size_t i = 0; i < count_; ++i) {
      const int fd = clients_.add();
      std::memcpy(data.data(), &i, sizeof i);
      if (send(fd, data.data(), data.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(data.size()) ||
          recv(fd, back.data(), back.size(), MSG_WAITALL) != static_cast<ssize_t>(back.size()) ||
          back != data)
        throw std::runtime_error("a connection does not work");
      sum = fold(sum, i);
    }
    return sum;
  }
  void finish(measurement& m) {
    m.cpu_seconds = clients_.cpu_seconds();
    m.counters["bytes_per_op"] = clients_.bytes_each();
    m.counters["kernel_bytes_per_op"] = (kernel_bytes() - kernel_before_) / static_cast<double>(count_);
    m.counters["os_threads"] = clients_.threads();
  }

 private:
  std::size_t count_;
  connected_clients<S> clients_;
  double kernel_before_;
};

const registration<idle_connections, servers<echo_session>> idle_connections_registered{{
    .area = "scenario",
    .name = "idle_connections",
    .smoke = {{"connections", 8}},
    .points = {{{{"connections", 1000}}, tier::quick, false, 200},
               {{{"connections", 10'000}}, tier::standard, false, 800},
               {{{"connections", 19'000}}, tier::full, false, 4000},
               {{{"connections", 100'000}}, tier::full, false, 20'000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

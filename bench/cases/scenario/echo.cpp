// scenario/echo/connections:C/depth:D
//
// One operation  one message of 64 bytes that goes to a TCP server over loopback and comes back. C connections; the client writes D messages to
//                each of them by one call, then reads the answers of each, and begins anew. D = 1 is ping-pong, more is
//                streaming: the server may find several messages at once, and answers what it has found.
// Kept equal     the server is a process of its own on the first CPU: one processor. The client, the same for all, blocks in send and recv, which
//                costs it less than serving costs anybody, on the second CPU. TCP_NODELAY on both sides, a buffer of 4 KiB per connection.
// Best form      tern: a fiber per connection. raw: one thread around epoll, level-triggered. pthread: a thread per connection. go: a goroutine
//                per connection.
// Also           cpu_ns_per_op is the server's CPU time per operation, after a first batch: what bounds the rate of one that has no time to wait.
//                The time is that of whichever of the two is slower, and of the kernel that wakes them, which on a virtual machine is most.
#include <algorithm>
#include <array>
#include <cstring>

#include "bench/subjects/servers.hpp"

namespace tern_bench {
namespace {

constexpr std::size_t message = 64;

template <class S>
class echo {
 public:
  static constexpr bool reports_cpu = true;
  explicit echo(const row_params& p)
      : depth_(p.size_of("depth")),
        clients_(p.size_of("connections")),
        data_(depth_ * message),
        back_(depth_ * message) {
    rounds_ = per_batch / clients_.size();
    if (rounds_ == 0) rounds_ = 1;
  }
  static std::string unfit(const row_params& p) { return unfit_for_connections(p["connections"]); }
  // Bounded, since on a busy machine a round trip may take long; and at least 20 messages or calls of each connection, of which the first ones
  // meet stacks and buffers that are cold.
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    return static_cast<std::uint64_t>(std::max(20 * time_ms, 20 * p["connections"]) * p["depth"]);
  }
  std::uint64_t operations() const { return rounds_ * clients_.size() * depth_; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::size_t round = 0; round < rounds_; ++round) {
      for (std::size_t i = 0; i < clients_.size(); ++i) {
        stamp(round, i);
        if (send(clients_[i], data_.data(), data_.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(data_.size()))
          throw std::runtime_error("a message was not sent");
      }
      for (std::size_t i = 0; i < clients_.size(); ++i) {
        if (recv(clients_[i], back_.data(), back_.size(), MSG_WAITALL) != static_cast<ssize_t>(back_.size()))
          throw std::runtime_error("an answer did not come");
        stamp(round, i);
        if (back_ != data_) throw std::runtime_error("an answer is not what was sent");
        sum = fold(sum, round * 131 + i);
      }
    }
    clients_.count(operations());
    return sum;
  }
  void finish(measurement& m) {
    m.cpu_seconds = clients_.cpu_seconds_each() * static_cast<double>(m.operations);
  }

 private:
  static constexpr std::size_t per_batch = 512;  // writes of the client

  void stamp(std::size_t round, std::size_t connection) {
    for (std::size_t d = 0; d < depth_; ++d) {
      const std::array<std::uint64_t, 3> mark{round, connection, d};
      std::memcpy(data_.data() + d * message, mark.data(), sizeof mark);
    }
  }

  std::size_t depth_;
  connected_clients<S> clients_;
  std::vector<char> data_;
  std::vector<char> back_;
  std::size_t rounds_ = 0;
};

const registration<echo, servers<echo_session>> echo_registered{{
    .area = "scenario",
    .name = "echo",
    .smoke = {{"connections", 4}, {"depth", 2}},
    .points = {{{{"connections", 1}, {"depth", 1}}, tier::quick, false, 100},
               {{{"connections", 1000}, {"depth", 1}}, tier::quick, false, 300},
               {{{"connections", 1}, {"depth", 16}}, tier::standard, false, 100},
               {{{"connections", 100}, {"depth", 1}}, tier::standard, false, 100},
               {{{"connections", 100}, {"depth", 16}}, tier::quick, false, 100}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

// scenario/echo_latency/connections:C/rate:R
//
// One operation  one message of 64 bytes to a TCP server over loopback and back. R messages a second leave at times that are fixed beforehand, over C
//                connections in turn, whether earlier ones have come back or not; latency is from the *intended* start until
//                the whole answer has been read. The row's time is the mean latency.
// Kept equal     as in scenario/echo. The client spins on the second CPU. The connections' order of answers is that of the messages.
#include "bench/subjects/servers.hpp"

namespace tern_bench {
namespace {

template <class S>
class echo_latency {
 public:
  static constexpr bool evolves = true;

  explicit echo_latency(const row_params& p)
      : period_ns_(1'000'000'000 / p["rate"]),
        clients_(p.size_of("connections")),
        readers_(clients_.size()),
        ready_(clients_) {}
  static std::string unfit(const row_params& p) {
    return usable_cpus() < 2 ? "needs 2 processors, this host has 1"
                             : unfit_for_connections(p["connections"]);
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    const auto messages = static_cast<std::uint64_t>(time_ms * p["rate"] / 1000);
    return (messages / batch + 1) * batch;
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run(histogram& latencies) {
    const std::int64_t start = now_ns() + 1'000'000;
    const std::int64_t give_up = start + static_cast<std::int64_t>(batch) * period_ns_ + 20'000'000'000;
    std::uint64_t sent = 0;
    std::uint64_t answered = 0;
    std::uint32_t sum = 0;
    while (answered < batch) {
      const std::int64_t now = now_ns();
      if (now > give_up) throw std::runtime_error("an answer did not come");
      const std::int64_t intended = start + static_cast<std::int64_t>(sent) * period_ns_;
      if (sent < batch && now >= intended) {
        send_frame(clients_[sent % clients_.size()], message{.intended = intended, .number = sent});
        ++sent;
      }
      ready_.for_each_ready([&](std::size_t i) {
        readers_[i].receive(clients_[i], [&](const message& m) {
          latencies.record(now_ns() - m.intended);
          sum += fold(0, m.number);  // in any order
          ++answered;
        });
      });
    }
    return sum;
  }
  void finish(measurement& m) { m.counters["server_cpu_seconds"] = clients_.cpu_seconds(); }

 private:
  static constexpr std::uint64_t batch = 2000;
  struct message {
    std::int64_t intended = 0;
    std::uint64_t number = 0;
    std::uint64_t unused[6] = {};
  };
  static_assert(sizeof(message) == 64);

  std::int64_t period_ns_;
  connected_clients<S> clients_;
  std::vector<frame_reader<message>> readers_;
  readable_set ready_;
};

const registration<echo_latency, servers<echo_session>> echo_latency_registered{{
    .area = "scenario",
    .name = "echo_latency",
    .smoke = {{"connections", 4}, {"rate", 10'000}},
    .points = {{{{"connections", 100}, {"rate", 20'000}}, tier::quick, false, 150},
               {{{"connections", 1000}, {"rate", 20'000}}, tier::standard, false, 300}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

// scenario/gateway/connections:C/load:L
//
// One operation  one request as in scenario/gateway. They leave at times that are fixed beforehand, over the connections in turn, whether earlier ones
//                have been answered or not (a connection then has several under way), in spells of 10 C requests and at least 1,000, each of
//                which begins when the one before has been answered. Latency is from the *intended* start until the answer has been read. The
//                row's time is the mean latency.
// The rate       L percent of the answers per second that client and server get done together in a closed loop (one request under way on each
//                connection) at the beginning of the row. Above 100 the queue grows until the spell ends.
// Kept equal     as in scenario/gateway. Client and server share the machine, its caches and the kernel: where the client cannot keep the pace, its
//                own delay is part of the latency, and late_p99 says how much.
// Also           qps: answers per second of the spells; offered_qps: the rate. late_p99: of the time from a request's intended start until it left (ns).
//                bytes_per_op as in scenario/gateway. cpu_time is the server's.
#include <algorithm>
#include <deque>

#include "bench/cases/scenario/gateway.hpp"

namespace tern_bench {
namespace {

template <class S>
class gateway_load {
 public:
  static constexpr bool evolves = true;

  explicit gateway_load(const row_params& p)
      : clients_(p.size_of("connections")),
        ready_(clients_),
        under_way_(clients_.size()),
        batch_(batch_of(clients_.size())) {
    closed_round();
    const std::int64_t begin = now_ns();
    std::int64_t end = begin;
    std::size_t rounds = 0;
    // Ten rounds are enough for a smoke test.
    while (rounds < 10 || (clients_.size() >= 10 && end < begin + 100'000'000)) {
      closed_round();
      ++rounds;
      end = now_ns();
    }
    const double each =
        static_cast<double>(end - begin) * 1e-9 / static_cast<double>(rounds * clients_.size());
    rate_ = static_cast<double>(p["load"]) / 100 / each;
  }
  static std::string unfit(const row_params& p) {
    if (usable_cpus() < 2) return "needs 2 processors, this host has 1";
    return unfit_for_connections(p["connections"]);
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    return static_cast<std::uint64_t>(time_ms / 100 + 1) * batch_of(p.size_of("connections"));
  }
  std::uint64_t operations() const { return batch_; }
  std::uint32_t run(histogram& latencies) {
    if (++runs_ == 2) {  // the first one warms up
      late_.reset();
      spell_seconds_ = spells_ = 0;
    }
    const std::int64_t start = now_ns() + 1'000'000;
    const auto intended = [&](std::uint64_t number) {
      return start + static_cast<std::int64_t>(static_cast<double>(number) * 1e9 / rate_);
    };
    const std::int64_t give_up = intended(batch_) + 20'000'000'000;
    std::uint64_t sent = 0;
    std::uint64_t answered = 0;
    std::uint32_t sum = 0;
    while (answered < batch_) {
      if (now_ns() > give_up) throw std::runtime_error("an answer did not come");
      // What is due leaves first, but not for so long that nobody reads.
      for (int burst = 0; burst < 16 && sent < batch_; ++burst) {
        const std::int64_t now = now_ns();
        if (now < intended(sent)) break;
        const std::size_t i = sent % clients_.size();
        send_request(clients_[i]);
        under_way_[i].numbers.push_back(sent);
        late_.record(now - intended(sent));
        ++sent;
      }
      ready_.for_each_ready([&](std::size_t i) {
        take(i, [&](std::uint64_t number) {
          latencies.record(now_ns() - intended(number));
          sum += fold(0, number);  // in any order
          ++answered;
        });
      });
    }
    spell_seconds_ += static_cast<double>(now_ns() - start) * 1e-9;
    spells_ += 1;
    clients_.count(batch_);
    return sum;
  }
  void finish(measurement& m) {
    m.cpu_seconds = clients_.cpu_seconds_each() * static_cast<double>(m.operations);
    m.counters["bytes_per_op"] = clients_.bytes_each();
    m.counters["qps"] = spells_ * static_cast<double>(batch_) / spell_seconds_;
    m.counters["offered_qps"] = rate_;
    m.counters["late_p99"] = static_cast<double>(late_.percentile(0.99));
  }

 private:
  struct connection {
    std::string got{};
    std::deque<std::uint64_t> numbers{};  // requests under way
  };

  static std::uint64_t batch_of(std::uint64_t connections) {
    return connections < 10 ? 10 * connections : std::max<std::uint64_t>(10 * connections, 1000);
  }
  void closed_round() {
    for (std::size_t i = 0; i < clients_.size(); ++i) send_request(clients_[i]);
    for (std::size_t i = 0; i < clients_.size(); ++i) read_answer(clients_[i], answer_);
  }
  template <class F>
  void take(std::size_t i, F&& each) {
    connection& c = under_way_[i];
    char bytes[4096];
    const ssize_t n = recv(clients_[i], bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0) throw std::runtime_error("a connection has ended");
    c.got.append(bytes, static_cast<std::size_t>(n));
    std::size_t at = 0;
    for (std::size_t length; (length = answer_length(std::string_view{c.got}.substr(at))) != 0;
         at += length) {
      if (c.numbers.empty()) throw std::runtime_error("more came than was asked for");
      each(c.numbers.front());
      c.numbers.pop_front();
    }
    c.got.erase(0, at);
  }

  connected_clients<S> clients_;
  readable_set ready_;
  std::vector<connection> under_way_;
  std::uint64_t batch_;
  std::string answer_;
  double rate_ = 0;
  int runs_ = 0;
  double spell_seconds_ = 0;
  double spells_ = 0;
  histogram late_;
};

case_info load_rows(tier at_1000) {
  return {
      .area = "scenario",
      .name = "gateway",
      .smoke = {{"connections", 4}, {"load", 80}},
      .points = {{{{"connections", 10}, {"load", 80}}, tier::full, false, 300},
                 {{{"connections", 10}, {"load", 150}}, tier::full, false, 300},
                 {{{"connections", 1000}, {"load", 80}}, at_1000, false, 500},
                 {{{"connections", 1000}, {"load", 150}}, at_1000, false, 600},
                 {{{"connections", 10'000}, {"load", 80}}, tier::full, false, 6000},
                 {{{"connections", 10'000}, {"load", 150}}, tier::full, false, 6000}},
      .isolated = true,
  };
}
// In a quick run tern's alone: below saturation against above it.
const registration<gateway_load, subjects<tern_server<http_session>>> gateway_load_registered{
    load_rows(tier::quick)};
const registration<gateway_load,
                   subjects<raw_server<http_session>, pthread_server<http_session>, go_server<http_session>>>
    gateway_load_of_others_registered{load_rows(tier::standard)};

}  // namespace
}  // namespace tern_bench

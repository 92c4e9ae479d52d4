// scenario/bidding/live_mb:L/percent:P/rate:R
//
// One operation  one request of 32 bytes to a server that holds L MB of users, and its answer, which is worth something within 10 ms. R requests a second
//                leave at times that are fixed beforehand, over 64 connections in turn, whether earlier ones have been answered or not, in
//                spells of a quarter of a second, each of which begins when the one before has been answered. Latency is from the *intended* start.
//                The row's time is the mean latency.
// Kept equal     work and objects (subjects/bidding_servers.hpp): about 130 objects of some 12 KiB are made for a request and dropped with its
//                answer, one is kept. The heap may grow by P percent over what lives (tern, Go: GOGC). The server has one CPU, the first; the
//                client spins on the second one: on a machine with two it shares the caches and the kernel with the server.
// Also           missed: the share of requests whose answer took longer than 10 ms. collections: cycles while the row ran. rss_bytes: the server's
//                resident memory and page tables at its end. cpu_time is the server's, the collector included.
#include "bench/subjects/bidding_servers.hpp"

namespace tern_bench {
namespace {

template <class S>
class bidding {
 public:
  static constexpr bool evolves = true;

  explicit bidding(const row_params& p)
      : period_ns_(1'000'000'000 / p["rate"]),
        batch_(prepare(p)),
        clients_(connections),
        readers_(connections),
        ready_(clients_),
        collections_before_(collections()) {}
  static std::string unfit(const row_params&) {
    return usable_cpus() < 2 ? "needs 2 processors, this host has 1" : "";
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    if (time_ms <= 1) return batch_of(p);
    // Some cycles of a collector that lets the heap double.
    const std::int64_t least_ms = std::max<std::int64_t>(time_ms, p["live_mb"] * 15);
    return (static_cast<std::uint64_t>(least_ms * p["rate"] / 1000) / batch_of(p) + 1) * batch_of(p);
  }
  std::uint64_t operations() const { return batch_; }
  std::uint32_t run(histogram& latencies) {
    const std::int64_t start = now_ns() + 1'000'000;
    const std::int64_t give_up = start + static_cast<std::int64_t>(batch_) * period_ns_ + 20'000'000'000;
    std::uint64_t sent = 0;
    std::uint64_t answered = 0;
    std::uint32_t sum = 0;
    while (answered < batch_) {
      const std::int64_t now = now_ns();
      if (now > give_up) throw std::runtime_error("an answer did not come");
      const std::int64_t intended = start + static_cast<std::int64_t>(sent) * period_ns_;
      if (sent < batch_ && now >= intended) {
        send_frame(clients_[sent % connections], bid_frame{.intended = intended, .number = sent});
        ++sent;
      }
      ready_.for_each_ready([&](std::size_t i) {
        readers_[i].receive(clients_[i], [&](const bid_frame& f) {
          const std::int64_t took = now_ns() - f.intended;
          latencies.record(took);
          if (took > deadline_ns) ++missed_;
          sum += fold(0, f.number * 31 + f.price);  // in any order
          ++answered;
        });
      });
    }
    asked_ += batch_;
    clients_.count(batch_);
    return sum;
  }
  void finish(measurement& m) {
    m.counters["missed"] = static_cast<double>(missed_) / static_cast<double>(asked_);
    m.cpu_seconds = clients_.cpu_seconds_each() * static_cast<double>(m.operations);
    m.counters["collections"] = static_cast<double>(collections() - collections_before_);
    m.counters["rss_bytes"] = clients_.resident_bytes();
  }

 private:
  static constexpr std::size_t connections = 64;
  static constexpr std::int64_t deadline_ns = 10'000'000;

  static std::uint64_t batch_of(const row_params& p) { return static_cast<std::uint64_t>(p["rate"] / 4); }
  // Before the server is forked.
  static std::uint64_t prepare(const row_params& p) {
    bidding_next.live_mb = p.size_of("live_mb");
    bidding_next.percent = static_cast<unsigned>(p["percent"]);
    return batch_of(p);
  }
  std::uint64_t collections() {
    send_frame(clients_[0], bid_frame{.number = bid_ask});
    std::uint64_t count = 0;
    bool told = false;
    while (!told)
      readers_[0].receive(clients_[0], [&](const bid_frame& f) {
        told = true;
        count = f.price;
      });
    return count;
  }

  std::int64_t period_ns_;
  std::uint64_t batch_;
  connected_clients<S> clients_;
  std::vector<frame_reader<bid_frame>> readers_;
  readable_set ready_;
  std::uint64_t collections_before_;
  std::uint64_t missed_ = 0;
  std::uint64_t asked_ = 0;
};

const registration<bidding, subjects<bidding_tern, bidding_shared_ptr, bidding_go>> bidding_registered{{
    .area = "scenario",
    .name = "bidding",
    .smoke = {{"live_mb", 1}, {"percent", 100}, {"rate", 1000}},
    .points = {{{{"live_mb", 16}, {"percent", 100}, {"rate", 5000}}, tier::standard, false, 600},
               {{{"live_mb", 16}, {"percent", 100}, {"rate", 20'000}}, tier::quick, false, 600},
               {{{"live_mb", 16}, {"percent", 100}, {"rate", 40'000}}, tier::standard, false, 700},
               {{{"live_mb", 32}, {"percent", 50}, {"rate", 20'000}}, tier::standard, false, 1000},
               {{{"live_mb", 32}, {"percent", 100}, {"rate", 20'000}}, tier::standard, false, 1000},
               {{{"live_mb", 32}, {"percent", 200}, {"rate", 20'000}}, tier::standard, false, 1000},
               {{{"live_mb", 256}, {"percent", 50}, {"rate", 5000}}, tier::full, false, 7000},
               {{{"live_mb", 256}, {"percent", 50}, {"rate", 20'000}}, tier::full, false, 7000},
               {{{"live_mb", 256}, {"percent", 50}, {"rate", 40'000}}, tier::full, false, 7000},
               {{{"live_mb", 256}, {"percent", 100}, {"rate", 5000}}, tier::full, false, 7000},
               {{{"live_mb", 256}, {"percent", 100}, {"rate", 20'000}}, tier::full, false, 7000},
               {{{"live_mb", 256}, {"percent", 100}, {"rate", 40'000}}, tier::full, false, 7000},
               {{{"live_mb", 256}, {"percent", 200}, {"rate", 5000}}, tier::full, false, 7000},
               {{{"live_mb", 256}, {"percent", 200}, {"rate", 20'000}}, tier::full, false, 7000},
               {{{"live_mb", 256}, {"percent", 200}, {"rate", 40'000}}, tier::full, false, 7000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

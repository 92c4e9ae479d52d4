// scenario/im_fanout/connections:C/fan:F/rate:R/pinned:0|1
//
// One operation  one message of 32 bytes that a member of a room of F sends and that all F get (the sender too): C connections stay, R messages a second
//                leave at times that are fixed beforehand, over the connections in turn, whether earlier ones have arrived or not. Latency is of each
//                delivery, from the message's *intended* start until its frame has been read. The row's time is the mean latency.
// Kept equal     protocol and rooms (subjects/im_servers.hpp), a heartbeat to each connection that was silent for 250 ms, the server on the
//                first CPU. The client spins on the second CPU: on a machine with two it shares the caches and the kernel with the server.
// Best form      tern: a fiber per connection. pthread: a thread per connection. go: a goroutine per connection. raw: a loop over epoll.
//                pinned:1 is with this_thread::pin() in each fiber, which then resumes on its OS thread only (one thread may be that of many
//                fibers), and with runtime.LockOSThread in each goroutine (a thread for each). pthread and raw have threads anyway.
// Also           os_threads: of the server. bytes_per_op: growth of the server's resident memory and page tables per connection.
//                heartbeats: that came while the row ran. cpu_time is the server's.
#include "bench/subjects/im_servers.hpp"

namespace tern_bench {
namespace {

template <class S>
class im_fanout {
 public:
  static constexpr bool evolves = true;

  explicit im_fanout(const row_params& p)
      : fan_(p.size_of("fan")),
        period_ns_(1'000'000'000 / p["rate"]),
        batch_(prepare(p)),
        clients_(p.size_of("connections")),
        readers_(clients_.size()),
        ready_(clients_) {
    for (std::size_t i = 0; i < clients_.size(); ++i)
      send_frame(clients_[i], im_frame{.kind = im_kind::join, .room = static_cast<std::uint32_t>(i / fan_)});
    const std::int64_t give_up = now_ns() + 20'000'000'000;
    while (joined_ < clients_.size()) {
      if (now_ns() > give_up) throw std::runtime_error("not all could join");
      poll(nullptr);
    }
  }
  static std::string unfit(const row_params& p) {
    if (usable_cpus() < 2) return "needs 2 processors, this host has 1";
    if (const std::string why = unfit_for_connections(p["connections"]); !why.empty()) return why;
    return unfit_for_tasks<S>(p["connections"]);
  }
  static std::uint64_t fixed_operations(const row_params& p, std::int64_t time_ms) {
    if (time_ms <= 1) return batch_of(p);
    return (static_cast<std::uint64_t>(time_ms * p["rate"] / 1000) / batch_of(p) + 1) * batch_of(p);
  }
  std::uint64_t operations() const { return batch_; }
  std::uint32_t run(histogram& latencies) {
    const std::int64_t start = now_ns() + 1'000'000;
    const std::int64_t give_up = start + static_cast<std::int64_t>(batch_) * period_ns_ + 20'000'000'000;
    delivered_ = 0;
    sum_ = 0;
    for (std::uint64_t sent = 0; delivered_ < batch_ * fan_;) {
      const std::int64_t now = now_ns();
      if (now > give_up) throw std::runtime_error("a message did not arrive");
      const std::int64_t intended = start + static_cast<std::int64_t>(sent) * period_ns_;
      if (sent < batch_ && now >= intended) {
        send_frame(clients_[sent % clients_.size()],
                   im_frame{.kind = im_kind::say, .intended = intended, .number = sent});
        ++sent;
      }
      poll(&latencies);
    }
    clients_.count(batch_);
    return sum_;
  }
  void finish(measurement& m) {
    m.cpu_seconds = clients_.cpu_seconds_each() * static_cast<double>(m.operations);
    m.counters["bytes_per_op"] = clients_.bytes_each();
    m.counters["os_threads"] = clients_.threads();
    m.counters["heartbeats"] = static_cast<double>(beats_);
  }

 private:
  static std::uint64_t batch_of(const row_params& p) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(p["rate"] / 8, 1));  // 125 ms
  }
  // Before the server is forked.
  std::uint64_t prepare(const row_params& p) const {
    im_next.pinned = p["pinned"] != 0;
    im_next.rooms = (p.size_of("connections") + fan_ - 1) / fan_;
    return batch_of(p);
  }
  void poll(histogram* latencies) {
    ready_.for_each_ready([&](std::size_t from) {
      readers_[from].receive(clients_[from], [&](const im_frame& f) {
        if (f.kind == im_kind::beat) ++beats_;
        if (f.kind == im_kind::join) ++joined_;
        if (f.kind != im_kind::say || latencies == nullptr) return;
        latencies->record(now_ns() - f.intended);
        // In any order; each to as many as are in the room, and to those of the room only.
        sum_ += fold(0, f.number * 1'000'003 + from / fan_);
        ++delivered_;
      });
    });
  }

  std::size_t fan_;
  std::int64_t period_ns_;
  std::uint64_t batch_;
  connected_clients<S> clients_;
  std::vector<im_reader> readers_;
  readable_set ready_;
  std::size_t joined_ = 0;
  std::uint64_t delivered_ = 0;
  std::uint64_t beats_ = 0;
  std::uint32_t sum_ = 0;
};

const registration<im_fanout, subjects<im_tern, im_raw, im_pthread, im_go>> im_fanout_registered{{
    .area = "scenario",
    .name = "im_fanout",
    .smoke = {{"connections", 8}, {"fan", 4}, {"rate", 1000}, {"pinned", 1}},
    .points =
        {{{{"connections", 1000}, {"fan", 10}, {"rate", 2000}, {"pinned", 0}}, tier::quick, false, 350},
         {{{"connections", 1000}, {"fan", 10}, {"rate", 2000}, {"pinned", 1}}, tier::standard, false, 350},
         {{{"connections", 1000}, {"fan", 100}, {"rate", 300}, {"pinned", 0}}, tier::standard, false, 700},
         {{{"connections", 5000}, {"fan", 10}, {"rate", 2000}, {"pinned", 0}}, tier::full, false, 2000},
         {{{"connections", 5000}, {"fan", 10}, {"rate", 2000}, {"pinned", 1}}, tier::full, false, 2000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

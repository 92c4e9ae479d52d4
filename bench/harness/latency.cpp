#include "bench/harness/latency.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace tern_bench {

void add_latencies(measurement& m, const histogram& h) {
  m.latencies = std::make_shared<histogram>(h);
  const auto set = [&](const char* name, double quantile) {
    m.counters[name] = static_cast<double>(h.percentile(quantile));
  };
  set("p50", 0.5);
  set("p90", 0.9);
  set("p99", 0.99);
  set("p999", 0.999);
  set("p9999", 0.9999);
  m.counters["max"] = static_cast<double>(h.max());
  m.counters["samples"] = static_cast<double>(h.count());
}

bool write_histogram(const std::string& dir, const std::string& row_name, const histogram& h) {
  nlohmann::ordered_json buckets = nlohmann::ordered_json::array();
  h.for_each_bucket([&](std::int64_t lower, std::int64_t upper, std::uint64_t count) {
    buckets.push_back({lower, upper, count});
  });
  const nlohmann::ordered_json file = {{"schema", "tern.hist/1"}, {"row", row_name},   {"unit", "ns"},
                                       {"count", h.count()},      {"min", h.min()},    {"max", h.max()},
                                       {"mean", h.mean()},        {"buckets", buckets}};
  std::string base = row_name;
  std::replace(base.begin(), base.end(), '/', '_');
  std::ofstream out(dir + "/" + base + ".hist.json");
  out << file.dump() << '\n';
  return static_cast<bool>(out.flush());
}

}  // namespace tern_bench

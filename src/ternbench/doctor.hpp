// The verb `doctor`: what on this machine makes timing unreliable, and how to mend it.
#pragma once

#include <string>
#include <vector>

#include "bench/harness/host_facts.hpp"
#include "format.hpp"

namespace ternbench {

struct finding {
  enum class state { ok, warn, unknown };
  state is = state::unknown;
  std::string what;  // "governor"
  std::string text;  // what was found
  std::string cure;  // one line; empty when there is nothing to mend
};

/// What changes from moment to moment, and so is no host fact.
struct live_facts {
  std::optional<double> load;        // 1-minute average
  std::optional<double> steal;       // share of CPU time since boot that the hypervisor gave to others
  std::optional<double> swap_used;   // bytes
  std::optional<int> perf_paranoid;  // kernel.perf_event_paranoid
};
[[nodiscard]] live_facts collect_live_facts();

[[nodiscard]] std::vector<finding> diagnose(const tern_bench::host_facts& host, const live_facts& live);
[[nodiscard]] std::string render(const std::vector<finding>& findings, const palette& colours);

}  // namespace ternbench

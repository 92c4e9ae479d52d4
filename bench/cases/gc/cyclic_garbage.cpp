// gc/cyclic_garbage/ring:K
//
// One operation  make a ring of K nodes, each pointing to the next and the last to the first, and drop it.
// Kept equal     one mutator in a fresh process; 65,536 rings.
// Best form      `manual` breaks its ring and deletes each node. Counting cannot free a ring: it leaks, and bytes_per_op shows how
//                much (growth of the process, VmRSS + VmPTE, per ring; a collector keeps its heap, which does not grow with the
//                number of rings).
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class cyclic_garbage {
 public:
  static constexpr bool cold = true;

  explicit cyclic_garbage(const row_params& p) : before_(memory_now().resident_bytes), ring_(p["ring"]) {}
  static std::uint64_t fixed_operations(const row_params&, std::int64_t time_ms) {
    return time_ms <= 1 ? batch : 65536;
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      auto first = S::template make<node>();
      first->value = i;
      auto at = first;
      for (std::int64_t n = 1; n < ring_; ++n) {
        auto next = S::template make<node>();
        next->value = i + static_cast<std::uint64_t>(n);
        at->next = next;
        at = next;
      }
      at->next = first;
      sum += static_cast<std::uint32_t>(S::peek(S::peek(at->next)->next)->value);
      if constexpr (requires { first->next.detach(); }) {
        // Unique ownership: the first node is owned by the last, so cut there and let the chain go.
        node* head = at->next.detach();
        S::release(head);
      }
    }
    made_ += batch;
    return sum;
  }
  void finish(measurement& m) const {
    const auto grown = static_cast<double>(memory_now().resident_bytes - before_);
    m.counters["bytes_per_op"] = grown / static_cast<double>(made_);
    m.counters["rss_bytes"] = grown;
  }

 private:
  using node = link_node<S>;
  static constexpr std::uint64_t batch = 1024;
  std::int64_t before_;
  std::int64_t ring_;
  std::uint64_t made_ = 0;
};

const registration<cyclic_garbage, owning_collectors> cyclic_garbage_registered{{
    .area = "gc",
    .name = "cyclic_garbage",
    .smoke = {{"ring", 8}},
    .points = {{{{"ring", 8}}, tier::quick, false, 20}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

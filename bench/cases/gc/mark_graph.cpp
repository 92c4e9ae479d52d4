// gc/mark_graph/nodes:N/processors:1
//
// One operation  one node of a graph of N nodes marked by a whole collection that is asked for, as in mark_tree. Each node has two
//                references: one follows a random ring through all nodes, so that the whole graph hangs on one reference, and one
//                leads anywhere. Where the next node lies nothing can tell: this is about what a miss costs.
// Kept equal     one mutator, which waits; the same graph.
#include <numeric>
#include <vector>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class mark_graph {
 public:
  static constexpr bool reports_cpu = true;

  explicit mark_graph(const row_params& p) : nodes_(p.size_of("nodes")), root_(build(nodes_)) {}
  std::uint64_t operations() const { return nodes_; }
  std::uint32_t run() {
    S::collect();
    return fold(0, nodes_);
  }
  void finish(measurement& m) const {
    std::size_t seen = 0;
    const node* at = root_;
    do {
      ++seen;
      at = S::peek(at->first);
    } while (at != root_);
    if (seen != nodes_) m.error = "the graph is not whole";
  }

 private:
  using node = graph_node<S>;
  static typename S::template ref<node> build(std::size_t n) {
    typename S::template table<node> all(n);
    for (std::size_t i = 0; i < n; ++i) {
      auto fresh = S::template make<node>();
      fresh->value = i;
      all.set(i, fresh);
    }
    std::vector<std::uint32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    sequence random(11);
    for (std::size_t i = n - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
    for (std::size_t i = 0; i < n; ++i) {
      node* const at = all.peek(order[i]);
      at->first = all.get(order[(i + 1) % n]);
      at->second = all.get(random.below(n));
    }
    return all.get(order[0]);
  }

  std::size_t nodes_;
  typename S::template ref<node> root_;
};

const registration<mark_graph, marking_collectors> mark_graph_registered{{
    .area = "gc",
    .name = "mark_graph",
    .smoke = {{"nodes", 256}, {"processors", 1}},
    .points = {{{{"nodes", 262144}, {"processors", 1}}, tier::standard, false, 100},
               {{{"nodes", 4194304}, {"processors", 1}}, tier::full, false, 4000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

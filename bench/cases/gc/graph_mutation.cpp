// gc/graph_mutation/nodes:N
//
// One operation  replace one of the N nodes of an acyclic graph, at random: make a node, point its two fields at the nodes that two
//                later slots hold now, put it into the slot, and read the two nodes behind a random other one. An old node lives
//                on as long as nodes in earlier slots point to it.
// Kept equal     one mutator; the same random sequence; acyclic, so that counting can free everything. rss_bytes is the peak of
//                the row's own process above what it had before the first node.
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class graph_mutation {
 public:
  static constexpr bool evolves = true;

  explicit graph_mutation(const row_params& p)
      : before_(memory_now().resident_bytes), count_(p.size_of("nodes")), nodes_(count_), random_(3) {
    for (std::size_t i = count_; i > 0; --i) replace(i - 1);
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      replace(random_.below(count_));
      const node* at = nodes_.peek(random_.below(count_));
      if (const node* first = S::peek(at->first)) sum = fold(sum, first->value);
      if (const node* second = S::peek(at->second)) sum = fold(sum, second->value);
    }
    return sum;
  }
  void finish(measurement& m) const {
    m.counters["rss_bytes"] = static_cast<double>(peak_resident_bytes() - before_);
  }

 private:
  using node = graph_node<S>;
  static constexpr std::uint64_t batch = 16384;

  void replace(std::size_t slot) {
    auto fresh = S::template make<node>();
    fresh->value = ++made_;
    const std::size_t later = count_ - slot - 1;
    if (later > 0) {
      fresh->first = nodes_.get(slot + 1 + random_.below(later));
      fresh->second = nodes_.get(slot + 1 + random_.below(later));
    }
    nodes_.set(slot, std::move(fresh));
  }

  std::int64_t before_;
  std::size_t count_;
  typename S::template table<node> nodes_;
  sequence random_;
  std::uint64_t made_ = 0;
};

const registration<graph_mutation, sharing_collectors> graph_mutation_registered{{
    .area = "gc",
    .name = "graph_mutation",
    .smoke = {{"nodes", 256}},
    .points = {{{{"nodes", 16384}}, tier::quick, true, 20},
               {{{"nodes", 1048576}}, tier::standard, false, 1500}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

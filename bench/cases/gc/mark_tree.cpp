// gc/mark_tree/depth:D/processors:1
//
// One operation  one node of a complete binary tree of depth D marked by a whole collection that is asked for, its start, its end and the
//                sweep included. Nothing else lives; nothing is garbage but in the first.
// Kept equal     one mutator, which waits; nodes of two references, made in depth-first order. cpu is over all threads: where several
//                mark at a time, it and not the time is the cost per core.
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class mark_tree {
 public:
  static constexpr bool reports_cpu = true;

  explicit mark_tree(const row_params& p)
      : nodes_((std::uint64_t{2} << p["depth"]) - 1), root_(build(static_cast<int>(p["depth"]))) {}
  std::uint64_t operations() const { return nodes_; }
  std::uint32_t run() {
    S::collect();
    return fold(0, nodes_);
  }
  void finish(measurement& m) const {
    if (count(root_) != nodes_) m.error = "the tree is not whole";
  }

 private:
  using node = tree_node<S>;
  static typename S::template ref<node> build(int depth) {
    auto at = S::template make<node>();
    if (depth > 0) {
      at->left = build(depth - 1);
      at->right = build(depth - 1);
    }
    return at;
  }
  static std::uint64_t count(const node* at) {
    return at == nullptr ? 0 : 1 + count(S::peek(at->left)) + count(S::peek(at->right));
  }

  std::uint64_t nodes_;
  typename S::template ref<node> root_;
};

const registration<mark_tree, marking_collectors> mark_tree_registered{{
    .area = "gc",
    .name = "mark_tree",
    .smoke = {{"depth", 8}, {"processors", 1}},
    .points = {{{{"depth", 18}, {"processors", 1}}, tier::standard, false, 60},
               {{{"depth", 21}, {"processors", 1}}, tier::full, false, 600}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

// gc/binary_trees/depth:D
//
// One operation  one node made, visited once and dropped. The work is that of the well-known program: one tree of depth D lives all
//                the time; beside it, for d = 4, 6, ... D, 2^(D - d + 4) trees of depth d are built bottom-up, counted and dropped.
// Kept equal     one mutator in a fresh process; nodes hold two references; the count walks bare pointers in every subject.
//                rss_bytes is the peak of the process (VmHWM + VmPTE) above what it had before the first node.
// Best form      references are moved into their parents, never copied; `manual` is a tree of unique owners.
// References     The Computer Language Benchmarks Game, binary-trees; H. Boehm's GCBench, 1997.
#include <utility>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class binary_trees {
 public:
  explicit binary_trees(const row_params& p)
      : depth_(static_cast<int>(p["depth"])), before_(memory_now().resident_bytes) {
    for (int d = least; d <= depth_; d += 2) nodes_ += trees_of(d) * nodes_of(d);
    nodes_ += nodes_of(depth_);
  }
  std::uint64_t operations() const { return nodes_; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    auto long_lived = build(depth_);
    for (int d = least; d <= depth_; d += 2) {
      std::uint64_t counted = 0;
      for (std::uint64_t i = trees_of(d); i > 0; --i) {
        auto tree = build(d);
        counted += count(&*tree);
        S::release(tree);
      }
      sum = fold(sum, counted);
    }
    sum = fold(sum, count(&*long_lived));
    S::release(long_lived);
    return sum;
  }
  void finish(measurement& m) const {
    m.counters["rss_bytes"] = static_cast<double>(peak_resident_bytes() - before_);
  }

 private:
  using node = tree_node<S>;
  static constexpr int least = 4;
  static std::uint64_t nodes_of(int depth) { return (std::uint64_t{2} << depth) - 1; }
  [[nodiscard]] std::uint64_t trees_of(int depth) const {
    return std::uint64_t{1} << (depth_ - depth + least);
  }

  static typename S::template ref<node> build(int depth) {
    if (depth == 0) return S::template make<node>();
    auto left = build(depth - 1);
    auto right = build(depth - 1);
    auto parent = S::template make<node>();
    parent->left = std::move(left);
    parent->right = std::move(right);
    return parent;
  }
  static std::uint64_t count(const node* at) {
    const node* left = S::peek(at->left);
    return left == nullptr ? 1 : 1 + count(left) + count(S::peek(at->right));
  }

  int depth_;
  std::int64_t before_;
  std::uint64_t nodes_ = 0;
};

const registration<binary_trees, owning_collectors> binary_trees_registered{{
    .area = "gc",
    .name = "binary_trees",
    .smoke = {{"depth", 6}},
    .points = {{{{"depth", 12}}, tier::quick, true, 40},
               {{{"depth", 16}}, tier::standard, false, 1500},
               {{{"depth", 21}}, tier::full, false, 60000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

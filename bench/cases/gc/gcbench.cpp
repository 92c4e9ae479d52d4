// gc/gcbench/depth:D
//
// One operation  one node made and dropped. The work is that of GCBench: a tree of depth D + 2 is built and dropped; a tree of depth D and
//                an array of 8 << D doubles then live to the end; beside them, for d = 4, 6, ... D, as many trees of depth d as have the
//                nodes of the first tree twice, built once from the root down (stores into nodes that are there already) and once
//                from the leaves up.
// Kept equal     one mutator in a fresh process; nodes of two references and two numbers. `manual` is a tree of unique owners.
// References     J. Ellis, P. Kovac, H. Boehm, GCBench, 1997.
#include <utility>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class gcbench {
 public:
  static constexpr bool reports_cpu = true;

  explicit gcbench(const row_params& p)
      : depth_(static_cast<int>(p["depth"])), before_(memory_now().resident_bytes) {
    nodes_ = nodes_of(depth_ + 2) + nodes_of(depth_);
    for (int d = least; d <= depth_; d += 2) nodes_ += 2 * trees_of(d) * nodes_of(d);
  }
  std::uint64_t operations() const { return nodes_; }
  std::uint32_t run() {
    auto stretch = bottom_up(depth_ + 2);
    std::uint32_t sum = fold(0, stretch->j);
    S::release(stretch);
    auto long_lived = S::template make<node>();
    top_down(depth_, &*long_lived);
    const std::size_t n = std::size_t{8} << depth_;
    typename S::numbers numbers(n);
    for (std::size_t i = 0; i < n / 2; ++i) numbers[i] = 1.0 / static_cast<double>(i + 1);
    for (int d = least; d <= depth_; d += 2) {
      std::uint64_t made = 0;
      for (std::uint64_t i = trees_of(d); i > 0; --i) {
        auto tree = S::template make<node>();
        top_down(d, &*tree);
        made += tree->i;
        S::release(tree);
      }
      for (std::uint64_t i = trees_of(d); i > 0; --i) {
        auto tree = bottom_up(d);
        made += tree->j;
        S::release(tree);
      }
      sum = fold(sum, made);
    }
    sum = fold(sum, long_lived->i + static_cast<std::uint64_t>(numbers[1000 % n] * 1e6));
    S::release(long_lived);
    return sum;
  }
  void finish(measurement& m) const {
    m.counters["rss_bytes"] = static_cast<double>(peak_resident_bytes() - before_);
  }

 private:
  struct node {
    typename S::template field<node> left{};
    typename S::template field<node> right{};
    std::uint32_t i = 0;
    std::uint32_t j = 0;
    template <class V>
    void trace(V& v) const {
      v(left);
      v(right);
    }
  };
  static constexpr int least = 4;
  static std::uint64_t nodes_of(int depth) { return (std::uint64_t{2} << depth) - 1; }
  [[nodiscard]] std::uint64_t trees_of(int depth) const { return 2 * nodes_of(depth_ + 2) / nodes_of(depth); }

  static void top_down(int depth, node* at) {
    at->i = static_cast<std::uint32_t>(depth) + 1;
    if (depth == 0) return;
    at->left = S::template make<node>();
    at->right = S::template make<node>();
    top_down(depth - 1, S::peek(at->left));
    top_down(depth - 1, S::peek(at->right));
  }
  static typename S::template ref<node> bottom_up(int depth) {
    if (depth == 0) {
      auto leaf = S::template make<node>();
      leaf->j = 1;
      return leaf;
    }
    auto left = bottom_up(depth - 1);
    auto right = bottom_up(depth - 1);
    auto parent = S::template make<node>();
    parent->j = left->j + right->j;
    parent->left = std::move(left);
    parent->right = std::move(right);
    return parent;
  }

  int depth_;
  std::int64_t before_;
  std::uint64_t nodes_ = 0;
};

const registration<gcbench, owning_collectors> gcbench_registered{{
    .area = "gc",
    .name = "gcbench",
    .smoke = {{"depth", 4}},
    .points = {{{{"depth", 12}}, tier::standard, false, 300}, {{{"depth", 16}}, tier::full, false, 3000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

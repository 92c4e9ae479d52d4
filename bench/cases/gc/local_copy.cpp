// gc/local_copy
//
// One operation  copy the reference in a field of one of 64 objects into a local variable, read a word of the object through it,
//                and let the variable go.
// Kept equal     one mutator; everything fits the first-level cache; the process has other threads.
// Best form      `raw` loads a bare pointer.
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class local_copy {
 public:
  explicit local_copy(const row_params&) {
    for (std::size_t i = 0; i < count; ++i) {
      auto holder = S::template make<node>();
      auto target = S::template make<node>();
      target->value = i + 1;
      holder->next = target;
      holders_.set(i, holder);
      targets_.set(i, target);
      holder_[i] = holders_.peek(i);
    }
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint64_t total = 0;
    for_each_polled<S>(batch, [&](std::uint64_t i) {
      const auto local = S::take(holder_[i * 7 % count]->next);
      keep(&*local);
      total += local->value;
    });
    return fold(0, total);
  }

 private:
  using node = link_node<S>;
  static constexpr std::size_t count = 64;
  static constexpr std::size_t batch = 16384;
  typename S::template table<node> holders_{count};
  typename S::template table<node> targets_{count};
  node* holder_[count] = {};
};

const registration<local_copy, reference_collectors> local_copy_registered{{
    .area = "gc",
    .name = "local_copy",
    .smoke = {},
    .points = {{{}, tier::quick, true}},
    .control = "raw",
}};

}  // namespace
}  // namespace tern_bench

// gc/field_store
//
// One operation  store a reference to one of 64 objects into a field of another of 64 objects, over the reference to a third that
//                was there. No collection runs meanwhile (nothing is allocated): a collector's barrier is off.
// Kept equal     one mutator; both sets fit the first-level cache and stay alive; the process has other threads.
// Best form      `raw` is a bare store.
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class field_store {
 public:
  explicit field_store(const row_params&) {
    for (std::size_t i = 0; i < count; ++i) {
      auto holder = S::template make<node>();
      auto target = S::template make<node>();
      target->value = i;
      holder->next = target;
      holders_.set(i, holder);
      targets_.set(i, target);
      holder_[i] = holders_.peek(i);
      target_[i] = std::move(target);
    }
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    for_each_polled<S>(batch, [&](std::uint64_t i) {
      node* holder = holder_[i % count];
      holder->next = target_[(i * 7 + i / count) % count];
      keep(holder);
    });
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum = fold(sum, S::peek(holder_[i]->next)->value + i * count);
    return sum;
  }

 private:
  using node = link_node<S>;
  static constexpr std::size_t count = 64;
  static constexpr std::size_t batch = 16384;
  typename S::template table<node> holders_{count};
  typename S::template table<node> targets_{count};
  node* holder_[count] = {};
  typename S::template ref<node> target_[count] = {};
};

const registration<field_store, reference_collectors> field_store_registered{{
    .area = "gc",
    .name = "field_store",
    .smoke = {},
    .points = {{{}, tier::quick, true}},
    .control = "raw",
}};

}  // namespace
}  // namespace tern_bench

// gc/same_target/threads:T
//
// One operation  one of T threads stores a reference to one object, the same for all, into a field of an object of its own, and
//                then clears the field. The time is wall time over the operations of one thread: with no sharing cost and T free
//                processors it does not depend on T.
// Kept equal     T threads (for tern T fibers on T processors), whose start is inside the clock, spread over 131,072 operations.
// Best form      `raw` is two bare stores.
#include <vector>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class same_target {
 public:
  explicit same_target(const row_params& p) : sums_(p.size_of("threads")), threads_(p.size_of("threads")) {
    auto target = S::template make<node>();
    target->value = 42;
    shared_.set(0, target);
    for (std::size_t i = 0; i < threads_; ++i) own_.set(i, S::template make<holder>());
  }
  static std::string unfit(const row_params& p) {
    if (p["threads"] <= usable_cpus()) return {};
    return "needs " + std::to_string(p["threads"]) + " processors, this host has " +
           std::to_string(usable_cpus());
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    S::parallel(threads_, [this](std::size_t self) {
      const auto target = shared_.get(0);
      holder* const own = own_.peek(self);
      std::uint64_t sum = 0;
      for_each_polled<S>(batch, [&](std::uint64_t) {
        own->next = target;
        keep(own);
        sum += S::peek(own->next)->value;
        own->next = nullptr;
        keep(own);
      });
      sums_[self] = sum;
    });
    std::uint32_t total = 0;
    for (const std::uint64_t sum : sums_) total = fold(total, sum);
    return total;
  }

 private:
  using node = link_node<S>;
  // A holder as wide as two cache lines, so that only the target is shared.
  struct holder {
    typename S::template field<node> next{};
    std::uint64_t padding[15] = {};
    template <class V>
    void trace(V& v) const {
      v(next);
    }
  };
  static constexpr std::uint64_t batch = 131072;
  typename S::template table<node> shared_{1};
  std::vector<std::uint64_t> sums_;
  std::size_t threads_;
  typename S::template table<holder> own_{threads_};
};

const registration<same_target, threaded_collectors> same_target_registered{{
    .area = "gc",
    .name = "same_target",
    .smoke = {{"threads", 1}},
    .points = {{{{"threads", 1}}, tier::standard, true}, {{{"threads", 2}}, tier::quick, true}},
}};

}  // namespace
}  // namespace tern_bench

// gc/alloc_drop/size:32
//
// One operation  make an object of 32 bytes of payload (four words, zeroed), write one word, read it back, and drop the only
//                reference to it. A collector's share of later collections is in the figure: a row runs over many cycles.
// Kept equal     one mutator; the payload is zeroed by every subject; the process has other threads.
// Best form      shared_ptr: make_shared, one block for object and counters.
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <collector_subject<plain_object> S>
class alloc_drop {
 public:
  explicit alloc_drop(const row_params&) {}
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      auto object = S::template make<plain_object>();
      object->words[1] = i;
      keep(&*object);
      sum += static_cast<std::uint32_t>(object->words[1] + object->words[2]);
      S::release(object);
    }
    return sum;
  }

 private:
  static constexpr std::uint64_t batch = 65536;
};

const registration<alloc_drop, owning_collectors> alloc_drop_registered{{
    .area = "gc",
    .name = "alloc_drop",
    .smoke = {{"size", 32}},
    .points = {{{{"size", 32}}, tier::quick, true}},
    .control = "manual",
}};

}  // namespace
}  // namespace tern_bench

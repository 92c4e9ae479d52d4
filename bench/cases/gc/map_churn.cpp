// gc/map_churn/entries:N
//
// One operation  of a key below 2 N, at random: erase its entry if the map has one, else make an object of 64 bytes and insert it (so about
//                N are there); then look another key up and read its object.
// Kept equal     one mutator in a fresh process; the same keys. The map is the subject's own, as in lru.
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class map_churn {
 public:
  static constexpr bool evolves = true;
  static constexpr bool reports_cpu = true;

  explicit map_churn(const row_params& p)
      : before_(memory_now().resident_bytes), keys_(2 * p.size_of("entries")), random_(9) {
    for (std::size_t key = 0; key < keys_; key += 2) insert(key);
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::uint64_t key = random_.below(keys_);
      if (map_.find(key) != nullptr)
        map_.erase(key);
      else
        insert(key);
      if (const node* other = map_.find(random_.below(keys_))) sum = fold(sum, other->words[0]);
    }
    return sum;
  }
  void finish(measurement& m) const {
    m.counters["rss_bytes"] = static_cast<double>(peak_resident_bytes() - before_);
  }

 private:
  using node = record_node<S>;
  static constexpr std::uint64_t batch = 16384;

  void insert(std::uint64_t key) { map_.set(key, make_record<S>(++made_)); }

  std::int64_t before_;
  std::size_t keys_;
  typename S::template map<node> map_;
  std::uint64_t made_ = 0;
  sequence random_;
};

const registration<map_churn, owning_collectors> map_churn_registered{{
    .area = "gc",
    .name = "map_churn",
    .smoke = {{"entries", 64}},
    .points = {{{{"entries", 16384}}, tier::standard, false, 60},
               {{{"entries", 524288}}, tier::full, false, 1500}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

// gc/lifetimes/live:N
//
// One operation  make an object of 64 bytes of payload with a lifetime: 90% live for 64 objects of their kind, 9% for N / 8, 1% for N.
//                Each kind is a ring in which a new object takes the place of the oldest.
// Kept equal     one mutator in a fresh process; the same random sequence.
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class lifetimes {
 public:
  static constexpr bool evolves = true;
  static constexpr bool reports_cpu = true;

  explicit lifetimes(const row_params& p)
      : before_(memory_now().resident_bytes),
        sizes_{64, p.size_of("live") / 8, p.size_of("live")},
        random_(15) {
    for (std::size_t kind = 0; kind < 3; ++kind)
      for (std::size_t i = 0; i < sizes_[kind]; ++i) make(kind);
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::uint64_t dice = random_.below(100);
      const std::size_t kind = dice < 90 ? 0 : dice < 99 ? 1 : 2;
      sum = fold(sum, rings_[kind].peek(next_[kind])->words[0]);
      make(kind);
    }
    return sum;
  }
  void finish(measurement& m) const {
    m.counters["rss_bytes"] = static_cast<double>(peak_resident_bytes() - before_);
  }

 private:
  using node = record_node<S>;
  static constexpr std::uint64_t batch = 65536;

  void make(std::size_t kind) {
    rings_[kind].set(next_[kind], make_record<S>(++made_));
    if (++next_[kind] == sizes_[kind]) next_[kind] = 0;
  }

  std::int64_t before_;
  std::size_t sizes_[3];
  typename S::template table<node> rings_[3] = {typename S::template table<node>(sizes_[0]),
                                                typename S::template table<node>(sizes_[1]),
                                                typename S::template table<node>(sizes_[2])};
  std::size_t next_[3] = {};
  std::uint64_t made_ = 0;
  sequence random_;
};

const registration<lifetimes, owning_collectors> lifetimes_registered{{
    .area = "gc",
    .name = "lifetimes",
    .smoke = {{"live", 512}},
    .points = {{{{"live", 65536}}, tier::standard, false, 60},
               {{{"live", 1048576}}, tier::full, false, 1000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

// gc/parked_roots/fibers:N/processors:1
//
// One operation  one of N parked fibers, each with the only reference to an object of its own on its stack, scanned by a whole collection
//                that is asked for; the object is marked with it. cpu is the figure: what a collector pays for its parked fibers.
// Kept equal     one mutator that runs, N that wait on one channel; afterwards each wakes and reads its object.
#include <vector>

#include <tern/sync.hpp>

#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class parked_roots {
 public:
  static constexpr bool reports_cpu = true;

  explicit parked_roots(const row_params& p) : count_(p.size_of("fibers")), sums_(count_) {
    threads_.reserve(count_);
    for (std::size_t i = 0; i < count_; ++i)
      threads_.emplace_back([this, i] {
        auto own = S::template make<link_node<S>>();
        own->value = i;
        arrived_.done();
        static_cast<void>(gate_.receive());
        sums_[i] = own->value;
      });
    arrived_.wait();
    // The last to arrive may not wait yet; on one processor they do after they have had a turn.
    for (int i = 0; i < 16; ++i) tern::this_thread::yield();
  }
  std::uint64_t operations() const { return count_; }
  std::uint32_t run() {
    S::collect();
    return fold(0, count_);
  }
  void finish(measurement& m) {
    gate_.close();
    for (tern::thread& t : threads_) t.join();
    for (std::size_t i = 0; i < count_; ++i)
      if (sums_[i] != i) m.error = "an object is not what it was";
  }

 private:
  std::size_t count_;
  std::vector<std::uint64_t> sums_;
  tern::wait_group arrived_{static_cast<std::uint32_t>(count_)};
  tern::channel<int> gate_{0};
  std::vector<tern::thread> threads_;
};

const registration<parked_roots, paced_collectors> parked_roots_registered{{
    .area = "gc",
    .name = "parked_roots",
    .smoke = {{"fibers", 64}, {"processors", 1}},
    .points = {{{{"fibers", 10000}, {"processors", 1}}, tier::standard, false, 200},
               {{{"fibers", 100000}, {"processors", 1}}, tier::full, false, 2000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench

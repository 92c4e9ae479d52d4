// sched/fork_join_fib/n:N/processors:P
//
// One operation  one fork: fib(n) for n > 1 hands fib(n - 2) out, computes fib(n - 1) itself, waits and adds; nothing is cut off, so
//                all that is measured is what a fork and a join cost. fib(N) forks fib(N + 1) - 1 times.
// Kept equal     P processors, to which all threads are confined.
// Best form      tern: fork_join. pthread_pool: joins run the newest task. go: a goroutine for the one half, and a WaitGroup on the
//                stack of the other.
// References     M. Frigo, C. Leiserson, K. Randall: The implementation of the Cilk-5 multithreaded language, 1998.
#include "bench/subjects/fork_join.hpp"

namespace tern_bench {
namespace {

template <class S>
class fork_join_fib {
 public:
  explicit fork_join_fib(const row_params& p) : n_(static_cast<unsigned>(p["n"])) {
    std::uint64_t next = 1;
    for (unsigned i = 0; i < n_; ++i) next = std::exchange(forks_, next) + next;
    forks_ = next - 1;
  }
  std::uint64_t operations() const { return forks_; }
  std::uint32_t run() { return fold(0, fib(n_)); }

 private:
  static std::uint64_t fib(unsigned n) {
    if (n < 2) return n;
    std::uint64_t a = 0;
    std::uint64_t b = 0;
    fork_both<S>([&a, n] { a = fib(n - 1); }, [&b, n] { b = fib(n - 2); });
    return a + b;
  }

  unsigned n_;
  std::uint64_t forks_ = 0;
};

const registration<fork_join_fib, fork_join_subjects> fork_join_fib_registered{{
    .area = "sched",
    .name = "fork_join_fib",
    .smoke = {{"n", 10}, {"processors", 1}},
    .points = {{{{"n", 20}, {"processors", 1}}, tier::quick, true},
               {{{"n", 30}, {"processors", 1}}, tier::standard, false, 500},
               {{{"n", 30}, {"processors", 2}}, tier::standard, false, 500}},
}};

}  // namespace
}  // namespace tern_bench

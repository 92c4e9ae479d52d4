// sched/matmul/n:N/processors:P
//
// One operation  one multiply-add of C += A * B for N x N doubles. The longest side is halved until all are at most 32: rows and columns
//                in a fork, the inner side one half after the other, since both write the same part of C.
// Kept equal     P processors, to which all threads are confined; the same loop at the leaves. Entries are small whole numbers,
//                so sums are exact and the order does not matter.
// Best form      as in fork_join_fib.
#include <vector>

#include "bench/subjects/fork_join.hpp"

namespace tern_bench {
namespace {

template <class S>
class matmul {
 public:
  explicit matmul(const row_params& p) : n_(p.size_of("n")), a_(n_ * n_), b_(n_ * n_), c_(n_ * n_) {
    for (std::size_t i = 0; i < n_ * n_; ++i) {
      a_[i] = static_cast<double>(i % 7);
      b_[i] = static_cast<double>(i % 5);
    }
  }
  std::uint64_t operations() const { return n_ * n_ * n_; }
  std::uint32_t run() {
    for (double& c : c_) c = 0;
    part(0, n_, 0, n_, 0, n_);
    std::uint32_t sum = 0;
    for (const double c : c_) sum = fold(sum, static_cast<std::uint64_t>(c));
    return sum;
  }

 private:
  static constexpr std::size_t leaf = 32;

  // Rows [i, i + m) and columns [j, j + n) of C, over [k, k + d) of the inner side.
  void part(std::size_t i, std::size_t m, std::size_t j, std::size_t n, std::size_t k, std::size_t d) {
    if (m <= leaf && n <= leaf && d <= leaf) return multiply(i, m, j, n, k, d);
    if (m >= n && m >= d) {
      const std::size_t h = m / 2;
      fork_both<S>([=, this] { part(i, h, j, n, k, d); }, [=, this] { part(i + h, m - h, j, n, k, d); });
    } else if (n >= d) {
      const std::size_t h = n / 2;
      fork_both<S>([=, this] { part(i, m, j, h, k, d); }, [=, this] { part(i, m, j + h, n - h, k, d); });
    } else {
      part(i, m, j, n, k, d / 2);
      part(i, m, j, n, k + d / 2, d - d / 2);
    }
  }
  void multiply(std::size_t i, std::size_t m, std::size_t j, std::size_t n, std::size_t k, std::size_t d) {
    for (std::size_t row = i; row < i + m; ++row)
      for (std::size_t inner = k; inner < k + d; ++inner) {
        const double factor = a_[row * n_ + inner];
        for (std::size_t column = j; column < j + n; ++column)
          c_[row * n_ + column] += factor * b_[inner * n_ + column];
      }
  }

  std::size_t n_;
  std::vector<double> a_;
  std::vector<double> b_;
  std::vector<double> c_;
};

const registration<matmul, fork_join_subjects> matmul_registered{{
    .area = "sched",
    .name = "matmul",
    .smoke = {{"n", 40}, {"processors", 1}},
    .points = {{{{"n", 128}, {"processors", 1}}, tier::quick},
               {{{"n", 512}, {"processors", 1}}, tier::standard, false, 200},
               {{{"n", 512}, {"processors", 2}}, tier::standard, false, 200}},
}};

}  // namespace
}  // namespace tern_bench

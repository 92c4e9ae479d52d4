// TERN_KEEP_FP_MODE, for which the whole program is built: each fiber has a rounding mode of its own.
#define TERN_KEEP_FP_MODE 1
#include <gtest/gtest.h>

#include <cfenv>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

namespace {

using tern::detail::fp_mode;

constexpr int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

// What the two units of x86 answer, or the one of ARM64.
template <class T>
[[gnu::noinline]] T third() {
  volatile T one = 1, three = 3;
  return one / three;
}

class Rounding : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override { before_ = std::fegetround(); }
  void TearDown() override { EXPECT_EQ(std::fegetround(), before_) << "of the plain thread"; }
  tern::runtime rt{{.processors = GetParam()}};

 private:
  int before_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Processors, Rounding, testing::Values(1u, 2u));

TEST_P(Rounding, FollowsTheFiberThroughEveryWait) {
  rt.run([] {
    double thirds[4];
    long double long_thirds[4];
    for (int i = 0; i < 4; ++i) {
      std::fesetround(modes[i]);
      thirds[i] = third<double>();
      long_thirds[i] = third<long double>();
    }
    std::fesetround(FE_TONEAREST);
    ASSERT_NE(thirds[1], thirds[2]) << "the modes differ in their result";
    ASSERT_NE(long_thirds[1], long_thirds[2]);
    tern::channel<int> c;
    tern::mutex m;
    std::vector<tern::thread> all;
    for (int i = 0; i < 8; ++i)
      all.emplace_back([&, i] {
        const int mode = modes[i % 4];
        EXPECT_EQ(std::fegetround(), FE_TONEAREST) << "a fiber begins so, whoever ran before";
        std::fesetround(mode);
        for (int k = 0; k < 200; ++k) {
          switch (k % 5) {
            case 0: tern::this_thread::yield(); break;
            case 1: i < 4 ? c.send(k) : static_cast<void>(c.receive()); break;
            case 2: {
              const std::lock_guard hold{m};
              tern::this_thread::yield();
              break;
            }
            case 3: tern::thread{[] { EXPECT_EQ(std::fegetround(), FE_TONEAREST); }}.join(); break;
            default: tern::blocking([&] { EXPECT_EQ(std::fegetround(), mode); });
          }
          ASSERT_EQ(std::fegetround(), mode);
          ASSERT_EQ(third<double>(), thirds[i % 4]);
          ASSERT_EQ(third<long double>(), long_thirds[i % 4]);
        }
        // It ends with its mode set: the next fiber, and the worker, have theirs.
      });
    for (tern::thread& t : all) t.join();
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  });
}

TEST_P(Rounding, ANewFiberBeginsAsAProcessDoes) {
  // The header's constants are what the kernel and the C library start with.
  fp_mode here;
  tern::detail::read_fp_mode(here);
  const fp_mode start;
#if defined(__x86_64__)
  constexpr std::uint32_t flags = 0x3f;  // of exceptions that have been raised
  EXPECT_EQ(here.mxcsr & ~flags, start.mxcsr);
  EXPECT_EQ(here.x87, start.x87);
#else
  EXPECT_EQ(here.fpcr, start.fpcr);
#endif
}

}  // namespace

// 100,000 fibers that each make managed objects, send some of them through a channel and end, while cycles run: nothing stays.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include <tern/gc.hpp>
#include <tern/sched.hpp>
#include <tern/sync.hpp>

#include "tests/support/seed.hpp"

namespace {

namespace gc = tern::gc;

struct parcel {
  gc::member<parcel> next;
  std::uint64_t number = 0;
  std::uint64_t check = 0;
  void trace(gc::visitor& v) const { v(next); }
  bool is_whole() const noexcept { return check == ~number; }
};

parcel* make_parcel(std::uint64_t number, parcel* next) {
  parcel* p = gc::make<parcel>();
  p->number = number;
  p->check = ~number;
  p->next = next;
  return p;
}

// `least` fibers, and more if the collecting thread has not had its turn by then.
void fibers_channel_and_exit(unsigned processors, unsigned least) {
  gc::testing::verify_each_cycle(true);
  gc::testing::poison_freed(true);
  const gc::statistics before = gc::read_statistics();
  std::atomic<std::uint64_t> received{0};
  std::atomic<std::uint64_t> bad{0};
  std::atomic<bool> done{false};
  unsigned count = 0;
  const auto cycles_run = [&] { return gc::read_statistics().cycles - before.cycles; };
  std::thread cycles{[&] {
    while (!done) gc::collect();
  }};
  {
    tern::runtime rt{{.processors = processors}};
    rt.run([&] {
      tern::channel<parcel*> c{128};
      tern::nursery consumers;
      // Also where no further fiber can be made: the test then fails with what was thrown, instead of waiting for consumers that wait.
      struct closing {
        tern::channel<parcel*>& c;
        ~closing() { c.close(); }
      };
      for (int k = 0; k < 2; ++k)
        consumers.spawn([&] {
          while (std::optional<parcel*> p = c.receive()) {
            unsigned n = 0;
            for (parcel* x = *p; x != nullptr; x = x->next, ++n)
              if (!x->is_whole()) ++bad;
            if (n != 3) ++bad;
            ++received;
          }
        });
      const closing at_end{c};
      tern::nursery producers;
      for (; count < least || cycles_run() < 2; ++count) {
        const unsigned f = count;
        parcel* captured = make_parcel(f, nullptr);
        producers.spawn([&c, &bad, captured, f] {
          parcel* own = make_parcel(f + 1000000u, captured);
          for (int i = 0; i < 5; ++i) make_parcel(f, own);
          if (!captured->is_whole()) ++bad;
          c.send(make_parcel(f + 2000000u, own));
        });
        if (f % 1000 == 999) tern::this_thread::yield();
      }
      producers.wait();
    });
  }
  done = true;
  cycles.join();
  gc::collect();
  const gc::statistics after = gc::read_statistics();
  EXPECT_EQ(received, count);
  EXPECT_EQ(bad, 0u);
  EXPECT_EQ(after.lost, before.lost);
  EXPECT_EQ(after.live_objects, 0u) << "something is left alive";
  std::printf("%u fibers on %u processors, %llu cycles\n", count, processors,
              static_cast<unsigned long long>(cycles_run()));
}

TEST(gc_fibers, nothing_is_left_alive_on_two_processors) {
  fibers_channel_and_exit(2, tern_test::scale(tern::detail::tsan_build ? 4000u : 100'000u));
}
TEST(gc_fibers, nothing_is_left_alive_on_one_processor) {
  fibers_channel_and_exit(1, tern_test::scale(tern::detail::tsan_build ? 2000u : 20'000u));
}

}  // namespace

// Limits as a program meets them: the soft one that gives way.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "tests/support/comes_true.hpp"
#include "tests/support/seed.hpp"
#include "tests/unit/gc_support.hpp"

namespace {

namespace gc = tern::gc;
using gc_test::node;
using gc_test::on_thread;

// A cap that fills in some milliseconds; back to what the machine has.
struct small_cap {
  explicit small_cap(std::int64_t ns) {
    tern::detail::lock_scope hold{tern::detail::gc::state.pacer_lock};
    tern::detail::gc::state.cap.set_capacity(ns);
  }
  ~small_cap() {
    tern::detail::lock_scope hold{tern::detail::gc::state.pacer_lock};
    tern::detail::gc::state.cap.set_processors(tern::detail::os::usable_cpus());
  }
};

struct soft_limit {
  explicit soft_limit(std::size_t bytes) { gc::set_memory_limit(bytes); }
  ~soft_limit() { gc::set_memory_limit(SIZE_MAX); }
};

TEST(gc_limits, below_what_lives_the_soft_limit_takes_its_share_and_gives_way) {
  gc::collect();
  const gc::statistics before = gc::read_statistics();
  on_thread([&] {
    gc::handle<node> live{gc_test::make_list(tern_test::scale(400'000L), 1)};
    gc::collect();
    const small_cap quick{2'000'000};
    const soft_limit here{1 << 20};
    // Until the goal is far above the limit: nobody who waits for it is braked for ever.
    EXPECT_TRUE(tern_test::comes_true([&] {
      for (int i = 0; i < 10'000; ++i) gc::keep_alive(gc::make_array<std::uint64_t>(16));
      return gc::read_statistics().limit_releases > before.limit_releases;
    }));
    gc::statistics now;
    EXPECT_TRUE(tern_test::comes_true([&] {
      for (int i = 0; i < 10'000; ++i) gc::keep_alive(gc::make_array<std::uint64_t>(16));
      now = gc::read_statistics();
      return now.goal_bytes >= now.live_bytes * 3 / 2;
    }));
    EXPECT_GT(now.collector_ns, before.collector_ns);
    EXPECT_NE(to_string(now).find("limit_releases=" + std::to_string(now.limit_releases)), std::string::npos);
  });
  // Without a limit, or with room, nothing gives way.
  gc::collect();
  gc::collect();
  const std::uint64_t releases = gc::read_statistics().limit_releases;
  on_thread([] {
    for (int i = 0; i < 1'000'000; ++i) gc::keep_alive(gc::make<node>());
  });
  EXPECT_EQ(gc::read_statistics().limit_releases, releases);
}

}  // namespace

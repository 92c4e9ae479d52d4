// What must not be touched any more: closures after their scope, slots of a runtime that is gone, a processor that was left.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <tern/sched.hpp>

namespace {

using namespace std::chrono_literals;
using namespace tern::detail;

// Takes its time to be destroyed, as a function object may that holds locks or files.
class slow_to_die {
 public:
  explicit slow_to_die(std::atomic<int>& alive) : alive_{&alive} { ++*alive_; }
  slow_to_die(slow_to_die&& o) noexcept : alive_{std::exchange(o.alive_, nullptr)} {}
  slow_to_die(const slow_to_die& o) noexcept : alive_{o.alive_} { ++*alive_; }
  slow_to_die& operator=(const slow_to_die&) = delete;
  ~slow_to_die() {
    if (alive_ == nullptr) return;
    tern::this_thread::sleep_for(2ms);
    --*alive_;
  }

 private:
  std::atomic<int>* alive_;
};

TEST(SchedLifetime, ANurserysFunctionsAreDestroyedBeforeWaitReturns) {
  tern::run(tern::runtime_options{.processors = 1}, [] {
    std::atomic<int> alive{0};
    tern::nursery n;
    for (int i = 0; i < 4; ++i) n.spawn([x = slow_to_die{alive}] {});
    n.wait();
    EXPECT_EQ(alive, 0);
  });
}

TEST(SchedLifetime, ALateExceptionIsDestroyedBeforeWaitReturns) {
  tern::run(tern::runtime_options{.processors = 1}, [] {
    std::atomic<int> alive{0};
    tern::nursery n;
    for (int i = 0; i < 4; ++i) n.spawn([&alive] { throw slow_to_die{alive}; });
    try {
      n.wait();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const slow_to_die&) {
      EXPECT_EQ(alive, 1) << "others than the first one's are alive";
    }
  });
}

// Copying it lasts until the fiber runs on another processor.
struct moves_on_when_copied {
  processor** before;
  processor** after;
  std::uint64_t* spawned;
  moves_on_when_copied(processor*& b, processor*& a, std::uint64_t& s) : before{&b}, after{&a}, spawned{&s} {}
  moves_on_when_copied(const moves_on_when_copied& o) : before{o.before}, after{o.after}, spawned{o.spawned} {
    *before = current_processor();
    while (current_processor() == *before) tern::blocking([] { std::this_thread::sleep_for(100us); });
    *after = current_processor();
    *spawned = (*after)->counters.spawned.load();
  }
  void operator()() const {}
};

TEST(SchedLifetime, AClosureWhoseCopyParksIsSpawnedWhereTheFiberIsThen) {
  tern::run(tern::runtime_options{.processors = 2}, [] {
    std::atomic<bool> stop{false};
    std::vector<tern::thread> others;
    for (int i = 0; i < 4; ++i)
      others.emplace_back([&stop] {
        while (!stop.load()) tern::this_thread::yield();
      });
    processor* before = nullptr;
    processor* after = nullptr;
    std::uint64_t spawned = 0;
    const moves_on_when_copied f{before, after, spawned};
    tern::thread t{f};
    ASSERT_NE(before, after);
    EXPECT_EQ(after->counters.spawned.load(), spawned + 1);
    t.join();
    stop = true;
  });
}

TEST(SchedLifetime, AHandleMayBeJoinedInALaterRuntimeWithOtherSlots) {
  std::optional<tern::runtime> rt;
  rt.emplace(tern::runtime_options{.processors = 1, .stack_size = 64 * 1024});
  tern::thread old = rt->spawn([] {});
  rt.emplace(tern::runtime_options{.processors = 1, .stack_size = 256 * 1024});  // at the same address
  rt->run([&] {
    old.join();
    for (int i = 0; i < 200; ++i)
      tern::thread{[] {
        int here = 0;
        EXPECT_EQ(stack_pool::locate(to_word(&here)).slot_bytes, 256u * 1024);
      }}.join();
  });
}

}  // namespace

// While a collector marks, each word that a channel moves from one stack to another, or into its buffer, is shown to it.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

using namespace std::chrono_literals;

namespace {

std::atomic<int> crossed{0};
int target = 0;

void nothing(tern::detail::processor&) noexcept {}
void nothing_to_fiber(tern::detail::processor&, tern::detail::fiber&) noexcept {}

constexpr tern::detail::collector_hooks table{
    .processor_attach = &nothing,
    .processor_detach = &nothing,
    .processor_release = &nothing,
    .processor_acquire = &nothing,
    .safepoint = &nothing,
    .try_resume = [](tern::detail::processor&, tern::detail::fiber&) noexcept { return true; },
    .suspended = &nothing_to_fiber,
    .fiber_start = &nothing_to_fiber,
    .crossing =
        [](const void* words, std::size_t bytes) noexcept {
          for (std::size_t i = 0; i + sizeof(void*) <= bytes; i += sizeof(void*)) {
            void* word = nullptr;
            std::memcpy(&word, static_cast<const char*>(words) + i, sizeof word);
            if (word == &target) ++crossed;
          }
        },
    .thread_wait = [](tern::detail::function_ref<void()> wait) noexcept { wait(); },
    .before_fork = []() noexcept {},
    .after_fork = [](bool) noexcept {},
};

struct pair {
  long number;
  int* pointer;
};

// How often the target's address crossed while f ran with marking on.
template <class F>
int crossings(F f) {
  crossed = 0;
  tern::detail::hooks_armed.store(1);
  f();
  tern::detail::hooks_armed.store(0);
  return crossed;
}

}  // namespace

TEST(sync_crossing, every_way_through_a_channel) {
  tern::detail::install_collector_hooks(table);
  tern::run({.processors = 1}, [] {
    tern::channel<pair> direct;
    tern::channel<int*> buffered{2};
    // To a receiver that waits.
    EXPECT_GE(crossings([&] {
                tern::thread t{[&] { EXPECT_EQ(direct.receive()->pointer, &target); }};
                tern::this_thread::yield();
                direct.send({1, &target});
                t.join();
              }),
              1);
    // From a sender that waits.
    EXPECT_GE(crossings([&] {
                tern::thread t{[&] { direct.send({2, &target}); }};
                tern::this_thread::yield();
                EXPECT_EQ(direct.receive()->pointer, &target);
                t.join();
              }),
              1);
    // Into the buffer, and out of it.
    EXPECT_EQ(crossings([&] { buffered.send(&target); }), 1);
    EXPECT_EQ(crossings([&] { EXPECT_EQ(buffered.receive(), &target); }), 1);
    // Through select, to a waiting one.
    EXPECT_GE(crossings([&] {
                tern::thread t{[&] {
                  tern::select(
                      tern::on_receive(direct, [](std::optional<pair> p) { EXPECT_EQ(p->pointer, &target); }),
                      tern::after(1h, [] { FAIL(); }));
                }};
                tern::this_thread::yield();
                direct.send({3, &target});
                t.join();
              }),
              1);
    // Nothing is shown when nobody marks.
    crossed = 0;
    buffered.send(&target);
    EXPECT_EQ(buffered.receive(), &target);
    EXPECT_EQ(crossed, 0);
  });
}

TEST(sync_crossing, the_result_of_a_run) {
  tern::detail::install_collector_hooks(table);
  tern::runtime rt{{.processors = 1}};
  EXPECT_EQ(crossings([&] { EXPECT_EQ(rt.run([] { return &target; }), &target); }), 1);
  EXPECT_EQ(crossings([&] { EXPECT_EQ(&rt.run([]() -> int& { return target; }), &target); }), 1);
}

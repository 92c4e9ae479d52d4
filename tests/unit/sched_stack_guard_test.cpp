// The overflow report: which fiber, whatever the frame size, and nothing else is swallowed.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <thread>

#include <tern/arch/context.hpp>
#include <tern/arch/sanitizer.hpp>
#include <tern/sched/stack_guard.hpp>
#include <tern/sched/stack_pool.hpp>

#include "tests/support/emulation.hpp"

using tern::detail::context;
using tern::detail::fiber;
using tern::detail::sanitizer_fiber;
using tern::detail::stack_pool;

namespace {

template <std::size_t Frame>
[[gnu::noinline]] int overflow(int depth) {
  volatile char frame[Frame];
  frame[0] = static_cast<char>(depth);  // the lowest byte: a call below may jump as far as the frame is long
  if (depth == 1'000'000) return 0;
  const int r = overflow<Frame>(depth + 1);
  return r + frame[0];
}

context outside;
sanitizer_fiber outside_sanitizer;
int (*to_run)(int) = nullptr;

void run_it(void* message) {
  static_cast<fiber*>(message)->sanitizer.after_switch(outside_sanitizer);
  to_run(0);
  std::abort();
}

// Runs f(0) on a slot whose control block says on_cpu.
[[noreturn]] void run_on_fiber(std::size_t slot_bytes, int (*f)(int), const char* name) {
  tern::detail::install_fault_handler();
  const tern::detail::worker_alt_stack alternate;
  void* control = stack_pool::of(slot_bytes).acquire();
  auto& self = *::new (control) fiber;
  self.id = 77;
  if (name != nullptr) {
    std::snprintf(self.name, sizeof self.name, "%s", name);
    self.flags |= fiber::has_name;
  }
  self.stack_state.store(fiber::on_cpu);
  const auto* limit = static_cast<char*>(stack_pool::stack_limit(control));
  self.sanitizer.create(limit, static_cast<std::size_t>(static_cast<char*>(control) - limit));
  outside_sanitizer.adopt_thread();
  tern::detail::make_context(self.saved_context, stack_pool::stack_top(control), &run_it);
  to_run = f;
  outside_sanitizer.before_switch(self.sanitizer);
  tern::detail::switch_context(outside, self.saved_context, &self);
  std::abort();
}

// Larger than what is asked for where OS pages are.
std::string slot_size(std::size_t asked) {
  return "slot size " + std::to_string(stack_pool::of(asked).slot_bytes());
}

int write_into_a_foreign_guard(int) {
  auto* other = ::new (stack_pool::of(stack_pool::default_bytes).acquire()) fiber;
  *(static_cast<volatile char*>(stack_pool::stack_limit(other)) - 1) = 1;
  return 0;
}

int write_near_null(int) {
  volatile std::uintptr_t address = 64;  // not null itself, which UBSan would report before the fault
  *reinterpret_cast<volatile int*>(address) = 1;
  return 0;
}

void previous_handler(int) {
  constexpr char text[] = "the program's own handler\n";
  [[maybe_unused]] const auto n = ::write(2, text, sizeof text - 1);
  ::_exit(9);
}

using stack_guard_death = testing::Test;

}  // namespace

TEST(stack_guard_death, small_frames) {
  EXPECT_EXIT(run_on_fiber(65536, &overflow<64>, nullptr), testing::KilledBySignal(SIGSEGV),
              "tern: stack overflow in fiber #77, " + slot_size(65536) +
                  " bytes; raise the runtime option .stack_size");
}

TEST(stack_guard_death, frames_of_12_and_15_kib_do_not_jump_the_guard) {
  EXPECT_EXIT(run_on_fiber(65536, &overflow<12 * 1024>, "deep"), testing::KilledBySignal(SIGSEGV),
              "stack overflow in fiber 'deep' #77, " + slot_size(65536));
  EXPECT_EXIT(run_on_fiber(1 << 20, &overflow<15 * 1024>, "deep"), testing::KilledBySignal(SIGSEGV),
              "stack overflow in fiber 'deep' #77, " + slot_size(1 << 20));
}

TEST(stack_guard_death, smallest_slot) {
  EXPECT_EXIT(run_on_fiber(1, &overflow<256>, "small"), testing::KilledBySignal(SIGSEGV),
              "stack overflow in fiber 'small' #77");
}

TEST(stack_guard_death, somebody_elses_guard_is_said_to_be_that) {
  EXPECT_EXIT(run_on_fiber(65536, &write_into_a_foreign_guard, nullptr), testing::KilledBySignal(SIGSEGV),
              "access to the stack guard of a fiber that does not run");
}

TEST(stack_guard_death, another_fault_goes_to_the_previous_handler) {
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, &previous_handler);
        run_on_fiber(65536, &write_near_null, nullptr);
      },
      testing::ExitedWithCode(9), "the program's own handler");
}

TEST(stack_guard_death, another_fault_without_a_handler_kills) {
  if (tern_test::is_emulated()) GTEST_SKIP() << "the emulator writes a line of its own";
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, SIG_DFL);
        run_on_fiber(65536, &write_near_null, nullptr);
      },
      testing::KilledBySignal(SIGSEGV), "^[^t]*$");
}

TEST(stack_guard_death, a_signal_that_somebody_sent_still_kills) {
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, SIG_DFL);
        tern::detail::install_fault_handler();
        ::raise(SIGSEGV);
        std::abort();
      },
      testing::KilledBySignal(SIGSEGV), "");
}

// The kernel says so by EFAULT: no fault, hence no report.
TEST(stack_guard, a_system_call_that_would_write_there_fails) {
  void* control = stack_pool::of(stack_pool::default_bytes).acquire();
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  auto* limit = static_cast<char*>(stack_pool::stack_limit(control));
  EXPECT_EQ(::read(ends[0], limit - 1, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(::read(ends[0], limit, 1), 1);
  ::close(ends[0]);
  ::close(ends[1]);
  stack_pool::of(stack_pool::default_bytes).release(control);
}

TEST(stack_guard, alternate_stack_is_the_threads_while_it_lives) {
  std::thread{[] {
    stack_t before{};
    ::sigaltstack(nullptr, &before);
    {
      const tern::detail::worker_alt_stack mine;
      stack_t now{};
      ::sigaltstack(nullptr, &now);
      EXPECT_EQ(now.ss_flags & SS_DISABLE, 0);
      EXPECT_GE(now.ss_size, 32u * 1024 - 4096);
      const tern::detail::worker_alt_stack second;  // keeps the one that is there
      stack_t still{};
      ::sigaltstack(nullptr, &still);
      EXPECT_EQ(still.ss_sp, now.ss_sp);
    }
    stack_t after{};
    ::sigaltstack(nullptr, &after);
    EXPECT_EQ(after.ss_flags, before.ss_flags);
    EXPECT_EQ(after.ss_sp == nullptr, before.ss_sp == nullptr);
  }}.join();
}

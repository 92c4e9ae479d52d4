// Overflow report: turns the fault of a fiber that ran past its stack into one line that names it.
//
// Context     The runtime installs the handler once and gives each worker an alternate signal stack; a handler that ran on the
//             overflowed stack would fault again.
// Protocol    1. SIGSEGV or SIGBUS. The address, never the stack pointer, tells: it lies in the guard of a slot.
//             2. Report with write(2), restore the default action, return: the instruction faults again and the process dies by
//                that signal, with a core dump that shows the place.
//             3. Any other fault goes to the handler that was there before.
// Limits      A frame that jumps over the guard is not seen. Slots with a canary are reported by overflow_fatal(), later.
#pragma once

#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/bits.hpp>
#include <tern/os/memory.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/stack_pool.hpp>

namespace tern::inline v1::detail {

// A line of text put together without allocation. Async-signal-safe.
class signal_text {
 public:
  signal_text& operator<<(const char* s) noexcept {
    while (*s != 0 && length_ < sizeof text_) text_[length_++] = *s++;
    return *this;
  }
  signal_text& operator<<(std::uint64_t n) noexcept {
    char digits[20];
    std::size_t i = sizeof digits;
    do digits[--i] = static_cast<char>('0' + n % 10);
    while ((n /= 10) != 0);
    while (i < sizeof digits && length_ < sizeof text_) text_[length_++] = digits[i++];
    return *this;
  }
  void write_to_stderr() const noexcept {
    for (std::size_t at = 0; at < length_;) {
      const ssize_t k = ::write(2, text_ + at, length_ - at);
      if (k <= 0) return;
      at += static_cast<std::size_t>(k);
    }
  }

 private:
  char text_[512];
  std::size_t length_ = 0;
};

// Async-signal-safe: reads the control block, which is never unmapped.
inline void report_overflow(void* control, std::size_t slot_bytes) noexcept {
  const fiber& f = *static_cast<const fiber*>(control);
  // relaxed: a report; the fiber that overflowed is stopped in its fault.
  const bool running = f.stack_state.load(memory_order_relaxed) == fiber::on_cpu;
  signal_text line;
  line << (running ? "tern: stack overflow in fiber "
                   : "tern: access to the stack guard of a fiber that does not run: ");
  if ((f.flags & fiber::has_name) != 0) line << "'" << f.name << "' ";
  line << "#" << f.id << ", slot size " << slot_bytes
       << (slot_bytes == tiny_slot_bytes ? " bytes; it needs more than a tiny slot\n"
                                         : " bytes; raise the runtime option .stack_size\n");
  line.write_to_stderr();
}

// For the scheduler, when stack_pool::is_intact() is false: memory beyond the stack was overwritten, so nothing can go on.
[[noreturn]] TERN_COLD inline void overflow_fatal(void* control) noexcept {
  report_overflow(control, stack_pool::locate(to_word(control)).slot_bytes);
  fatal("a fiber ran over the end of its stack");
}

// The handlers of the program and the state of ours. Written by install_fault_handler() only.
struct fault_handlers {
  struct sigaction previous_segv{};
  struct sigaction previous_bus{};
  spin_lock<> lock;
  bool installed = false;
};
inline constinit fault_handlers the_fault_handlers{};

inline void handle_fault(int signal, siginfo_t* info, void* machine) noexcept {
  const auto restore_default = [signal]() noexcept {
    struct sigaction fallback{};
    fallback.sa_handler = SIG_DFL;
    ::sigaction(signal, &fallback, nullptr);
  };
  if (info->si_code > 0) {  // from the kernel, so that si_addr means something
    const stack_pool::place at = stack_pool::locate(to_word(info->si_addr));
    if (at.in_guard) {
      report_overflow(at.control, at.slot_bytes);
      restore_default();
      return;
    }
  }
  const struct sigaction& previous =
      signal == SIGBUS ? the_fault_handlers.previous_bus : the_fault_handlers.previous_segv;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, machine);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else if (previous.sa_handler == SIG_DFL || info->si_code > 0) {
    restore_default();
    if (info->si_code <= 0) ::raise(signal);  // sent by somebody: no instruction would fault again
  }
}

// Once per process; later calls do nothing. A program that installs a handler of its own afterwards takes the report away.
inline void install_fault_handler() noexcept {
  lock_scope hold{the_fault_handlers.lock};
  if (the_fault_handlers.installed) return;
  struct sigaction action{};
  action.sa_sigaction = &handle_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  // The previous ones are read first: a fault between the two calls must find them.
  ::sigaction(SIGSEGV, nullptr, &the_fault_handlers.previous_segv);
  ::sigaction(SIGBUS, nullptr, &the_fault_handlers.previous_bus);
  if (::sigaction(SIGSEGV, &action, nullptr) != 0 || ::sigaction(SIGBUS, &action, nullptr) != 0)
    fatal("cannot install the fault handler");
  the_fault_handlers.installed = true;
}

// The alternate signal stack of the calling thread while it lives; a thread that has one already keeps it. Created and
// destroyed on the same thread, outside its signal handlers.
class worker_alt_stack {
 public:
  worker_alt_stack() noexcept {
    stack_t current{};
    if (::sigaltstack(nullptr, &current) == 0 && (current.ss_flags & SS_DISABLE) == 0) return;
    // The kernel's frame holds the vector registers (2.7 KiB with AVX-512, more with AMX), the rest is for chained handlers.
    const std::size_t frame = std::max<std::size_t>(::getauxval(AT_MINSIGSTKSZ), 4096);
    const std::size_t guard = os::page_size();
    bytes_ = round_up(frame + 32 * 1024, os::page_size()) + guard;
    memory_ = os::reserve(bytes_);
    if (memory_ == nullptr) return;  // no report then, the fault itself stays fatal
    os::protect_none(memory_, guard);
    stack_t s{};
    s.ss_sp = at_offset(memory_, static_cast<std::ptrdiff_t>(guard));
    s.ss_size = bytes_ - guard;
    if (::sigaltstack(&s, nullptr) != 0) fatal("sigaltstack failed");
  }
  ~worker_alt_stack() {
    if (memory_ == nullptr) return;
    stack_t off{};
    off.ss_flags = SS_DISABLE;
    ::sigaltstack(&off, nullptr);
    os::unreserve(memory_, bytes_);
  }
  worker_alt_stack(const worker_alt_stack&) = delete;
  worker_alt_stack& operator=(const worker_alt_stack&) = delete;

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace tern::inline v1::detail

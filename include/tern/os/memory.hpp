#pragma once

// Virtual memory: reservations, their release, and guards that cost no VMA.
//
// Context     The allocator's chunks, the collector's heap and the fibers' slots come from here.
// Protocol    reserve() maps NORESERVE: address space now, memory at first touch. release() gives the memory of whole OS
//             pages back and keeps the addresses; they read as zero afterwards.
// Limits      Sizes and addresses are multiples of page_size(), which the OS tells (4, 16 or 64 KiB on ARM64).

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>

#include <tern/arch/valgrind.hpp>
#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/bits.hpp>

namespace tern::inline v1::detail::os {

// MADV_GUARD_INSTALL and MADV_GUARD_REMOVE of Linux 6.13; older headers lack the names.
inline constexpr int madv_guard_install = 102;
inline constexpr int madv_guard_remove = 103;

// The OS page size in bytes: a power of two, at least 4096.
inline std::size_t page_size() noexcept {
  static constinit atomic<std::size_t> cached{0};
  std::size_t n =
      cached.load(memory_order_relaxed);  // relaxed: idempotent, every thread computes the same value
  if (TERN_UNLIKELY(n == 0)) {
    n = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    cached.store(n, memory_order_relaxed);
  }
  return n;
}

// Reserves `bytes` of zeroed, readable and writable address space aligned to `alignment` (a power of two, at least
// page_size()). nullptr with errno set when the address space or the limit is exhausted.
inline void* reserve(std::size_t bytes, std::size_t alignment = 0) noexcept {
  const std::size_t page = page_size();
  if (alignment < page) alignment = page;
  bytes = round_up(bytes, page);
  const std::size_t slack = alignment > page ? alignment : 0;
  if (bytes + slack < bytes) {
    errno = ENOMEM;
    return nullptr;
  }
  void* p = ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  if (slack == 0) return p;
  const std::uintptr_t start = to_word(p);
  const std::uintptr_t aligned = round_up(start, alignment);
  if (aligned != start) ::munmap(p, aligned - start);
  const std::uintptr_t tail = start + slack - aligned;
  if (tail != 0) ::munmap(reinterpret_cast<void*>(aligned + bytes), tail);
  return reinterpret_cast<void*>(aligned);
}

// Gives address space back. A failure means that the caller's bookkeeping is wrong.
inline void unreserve(void* p, std::size_t bytes) noexcept {
  if (::munmap(p, round_up(bytes, page_size())) != 0) fatal("munmap of a range that was not reserved");
}

// Gives the memory back and keeps the addresses; the range reads as zero from then on. Guards inside survive.
inline void release(void* p, std::size_t bytes) noexcept { ::madvise(p, bytes, MADV_DONTNEED); }

// Asks for or against transparent huge pages. Advice only: a kernel without them refuses, which changes nothing.
inline void advise_huge_pages(void* p, std::size_t bytes, bool wanted) noexcept {
  const int saved = errno;
  ::madvise(p, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  errno = saved;
}

// From here on a reservation is in core files as far as it is taken; what a smaller one costs there is not worth the calls.
inline constexpr std::size_t large_reservation = std::size_t{1} << 30;

// Whether a core file holds the pages of these bytes: of a reservation of a terabyte each page is looked at, though few
// were ever used. Advice only. Two mappings where it changes in the middle of one.
inline void set_dumped(void* p, std::size_t bytes, bool dumped) noexcept {
  const int saved = errno;
  const std::uintptr_t start = round_down(to_word(p), page_size());
  const std::uintptr_t end = round_up(to_word(p) + bytes, page_size());
  ::madvise(reinterpret_cast<void*>(start), end - start, dumped ? MADV_DODUMP : MADV_DONTDUMP);
  errno = saved;
}

// Takes all access away. Splits the mapping: at most about 30,000 of these fit under vm.max_map_count.
inline bool protect_none(void* p, std::size_t bytes) noexcept { return ::mprotect(p, bytes, PROT_NONE) == 0; }
inline bool protect_read_write(void* p, std::size_t bytes) noexcept {
  return ::mprotect(p, bytes, PROT_READ | PROT_WRITE) == 0;
}

// Installs a guard without a VMA of its own. False where the kernel cannot; success is proven by nothing but a fault:
// see guards_work().
inline bool guard_install(void* p, std::size_t bytes) noexcept {
  return ::madvise(p, bytes, madv_guard_install) == 0;
}

// Guards of `bytes` at each of `count` addresses, `stride` bytes apart; how many of the first have theirs, 0 where the kernel
// cannot do it so. Half of what a new stack's guard costs is the call (sched/spawn_cold).
inline std::size_t guard_install_each(void* first, std::size_t stride, std::size_t bytes,
                                      std::size_t count) noexcept {
#ifdef SYS_process_madvise
  constexpr int self = -10000;  // PIDFD_SELF_THREAD of Linux 6.14; older kernels answer EBADF
  constexpr std::size_t at_once = 64;
  if (runs_on_valgrind())
    return 0;  // it has a page of complaints about each system call that it does not know
  const int saved = errno;
  std::size_t done = 0;
  while (done < count) {
    iovec ranges[at_once];
    const std::size_t n = std::min(at_once, count - done);
    for (std::size_t i = 0; i < n; ++i)
      ranges[i] = {at_offset<void>(first, static_cast<std::ptrdiff_t>((done + i) * stride)), bytes};
    const long advised = ::syscall(SYS_process_madvise, self, ranges, n, madv_guard_install, 0);
    if (advised <= 0) break;
    done += static_cast<std::size_t>(advised) / bytes;
    if (static_cast<std::size_t>(advised) != n * bytes) break;
  }
  errno = saved;
  return done;
#else
  return static_cast<void>(first), static_cast<void>(stride), static_cast<void>(bytes),
         static_cast<void>(count), 0;
#endif
}

inline void guard_remove(void* p, std::size_t bytes) noexcept { ::madvise(p, bytes, madv_guard_remove); }

// Whether a guard of guard_install really faults: qemu-user answers success and installs nothing. A write(2) from the
// guarded page is the probe: the kernel answers EFAULT instead of a signal, so no handler is needed; a pipe carries it.
// Asked once per process. Thread-safe.
inline bool guards_work() noexcept {
  static constinit atomic<int> known{0};           // 0 unknown, 1 yes, 2 no
  const int k = known.load(memory_order_relaxed);  // relaxed: idempotent
  if (k != 0) return k == 1;
  bool works = false;
  const int saved = errno;
  void* p = reserve(page_size());
  if (p != nullptr) {
    int ends[2];
    if (guard_install(p, page_size()) && ::pipe2(ends, O_CLOEXEC) == 0) {
      works = ::write(ends[1], p, 1) == -1 && errno == EFAULT;
      ::close(ends[0]);
      ::close(ends[1]);
    }
    unreserve(p, page_size());
  }
  errno = saved;
  known.store(works ? 1 : 2, memory_order_relaxed);
  return works;
}

}  // namespace tern::inline v1::detail::os

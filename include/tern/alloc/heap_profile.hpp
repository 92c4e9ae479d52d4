#pragma once

// heap_profile: which stacks allocated what lives now; and what TERN_DEBUG asks of the allocator.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <tern/alloc/sampling.hpp>
#include <tern/alloc/statistics.hpp>
#include <tern/alloc/thread_cache.hpp>
#include <tern/base/debug_options.hpp>

namespace tern::inline v1 {

namespace detail {

// The same seed gives the same intervals to the same allocations; 0: one of the sampler's.
inline void start_sampling(std::size_t interval, bool guards, std::uint64_t seed = 0) noexcept {
  samples.start(interval, guards, seed);
  if (interval != 0) current_cache()->veil_all();
}

}  // namespace detail

// The heap's live blocks by the stacks that allocated them, sampled. Thread-safe.
struct heap_profile {
  // One sample for about `interval` bytes of allocation from now on; 0 ends it.
  static void start(std::size_t interval = std::size_t{512} << 10) noexcept {
    detail::start_sampling(interval, false);
  }

  // The same with guards: an access beyond the end of a sampled block, or after its free, ends the process with a message. Takes
  // SIGSEGV; other faults go to the earlier handler. Each sample costs some 16 KiB and two mappings; beyond
  // 8,192 that live there are samples without guards.
  static void start_guarded(std::size_t interval = std::size_t{512} << 10) noexcept {
    detail::start_sampling(interval, true);
  }

  // Writes what lives now, for pprof. False with errno where that fails.
  static bool write(const char* path) noexcept {
    const int fd = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    const bool good = detail::samples.write_to(fd);
    return ::close(fd) == 0 && good;
  }
};

namespace detail {

inline constinit char profile_path_at_exit[256] = {};
inline constinit atomic<bool> debug_settings_read{false};

inline void write_profile_at_exit() noexcept {
  if (heap_profile::write(profile_path_at_exit)) return;
  std::fprintf(stderr, "tern: the heap profile cannot be written to %s: %s\n", profile_path_at_exit,
               std::strerror(errno));
}

// Called in slow paths: cheap after the first time.
TERN_COLD inline void read_debug_settings() noexcept {
  if (environ == nullptr) return;                                        // the C library has not started yet
  if (debug_settings_read.exchange(true, memory_order_relaxed)) return;  // relaxed: only one thread goes on
  if (debug_option("allocstats") != 0) std::atexit(&print_allocation_statistics);
  const long given = debug_option("sampleinterval");
  const std::size_t interval = given > 0 ? static_cast<std::size_t>(given) : std::size_t{512} << 10;
  const bool guards = debug_option("guardsamples") != 0;
  const bool profiles = debug_text("heapprofile", profile_path_at_exit, sizeof profile_path_at_exit);
  if (profiles) std::atexit(&write_profile_at_exit);
  if (profiles || guards) start_sampling(interval, guards);
}
inline void read_debug_settings_once() noexcept {
  if (TERN_UNLIKELY(!debug_settings_read.load(memory_order_relaxed)))
    read_debug_settings();  // relaxed: as above
}

}  // namespace detail

}  // namespace tern::inline v1

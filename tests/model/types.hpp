// The words of the model checker: bounds, results, clocks, mutations.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <string>
#include <vector>

#include <tern/base/atomic.hpp>

namespace tern_model {

using tern::detail::memory_order;
using tern::detail::memory_order_acq_rel;
using tern::detail::memory_order_acquire;
using tern::detail::memory_order_relaxed;
using tern::detail::memory_order_release;
using tern::detail::memory_order_seq_cst;
using site = std::source_location;

inline constexpr unsigned max_threads = 7;
inline constexpr unsigned main_thread = 7;  // runs the model's constructor, finally() and destructor

struct options {
  unsigned preemptions = 2;     // switches away from a thread that could go on
  unsigned store_delays = 0;    // stores kept back in one execution
  unsigned store_passes = 0;    // relaxed stores that pass those kept back before them, as on ARM64
  unsigned timeouts = 0;        // timed waits that give up although another thread could run
  unsigned spurious_wakes = 0;  // waits that return for no reason
  unsigned max_steps = 5'000;   // operations in one execution; more is a livelock
  std::uint64_t max_schedules = 20'000'000;
  double max_seconds = 60.0;  // processor time; a check ended by this or by max_schedules is not complete
  std::string replay{};       // run this one schedule (also from the environment: TERN_MODEL_REPLAY)
};

struct result {
  bool failed = false;
  bool complete = false;  // every schedule within the bounds was run
  std::string message{};
  std::string trace{};     // the failing execution, one line per operation
  std::string schedule{};  // give it to options::replay
  std::uint64_t schedules = 0;
  double seconds = 0;  // of processor time
};

// Vector clock: what each thread had done when ...
struct clock {
  std::array<std::uint32_t, max_threads + 1> at{};
  void join(const clock& o) noexcept {
    for (unsigned i = 0; i <= max_threads; ++i) at[i] = at[i] < o.at[i] ? o.at[i] : at[i];
  }
};

// One atomic object. The value is kept as bits so that the engine is not a template.
struct location {
  std::uint64_t bits = 0;
  clock released{};  // what a load-acquire of the present value learns
};

struct delayed_store {
  location* where;
  std::uint64_t bits;
  bool release;
  clock at;
};

// Stores of a thread that the others do not see yet, oldest first.
struct store_buffer : std::vector<delayed_store> {
  // The last one to this place; null if there is none.
  const delayed_store* find(const location& l) const noexcept {
    for (auto d = rbegin(); d != rend(); ++d)
      if (d->where == &l) return &*d;
    return nullptr;
  }
};

enum class change : std::uint8_t { weaken, weaken_seq_cst, tear, drop };

// What mutation.hpp asks for: one call site that misbehaves.
struct mutation {
  change kind{};
  const char* file = nullptr;
  unsigned line = 0;
  unsigned column = 0;
};

struct seen_site {
  site where{};
  const char* operation = "";
  memory_order order{};
};

// Who touched a plain variable last. `writer` 7 is the model's constructor.
struct access_history {
  unsigned writer = main_thread;
  std::uint32_t write_at = 0;
  clock reads{};
};

inline bool acquires(memory_order o) noexcept {
  return o == memory_order_acquire || o == memory_order_acq_rel || o == memory_order_seq_cst;
}
inline bool releases(memory_order o) noexcept {
  return o == memory_order_release || o == memory_order_acq_rel || o == memory_order_seq_cst;
}

/// "file.hpp:12".
inline std::string where(const site& s) {
  const char* file = s.file_name();
  if (const char* slash = std::strrchr(file, '/'); slash != nullptr) file = slash + 1;
  return std::string{file} + ":" + std::to_string(s.line());
}

}  // namespace tern_model

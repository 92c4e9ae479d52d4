// Slots: the free ones that a processor keeps for its spawns, exchanged with the pool in batches.
//
// Context     spawn.hpp takes from the list, release_slot() puts back; neither takes a lock or an atomic operation.
// Limits      A list holds up to max_local_slots: what its owner freed last is the warmest. Beyond that half of it goes to the pool.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include <tern/sched/roomy_stack.hpp>
#include <tern/sched/scheduler.hpp>

namespace tern::inline v1::detail {

inline constexpr std::uint32_t slot_batch = 64;
inline constexpr std::uint32_t max_local_slots = 2048;

TERN_COLD inline stack_pool& scheduler::pool_for(std::size_t bytes) const {
  if (bytes != tiny_request) return stack_pool::of(bytes);
  if (tiny_refusal_ != nullptr) throw std::system_error(ENOTSUP, std::generic_category(), tiny_refusal_);
  return stack_pool::tiny();
}

// Throws std::system_error when the pool is used up.
TERN_COLD inline void scheduler::fill_slots(processor& p) {
  // Doubling, so that a program with few fibers touches few slots.
  const std::uint32_t want = p.counters.spawned.load(memory_order_relaxed) < slot_batch ? 4 : slot_batch;
  std::size_t n = 0;
  on_roomy_stack([&]() noexcept {
    void* got[slot_batch];
    n = pool_->acquire_batch(got, want);
    for (std::size_t i = n; i-- > 0;) {  // the pool's warmest on top
      auto* f = static_cast<fiber*>(got[i]);
      f->next = p.free_slots;
      p.free_slots = f;
    }
  });
  if (n == 0) throw std::system_error(ENOMEM, std::generic_category(), "tern: no fiber stack is left");
  p.free_count += static_cast<std::uint32_t>(n);
}

TERN_COLD inline void scheduler::drain_slots(processor& p, std::uint32_t keep) noexcept {
  on_roomy_stack([&]() noexcept {
    while (p.free_count > keep) {
      void* out[slot_batch];
      std::size_t n = 0;
      while (n < slot_batch && p.free_count > keep) {
        fiber* f = p.free_slots;
        p.free_slots = f->next;
        --p.free_count;
        out[n++] = f;
      }
      pool_->release_batch(out, n);
    }
  });
}

}  // namespace tern::inline v1::detail

// Debugger: where a debugger finds the fibers, as a table of addresses and offsets in the program's own data.
//
// Context     Read by scripts/gdb/tern_gdb.py, from a live process or a core, also where the program has no debug information.
// Structure   Words of 8 bytes, in the order below; `version` changes with their meaning.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tern/sched/fiber.hpp>
#include <tern/sched/stack_pool.hpp>

namespace tern::inline v1::detail {

struct debugger_layout {
  std::uint64_t version = 3;
  // The slots (stack_pool.hpp).
  const void* region_base = &stack_pool::region_.base;                // 8 bytes
  const void* region_class_shift = &stack_pool::region_.class_shift;  // 4 bytes
  const void* pools = &stack_pool::pools_;
  std::uint64_t pool_count = stack_pool::class_count;
  std::uint64_t pool_bytes = sizeof(stack_pool);
  std::uint64_t pool_created = offsetof(stack_pool, created_);  // 4 bytes
  std::uint64_t pool_free = offsetof(stack_pool, free_count_);  // 8 bytes
  std::uint64_t min_shift = stack_pool::min_shift;
  std::uint64_t control_bytes = stack_control_bytes;
  // The control block (fiber.hpp). The context is sp, pc, fp, base, 8 bytes each.
  std::uint64_t context = offsetof(fiber, saved_context);
  std::uint64_t stack_state = offsetof(fiber, stack_state);  // 4 bytes
  std::uint64_t flags = offsetof(fiber, flags);              // 4 bytes
  std::uint64_t wait_what = offsetof(fiber, wait_what);      // a string; the top bit is a note
  std::uint64_t wait_object = offsetof(fiber, wait_object);
  std::uint64_t id = offsetof(fiber, id);  // 8 bytes
  std::uint64_t name = offsetof(fiber, name);
  std::uint64_t name_bytes = fiber::name_capacity;
  // Values.
  std::uint64_t state_free = fiber::free;
  std::uint64_t state_on_cpu = fiber::on_cpu;
  std::uint64_t flag_has_name = fiber::has_name;
  std::uint64_t flag_started = fiber::started;
  std::uint64_t flag_in_blocking = fiber::in_blocking;
  // Slots without a colour.
  std::uint64_t tiny_class = stack_pool::tiny_class;
  std::uint64_t tiny_shift = detail::tiny_shift;
};

// The name in the symbol table is the variable's own, without its namespaces.
[[gnu::used]] inline constinit const debugger_layout the_debugger_layout __asm__("tern_debugger_layout"){};

}  // namespace tern::inline v1::detail

// Registry: what goes over the processors or fibers of every runtime - safepoints, the collector's installation, the walk over fibers.
#pragma once

#include <cstdint>

#include <tern/base/atomic.hpp>
#include <tern/base/function_ref.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/hooks.hpp>
#include <tern/sched/processor.hpp>
#include <tern/sched/scheduler.hpp>
#include <tern/sched/stack_pool.hpp>

namespace tern::inline v1::detail {

// Calls fn for each processor of every runtime, idle ones included, under the registry lock: fn must not spawn, park or
// create runtimes.
inline void for_each_processor(function_ref<void(processor&)> fn) {
  lock_scope hold{schedulers.lock};
  for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_)
    for (std::uint32_t i = 0; i < s->slots(); ++i)
      if (s->at(i).state.load(memory_order_acquire) != processor_state::unused) fn(s->at(i));
}

// Sets request_safepoint in every processor and wakes nobody: idle and lent ones have been released to the collector.
inline void request_safepoint_all() noexcept {
  for_each_processor([](processor& p) { p.request.fetch_or(request_safepoint, memory_order_seq_cst); });
}

// Answers a pending safepoint request of this thread's processor, if it has one. For slow paths of the layers above.
inline void poll_safepoint() noexcept {
  processor* p = current_processor();
  // relaxed: the RMW that clears the bit orders.
  if (p == nullptr || (p->request.load(memory_order_relaxed) & request_safepoint) == 0) return;
  p->request.fetch_and(~request_safepoint, memory_order_seq_cst);  // pairs-with: request_safepoint_all()
  if (const collector_hooks* h = installed_hooks.load(memory_order_acquire)) h->safepoint(*p);
}

// Installs the collector's table, once per process, and attaches every processor that exists, as running. Those that sleep or are lent
// went there unannounced: each is taken out once, so that its worker goes back with processor_release.
inline void install_collector_hooks(const collector_hooks& table) noexcept {
  lock_scope hold{schedulers.lock};
  if (installed_hooks.load(memory_order_relaxed) != nullptr) return;
  for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_)
    for (std::uint32_t i = 0; i < s->slots(); ++i)
      if (s->at(i).state.load(memory_order_acquire) != processor_state::unused)
        table.processor_attach(s->at(i));
  // seq_cst: pairs with missed_installation(); a worker on its way to sleep sees the table, or is found asleep below.
  installed_hooks.store(&table, memory_order_seq_cst);
  for (scheduler* s = schedulers.first; s != nullptr; s = s->registry_next_) s->rouse_all();
}

template <class F>
void for_each_fiber(F&& fn) {
  stack_pool::for_each_slot([&](void* control) {
    auto& f = *static_cast<fiber*>(control);
    // pairs-with: the release that made the fiber; its fields are read by fn.
    if (f.stack_state.load(memory_order_acquire) != fiber::free) fn(f);
  });
}

}  // namespace tern::inline v1::detail

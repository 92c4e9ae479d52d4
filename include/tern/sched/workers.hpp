// Workers: where a processor's thread comes from.
//
// Context     scheduler.hpp decides that a processor is to run; this file finds a worker for it: its own, a spare, or a new thread.
// Invariants  I1 at most runtime_options::max_workers threads. The gate of tern::blocking keeps the need below that, but for workers that are
//                just on their way to the spare list: who finds none then is served by the monitor's next round.
#pragma once

#include <cstdio>
#include <new>
#include <system_error>

#include <tern/os/thread.hpp>
#include <tern/sched/scheduler.hpp>

namespace tern::inline v1::detail {

inline worker* scheduler::make_worker() noexcept {
  // relaxed: a count.
  unsigned index = worker_count_.load(memory_order_relaxed);
  do {
    if (index >= max_workers_) return nullptr;
  } while (
      !worker_count_.compare_exchange_weak(index, index + 1, memory_order_relaxed, memory_order_relaxed));
  worker* w = new (std::nothrow) worker;
  if (w == nullptr) {
    worker_count_.fetch_sub(1, memory_order_relaxed);
    return nullptr;
  }
  w->home = this;
  w->index = index;
  char name[16];
  std::snprintf(name, sizeof name, "%.10s-%u", options_.name, w->index % 1000);
  schedulers.runtime_threads.fetch_add(1, memory_order_relaxed);
  {
    lock_scope hold{workers_lock_};
    try {
      w->thread = os::start_thread(&worker_entry, w, name);
    } catch (const std::system_error&) {
      worker_count_.fetch_sub(1, memory_order_relaxed);
      schedulers.runtime_threads.fetch_sub(1, memory_order_relaxed);
      delete w;
      return nullptr;
    }
    w->next = all_workers_;
    all_workers_ = w;
    spares_.push_back(*w);  // a new one begins as a spare
  }
  return w;
}

inline worker* scheduler::new_worker() noexcept {
  worker* made = nullptr;
  on_roomy_stack([&]() noexcept { made = make_worker(); });
  return made;
}

inline worker* scheduler::take_worker() noexcept {
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      lock_scope hold{workers_lock_};
      if (worker* w = spares_.pop_front()) return w;
    }
    if (new_worker() == nullptr) return nullptr;
  }
  lock_scope hold{workers_lock_};
  return spares_.pop_front();
}

inline bool scheduler::wait_as_spare(worker& w) noexcept {
  if (stopping_.load(memory_order_acquire) != 0)
    return false;  // the signal may have merged into the last one
  wait_for_signal(w, os::never);
  return stopping_.load(memory_order_acquire) == 0;
}

inline void scheduler::start(processor& p) noexcept {
  if (p.runner == nullptr) {
    worker* w = take_worker();
    if (w == nullptr) {
      // No thread is to be had: it sleeps on, the work waits for the others. The last searcher's duty falls to the monitor.
      static_cast<void>(idle_.sleep(p.idle, true));
      return notice_awake();
    }
    w->assigned = &p;
    p.runner = w;
  }
  signal(*p.runner);
}

}  // namespace tern::inline v1::detail

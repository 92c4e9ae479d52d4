// Workers: where a processor's thread comes from.
//
// Context     scheduler.hpp decides that a processor is to run; this file finds a worker for it: its own, a spare, or a new thread.
//             A spare to which fibers are pinned that may run wants a processor: it is the first to get one that is to be started, and every
//             processor is asked to hand itself over.
// Invariants  I1 at most runtime_options::max_workers threads. The gate of tern::blocking keeps the need below that, but for workers that are
//                just on their way to the spare list: who finds none then is served by the monitor's next round.
#pragma once

#include <cstdio>
#include <new>
#include <system_error>

#include <tern/os/thread.hpp>
#include <tern/sched/roomy_stack.hpp>
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
    w->place = worker_place::spare;
    spares_.push_back(*w);  // a new one begins as a spare
  }
  return w;
}

inline worker* scheduler::new_worker() noexcept {
  worker* made = nullptr;
  on_roomy_stack([&]() noexcept { made = make_worker(); });
  return made;
}

// workers_lock_ is held. Null: none wants a processor.
inline worker* scheduler::take_wanting_locked() noexcept {
  worker* w = wanting_list_.pop_front();
  if (w == nullptr) return nullptr;
  w->place = worker_place::busy;
  wanting_.fetch_sub(1, memory_order_seq_cst);
  return w;
}

// workers_lock_ is held.
TERN_COLD inline worker* scheduler::take_spare_locked() noexcept {
  if (worker* w = take_wanting_locked()) return w;
  worker* w = spares_.pop_front();
  if (w != nullptr) w->place = worker_place::busy;
  return w;
}

inline worker* scheduler::take_worker() noexcept {
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      lock_scope hold{workers_lock_};
      if (worker* w = take_spare_locked()) return w;
    }
    if (new_worker() == nullptr) return nullptr;
  }
  lock_scope hold{workers_lock_};
  return take_spare_locked();
}

TERN_COLD inline worker* scheduler::take_unpinned_worker() noexcept {
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      lock_scope hold{workers_lock_};
      worker* const last = spares_.back();
      for (worker* w = nullptr; w != last && (w = spares_.pop_front()) != nullptr;) {
        if (w->pins == 0) {
          w->place = worker_place::busy;
          return w;
        }
        spares_.push_back(*w);
      }
    }
    if (new_worker() == nullptr) return nullptr;
  }
  return nullptr;
}

TERN_COLD inline void scheduler::want_processor(worker& w) noexcept {
  {
    lock_scope hold{workers_lock_};
    // Busy: it looks at its box when it has a processor, or becomes a spare. Wanting: others have been told.
    if (w.place != worker_place::spare) return;
    spares_.erase(w);
    w.place = worker_place::wanting;
    wanting_list_.push_back(w);
    wanting_.fetch_add(1, memory_order_seq_cst);  // pairs-with: the look after lending in enter_blocking()
  }
  serve_wanting();
}

// True: w, which runs no fibers any more, wants a processor; the caller serves it.
TERN_COLD inline bool scheduler::rest(worker& w) noexcept {
  lock_scope hold{workers_lock_};
  if (!w.box.has_ready()) {
    w.place = worker_place::spare;
    spares_.push_back(w);
    return false;
  }
  w.place = worker_place::wanting;
  wanting_list_.push_back(w);
  wanting_.fetch_add(1, memory_order_seq_cst);  // as above
  return true;
}

TERN_COLD inline void scheduler::serve_wanting() noexcept {
  // seq_cst: before the look into the idle set; whoever goes to sleep enters it, then looks at the request.
  for (std::uint32_t i = 0; i < slots(); ++i)
    if (at(i).state.load(memory_order_relaxed) != processor_state::unused)
      at(i).request.fetch_or(request_pins, memory_order_seq_cst);
  if (idle_member* m = idle_.wake_any()) return start(of(*m));
  if (idle_member* m = idle_.adopt()) {
    lent_.fetch_sub(1, memory_order_seq_cst);
    of(*m).runner = nullptr;  // the lender finds it gone and becomes a spare
    return start(of(*m));
  }
  notice_awake();  // all are at work; the monitor looks as well
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
      // No thread is to be had: it sleeps on, the work waits for the others. The last searcher's duty falls to the monitor, which wakes
      // another one in its next round.
      idle_.sleep_behind(p.idle);
      return notice_awake();
    }
    w->assigned = &p;
    p.runner = w;
  }
  signal(*p.runner);
}

}  // namespace tern::inline v1::detail

// gc::testing::stepper: a test drives the collector's cycle, step by step.
//
// Context     For tests that need a program to do something between two steps of a cycle, each time. The steps are the collector's own, made by its
//             own thread (steps.hpp).
// Limits      Mutators go on by themselves: one that allocates while a cycle marks may mark some objects (assists: from 4 KiB on), and one that needs
//             cells sweeps some spans. gc::testing::set_mark_quantum() makes quanta small.
#pragma once

#include <cerrno>
#include <system_error>

#include <tern/gc/control.hpp>
#include <tern/gc/steps.hpp>

namespace tern::inline v1::gc::testing {

/// What the collector does next: begin, scan_roots, mark, rescan, end_marking, barrier_off, sweep.
using step = detail::gc::cycle_step;

/// Holds the collector for the scope; no cycle goes on but by the functions below. From any thread or fiber, as collect(); by one at a time.
/// A caller that is attached counts as idle meanwhile: what its stack leads to lives.
///
/// Each function makes one step, and throws std::system_error (operation_not_permitted) where another one is next. gc::collect(), called by
/// the thread or fiber that made the stepper (or on its behalf, where memory is short), makes the rest of the running cycle and a whole
/// one; others wait until the stepper is gone, or makes theirs.
class stepper {
 public:
  /// Once the running cycle, if any, has ended. Throws std::system_error: device_or_resource_busy where there is another stepper, not_supported
  /// in a fork child; and what the first managed object would throw.
  stepper() {
    detail::gc::ensure_started();
    refuse_in_child();
    if (!detail::gc::orders.try_hold(detail::gc::caller_identity()))
      throw std::system_error(EBUSY, std::generic_category(), "tern: gc: another stepper");
    order(false);
    finish();
  }
  /// A cycle that has begun goes on without it.
  ~stepper() { detail::gc::orders.let_go(); }
  stepper(const stepper&) = delete;
  stepper& operator=(const stepper&) = delete;

  step next() const noexcept { return detail::gc::collector::the_collector().next_step(); }

  /// Barrier on, at every mutator.
  void begin() {
    expect(step::begin);
    detail::gc::request_cycle();  // mutators see by this that one runs
    order();
  }
  /// The first round: allocation is black from here on, every stack is scanned, handles and registered ranges are read.
  void scan_roots() { make(step::scan_roots); }
  /// A quantum of marking. True if there is more to mark.
  bool mark() {
    make(step::mark);
    return next() == step::mark;
  }
  /// A further round. True if nothing was greyed in it, so that marking may end.
  bool rescan() {
    make(step::rescan);
    return next() == step::end_marking;
  }
  /// Judges again, then clears weak references; the verifier's look, if asked for. False where something was greyed since the round:
  /// marking goes on.
  bool end_marking() {
    make(step::end_marking);
    return next() == step::barrier_off;
  }
  /// The barrier, and black allocation, are off; spans that mutators held have come back.
  void barrier_off() { make(step::barrier_off); }
  /// Sweeps a span. False when there was none left, and the cycle is over.
  bool sweep() {
    make(step::sweep);
    return next() == step::sweep;
  }

  /// Makes steps until `s` is next; through the end of the cycle, and into another one, where it lies there.
  void run_to(step s) {
    while (next() != s)
      if (next() == step::begin)
        begin();
      else
        order();
  }
  /// The rest of the running cycle, if any.
  void finish() { run_to(step::begin); }

 private:
  [[noreturn]] static void refuse() {
    throw std::system_error(EPERM, std::generic_category(), "tern: gc: another step is next");
  }
  static void refuse_in_child() {
    // relaxed: the child has one thread.
    if (detail::gc::state.dead.load(detail::memory_order_relaxed))
      throw std::system_error(ENOTSUP, std::generic_category(), "tern: gc: steps in a fork child");
  }
  void expect(step s) const {
    refuse_in_child();
    if (next() != s) refuse();
  }
  void make(step s) {
    expect(s);
    order();
  }
  static void order(bool makes_step = true) {
    refuse_in_child();
    detail::gc::wait_as_idle([makes_step] { detail::gc::orders.give(makes_step); });
  }
};

/// So many objects are marked at a time, about; 0: as the collector likes.
inline void set_mark_quantum(std::uint32_t objects) noexcept {
  detail::gc::testing.mark_quantum.store(objects, detail::memory_order_relaxed);  // relaxed: read before each
}

}  // namespace tern::inline v1::gc::testing

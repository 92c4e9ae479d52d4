// The world while it is stopped: how it stops, its objects, their words, and its roots.
//
// Context     For the verifier and for heap graphs: the collector's thread, at the end of marking, when marks tell what
//             lives.
// Protocol    Running mutators wait at a safepoint, idle ones stay claimed. Threads that are not attached, and what
//             runs inside tern::blocking or without_managed_access(), go on; they touch no managed memory. They may
//             hold locks of the program's and of the allocator, and give them back.
// Limits      Stops the world for the time of a walk over the heap.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tern/gc/collector.hpp>

namespace tern::inline v1::detail::gc {

// Stopped for the scope. The collector's thread.
class stopped_world {
 public:
  stopped_world() noexcept {
    {
      lock_scope hold{state.mutators_lock};
      world_stopped.store(1, memory_order_seq_cst);  // futex word; who attaches reads it under the lock
    }
    collector& c = collector::the_collector();
    number_ = c.post(handshake_kind::stop);
    c.wait_for_acks(number_, true);
  }
  ~stopped_world() {
    {
      lock_scope hold{state.mutators_lock};
      for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m))
        if (m->claimed_by_verifier) {
          m->claimed_by_verifier = false;
          m->port.unclaim();
        }
    }
    world_stopped.store(0, memory_order_seq_cst);
    os::futex_wake(world_stopped, INT32_MAX);
  }
  stopped_world(const stopped_world&) = delete;
  stopped_world& operator=(const stopped_world&) = delete;

  // Mutators that have not acked it have just been attached and hold nothing.
  bool holds(const mutator& m) const noexcept { return m.port.acked() == number_; }

 private:
  std::uint64_t number_ = 0;
};

// ---- objects ----

// Spans in address order, from the page map.
template <class F>
void for_each_span(F&& f) noexcept {
  const flat_page_map& map = pages.map();
  const std::uintptr_t base = map.base();
  const std::uintptr_t end = base + pages.statistics().mapped;
  for (std::uintptr_t a = base; a < end;) {
    span* s = span_of(a);
    if (s == nullptr) {
      a += page_bytes;
      continue;
    }
    f(*s);
    a = s->end();
  }
}

// What a mutator has ready of a span: cells that are allocated and black, and no objects yet.
inline cell_run unused_cells(const span& s) noexcept {
  lock_scope hold{state.mutators_lock};
  for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m))
    for (std::uint32_t i = 0; i < m->used_count; ++i)
      if (const bin& b = m->bins[m->table->used[i]]; b.held == &s && b.cursor != b.limit)
        return rest_of_run(b);
  return {};
}

// Objects that this cycle has marked, or that were made in it; f(object_ref).
template <class F>
void for_each_live_object(F&& f) noexcept {
  for_each_span([&](span& s) noexcept {
    bool has_born = false;
    for (unsigned g = 0; g < s.used_groups(); ++g)
      has_born = has_born || s.bits[g].born.load(memory_order_relaxed) != 0;
    const cell_run unused = has_born ? unused_cells(s) : cell_run{};
    for (std::uint32_t i = 0; i < s.cells; ++i)
      if (s.is_allocated(i) && s.is_marked(i) && (i < unused.first || i >= unused.last)) f(object_ref{&s, i});
  });
}

// Calls f(slot) for each member of an object, const std::uintptr_t*, or, where its type does not tell them, for each word: what holds there
// for members holds for what leads to an object.
template <class F>
void for_each_member(object_ref o, F&& f) noexcept {
  const shape& k = *o.where->kind_of;
  if (!k.has_members()) return;
  std::size_t n = 1;
  std::uintptr_t unit = o.address();
  if (k.is_array) {
    n = slot_word(reinterpret_cast<const std::uintptr_t*>(unit));
    const std::size_t room = (o.where->cell_bytes - sizeof(array_header)) / k.unit.bytes;
    if (n > room) n = room;
    unit += sizeof(array_header);
  }
  for (; n-- > 0; unit += k.unit.bytes)
    for (std::size_t w = 0; w < k.unit.words; ++w)
      for (std::uint64_t bits = k.unit.bits[w]; bits != 0; bits &= bits - 1)
        f(reinterpret_cast<const std::uintptr_t*>(
            unit + (w * 64 + static_cast<std::size_t>(std::countr_zero(bits))) * 8));
}

// The same for its other words, an array's length excepted.
template <class F>
void for_each_plain_word(object_ref o, F&& f) noexcept {
  const shape& k = *o.where->kind_of;
  const std::uintptr_t begin = o.address();
  for (std::size_t at = k.is_array ? sizeof(array_header) : 0; at + 8 <= o.where->cell_bytes; at += 8)
    if (!k.names(at)) f(reinterpret_cast<const std::uintptr_t*>(begin + at));
}

// ---- roots ----

struct root_origin {
  enum class kind : std::uint8_t { handle, thread, fiber, range };
  kind is = kind::handle;
  const void* at =
      nullptr;  // the handle's slot, the range's start, or the low end of the stack that is in use
  const mutator* who = nullptr;  // whose stack it is; null for fibers that are parked
  const fiber* runs = nullptr;
};

// Not instrumented: a fiber that leaves tern::blocking changes other flags of the word on its way to a processor.
TERN_NO_SANITIZE inline bool has_flag(const fiber& f, std::uint32_t flag) noexcept {
  return (static_cast<const volatile std::uint32_t&>(f.flags) & flag) != 0;
}

// Calls f(const root_origin&, std::uintptr_t word) for what handles hold and for each word of stacks and registered
// ranges.
template <class F>
void for_each_root_word(const stopped_world& world, F&& f) noexcept {
  handle_slots.for_each([&](void*& slot) noexcept {
    f(root_origin{root_origin::kind::handle, &slot, nullptr, nullptr}, to_word(slot_load(slot)));
  });
  const auto scan = [&](const root_origin& origin, std::uintptr_t low, std::uintptr_t high,
                        void* fake_stack) noexcept {
    auto word = [&](std::uintptr_t w) noexcept { f(origin, w); };
    for_each_stack_word(low, high, fake_stack, word);
  };
  const auto scan_fiber = [&](const root_origin& origin, std::uintptr_t low, const fiber& x,
                              void* fake_stack) noexcept {
    scan(origin, low, x.stack_top(), fake_stack);
    if (!has_flag(x, fiber::heap_closure)) return;
    const stack_view closure = heap_closure_of(x);
    scan(origin, closure.low, closure.high, nullptr);
  };
  {
    lock_scope hold{state.mutators_lock};
    for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m)) {
      if (!world.holds(*m) || m->idle_sp == 0) continue;
      const fiber* const runs = m->owner == nullptr        ? nullptr
                                : m->idle_fiber != nullptr ? m->idle_fiber
                                                           : m->owner->current;
      const root_origin origin{runs == nullptr ? root_origin::kind::thread : root_origin::kind::fiber,
                               reinterpret_cast<const void*>(m->idle_sp), m, runs};
      // One that waits at a safepoint has not said where its fake stack is.
      void* const fake_stack = m->claimed_by_verifier ? m->idle_fake_stack : nullptr;
      if (runs != nullptr)
        scan_fiber(origin, m->idle_sp, *runs, fake_stack);
      else
        scan(origin, m->idle_sp, m->idle_top, fake_stack);
    }
  }
  for_each_fiber([&](fiber& x) noexcept {
    const std::uint32_t stack = x.stack_state.load(memory_order_acquire);
    if (stack != fiber::saved && stack != fiber::claimed) return;  // claimed: a dump reads it
    scan_fiber({root_origin::kind::fiber, reinterpret_cast<const void*>(x.saved_sp()), nullptr, &x},
               x.saved_sp(), x, fake_stack_of(x));
  });
  for_each_root_range([&](void* p, std::size_t bytes) noexcept {
    scan({root_origin::kind::range, p, nullptr, nullptr}, to_word(p), to_word(p) + bytes, nullptr);
  });
}

}  // namespace tern::inline v1::detail::gc

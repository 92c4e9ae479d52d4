// Verifier: with the world stopped at the end of marking, compares the marks with what the program can reach.
//
// Context     Tests and debugging: gc::testing::verify_each_cycle(). It stops every mutator by a handshake of its own.
// Protocol    1. stop: running mutators wait at a safepoint, idle ones stay claimed
//             2. each member of each marked object, and each handle, must lead to a marked object: by induction from the roots this
//                is the same as marking anew and comparing, and it also finds wrong marks that nothing leads to just now.
//                What does not, counts as lost.
//             3. words of stacks and registered ranges that lead to unmarked objects count as suspects: a stack holds dead words too
//                (a frame grown over old ones), so they prove nothing, but a stack that was never scanned shows up as many.
// Limits      Stops the world for the time of a walk over the heap.
#pragma once

#include <cstdint>
#include <cstdio>

#include <tern/gc/collector.hpp>

namespace tern::inline v1::detail::gc {

class verifier {
 public:
  void run() noexcept {
    {
      lock_scope hold{state.mutators_lock};
      world_stopped.store(1, memory_order_seq_cst);  // futex word; who attaches reads it under the lock
    }
    collector& c = collector::the_collector();
    const std::uint64_t n = c.post(handshake_kind::stop);
    c.wait_for_acks(n, true);
    check_heap();
    check_roots(n);
    state.counters.verified.fetch_add(objects_,
                                      memory_order_relaxed);  // relaxed, all: read by tests after the cycle
    state.counters.lost.fetch_add(lost_, memory_order_relaxed);
    state.counters.suspects.fetch_add(suspects_, memory_order_relaxed);
    release_world();
  }

 private:
  // Spans in address order, from the page map.
  template <class F>
  static void for_each_span(F&& f) noexcept {
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

  void check_heap() noexcept {
    for_each_span([&](span& s) noexcept {
      const shape& k = *s.kind_of;
      for (std::uint32_t i = 0; i < s.cells; ++i) {
        if (!s.is_allocated(i) || !s.is_marked(i)) continue;
        ++objects_;
        if (k.has_members()) check_object(k, s.cell(i), s.cell_bytes);
      }
    });
  }

  void check_object(const shape& k, std::uintptr_t object, std::size_t cell_bytes) noexcept {
    std::size_t n = 1;
    std::uintptr_t unit = object;
    if (k.is_array) {
      n = slot_word(reinterpret_cast<const std::uintptr_t*>(object));
      const std::size_t room = (cell_bytes - sizeof(array_header)) / k.unit.bytes;
      if (n > room) n = room;
      unit += sizeof(array_header);
    }
    for (; n-- > 0; unit += k.unit.bytes)
      for (std::size_t w = 0; w < k.unit.words; ++w)
        for (std::uint64_t bits = k.unit.bits[w]; bits != 0; bits &= bits - 1) {
          const std::uintptr_t slot = unit + (w * 64 + static_cast<std::size_t>(std::countr_zero(bits))) * 8;
          check_exact(slot_word(reinterpret_cast<const std::uintptr_t*>(slot)));
        }
  }

  void check_exact(std::uintptr_t word) noexcept {
    if (word == 0 || !pages.map().contains(reinterpret_cast<const void*>(word))) return;
    const object_ref o = object_at(word);
    if (!o || !o.where->is_marked(o.index)) ++lost_;
  }

  // Mutators that have not acked n have just been attached and hold nothing.
  void check_roots(std::uint64_t n) noexcept {
    handle_slots.for_each([&](void*& slot) noexcept { check_exact(to_word(slot_load(slot))); });
    auto f = [&](std::uintptr_t w) noexcept {
      // Only the plain meaning: the one-past-the-end one belongs to a neighbour as likely as not.
      const object_ref o = object_at(w);
      if (o && !o.where->is_marked(o.index)) ++suspects_;
    };
    {
      lock_scope hold{state.mutators_lock};
      for (mutator* m = state.mutators.front(); m != nullptr; m = state.mutators.next(*m))
        if (m->port.acked() == n && m->idle_sp != 0) for_each_stack_word(m->idle_sp, m->idle_top, nullptr, f);
    }
    for_each_fiber([&](fiber& x) noexcept {
      const std::uint32_t stack = x.stack_state.load(memory_order_acquire);
      if (stack == fiber::saved || stack == fiber::claimed)  // claimed: a dump reads it
        for_each_stack_word(x.saved_sp(), x.stack_top(), nullptr, f);
    });
    for_each_root_range([&](void* p, std::size_t bytes) noexcept {
      for_each_stack_word(to_word(p), to_word(p) + bytes, nullptr, f);
    });
  }

  static void release_world() noexcept {
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

  std::uint64_t objects_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t suspects_ = 0;
};

inline void verify_marks() noexcept { verifier{}.run(); }

}  // namespace tern::inline v1::detail::gc

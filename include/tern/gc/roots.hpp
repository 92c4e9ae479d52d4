// Roots outside stacks: the slots of handles and weak references.
//
// Context     gc::handle and gc::weak own one slot each; the marker reads handle slots once, in the first round (later changes go
//             through the barrier); weak slots are cleared when marking ends.
// Structure   blocks of slots from the metadata pool, never given back; free slots are linked through their own word.
// Protocol    Weak: while marking, lock() runs under weak_lock and shades what it returns; the end of marking judges rule R4 and sets
//             weak_judged under the same lock. So lock() either comes before the judgement, and counts, or after it, and then returns what
//             is marked only, until every slot of an unmarked object is clear. That happens while the barrier is still on, and without
//             the lock: it takes as long as there are references.
// Limits      A lock for making and destroying a handle (about 20 ns); reading and assigning needs none.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tern/alloc/metadata.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/gc/grey.hpp>
#include <tern/gc/slot.hpp>

namespace tern::inline v1::detail::gc {

struct root_slot {
  void* object = nullptr;     // slot_load, slot_store; null while free
  root_slot* next = nullptr;  // the table's lock
};

class slot_table {
 public:
  constexpr slot_table() noexcept = default;

  // Null when memory is exhausted.
  root_slot* take() noexcept {
    lock_scope hold{lock_};
    if (free_ == nullptr && !grow_locked()) return nullptr;
    root_slot* s = free_;
    free_ = s->next;
    ++used_;
    return s;
  }
  void give(root_slot* s) noexcept {
    slot_store(s->object, static_cast<void*>(nullptr));
    lock_scope hold{lock_};
    s->next = free_;
    free_ = s;
    --used_;
  }
  std::size_t used() noexcept {
    lock_scope hold{lock_};
    return used_;
  }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
  }

  // Calls f(void*& object) for each non-null slot; slots come and go meanwhile.
  template <class F>
  void for_each(F&& f) noexcept {
    const block* b;
    {
      lock_scope hold{lock_};
      b = blocks_;
    }
    for (; b != nullptr; b = b->next)
      for (root_slot& s : const_cast<block*>(b)->slots)
        if (slot_load(s.object) != nullptr) f(s.object);
  }

 private:
  struct block {
    block* next = nullptr;
    root_slot slots[254];
  };

  bool grow_locked() noexcept {
    void* p = metadata.allocate(sizeof(block));
    if (p == nullptr) return false;
    auto* b = ::new (p) block;
    b->next = blocks_;
    blocks_ = b;
    for (root_slot& s : b->slots) {
      s.next = free_;
      free_ = &s;
    }
    return true;
  }

  spin_lock<> lock_;
  block* blocks_ = nullptr;    // lock_; blocks never change
  root_slot* free_ = nullptr;  // lock_
  std::size_t used_ = 0;       // lock_
};

inline constinit slot_table handle_slots;
inline constinit slot_table weak_slots;
inline constinit spin_lock<> weak_lock;
inline constinit bool weak_judged =
    false;  // weak_lock; marking has ended, slots may refer to unmarked objects

inline bool is_marked_object(std::uintptr_t word) noexcept {
  const object_ref o = object_at(word);
  return o && o.where->is_marked(o.index);
}

// Requires: weak_judged, the barrier is still on. Afterwards no slot refers to an unmarked object, and nobody is about to return one.
inline void clear_dead_weak_slots() noexcept {
  weak_slots.for_each([](void*& slot) noexcept {
    void* target = slot_load(slot);
    if (is_marked_object(to_word(target))) return;
    // A mutator may point the slot to another object at this moment: that one is reachable, hence marked.
    __atomic_compare_exchange_n(&slot, &target, static_cast<void*>(nullptr), false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
  });
  lock_scope hold{weak_lock};
  weak_judged = false;
}

}  // namespace tern::inline v1::detail::gc

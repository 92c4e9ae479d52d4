// Stack pool: address-aligned, guarded slots, each holding one fiber's stack, closure and control block.
//
// Context     Spawn takes a slot, fiber exit gives it back; processors keep small caches in front (acquire_batch). The fault
//             report and the collector ask which fiber an address belongs to.
// Structure   One NOHUGEPAGE reservation, cut into eleven sub-regions of equal size, one per slot size (16 KiB to 8 MiB, and tiny):
//               | 16 KiB slots | 32 KiB slots | 64 KiB slots | ... | 8 MiB slots | 2 KiB slots |
//             A slot is aligned to its size:
//               slot start                                                      slot end
//               | guard | stack ... <- | closure | control block | (index mod 32) x 64 bytes |
//             The colour keeps the control blocks of neighbours out of each other's cache sets: at a fixed place 64 fibers
//             share the same few sets, and a touch costs ten times as much. Colour, control block, closure and a shallow
//             stack share one 4 KiB OS page, which is all the memory that such a fiber holds.
//             Tiny slots have a canary instead of the guard, and no colour: tiny_slot.hpp.
//             Free slots are a stack of indices per size:   | trimmed ... | warm ... | <- top, used first
//             (trimmed: their memory is back at the OS). The indices lie beside the slots, which keep nothing while free.
// Protocol    1. acquire: the top of the free stack, else the next never-used slot; guards are installed in batches of 64.
//             2. release: pushed to the top, memory kept.
//             3. trim(), called now and then by the monitor: half of the warm slots that no acquire has reached since the last
//                call, coldest first, give their memory back.
// Invariants  I1 trimmed <= least_free <= free_count; slots [0, trimmed) of the free stack hold no memory, but for tiny ones whose page
//                was not trimmed as a whole. is_valid().
//             I2 a control block's address never becomes anything else. It reads as zero before the first use and after a
//                trim, and as its last holder left it otherwise.
// Ordering    All lists are under lock_. `created_` is stored with release after the slots were made ready, and pairs with
//             for_each_slot, which sees no slot too early. region_.base pairs with control_of in the same way.
// Rejected    A VMA per guard (mprotect) only: vm.max_map_count allows 30,000. Links inside free slots: they would cost a page
//             of memory per idle slot. Stacks from the allocator: no alignment, hence no control_of.
// Limits      Guards catch frames up to 16 KiB (a quarter of the slot where that is less) that go past the end. Where the
//             kernel has no guard pages, the first 30,000 slots get mprotect and the others a canary word, which the scheduler
//             checks when the fiber leaves its stack. read(2) into a guard answers EFAULT and reports nothing.
//             Slots are never unmapped. The region is private memory: after fork the child has copies, and no fibers (fork.hpp).
#pragma once

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include <tern/arch/cpu.hpp>
#include <tern/arch/valgrind.hpp>
#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/bits.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/memory.hpp>
#include <tern/sched/fiber.hpp>
#include <tern/sched/hooks.hpp>
#include <tern/sched/tiny_slot.hpp>

namespace tern::inline v1::detail {

// The place of a control block within a slot is arithmetic, so its size is fixed here.
inline constexpr std::size_t stack_control_bytes = sizeof(fiber);
static_assert(stack_control_bytes % cache_line_size == 0, "control blocks start on a cache line");

struct stack_pool_statistics {
  std::size_t slot_bytes = 0;
  std::size_t guard_bytes = 0;
  std::size_t capacity = 0;    // slots that the address space has room for
  std::size_t created = 0;     // slots that were ever used
  std::size_t in_use = 0;      // created and not on the free stack (processors' caches count as in use)
  std::size_t warm = 0;        // free, memory kept
  std::size_t trimmed = 0;     // free, memory given back
  std::size_t mprotected = 0;  // slots whose guard is an mprotect
  std::size_t canaried = 0;    // slots that have a canary instead of a guard
};

class stack_pool {
 public:
  static constexpr unsigned min_shift = 14;
  static constexpr unsigned tiny_class = 10;  // those below have a guard each
  static constexpr unsigned class_count = tiny_class + 1;
  static constexpr std::size_t min_bytes = std::size_t{1} << min_shift;
  static constexpr std::size_t max_bytes = min_bytes << (tiny_class - 1);
  static constexpr std::size_t default_bytes = 64 * 1024;

  stack_pool(const stack_pool&) = delete;
  stack_pool& operator=(const stack_pool&) = delete;

  // The process-wide pool of slots of at least `bytes`: the next power of two from max(16 KiB, four OS pages).
  // Under Memcheck 2 MB more, as far as there are such slots. Throws std::system_error: EINVAL above 8 MiB, ENOMEM when no
  // address space can be reserved.
  static stack_pool& of(std::size_t bytes) {
    const std::size_t least = std::max(min_bytes, 4 * os::page_size());
    std::size_t size = std::max(bytes, least);
    if (size > max_bytes)
      throw std::system_error(EINVAL, std::generic_category(), "tern: stack size above 8 MiB");
    if (TERN_UNLIKELY(runs_on_memcheck())) size = std::min(size + memcheck_distance, max_bytes);
    if (TERN_UNLIKELY(region_.base.load(memory_order_acquire) == 0))
      reserve_region();  // pairs-with: reserve_region()
    return pools_[log2_ceil(size) - min_shift];
  }
  // The pool of tiny slots, or of the smallest others where tiny ones do not fit. Throws std::system_error(ENOMEM).
  static stack_pool& tiny() {
    stack_pool& smallest = of(0);
    return tiny_slots_fit && !runs_on_memcheck() ? pools_[tiny_class] : smallest;
  }
  // The pool that the slot of a control block belongs to.
  static stack_pool& pool_of(const void* control) noexcept {
    const std::uintptr_t offset = to_word(control) - region_.base.load(memory_order_relaxed);
    return pools_[offset >> region_.class_shift.load(memory_order_relaxed)];
  }

  static bool is_tiny(const void* control) noexcept {
    return tiny_slots_fit && &pool_of(control) == &pools_[tiny_class];
  }

  std::size_t slot_bytes() const noexcept { return std::size_t{1} << shift(); }
  // Lowest bytes of each slot that are out of bounds: 16 KiB, less in slots under 64 KiB, at least one OS page; none in tiny ones.
  std::size_t guard_bytes() const noexcept { return guard_bytes_of(class_index()); }

  // A control block with its guarded stack under it. Throws std::system_error(ENOMEM) when the slots are used up.
  void* acquire() {
    void* control = nullptr;
    if (acquire_batch(&control, 1) == 0)
      throw std::system_error(ENOMEM, std::generic_category(), "tern: no fiber stack is left");
    return control;
  }

  // As many as there are, at most n, most recently released first. O(n). Any thread.
  std::size_t acquire_batch(void** out, std::size_t n) noexcept {
    std::size_t got = 0;
    lock_scope hold{lock_};
    while (got < n) {
      if (free_count_ == 0 && !create_locked()) break;
      const std::uint32_t index = free_[--free_count_];
      if (free_count_ < trimmed_) {
        trimmed_ = free_count_;
        if (has_canary(index)) place_canary(slot_start(index));  // the trim took it
      }
      out[got++] = control_at(index);
    }
    least_free_ = std::min(least_free_, free_count_);
    TERN_ASSERT_INTERNAL(is_valid_locked(), "stack pool: counts");
    return got;
  }

  // Requires: nothing runs on the slot, and its holder wrote what others may read of the control block.
  void release(void* control) noexcept { release_batch(&control, 1); }

  // The last one is the first to be used again.
  void release_batch(void* const* controls, std::size_t n) noexcept {
    lock_scope hold{lock_};
    for (std::size_t i = 0; i < n; ++i) free_[free_count_++] = index_of(controls[i]);
    TERN_ASSERT(free_count_ <= created_.load(memory_order_relaxed), "stack pool: a slot was released twice");
  }

  // Gives memory of slots back that were not needed since the last call. Returns how many slots. O(that), and each lock hold
  // is short. For the monitor, about once a second; any thread.
  std::size_t trim() noexcept {
    std::size_t target = 0;
    {
      lock_scope hold{lock_};
      const std::size_t unneeded = least_free_ > trimmed_ ? least_free_ - trimmed_ : 0;
      target = (unneeded + 1) / 2;
      least_free_ = free_count_;
    }
    return trim_to(target);
  }
  // The same for every warm slot, needed or not.
  std::size_t trim_all() noexcept { return trim_to(SIZE_MAX); }
  // trim() of each size.
  static std::size_t trim_every_pool() noexcept {
    std::size_t n = 0;
    if (region_.base.load(memory_order_acquire) == 0) return 0;
    for (stack_pool& p : pools_) n += p.trim();
    return n;
  }

  // The control block of the slot that holds `address`; nullptr outside the region. One compare where it is foreign.
  TERN_ALWAYS_INLINE static void* control_of(std::uintptr_t address) noexcept {
    // relaxed: whoever has an address inside got it through acquire(), which the reservation precedes.
    const std::uintptr_t offset = address - region_.base.load(memory_order_relaxed);
    if (TERN_UNLIKELY(offset >= region_.bytes.load(memory_order_relaxed))) return nullptr;
    const auto index = static_cast<unsigned>(offset >> region_.class_shift.load(memory_order_relaxed));
    return control_in_slot(address >> shift_of(index), index);
  }
  TERN_ALWAYS_INLINE static void* control_of(const void* address) noexcept {
    return control_of(to_word(address));
  }

  // Bounds of the stack under a control block: [stack_limit, stack_top). The closure is carved from the top.
  static void* stack_top(void* control) noexcept { return control; }
  static void* stack_limit(void* control) noexcept {
    const stack_pool& p = pool_of(control);
    return reinterpret_cast<void*>(round_down(to_word(control), p.slot_bytes()) + p.guard_bytes());
  }
  // The slot's number among those of its size.
  static std::uint32_t slot_index(const void* control) noexcept { return pool_of(control).index_of(control); }

  // What `address` is to the slot that it lies in.
  struct place {
    void* control = nullptr;  // null: outside every slot
    bool in_guard = false;
    std::size_t slot_bytes = 0;
  };
  // Async-signal-safe.
  static place locate(std::uintptr_t address) noexcept {
    void* control = control_of(address);
    if (control == nullptr) return {};
    const std::size_t bytes = pool_of(control).slot_bytes();
    return {control, (address & (bytes - 1)) < pool_of(control).guard_bytes(), bytes};
  }

  // True while the fiber's stack has not run into its canary; always true for slots with a real guard. For the moments when
  // a fiber leaves its stack. One load where every slot has a guard.
  TERN_ALWAYS_INLINE static bool is_intact(void* control) noexcept {
    // relaxed: set before the slot is handed out, and it stays set.
    if (TERN_LIKELY((hooks_armed.load(memory_order_relaxed) & armed_canaries) == 0)) return true;
    return is_intact_slow(control);
  }

  // Calls fn(void* control) for each slot that was ever used, of every size. Slots come and go meanwhile.
  template <class F>
  static void for_each_slot(F&& fn) {
    if (region_.base.load(memory_order_acquire) == 0) return;  // pairs-with: reserve_region()
    for (stack_pool& p : pools_) {
      const std::uint32_t n = p.created_.load(memory_order_acquire);  // pairs-with: create_locked()
      for (std::uint32_t i = 0; i < n; ++i) {
        // Each is on a page of its own; those of many fibers are cold.
        if (i + 8 < n) prefetch(p.control_at(i + 8));
        fn(p.control_at(i));
      }
    }
  }

  // Around fork: no thread holds a lock that the child would find taken.
  static void lock_all() noexcept {
    region_.lock.lock();
    for (stack_pool& p : pools_) p.lock_.lock();
  }
  static void unlock_all() noexcept {
    for (stack_pool& p : pools_) p.lock_.unlock();
    region_.lock.unlock();
  }

  // Where visit_some() goes on.
  struct cursor {
    unsigned pool = 0;
    std::uint32_t slot = 0;
  };
  // for_each_slot() in pieces: fn for the next `n` slots at most. True when the last one was among them; then it begins anew.
  template <class F>
  static bool visit_some(cursor& at, std::uint32_t n, F&& fn) {
    if (region_.base.load(memory_order_acquire) == 0) return true;  // pairs-with: reserve_region()
    for (; at.pool < class_count; ++at.pool, at.slot = 0) {
      stack_pool& p = pools_[at.pool];
      const std::uint32_t end = p.created_.load(memory_order_acquire);  // pairs-with: create_locked()
      for (; at.slot < end; ++at.slot, --n) {
        if (n == 0) return false;
        fn(p.control_at(at.slot));
      }
    }
    at = {};
    return true;
  }

  stack_pool_statistics statistics() noexcept {
    lock_scope hold{lock_};
    const std::size_t created = created_.load(memory_order_relaxed);
    const std::size_t guarded = std::min<std::size_t>(created, first_canary_.load(memory_order_relaxed));
    return {.slot_bytes = slot_bytes(),
            .guard_bytes = guard_bytes(),
            .capacity = capacity(),
            .created = created,
            .in_use = created - free_count_,
            .warm = free_count_ - trimmed_,
            .trimmed = trimmed_,
            .mprotected = mprotected_,
            .canaried = created - guarded};
  }

  bool is_valid() noexcept {
    lock_scope hold{lock_};
    return is_valid_locked();
  }

 private:
  // Read by control_of on hot paths; written once.
  struct alignas(cache_line_size) region {
    atomic<std::uintptr_t> base{0};
    atomic<std::size_t> bytes{0};
    atomic<unsigned> class_shift{0};  // log2 of the bytes per sub-region
    spin_lock<> lock;
  };

  static constexpr std::size_t max_mprotected = 30'000;
  static constexpr std::uint32_t create_batch = 64;
  static constexpr std::size_t trim_batch = 64;
  static constexpr std::uint64_t canary = 0x7e24'5ca1'ab1e'0000u;
  static constexpr std::size_t canary_words = canary_bytes / sizeof(std::uint64_t);

  friend struct debugger_layout;

  constexpr stack_pool() noexcept = default;

  unsigned class_index() const noexcept { return static_cast<unsigned>(this - pools_); }
  static constexpr unsigned shift_of(unsigned index) noexcept {
    return index == tiny_class ? tiny_shift : min_shift + index;
  }
  unsigned shift() const noexcept { return shift_of(class_index()); }
  std::uintptr_t sub_region() const noexcept {
    return region_.base.load(memory_order_relaxed) +
           (static_cast<std::uintptr_t>(class_index()) << region_.class_shift.load(memory_order_relaxed));
  }
  std::size_t capacity() const noexcept {
    return std::size_t{1} << (region_.class_shift.load(memory_order_relaxed) - shift());
  }

  static std::size_t guard_bytes_of(unsigned index) noexcept {
    if (index == tiny_class) return 0;
    return round_up(std::min<std::size_t>(16 * 1024, min_bytes << index >> 2), os::page_size());
  }

  // `number` is an address divided by the slot size: any such numbering gives neighbours different colours.
  static void* control_in_slot(std::uintptr_t number, unsigned index) noexcept {
    const std::uintptr_t end = (number + 1) << shift_of(index);
    const std::uintptr_t colour = index == tiny_class ? 0 : (number & 31) * 64;
    return reinterpret_cast<void*>(end - stack_control_bytes - colour);
  }
  void* control_at(std::uint32_t index) const noexcept {
    return control_in_slot((sub_region() >> shift()) + index, class_index());
  }
  std::uint32_t index_of(const void* control) const noexcept {
    return static_cast<std::uint32_t>((to_word(control) - sub_region()) >> shift());
  }
  void* slot_start(std::uint32_t index) const noexcept {
    return reinterpret_cast<void*>(sub_region() + (static_cast<std::uintptr_t>(index) << shift()));
  }

  static std::size_t first_choice_of_sub_region() noexcept {
    if (asan_build || tsan_build) return std::size_t{32} << 30;  // shadow memory
    // An emulator that accepts guards and installs none also pays for each reserved page.
    void* p = os::reserve(os::page_size());
    const bool pretends = p != nullptr && os::guard_install(p, os::page_size()) && !os::guards_work();
    if (p != nullptr) os::unreserve(p, os::page_size());
    return pretends ? std::size_t{512} << 20 : std::size_t{128} << 30;
  }

  TERN_COLD static void reserve_region() {
    lock_scope hold{region_.lock};
    if (region_.base.load(memory_order_relaxed) != 0) return;
    // RLIMIT_AS, strict overcommit and small address spaces refuse large reservations: take what is granted.
    for (std::size_t sub = first_choice_of_sub_region(); sub >= 2 * max_bytes; sub /= 2) {
      void* base = os::reserve(sub * class_count, max_bytes);
      if (base == nullptr) continue;
      os::advise_huge_pages(base, sub * class_count, false);
      os::set_dumped(base, sub * class_count, false);
      region_.class_shift.store(log2_floor(sub), memory_order_relaxed);
      region_.bytes.store(sub * class_count, memory_order_relaxed);
      // pairs-with: of(), for_each_slot(); else they compute with a region of no size.
      region_.base.store(to_word(base), memory_order_release);
      return;
    }
    throw std::system_error(ENOMEM, std::generic_category(),
                            "tern: cannot reserve address space for fiber stacks");
  }

  // Makes the next never-used slots ready and pushes them so that the lowest is on top. False when there are none.
  TERN_COLD bool create_locked() noexcept {
    if (free_ == nullptr) {
      free_ = static_cast<std::uint32_t*>(os::reserve(capacity() * sizeof(std::uint32_t)));
      if (free_ == nullptr) return false;
    }
    const std::uint32_t first = created_.load(memory_order_relaxed);
    // Doubling from one, so that a small program pays for few guards.
    const std::size_t n =
        std::min<std::size_t>({capacity() - first, create_batch, std::max<std::size_t>(first, 4)});
    if (n == 0) return false;
    os::set_dumped(slot_start(first), n << shift(), true);
    const bool together = guard_bytes() != 0 && !has_canary(first) && os::guards_work();
    std::size_t guarded =
        together ? os::guard_install_each(slot_start(first), slot_bytes(), guard_bytes(), n) : 0;
    for (; guarded < n; ++guarded) guard_locked(first + static_cast<std::uint32_t>(guarded));
    for (std::size_t i = n; i-- > 0;) free_[free_count_++] = first + static_cast<std::uint32_t>(i);
    // pairs-with: for_each_slot(); else a walker could meet a slot whose guard is just being made.
    created_.store(first + static_cast<std::uint32_t>(n), memory_order_release);
    return true;
  }

  // Once a pool has begun with canaries it goes on so: which slots have one is then a comparison of indices.
  void guard_locked(std::uint32_t index) noexcept {
    void* start = slot_start(index);
    if (!has_canary(index)) {
      if (guard_bytes() != 0 && os::guards_work() && os::guard_install(start, guard_bytes()))
        return;  // refused in locked memory (mlockall)
      // relaxed: only a budget.
      if (guard_bytes() != 0 && all_mprotected_.fetch_add(1, memory_order_relaxed) < max_mprotected &&
          os::protect_none(start, guard_bytes())) {
        ++mprotected_;
        return;
      }
      first_canary_.store(index,
                          memory_order_relaxed);  // relaxed: published by lock_ and the hand-over of the slot
      hooks_armed.fetch_or(armed_canaries, memory_order_relaxed);
    }
    place_canary(start);
  }

  bool has_canary(std::uint32_t index) const noexcept {
    return index >= first_canary_.load(memory_order_relaxed);
  }

  // The canary fills the lowest line above where the guard would be.
  std::uint64_t* canary_at(void* start) const noexcept {
    return at_offset<std::uint64_t>(start, static_cast<std::ptrdiff_t>(guard_bytes()));
  }
  void place_canary(void* start) const noexcept {
    std::uint64_t* words = canary_at(start);
    for (std::size_t i = 0; i < canary_words; ++i) words[i] = canary ^ to_word(words);
  }
  TERN_COLD static bool is_intact_slow(void* control) noexcept {
    const stack_pool& p = pool_of(control);
    const std::uint32_t index = p.index_of(control);
    if (!p.has_canary(index)) return true;
    const std::uint64_t* words = p.canary_at(p.slot_start(index));
    std::uint64_t damage = 0;
    for (std::size_t i = 0; i < canary_words; ++i) damage |= words[i] ^ canary ^ to_word(words);
    return damage == 0;
  }

  // Between two holds of a lock by one thread: waiters are not woken by an unlock, they look every some microseconds, or nap.
  static void give_way() noexcept {
    for (unsigned i = 0; i < 1024; ++i) spin_pause();
    ::sched_yield();
  }
  std::size_t trim_to(std::size_t target) noexcept {
    std::size_t done = 0;
    for (; done < target; give_way()) {
      lock_scope hold{lock_};
      const std::size_t n = std::min({free_count_ - trimmed_, trim_batch, target - done});
      if (n == 0) break;
      std::uint32_t* first = free_ + trimmed_;
      std::sort(first, first + n);
      // One call per run of neighbours: guards survive the release. Of tiny ones whole pages only: the rest is in use by others.
      for (std::size_t i = 0; i < n;) {
        std::size_t run = 1;
        while (i + run < n && first[i + run] == first[i] + run) ++run;
        const std::uintptr_t begin = round_up(to_word(slot_start(first[i])), os::page_size());
        const std::uintptr_t end =
            round_down(to_word(slot_start(first[i])) + (run << shift()), os::page_size());
        if (begin < end) os::release(reinterpret_cast<void*>(begin), end - begin);
        i += run;
      }
      trimmed_ += n;
      done += n;
      TERN_ASSERT_INTERNAL(is_valid_locked(), "stack pool: counts");
    }
    return done;
  }

  bool is_valid_locked() const noexcept {
    return trimmed_ <= free_count_ && free_count_ <= created_.load(memory_order_relaxed) &&
           (free_ == nullptr || created_.load(memory_order_relaxed) <= capacity());
  }

  static region region_;
  static atomic<std::size_t> all_mprotected_;
  static stack_pool pools_[class_count];

  spin_lock<> lock_;
  std::uint32_t* free_ = nullptr;                   // stack of free indices; lock_
  std::size_t free_count_ = 0;                      // lock_
  std::size_t trimmed_ = 0;                         // lowest entries of free_ without memory; lock_
  std::size_t least_free_ = 0;                      // least free_count_ since the last trim(); lock_
  std::size_t mprotected_ = 0;                      // lock_
  atomic<std::uint32_t> created_{0};                // written under lock_
  atomic<std::uint32_t> first_canary_{UINT32_MAX};  // written under lock_, once
};

inline constinit stack_pool::region stack_pool::region_{};
inline constinit atomic<std::size_t> stack_pool::all_mprotected_{0};
inline constinit stack_pool stack_pool::pools_[stack_pool::class_count]{};

}  // namespace tern::inline v1::detail

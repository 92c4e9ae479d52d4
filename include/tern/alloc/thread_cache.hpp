#pragma once

// thread_cache: blocks ready to be handed out without a lock.
//
// Context     Each plain thread gets one at its first allocation and gives it back at its exit; the scheduler makes one for each
//             processor and binds it to the worker that takes the processor, so that fibers share it and may migrate.
//             A thread in a blocking region is bound to the shared cache, where each operation takes a lock.
// Structure   For each size class a stack of pointers; blocks are not touched. The word below a stack's bottom is null.
//
//               slots -> [null][p][p][p][ ][ ]       pop: the word below top, null = empty (one load, one test)
//                                         ^top  ^limit   push: top == limit = full
//
//             A bin without an array points at a null word of its own with top == limit: empty and full at once, so a fresh
//             cache, and the shared one, need no test in the fast path.
// Protocol    refill   take a batch from the central list. A bin that runs dry again doubles its capacity, within the class's
//                      maximum and the cache's budget; what exceeds the budget is taken from bins that are not in use.
//             veil     while samples are taken (sampling.hpp) a bin looks as one without an array, so that each operation comes to the slow
//                      path, which unveils it for its work.
//             flush    give the older half back, of a long bin as many of the newest as pay for the lock. A bin that only overflows does
//                      not grow: a thread that only frees holds little.
//             attach   attachments[] belong to the layers above; alloc never reads them but to call the exit hook.
// Invariants  I1 the word below the first slot is null; slots <= top <= limit. Level 2, on flush and refill.
//             I2 charged_ = sum over bins of capacity * size <= budget, but for the first batch of each class.
// Ordering    Only the thread that is bound to a cache works on it. Who binds it next is ordered by the scheduler's hand-over or,
//             for a recycled record, by the pool's lock. Other threads read tops for statistics.
// Limits      A block freed twice into one cache is found when it goes back to its span.

#include <pthread.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <tern/alloc/central.hpp>
#include <tern/alloc/hardened.hpp>
#include <tern/alloc/huge.hpp>
#include <tern/alloc/metadata.hpp>
#include <tern/alloc/sampling.hpp>
#include <tern/alloc/slot_arrays.hpp>
#include <tern/arch/tls.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/os/fork_handlers.hpp>

namespace tern::inline v1::detail {

// The array of every bin that has none. Its only word is never written.
inline constinit void* no_slots[1] = {nullptr};

class thread_cache {
 public:
  static constexpr unsigned gc_slot = 0;
  static constexpr unsigned sched_slot = 1;

  constexpr thread_cache() noexcept = default;
  thread_cache(const thread_cache&) = delete;
  thread_cache& operator=(const thread_cache&) = delete;

  // A block of class c; nullptr when the bin is empty. Bound thread only.
  TERN_ALWAYS_INLINE void* try_pop(unsigned c) noexcept {
    atomic<void**>& level = tops_[c].at;
    void** const top = level.load(memory_order_relaxed);  // relaxed, all in this class: see Ordering
    void* const p = top[-1];
    if (TERN_LIKELY(p != nullptr)) level.store(top - 1, memory_order_relaxed);
    return p;
  }

  // False when the bin is full. Bound thread only.
  TERN_ALWAYS_INLINE bool try_push(unsigned c, void* p) noexcept {
    atomic<void**>& level = tops_[c].at;
    void** const top = level.load(memory_order_relaxed);
    if (TERN_UNLIKELY(top == limits_[c].at)) return false;
    *top = p;
    level.store(top + 1, memory_order_relaxed);
    return true;
  }

  // What the fast paths could not do. Bound thread only.
  void* pop_slow(unsigned c) noexcept;
  void push_slow(unsigned c, void* p) noexcept;

  // Gives all blocks back. Bound thread only, or any thread while none is bound.
  void flush_all() noexcept;

  // The bins look empty and full from now on, until each is used when no sampler is on. Bound thread only.
  void veil_all() noexcept {
    for (unsigned c = 0; c < class_count; ++c) veil(c);
  }

  // For one bin; unveil() answers whether there was a veil. Bound thread only.
  bool unveil(unsigned c) noexcept;
  void veil(unsigned c) noexcept;

  bool is_shared() const noexcept { return shared_; }

  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(arrays_lock_);
  }

  // Calls f(void* block) for those of class c; approximate while the cache's thread runs. Any thread. Not instrumented: it reads slots
  // as statistics read tops.
  template <class F>
  TERN_NO_SANITIZE void for_each_cached(unsigned c, F&& f) noexcept {
    const std::size_t n = cached(c);
    lock_scope hold{arrays_lock_};
    // The array may be another one by now.
    if (sides_[c].order == 0 || n > capacity_of(sides_[c].order)) return;
    for (std::size_t i = 0; i < n; ++i) f(static_cast<void* const volatile*>(sides_[c].bottom)[i]);
  }

  // Blocks of class c in this cache now; approximate while its thread runs. Any thread.
  std::size_t cached(unsigned c) noexcept {
    lock_scope hold{arrays_lock_};
    const side& s = sides_[c];
    void** const veiled = s.veiled.load(memory_order_relaxed);
    void** const top = veiled != nullptr ? veiled : tops_[c].at.load(memory_order_relaxed);
    // Between the two a veil may have come or gone: then one of them is not of this array.
    const std::size_t n = (to_word(top) - to_word(s.bottom)) / sizeof(void*);
    return s.order != 0 && n <= capacity_of(s.order) ? n : 0;
  }

  // The same for all classes, in bytes.
  std::size_t cached_bytes() noexcept {
    std::size_t n = 0;
    for (unsigned c = 0; c < class_count; ++c) n += cached(c) * class_table[c].size;
    return n;
  }

  // For the layers above, null at first; slot 0 the collector's, slot 1 the scheduler's. Bound thread only.
  void* attachments[2] = {};

 private:
  // A bin's top and its limit lie in an array each: the address of a word is then one scaled index, and the way from a pointer to its
  // bin two additions shorter.
  struct bin_top {
    atomic<void**> at{no_slots + 1};
  };
  struct bin_limit {
    void** at = no_slots + 1;
  };
  struct side {
    void** bottom = no_slots + 1;  // first slot; the word below is null. Written under arrays_lock_
    // The top, while top and limit are as if there were no array; null: no veil.
    atomic<void**> veiled{nullptr};
    std::uint8_t order = 0;  // of the array; 0: none
    bool ran_dry = false;    // since the last flush
  };

  // Bytes of capacity that a cache may have beyond the first batch of each class.
  static constexpr std::size_t budget = std::size_t{4} << 20;

  // From this capacity on a bin gives its newest blocks back: half of it would be far more than overflows, and to move the rest down, by
  // a multiple of nearly 4 KiB (see slot_arrays), costs as much again. Shown by alloc/burst/blocks:4096, which exceeds it by one.
  static constexpr unsigned long_bin = 1023;

  static constexpr unsigned capacity_of(unsigned order) noexcept { return (1u << order) - 1; }
  static constexpr unsigned first_order(unsigned c) noexcept { return log2_ceil(class_table[c].batch + 1); }
  static constexpr unsigned last_order(unsigned c) noexcept {
    return log2_ceil(class_table[c].max_cached + 1);
  }

  void* refill(unsigned c) noexcept;
  void spill(unsigned c, void* p) noexcept;
  bool resize(unsigned c, unsigned order) noexcept;
  bool try_grow(unsigned c) noexcept;
  void make_room(unsigned spared) noexcept;
  void give_oldest(unsigned c, unsigned n) noexcept;
  void give_newest(unsigned c, unsigned n) noexcept;
  void drop_arrays() noexcept;

  friend struct cache_registry;

  bin_top tops_[class_count];
  bin_limit limits_[class_count];
  side sides_[class_count];
  std::size_t charged_ = 0;  // bytes
  unsigned victim_ = 0;      // next bin that make_room looks at
  bool shared_ = false;      // the face of the shared cache: its bins stay without arrays
  spin_lock<> arrays_lock_;  // arrays change under it, statistics read under it

 public:
  list_hook hook;                     // cache_registry's; its lock
  thread_cache* pool_next = nullptr;  // type_stable_pool's
  sample_clock
      clock;  // sampling.hpp's. Last: the layout of the rest is what the fast paths were measured with

 private:
  struct shared_face {};
  explicit constexpr thread_cache(shared_face) noexcept : shared_{true} {}
};

TERN_TLS_POINTER(current_cache);

// All caches, the shared one, and what a thread's exit needs.
struct cache_registry {
  spin_lock<> lock;
  list<thread_cache, &thread_cache::hook> live;  // lock
  std::size_t count = 0;                         // lock
  type_stable_pool<thread_cache> records;

  // Called with the cache of a plain thread that exits, while it is bound and attachments[slot] is not null.
  using exit_hook = void (*)(thread_cache*);
  atomic<exit_hook> exit_hooks[2] = {};

  spin_lock<> shared_lock;
  thread_cache shared_store;  // shared_lock
  thread_cache shared_face{thread_cache::shared_face{}};

  // 0: no key yet; else key + 1.
  atomic<std::uint32_t> exit_key{0};
  spin_lock<> exit_key_lock;
  spin_lock<> root_ranges_lock;  // root_ranges.hpp's; here, since a fork holds it

  thread_cache* create() noexcept {
    register_fork_handlers();
    thread_cache* c = records.take();
    if (c == nullptr) return nullptr;
    lock_scope hold{lock};
    live.push_back(*c);
    ++count;
    return c;
  }

  void destroy(thread_cache* c) noexcept {
    if (c == nullptr || c->is_shared()) fatal("destroy_cache: not a cache that create_cache made");
    c->flush_all();
    c->drop_arrays();
    c->attachments[0] = c->attachments[1] = nullptr;
    {
      lock_scope hold{lock};
      live.erase(*c);
      --count;
    }
    records.give(c);
  }

  void retire_at_exit(thread_cache* c) noexcept {
    current_cache_set(c);
    for (unsigned slot = 0; slot < 2; ++slot) {
      const exit_hook h = exit_hooks[slot].load(memory_order_acquire);  // pairs-with: set_attachment_exit()
      if (h != nullptr && c->attachments[slot] != nullptr) h(c);
    }
    // From here on the thread has the shared cache: other destructors of thread-specific data may still free.
    current_cache_set(&shared_face);
    destroy(c);
  }

  bool make_exit_key() noexcept {
    lock_scope hold{exit_key_lock};
    if (exit_key.load(memory_order_relaxed) != 0) return true;  // relaxed: written under this lock only
    pthread_key_t key;
    if (::pthread_key_create(&key, &on_thread_exit) != 0) return false;
    exit_key.store(static_cast<std::uint32_t>(key) + 1, memory_order_release);  // pairs-with: own_cache()
    return true;
  }

  // The calling thread's own cache, made if it has none. nullptr when there is no memory.
  thread_cache* own_cache() noexcept {
    register_fork_handlers();
    std::uint32_t key = exit_key.load(memory_order_acquire);  // pairs-with: make_exit_key()
    if (key == 0) {
      if (!make_exit_key()) return nullptr;
      key = exit_key.load(memory_order_relaxed);  // relaxed: the lock of make_exit_key ordered it
    }
    const auto slot = static_cast<pthread_key_t>(key - 1);
    if (void* known = ::pthread_getspecific(slot); known != nullptr) return static_cast<thread_cache*>(known);
    thread_cache* c = create();
    if (c == nullptr) return nullptr;
    if (::pthread_setspecific(slot, c) != 0) {
      destroy(c);
      return nullptr;
    }
    return c;
  }

  static void on_thread_exit(void* c) noexcept;

  // Before a thread takes its first lock of the allocator, so that it holds none at a fork that no handler knows of.
  TERN_ALWAYS_INLINE void register_fork_handlers() noexcept {
    // Without memory for them fork stays as it is without handlers: only a child that allocates is in danger.
    static_cast<void>(forks.ensure(&before_fork, &after_fork, &after_fork));
  }
  static void before_fork() noexcept;
  static void after_fork() noexcept;

  os::fork_handlers forks;
};

inline constinit cache_registry caches;

inline void cache_registry::on_thread_exit(void* c) noexcept {
  caches.retire_at_exit(static_cast<thread_cache*>(c));
}

// All locks of the allocator in the order in which they nest: that of the root ranges, which allocate, then the sampler's (sampling.hpp).
template <class F>
void for_each_allocator_lock(F&& f) noexcept {
  f(caches.root_ranges_lock);
  samples.for_each_outer_lock(f);
  hardening.for_each_lock(f);
  f(caches.exit_key_lock);
  f(caches.lock);
  for (thread_cache* c = caches.live.front(); c != nullptr; c = caches.live.next(*c)) c->for_each_lock(f);
  f(caches.shared_lock);
  caches.shared_store.for_each_lock(f);
  samples.for_each_inner_lock(f);
  for (central_list& l : central_lists) l.for_each_lock(f);
  huge.for_each_lock(f);
  heap_scavenger.for_each_lock(f);
  heap.for_each_lock(f);
  caches.records.for_each_lock(f);
  slot_array_pool.for_each_lock(f);
  metadata.for_each_lock(f);
}

// The forking thread holds every lock over the fork, so that the child finds each structure whole. What other threads' caches
// held, and free pages that they were giving to the OS, are lost to the child.
inline void cache_registry::before_fork() noexcept {
  caches.forks.before([]() noexcept { for_each_allocator_lock([](spin_lock<>& l) noexcept { l.lock(); }); });
}
inline void cache_registry::after_fork() noexcept {
  caches.forks.after([]() noexcept {
    // The registry's lock last: in the parent a thread that waits for it would change the list of caches under the walk.
    for_each_allocator_lock([](spin_lock<>& l) noexcept {
      if (&l != &caches.lock) l.unlock();
    });
    caches.lock.unlock();
  });
}

// ---- what the layers above use ----

// A cache for a processor. nullptr when memory is exhausted.
inline thread_cache* create_cache() noexcept { return caches.create(); }

// Flushes and recycles a cache. Requires: made by create_cache(), bound to no thread. The record stays readable.
inline void destroy_cache(thread_cache* c) noexcept { caches.destroy(c); }

// The cache whose lock every operation takes, for threads in blocking regions. Never null.
inline thread_cache* shared_cache() noexcept { return &caches.shared_face; }

// The bound cache; nullptr if none is.
TERN_ALWAYS_INLINE thread_cache* current_cache_if_any() noexcept {
  return static_cast<thread_cache*>(current_cache_get());
}

TERN_COLD inline thread_cache* current_cache_slow() noexcept {
  // Should what makes the cache allocate from here (where this is malloc: pthread's keys and fork handlers), it has the shared one.
  current_cache_set(shared_cache());
  thread_cache* c = caches.own_cache();
  current_cache_set(c);
  return c == nullptr ? shared_cache() : c;
}

// The bound cache; a plain thread gets its own at the first call. Never null: without memory for one it is the shared cache.
TERN_ALWAYS_INLINE thread_cache* current_cache() noexcept {
  thread_cache* c = current_cache_if_any();
  return TERN_LIKELY(c != nullptr) ? c : current_cache_slow();
}

// Binds `c` (or nothing) to the calling thread and returns what was bound: bind it again to nest.
TERN_ALWAYS_INLINE thread_cache* bind_cache(thread_cache* c) noexcept {
  thread_cache* previous = current_cache_if_any();
  current_cache_set(c);
  return previous;
}

// The function that is called with a plain thread's cache when the thread exits and attachments[slot] is not null.
inline void set_attachment_exit(unsigned slot, void (*f)(thread_cache*)) noexcept {
  caches.exit_hooks[slot].store(f, memory_order_release);  // pairs-with: retire_at_exit()
}

// Calls f(cache) for each live cache but the shared one, under the registry's lock.
template <class F>
void for_each_cache(F&& f) {
  lock_scope hold{caches.lock};
  for (thread_cache* c = caches.live.front(); c != nullptr; c = caches.live.next(*c)) f(*c);
}

// ---- slow paths ----

// True if there was a veil.
inline bool thread_cache::unveil(unsigned c) noexcept {
  side& s = sides_[c];
  void** const top = s.veiled.load(memory_order_relaxed);
  if (TERN_LIKELY(top == nullptr)) return false;
  tops_[c].at.store(top, memory_order_relaxed);
  limits_[c].at = s.bottom + capacity_of(s.order);
  s.veiled.store(nullptr, memory_order_relaxed);
  return true;
}

inline void thread_cache::veil(unsigned c) noexcept {
  side& s = sides_[c];
  if (s.order == 0 || s.veiled.load(memory_order_relaxed) != nullptr) return;
  s.veiled.store(tops_[c].at.load(memory_order_relaxed), memory_order_relaxed);
  tops_[c].at.store(no_slots + 1, memory_order_relaxed);
  limits_[c].at = no_slots + 1;
}

// Moves the bin to an array of 2^order words. Requires: its blocks fit; no veil.
inline bool thread_cache::resize(unsigned c, unsigned order) noexcept {
  side& s = sides_[c];
  void** const a = slot_array_pool.take(order, &tops_[c]);
  if (a == nullptr) return false;
  const auto n = static_cast<std::size_t>(tops_[c].at.load(memory_order_relaxed) - s.bottom);
  for (std::size_t i = 0; i < n; ++i) a[1 + i] = s.bottom[i];
  void** const old = s.bottom - 1;
  const unsigned old_order = s.order;
  {
    lock_scope hold{arrays_lock_};
    s.bottom = a + 1;
    s.order = static_cast<std::uint8_t>(order);
    limits_[c].at = s.bottom + capacity_of(order);
    tops_[c].at.store(s.bottom + n, memory_order_relaxed);
  }
  const std::size_t size = class_table[c].size;
  charged_ += capacity_of(order) * size;
  if (old_order != 0) {
    charged_ -= capacity_of(old_order) * size;
    slot_array_pool.give(old, old_order);
  }
  return true;
}

// Halves bins other than `spared` until there is budget again or each was looked at once.
inline void thread_cache::make_room(unsigned spared) noexcept {
  for (unsigned i = 0; i < class_count && charged_ > budget; ++i) {
    const unsigned c = victim_;
    victim_ = victim_ + 1 == class_count ? 0 : victim_ + 1;
    if (c == spared || sides_[c].order <= first_order(c)) continue;
    const bool veiled = unveil(c);
    const unsigned order = sides_[c].order - 1u;
    const auto n = static_cast<unsigned>(tops_[c].at.load(memory_order_relaxed) - sides_[c].bottom);
    if (n > capacity_of(order)) give_oldest(c, n - capacity_of(order));
    // It is full now: should it grow at the next block that comes back, bins that are all in use would take each other's room in turns,
    // block by block.
    sides_[c].ran_dry = false;
    resize(c, order);
    if (veiled) veil(c);
  }
}

inline bool thread_cache::try_grow(unsigned c) noexcept {
  const unsigned order = sides_[c].order;
  if (order == 0) return resize(c, first_order(c));
  if (order >= last_order(c)) return false;
  const std::size_t more = (capacity_of(order + 1) - capacity_of(order)) * std::size_t{class_table[c].size};
  if (charged_ + more > budget) {
    charged_ += more;
    make_room(c);
    charged_ -= more;
    if (charged_ + more > budget) return false;
  }
  return resize(c, order + 1);
}

inline void thread_cache::give_oldest(unsigned c, unsigned n) noexcept {
  void** const bottom = sides_[c].bottom;
  void** const top = tops_[c].at.load(memory_order_relaxed);
  TERN_ASSERT_INTERNAL(
      n <= static_cast<std::size_t>(top - bottom) && top <= limits_[c].at && bottom[-1] == nullptr,
      "cache: bin is inconsistent");
  central_lists[c].give(c, bottom, n);
  for (void** from = bottom + n; from != top; ++from) from[-static_cast<std::ptrdiff_t>(n)] = *from;
  tops_[c].at.store(top - n, memory_order_relaxed);
}

inline void thread_cache::give_newest(unsigned c, unsigned n) noexcept {
  void** const top = tops_[c].at.load(memory_order_relaxed) - n;
  TERN_ASSERT_INTERNAL(top >= sides_[c].bottom, "cache: bin is inconsistent");
  central_lists[c].give(c, top, n);
  tops_[c].at.store(top, memory_order_relaxed);
}

// A block for an empty bin.
TERN_ALWAYS_INLINE void* thread_cache::refill(unsigned c) noexcept {
  side& s = sides_[c];
  const bool first = s.order == 0;
  if (first || s.ran_dry) try_grow(c);
  s.ran_dry = true;
  if (TERN_UNLIKELY(s.order == 0)) {  // no memory for an array: one block, straight through
    void* p = nullptr;
    central_lists[c].take(c, &p, 1);
    return p;
  }
  // The first time few: most bins of a short-lived thread serve a handful, and give it all back.
  unsigned wanted = first ? (class_table[c].batch + 3) / 4 : class_table[c].batch;
  if (wanted > capacity_of(s.order)) wanted = capacity_of(s.order);
  const unsigned got = central_lists[c].take(c, s.bottom, wanted);
  if (got == 0) return nullptr;
  void* const p = s.bottom[got - 1];
  tops_[c].at.store(s.bottom + got - 1, memory_order_relaxed);
  return p;
}

// Makes room in a full bin, or does without.
TERN_ALWAYS_INLINE void thread_cache::spill(unsigned c, void* p) noexcept {
  side& s = sides_[c];
  if ((s.order == 0 || s.ran_dry) && try_grow(c)) {
    try_push(c, p);
    return;
  }
  if (TERN_UNLIKELY(s.order == 0)) {
    central_lists[c].give(c, &p, 1);
    return;
  }
  s.ran_dry = false;
  const unsigned capacity = capacity_of(s.order);
  if (capacity >= long_bin) {
    give_newest(c, long_bin / 4);
    try_push(c, p);
    return;
  }
  unsigned n = class_table[c].batch;
  if (n * 2 < capacity) n = capacity / 2;
  if (n > capacity) n = capacity;
  give_oldest(c, n);
  try_push(c, p);
}

TERN_NOINLINE inline void* thread_cache::pop_slow(unsigned c) noexcept {
  if (TERN_UNLIKELY(shared_)) {
    lock_scope hold{caches.shared_lock};
    void* p = caches.shared_store.try_pop(c);
    return p != nullptr ? p : caches.shared_store.refill(c);
  }
  void* p = unveil(c) ? try_pop(c) : nullptr;
  if (p == nullptr) p = refill(c);
  if (TERN_UNLIKELY(samples.is_on())) veil(c);
  return p;
}

TERN_NOINLINE inline void thread_cache::push_slow(unsigned c, void* p) noexcept {
  if (TERN_UNLIKELY(shared_)) {
    lock_scope hold{caches.shared_lock};
    if (!caches.shared_store.try_push(c, p)) caches.shared_store.spill(c, p);
    return;
  }
  if (!unveil(c) || !try_push(c, p)) spill(c, p);
  if (TERN_UNLIKELY(samples.is_on())) veil(c);
}

inline void thread_cache::flush_all() noexcept {
  if (shared_) {
    lock_scope hold{caches.shared_lock};
    caches.shared_store.flush_all();
    return;
  }
  for (unsigned c = 0; c < class_count; ++c) {
    const bool veiled = unveil(c);
    const auto n = static_cast<unsigned>(tops_[c].at.load(memory_order_relaxed) - sides_[c].bottom);
    if (n != 0) give_oldest(c, n);
    sides_[c].ran_dry = false;
    if (veiled) veil(c);
  }
}

// Requires: flushed.
inline void thread_cache::drop_arrays() noexcept {
  for (unsigned c = 0; c < class_count; ++c) {
    side& s = sides_[c];
    if (s.order == 0) continue;
    void** const a = s.bottom - 1;
    const unsigned order = s.order;
    {
      lock_scope hold{arrays_lock_};
      s.bottom = no_slots + 1;
      s.veiled.store(nullptr, memory_order_relaxed);
      s.order = 0;
      limits_[c].at = no_slots + 1;
      tops_[c].at.store(no_slots + 1, memory_order_relaxed);
    }
    slot_array_pool.give(a, order);
  }
  charged_ = 0;
  victim_ = 0;
}

}  // namespace tern::inline v1::detail

// gc::make and gc::make_array: allocation of managed objects.
//
// Context     The fast path: one thread-local read, the mutator, the shape's number, and a bump of the bin's cursor.
// Structure   Cells come zeroed. While a cycle marks, runs are black before they reach the bin, so the fast path has no phase test.
// Protocol    slow: safepoint; help the marker if one runs (assist); sleep shortly if it is outrun (brake); refill; when memory is
//             exhausted, or the hard limit reached, collect, then throw std::bad_alloc.
// Invariants  From the bump to the constructed bit the object is reachable from this stack only; if the constructor throws it has
//             no constructed bit and is swept as bytes.
#pragma once

#include <climits>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <tern/gc/collector.hpp>
#include <tern/gc/member.hpp>

namespace tern::inline v1 {

namespace detail::gc {

// Pays for `bytes` that are about to be allocated, while a cycle marks.
TERN_COLD inline void assist(mutator& m, std::size_t bytes) noexcept {
  std::size_t due;
  std::size_t left;
  {
    lock_scope hold{state.pacer_lock};
    if (TERN_UNLIKELY(state.pace.gives_way())) m.assists.forgive();  // it may be owed to the limit
    const std::size_t marked = state.marked_bytes.load(memory_order_relaxed);
    due = state.pace.assist_due(bytes, state.heap_bytes.load(memory_order_relaxed), marked);
    left = state.pace.work_left(marked);
  }
  const std::size_t pay = m.assists.charge(due, left);
  // A marker that runs just now needs no help: the debt stays.
  if (pay < assist_cap_bytes / 4 || !state.mark_lock.try_lock()) return;
  const os::nanoseconds begin = os::now();
  m.assists.paid(the_marker.mark_some(pay));
  state.mark_lock.unlock();
  const os::nanoseconds took = os::now() - begin;
  state.assist_ns.fetch_add(took, memory_order_relaxed);      // relaxed: pacing
  state.counters.assists.fetch_add(1, memory_order_relaxed);  // relaxed: a statistic
  raise_to(state.counters.assist_max_ns, static_cast<std::uint64_t>(took));
}

// Beyond the brake line: lets the collector's thread have the CPU, until the cycle is over at the latest. Bounded, so that no allocation
// waits for a whole cycle of a marker that is starved.
TERN_COLD inline void brake(mutator& m) noexcept {
  state.counters.brakes.fetch_add(1, memory_order_relaxed);  // relaxed: a statistic
  os::nanoseconds most;
  {
    lock_scope hold{state.pacer_lock};
    most = state.pace.brake_ns(state.heap_bytes.load(memory_order_relaxed));
  }
  while_idle(m, [most] {
    const os::nanoseconds begin = os::now();
    os::nanoseconds now = begin;
    const std::uint32_t seen = state.completed_word.load(memory_order_acquire);  // pairs-with: end()
    while (now < begin + most && state.completed_word.load(memory_order_acquire) == seen) {
      os::futex_wait(state.completed_word, seen, begin + most);
      now = os::now();
    }
    state.brake_ns.fetch_add(now - begin, memory_order_relaxed);  // relaxed: pacing
    end_cpu_window_if_long(now);
  });
  poll(m);
}

// Safepoint and pacing before memory is taken.
inline void before_refill(mutator& m, std::size_t bytes) noexcept {
  poll(m);
  // relaxed, all: pacing.
  if (TERN_UNLIKELY(state.marking.load(memory_order_relaxed))) assist(m, bytes);
  if (TERN_UNLIKELY(state.heap_bytes.load(memory_order_relaxed) >= state.brake.load(memory_order_relaxed)) &&
      state.wanted.load(memory_order_relaxed) > state.completed.load(memory_order_relaxed) &&
      !state.dead.load(memory_order_relaxed))
    brake(m);
}

// Whether the hard limit lets a mutator take so many bytes.
// relaxed, both: others take some meanwhile, so the limit is overrun by a run of cells for each mutator at most.
inline bool is_within_limit(std::size_t bytes) noexcept {
  const std::size_t limit = state.hard_limit.load(memory_order_relaxed);
  return TERN_LIKELY(limit == SIZE_MAX) ||
         (bytes <= limit && state.heap_bytes.load(memory_order_relaxed) <= limit - bytes);
}

// A cycle in which other mutators went on keeps what they made meanwhile, garbage or not; so there are two.
inline constexpr unsigned collections_before_bad_alloc = 2;

// Under a hard limit they may also have taken all that a cycle found free before the caller woke: as long as what cycles mark leaves
// room for it, they have only been faster, and it tries again.
inline bool is_only_late(std::size_t bytes) noexcept {
  const std::size_t limit =
      state.hard_limit.load(memory_order_relaxed);  // relaxed, both: as in is_within_limit()
  const std::size_t marked = state.last_marked_bytes.load(memory_order_relaxed);
  return limit != SIZE_MAX && bytes <= limit && marked <= limit - bytes;
}

// What an allocation has done to get its memory.
struct exhaustion {
  unsigned collections = 0;
  bool has_waited = false;  // for a cycle that ran anyway, since the last of those
};

// Where it is pages that are short, not bytes, cells of other shapes may be free in each of them for ever.
inline constexpr unsigned collections_for_pages = 16;

// Requires: the caller still holds nothing of the object, the mutator may have changed. Throws.
TERN_COLD inline void after_exhaustion(std::size_t bytes, bool by_limit, exhaustion& so_far) {
  // What is marking or sweeping just now may find enough. Not twice in a row: others may keep it running.
  const std::uint64_t running = state.started.load(memory_order_seq_cst);
  if (!so_far.has_waited && running > state.completed.load(memory_order_acquire) &&
      !state.dead.load(memory_order_relaxed)) {
    so_far.has_waited = true;
    wait_for_cycle(running);
    return;
  }
  const unsigned most = by_limit ? UINT_MAX : collections_for_pages;
  if (so_far.collections >= collections_before_bad_alloc &&
      !(so_far.collections < most && is_only_late(bytes)))
    throw std::bad_alloc{};
  so_far.has_waited = false;
  ++so_far.collections;
  collect_and_wait();
}

inline void* take_cell(mutator& m, shape& k) noexcept {
  bin& b = m.bins[k.number];
  // Not a refill where the bin has cells: the first call for a type comes here with its number just made.
  if (static_cast<std::size_t>(b.limit - b.cursor) < k.cell_bytes && !refill(m, k)) return nullptr;
  char* p = b.cursor;
  b.cursor = p + k.cell_bytes;
  return p;
}

TERN_NOINLINE inline void* allocate_slow(shape& k, std::size_t bytes) {
  for (exhaustion so_far;;) {
    mutator& m = current_mutator();
    bool by_limit = false;
    {
      const runtime_scope in{m};
      before_refill(m, bytes);
      by_limit = !is_within_limit(bytes);
      if (TERN_LIKELY(!by_limit)) {
        void* p = k.is_large() ? reinterpret_cast<void*>(allocate_large(m, k, bytes)) : take_cell(m, k);
        if (TERN_LIKELY(p != nullptr)) return p;
      }
    }
    after_exhaustion(bytes, by_limit, so_far);
  }
}

template <class T>
TERN_NOINLINE void* allocate_object_slow() {
  const std::uint32_t n = object_shape_number<T>.load(memory_order_acquire);  // pairs-with: object_shape()
  shape& k = n != 0 ? shapes[n] : object_shape<T>();
  return allocate_slow(k, k.cell_bytes);
}

// Zeroed bytes for a T.
template <class T>
TERN_ALWAYS_INLINE void* allocate_object() {
  constexpr std::size_t cell = cell_bytes_for(sizeof(T));
  if constexpr (cell <= max_cell_bytes) {
    if (mutator* m = current_mutator_if_any(); TERN_LIKELY(m != nullptr)) {
      // relaxed: a number names a shape for good, and the bin of a number is filled by this mutator itself.
      bin& b = m->bins[object_shape_number<T>.load(memory_order_relaxed)];
      char* p = b.cursor;
      if (TERN_LIKELY(static_cast<std::size_t>(b.limit - p) >= cell)) {
        b.cursor = p + cell;
        return p;
      }
    }
  }
  return allocate_object_slow<T>();
}

// By cell class; the last one is for arrays in spans of their own.
template <class T>
inline constinit atomic<shape*> array_shapes[16 + small_class_count + 1] = {};

inline std::size_t array_class(std::size_t bytes) noexcept {
  if (bytes <= 128) return (bytes - 1) / 8;
  return bytes <= max_cell_bytes ? 16 + class_of(bytes) : 16 + small_class_count;
}

template <class T>
void* allocate_array(std::size_t n) {
  constexpr std::size_t most = (std::size_t{1} << 46) / sizeof(T);
  if (n > most) throw std::bad_array_new_length{};
  const std::size_t bytes = array_bytes<T>(n);
  atomic<shape*>& known = array_shapes<T>[array_class(bytes)];
  shape* k = known.load(memory_order_acquire);  // pairs-with: the store below
  if (TERN_UNLIKELY(k == nullptr)) {
    k = &array_shape<T>(n);
    known.store(k, memory_order_release);
  }
  if (!k->is_large())
    if (mutator* m = current_mutator_if_any(); TERN_LIKELY(m != nullptr)) {
      bin& b = m->bins[k->number];
      char* p = b.cursor;
      if (TERN_LIKELY(static_cast<std::size_t>(b.limit - p) >= k->cell_bytes)) {
        b.cursor = p + k->cell_bytes;
        return p;
      }
    }
  return allocate_slow(*k, bytes);
}

// Types of which a value-initialised object is all zero bytes, as fresh cells are: no constructor need run over a large array.
template <class T>
inline constexpr bool is_zero_bytes = std::is_trivially_default_constructible_v<T>;
template <class T>
inline constexpr bool is_zero_bytes<::tern::gc::member<T>> = true;
template <class T>
inline constexpr bool is_zero_bytes<::tern::gc::atomic_member<T>> = true;

inline void mark_constructed(void* object) noexcept {
  const std::uintptr_t word = to_word(object);
  span* s = span_of(word);
  s->set_constructed(s->index_of(word));
}

}  // namespace detail::gc

namespace gc {

template <class T>
concept manageable = std::is_object_v<T> && !std::is_array_v<T> && !std::is_const_v<T> &&
                     alignof(T) <= detail::page_bytes && std::is_nothrow_destructible_v<T>;

// An aggregate's last fields may be left out: they are as in T{}.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/// Makes a T that lives until no stack, handle or member leads to it. O(1) amortised; may help the collector for a bounded
/// time. A destructor that is not trivial runs once, on a thread of the collector's (set_destructor_executor() changes
/// that), in no particular order: it must not touch other managed objects. Throws std::bad_alloc after a collection did not
/// help, and what T's constructor throws. Does not compile where a T holds members where the collector cannot see them (contents.hpp).
/// A plain thread becomes attached at its first call and stays so until it exits.
template <manageable T, class... Args>
TERN_ALWAYS_INLINE T* make(Args&&... args) {
  void* p = detail::gc::allocate_object<T>();
  T* object;
  if constexpr (std::is_constructible_v<T, Args...>)
    object = ::new (p) T(std::forward<Args>(args)...);
  else
    object = ::new (p) T{std::forward<Args>(args)...};
  if constexpr (!std::is_trivially_destructible_v<T>) detail::gc::mark_constructed(p);
  return object;
}

#pragma GCC diagnostic pop

/// A managed array of fixed length. Made by make_array().
template <manageable T>
class array {
 public:
  using value_type = T;

  array(const array&) = delete;
  array& operator=(const array&) = delete;

  std::size_t size() const noexcept { return header_.length; }
  T* data() noexcept { return reinterpret_cast<T*>(this + 1); }
  const T* data() const noexcept { return reinterpret_cast<const T*>(this + 1); }
  T& operator[](std::size_t i) noexcept {
    TERN_ASSERT(i < size(), "gc::array: index out of range");
    return data()[i];
  }
  const T& operator[](std::size_t i) const noexcept {
    TERN_ASSERT(i < size(), "gc::array: index out of range");
    return data()[i];
  }
  T* begin() noexcept { return data(); }
  T* end() noexcept { return data() + size(); }
  const T* begin() const noexcept { return data(); }
  const T* end() const noexcept { return data() + size(); }

 private:
  template <manageable U>
  friend array<U>* make_array(std::size_t n);

  array() = default;  // the length is there already
  detail::gc::array_header header_;
};

/// Makes an array of n value-initialised elements. O(n). Errors as make().
template <manageable T>
array<T>* make_array(std::size_t n) {
  static_assert(alignof(T) <= 8, "elements follow the length at 8 bytes");
  static_assert(sizeof(array<T>) == sizeof(detail::gc::array_header));
  void* p = detail::gc::allocate_array<T>(n);
  auto* header = static_cast<detail::gc::array_header*>(p);
  // Atomic: a cycle that began before the array was made may have found its cell by the pointer on this stack.
  __atomic_store_n(&header->length, n, __ATOMIC_RELAXED);
  auto* a = static_cast<array<T>*>(p);
  if constexpr (!detail::gc::is_zero_bytes<T>) std::uninitialized_value_construct_n(a->data(), n);
  if constexpr (!std::is_trivially_destructible_v<T>) detail::gc::mark_constructed(p);
  return a;
}

}  // namespace gc
}  // namespace tern::inline v1

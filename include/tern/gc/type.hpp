// Types of managed objects: where their members lie, and the shapes that spans are cut to.
//
// Context     gc::make<T> asks for the shape of T; the marker reads shapes and nothing else of a type.
// Structure   layout   what trace() reported, once, on zeroed storage: one bit for each word of T that is a gc::member
//             shape    (cell size, layout, destructor, array or not): what a span holds. Types that agree in all share it.
// Protocol    1. layout_of<T>() runs T::trace on zeroed storage and sets the bits. trace() must not depend on data.
//             2. shape_table::intern() finds or adds the shape under a lock; the number is kept in a word for each T.
// Invariants  I1 a shape never changes and never goes away once its number is known.
//             I2 number 0 is no shape: a mutator's bin 0 stays empty for ever, so that the fast path needs no test for it.
// Rejected    Calling trace() for each object: user code in the marker, an indirect call, and a virtual one would read a vptr of
//             an object under construction.
// Limits      4,095 shapes in a process. A type without trace() has no members: it is never scanned.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

#include <tern/alloc/metadata.hpp>
#include <tern/alloc/size_class.hpp>
#include <tern/alloc/span.hpp>
#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/bits.hpp>
#include <tern/base/config.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>

namespace tern::inline v1 {

namespace gc {

class visitor;
template <class T>
class member;
template <class T>
class atomic_member;

// A type that tells its members: `void trace(tern::gc::visitor& v) const { v(a); v(b); }`.
template <class T>
concept traceable = requires(const T& t, visitor& v) { t.trace(v); };

// What trace() is called with. It records places, not values.
class visitor {
 public:
  visitor(const visitor&) = delete;
  visitor& operator=(const visitor&) = delete;

  template <class T>
  void operator()(const member<T>& m) noexcept {
    record(&m);
  }
  template <class T>
  void operator()(const atomic_member<T>& m) noexcept {
    record(&m);
  }
  template <traceable T>
  void operator()(const T& part) {
    part.trace(*this);
  }
  template <class T, std::size_t N>
  void operator()(const T (&parts)[N]) {
    for (const T& part : parts) (*this)(part);
  }
  template <class T, std::size_t N>
    requires requires(visitor& v, const T& part) { v(part); }
  void operator()(const std::array<T, N>& parts) {
    for (const T& part : parts) (*this)(part);
  }
  template <class First, class Second, class... Rest>
  void operator()(const First& first, const Second& second, const Rest&... rest) {
    (*this)(first);
    (*this)(second, rest...);
  }

  // The library's: over `bytes` of storage, one bit for each word into `bits` (zeroed).
  visitor(const void* storage, std::size_t bytes, std::uint64_t* bits) noexcept
      : base_{reinterpret_cast<std::uintptr_t>(storage)}, bytes_{bytes}, bits_{bits} {}

 private:
  void record(const void* m) noexcept {
    const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(m) - base_;
    if (offset >= bytes_ || offset % sizeof(void*) != 0)
      detail::fatal("gc: trace() visited a member outside its object");
    bits_[offset / 8 / 64] |= std::uint64_t{1} << (offset / 8 % 64);
  }

  std::uintptr_t base_;
  std::size_t bytes_;
  std::uint64_t* bits_;
};

}  // namespace gc

namespace detail::gc {

inline constexpr std::size_t max_cell_bytes = max_small_size;  // above: a span for each object
inline constexpr std::size_t max_cells = 1024;                 // of a span
inline constexpr std::size_t min_cell_bytes = 16;
inline constexpr std::size_t max_shapes = 4096;

// Cells step by 8 bytes to 128 (three-word nodes are common), then as the allocator's classes.
constexpr std::size_t cell_bytes_for(std::size_t n) noexcept {
  if (n <= min_cell_bytes) return min_cell_bytes;
  if (n <= 128) return round_up(n, 8);
  return compute_class_size(class_of(n));
}

constexpr std::size_t span_bytes_for(std::size_t cell) noexcept {
  if (cell <= 1024) return 2 * page_bytes;
  return round_up(8 * cell, page_bytes);
}
static_assert(span_bytes_for(min_cell_bytes) / min_cell_bytes == max_cells);

// Where the members of a type lie; the words stay for ever.
struct layout {
  std::size_t bytes = 0;  // of the type
  std::size_t words = 0;  // of bits, without trailing zero words
  const std::uint64_t* bits = nullptr;

  bool has_members() const noexcept { return words != 0; }
  bool operator==(const layout& o) const noexcept {
    return bytes == o.bytes && words == o.words && (words == 0 || std::memcmp(bits, o.bits, words * 8) == 0);
  }
};

class span;

// What a span holds. Lists and counts belong to the heap; everything else is constant.
struct shape {
  std::uint32_t number = 0;
  bool is_array = false;       // cells begin with array_header; members repeat every unit.bytes
  std::size_t cell_bytes = 0;  // 0: large arrays, one object in a span of its own size
  std::size_t span_bytes = 0;
  std::uint32_t cells = 0;
  std::uint64_t reciprocal = 0;                      // ceil(2^40 / cell_bytes); 0 where there is one cell
  layout unit;                                       // the object, or an element
  void (*destroy)(void* object) noexcept = nullptr;  // null: trivially destructible

  // Spans of this shape that no mutator holds. `lock` protects lists and each listed span's bits.
  spin_lock<> lock;
  list<span_base, &span_base::hook> partial;  // swept, has free cells
  list<span_base, &span_base::hook> full;     // swept, has none
  list<span_base, &span_base::hook> pending;  // marks are of the last cycle, handshake not over yet
  list<span_base, &span_base::hook> unswept;  // to be swept now

  bool has_members() const noexcept { return unit.has_members(); }
  bool is_large() const noexcept { return cells == 1; }
};

// Elements of an array follow it. The length never changes after the array is published.
struct array_header {
  std::size_t length;
};

class shape_table {
 public:
  constexpr shape_table() noexcept = default;

  // Finds or adds. Throws std::bad_alloc; fatal when there are too many shapes.
  shape& intern(const layout& unit, std::size_t cell_bytes, bool is_array, void (*destroy)(void*) noexcept) {
    lock_scope hold{lock_};
    const std::uint32_t n = count_.load(memory_order_relaxed);  // relaxed: written under this lock only
    for (std::uint32_t i = 1; i < n; ++i) {
      shape& s = *shapes_[i];
      if (s.cell_bytes == cell_bytes && s.is_array == is_array && s.destroy == destroy && s.unit == unit)
        return s;
    }
    if (n == max_shapes) fatal("gc: more than 4095 managed shapes");
    void* p = metadata.allocate(sizeof(shape));
    if (p == nullptr) throw std::bad_alloc{};
    shape& s = *::new (p) shape;
    s.number = n;
    s.is_array = is_array;
    s.unit = unit;
    s.destroy = destroy;
    s.cell_bytes = cell_bytes;
    if (cell_bytes == 0 || cell_bytes > max_cell_bytes) {
      s.cells = 1;
      s.span_bytes = round_up(cell_bytes, page_bytes);
    } else {
      s.span_bytes = span_bytes_for(cell_bytes);
      s.cells = static_cast<std::uint32_t>(s.span_bytes / cell_bytes);
      s.reciprocal = ((std::uint64_t{1} << 40) + cell_bytes - 1) / cell_bytes;
    }
    shapes_[n] = &s;
    count_.store(n + 1, memory_order_release);  // pairs-with: for_each(); else it reads a null pointer
    return s;
  }

  shape& operator[](std::uint32_t number) const noexcept { return *shapes_[number]; }

  template <class F>
  void for_each(F&& f) {
    const std::uint32_t n = count_.load(memory_order_acquire);  // pairs-with: intern()
    for (std::uint32_t i = 1; i < n; ++i) f(*shapes_[i]);
  }

  spin_lock<>& table_lock() noexcept { return lock_; }
  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
    for_each([&](shape& s) noexcept { f(s.lock); });
  }

 private:
  spin_lock<> lock_;
  atomic<std::uint32_t> count_{1};
  shape* shapes_[max_shapes] = {};
};

inline constinit shape_table shapes;

// Runs trace() on storage that no object lives in: it may only take addresses of members, which is its contract, and the
// qualified call reads no vptr; the sanitizers, which look for an object there, are told so.
template <class T>
TERN_NO_SANITIZE TERN_NOINLINE void record_members(const void* storage, ::tern::gc::visitor& v) {
  if constexpr (::tern::gc::traceable<T>)
    static_cast<const T*>(storage)->T::trace(v);
  else
    v(*static_cast<const T*>(storage));
}

// A type with members: one that has trace(), a member itself, or a fixed array of either.
template <class T>
concept has_members = requires(::tern::gc::visitor& v, const T& t) { v(t); };

template <class T>
layout record_layout() {
  layout result;
  result.bytes = sizeof(T);
  if constexpr (has_members<T>) {
    static_assert(sizeof(T) <= std::size_t{1} << 20, "a managed type of more than 1 MiB: use gc::make_array");
    const std::size_t words = (sizeof(T) / 8 + 63) / 64;
    void* memory = metadata.allocate(words * 8);
    void* storage = ::operator new(sizeof(T), std::align_val_t{alignof(T)});
    struct release {
      void* p;
      ~release() { ::operator delete(p, std::align_val_t{alignof(T)}); }
    } keep{storage};
    if (memory == nullptr) throw std::bad_alloc{};
    std::memset(storage, 0, sizeof(T));
    auto* bits = static_cast<std::uint64_t*>(memory);
    ::tern::gc::visitor v{storage, sizeof(T), bits};
    record_members<T>(storage, v);
    result.bits = bits;
    result.words = words;
    while (result.words != 0 && bits[result.words - 1] == 0) --result.words;
  }
  return result;
}

template <class T>
const layout& layout_of() {
  static const layout known = record_layout<T>();
  return known;
}

template <class T>
void destroy_object(void* p) noexcept {
  static_cast<T*>(p)->~T();
}

template <class T>
void destroy_array(void* p) noexcept {
  auto* elements = reinterpret_cast<T*>(static_cast<array_header*>(p) + 1);
  for (std::size_t i = static_cast<array_header*>(p)->length; i-- > 0;) elements[i].~T();
}

// The shape number of single objects of T; 0 until the first one is made.
template <class T>
inline constinit atomic<std::uint32_t> object_shape_number{0};

template <class T>
TERN_COLD shape& object_shape() {
  void (*destroy)(void*) noexcept = nullptr;
  if constexpr (!std::is_trivially_destructible_v<T>) destroy = &destroy_object<T>;
  layout unit = layout_of<T>();
  // A type without members or destructor is only bytes: all such types of one cell size share spans.
  if (!unit.has_members() && destroy == nullptr) unit = layout{};
  shape& s = shapes.intern(unit, cell_bytes_for(sizeof(T)), false, destroy);
  // pairs-with: the acquire in make_slow(); the fast path needs none, its bin was filled by this thread's processor.
  object_shape_number<T>.store(s.number, memory_order_release);
  return s;
}

// Array cells are one byte longer than the array, so that a pointer past its end still lies in its cell.
template <class T>
constexpr std::size_t array_bytes(std::size_t n) noexcept {
  return sizeof(array_header) + n * sizeof(T) + 1;
}

template <class T>
TERN_COLD shape& array_shape(std::size_t n) {
  void (*destroy)(void*) noexcept = nullptr;
  if constexpr (!std::is_trivially_destructible_v<T>) destroy = &destroy_array<T>;
  const layout& unit = layout_of<T>();
  const std::size_t bytes = array_bytes<T>(n);
  return shapes.intern(unit.has_members() || destroy != nullptr ? unit : layout{},
                       bytes > max_cell_bytes ? 0 : cell_bytes_for(bytes), true, destroy);
}

}  // namespace detail::gc
}  // namespace tern::inline v1

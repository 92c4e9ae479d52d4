// Types of managed objects: where their members lie, and the shapes that spans are cut to.
//
// Context     gc::make<T> asks for the shape of T; the marker reads shapes and nothing else of a type.
// Structure   layout   what the visitor found, once, on zeroed storage: one bit for each word of T that is a gc::member
//             shape    (cell size, layout, destructor, array or not): what a span holds. Types that agree in all share
//                      it; it has their names, for who looks at the heap.
// Protocol    1. layout_of<T>() lets the visitor over zeroed storage: T::trace, or, where there is none, the fields of
//                an aggregate and the elements of arrays, pairs, tuples and optionals. trace() must not depend on data.
//             2. shape_table::intern() finds or adds the shape under a lock; the number is kept in a word for each T.
//             A type without trace() is never taken for pointer-free unless that is proven or declared (contents.hpp):
//             a class that cannot be looked into counts as if each of its words were a member, and is scanned as stacks are.
// Invariants  I1 a shape never changes, but for the names of its types, and never goes away once its number is known.
//             I2 number 0 is no shape: a mutator's bin 0 stays empty for ever, so that the fast path needs no test for
//                it.
// Rejected    Calling trace() for each object: user code in the marker, an indirect call, and a virtual one would read
//             a vptr of an object under construction.
// Limits      4,095 shapes in a process. A trace() that forgets a member loses what only that leads to: debug builds
//             end the process at the first store into it (write_barrier.hpp), the verifier names what it leads to.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <tern/alloc/metadata.hpp>
#include <tern/alloc/size_class.hpp>
#include <tern/alloc/span.hpp>
#include <tern/base/assert.hpp>
#include <tern/base/atomic.hpp>
#include <tern/base/bits.hpp>
#include <tern/base/list.hpp>
#include <tern/ds/spin_lock.hpp>
#include <tern/gc/contents.hpp>

namespace tern::inline v1 {

namespace gc {

// What trace() is called with. It records places, not values. Takes members, what has trace(), and what contents.hpp
// finds members in.
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
  template <detail::gc::has_members T, std::size_t N>
  void operator()(const std::array<T, N>& parts) {
    for (const T& part : parts) (*this)(part);
  }
  template <class A, class B>
    requires detail::gc::has_members<std::pair<A, B>>
  void operator()(const std::pair<A, B>& parts) {
    visit_if_held<A>(parts.first);
    visit_if_held<B>(parts.second);
  }
  template <class... Ts>
    requires detail::gc::has_members<std::tuple<Ts...>>
  void operator()(const std::tuple<Ts...>& parts) {
    std::apply([&](const auto&... part) { (this->template visit_if_held<Ts>(part), ...); }, parts);
  }
  // Where its value would lie. While it holds none, the words there are null or those of its last value, which live on
  // by that.
  template <detail::gc::has_members T>
  void operator()(const std::optional<T>& part) {
    // Only one that says that it holds a value may be asked for its place.
    void* const storage = const_cast<std::optional<T>*>(&part);
    std::memset(storage, 1, sizeof part);
    const T* const value = std::addressof(*part);
    std::memset(storage, 0, sizeof part);
    (*this)(*value);
  }
  template <detail::gc::has_visible_fields T>
  void operator()(const T& part) {
    detail::gc::with_fields(
        part, [this]<class... Ts>(const auto&... field) { (this->template visit_if_held<Ts>(field), ...); });
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
  // A part of a type that is not asked member by member: what holds none is passed over.
  template <class T, class Part>
  void visit_if_held(const Part& part) {
    if constexpr (detail::gc::has_members<std::remove_cv_t<T>>) (*this)(part);
  }

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
  bool is_exact = true;  // else any word may be a member: all bits are set

  bool has_members() const noexcept { return words != 0; }
  // Whether a member lies at the offset, which is less than `bytes`.
  bool names(std::size_t offset) const noexcept {
    const std::size_t word = offset / 8;
    return offset % 8 == 0 && word / 64 < words && (bits[word / 64] >> (word % 64) & 1) != 0;
  }
  bool operator==(const layout& o) const noexcept {
    return bytes == o.bytes && words == o.words && is_exact == o.is_exact &&
           (words == 0 || std::memcmp(bits, o.bits, words * 8) == 0);
  }
};

class span;

// The name of a type whose objects or elements a shape holds.
struct type_note {
  std::string_view name;
  const type_note* next = nullptr;
};

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
  atomic<const type_note*> types{nullptr};           // the newest first; grows under the table's lock

  // Spans of this shape that no mutator holds. `lock` protects lists and each listed span's bits.
  spin_lock<> lock;
  list<span_base, &span_base::hook> partial;  // swept, has free cells
  list<span_base, &span_base::hook> full;     // swept, has none
  list<span_base, &span_base::hook> pending;  // marks are of the last cycle, handshake not over yet
  list<span_base, &span_base::hook> unswept;  // to be swept now

  bool has_members() const noexcept { return unit.has_members(); }
  bool is_large() const noexcept { return cells == 1; }
  // Whether a member lies at the offset in a cell.
  bool names(std::size_t offset) const noexcept;
  std::string_view newest_type() const noexcept {
    const type_note* const t = types.load(memory_order_acquire);  // pairs-with: note_locked()
    return t == nullptr ? std::string_view{"?"} : t->name;
  }
};

// Elements of an array follow it. The length never changes after the array is published.
struct array_header {
  std::size_t length;
};

inline bool shape::names(std::size_t offset) const noexcept {
  if (!has_members()) return false;
  if (!is_array) return unit.names(offset);
  return offset >= sizeof(array_header) && unit.names((offset - sizeof(array_header)) % unit.bytes);
}

class shape_table {
 public:
  constexpr shape_table() noexcept = default;

  // Finds or adds, and notes that `type` uses it. Throws std::bad_alloc; fatal when there are too many shapes.
  shape& intern(const layout& unit, std::size_t cell_bytes, bool is_array, void (*destroy)(void*) noexcept,
                std::string_view type) {
    lock_scope hold{lock_};
    shape& s = intern_locked(unit, cell_bytes, is_array, destroy);
    note_locked(s, type);
    return s;
  }

  shape& operator[](std::uint32_t number) const noexcept { return *shapes_[number]; }
  // Numbers begin at 1. acquire pairs-with: intern_locked()
  std::uint32_t end_number() const noexcept { return count_.load(memory_order_acquire); }

  template <class F>
  void for_each(F&& f) {
    const std::uint32_t n = end_number();
    for (std::uint32_t i = 1; i < n; ++i) f(*shapes_[i]);
  }

  spin_lock<>& table_lock() noexcept { return lock_; }
  template <class F>
  void for_each_lock(F&& f) noexcept {
    f(lock_);
    for_each([&](shape& s) noexcept { f(s.lock); });
  }

 private:
  shape& intern_locked(const layout& unit, std::size_t cell_bytes, bool is_array,
                       void (*destroy)(void*) noexcept) {
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

  // Without memory the name is missing, and nothing else.
  static void note_locked(shape& s, std::string_view type) noexcept {
    // relaxed, both: written under the table's lock.
    const type_note* const newest = s.types.load(memory_order_relaxed);
    for (const type_note* t = newest; t != nullptr; t = t->next)
      if (t->name == type) return;
    if (void* p = metadata.allocate(sizeof(type_note)))
      s.types.store(::new (p) type_note{type, newest},
                    memory_order_release);  // pairs-with: who reads the list
  }

  spin_lock<> lock_;
  atomic<std::uint32_t> count_{1};
  shape* shapes_[max_shapes] = {};
};

inline constinit shape_table shapes;

// Runs trace() on storage that no object lives in: it may only take addresses of members, which is its contract, and
// the qualified call reads no vptr; the sanitizers, which look for an object there, are told so.
template <class T>
TERN_NO_SANITIZE TERN_NOINLINE void record_members(const void* storage, ::tern::gc::visitor& v) {
  if constexpr (::tern::gc::traceable<T>)
    static_cast<const T*>(storage)->T::trace(v);
  else
    v(*static_cast<const T*>(storage));
}

// Words of bits for a type of so many bytes, zeroed. Throws std::bad_alloc.
inline std::uint64_t* new_bits(std::size_t words) {
  void* const p = metadata.allocate(words * 8);
  if (p == nullptr) throw std::bad_alloc{};
  return static_cast<std::uint64_t*>(p);
}

template <class T>
layout record_layout() {
  static_assert(is_visible<T>);
  static_assert(contents_of<T> == contents::none || sizeof(T) <= std::size_t{1} << 20,
                "a managed type of more than 1 MiB: use gc::make_array");
  layout result;
  result.bytes = sizeof(T);
  const std::size_t words = (sizeof(T) / 8 + 63) / 64;
  if constexpr (is_opaque<T>) {
    std::uint64_t* const bits = new_bits(words);
    for (std::size_t w = 0; w < sizeof(T) / 8; ++w) bits[w / 64] |= std::uint64_t{1} << (w % 64);
    result.bits = bits;
    result.words = words;
    result.is_exact = false;
  } else if constexpr (has_members<T>) {
    void* storage = ::operator new(sizeof(T), std::align_val_t{alignof(T)});
    struct release {
      void* p;
      ~release() { ::operator delete(p, std::align_val_t{alignof(T)}); }
    } keep{storage};
    std::uint64_t* const bits = new_bits(words);
    std::memset(storage, 0, sizeof(T));
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
  shape& s = shapes.intern(unit, cell_bytes_for(sizeof(T)), false, destroy, type_name<T>());
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
                       bytes > max_cell_bytes ? 0 : cell_bytes_for(bytes), true, destroy, type_name<T>());
}

}  // namespace detail::gc
}  // namespace tern::inline v1

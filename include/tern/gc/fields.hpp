// Fields of aggregates, by compile-time reflection: how many a type has, and a function called with all of them.
//
// Context     contents.hpp asks what a managed type holds, visitor (type.hpp) where it lies. Neither needs help of the
//             type.
// Structure   count   T{{}, {}, ...}: each {} initialises one field, be it an array, a class or a number, so the most
//                     that T takes is how many it has. Where a field does not take {} (it has no default constructor),
//                     a probe that converts to anything stands in for each; an array then counts wrong, which the
//                     bindings below find out.
//             bases   come first in that list: told by probes that convert to bases of T alone.
//             bind    structured bindings, which need a spelled list of names for each count; so do the {}. Hence the
//                     macros, which end with this file: a pack can expand to neither in C++20.
// Invariants  A count that is wrong does not compile: structured bindings want the exact number of names. So no field
//             is passed over.
// Limits      64 fields. No anonymous unions, no fields next to bases with fields: structured bindings refuse those.
// References  Polukhin, Boost.PFR.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace tern::inline v1::detail::gc {

inline constexpr std::size_t max_fields = 64;

// Never called. It cannot be copied: what takes any copyable thing would take it for itself.
template <class T>
struct field_probe {
  field_probe(const field_probe&) = delete;
  template <class U>
    requires(!std::is_same_v<std::remove_cv_t<U>, T>)
  operator U() const;
};
template <class T>
struct base_probe {
  base_probe(const base_probe&) = delete;
  template <class U>
    requires(std::is_base_of_v<U, T> && !std::is_same_v<std::remove_cv_t<U>, T>)
  operator U() const;
};
template <class T>
struct empty_base_probe {
  empty_base_probe(const empty_base_probe&) = delete;
  template <class U>
    requires(std::is_base_of_v<U, T> && !std::is_same_v<std::remove_cv_t<U>, T> && std::is_empty_v<U>)
  operator U() const;
};

// What takes spelled lists: specialised for 1 to max_fields + 1.
template <std::size_t N>
struct field_list;

#define TERN_FIELDS_1(f, x) f(x##1)
#define TERN_FIELDS_2(f, x) TERN_FIELDS_1(f, x), f(x##2)
#define TERN_FIELDS_3(f, x) TERN_FIELDS_2(f, x), f(x##3)
#define TERN_FIELDS_4(f, x) TERN_FIELDS_3(f, x), f(x##4)
#define TERN_FIELDS_5(f, x) TERN_FIELDS_4(f, x), f(x##5)
#define TERN_FIELDS_6(f, x) TERN_FIELDS_5(f, x), f(x##6)
#define TERN_FIELDS_7(f, x) TERN_FIELDS_6(f, x), f(x##7)
#define TERN_FIELDS_8(f, x) TERN_FIELDS_7(f, x), f(x##8)
#define TERN_EIGHTS_0(f)
#define TERN_EIGHTS_1(f) TERN_FIELDS_8(f, a),
#define TERN_EIGHTS_2(f) TERN_EIGHTS_1(f) TERN_FIELDS_8(f, b),
#define TERN_EIGHTS_3(f) TERN_EIGHTS_2(f) TERN_FIELDS_8(f, c),
#define TERN_EIGHTS_4(f) TERN_EIGHTS_3(f) TERN_FIELDS_8(f, d),
#define TERN_EIGHTS_5(f) TERN_EIGHTS_4(f) TERN_FIELDS_8(f, e),
#define TERN_EIGHTS_6(f) TERN_EIGHTS_5(f) TERN_FIELDS_8(f, g),
#define TERN_EIGHTS_7(f) TERN_EIGHTS_6(f) TERN_FIELDS_8(f, h),
#define TERN_EIGHTS_8(f) TERN_EIGHTS_7(f) TERN_FIELDS_8(f, i),
#define TERN_LIST(eights, rest, f) TERN_EIGHTS_##eights(f) TERN_FIELDS_##rest(f, z)

#define TERN_EMPTY(x) \
  {                   \
  }
#define TERN_NAME(x) x
#define TERN_TYPE(x) decltype(x)
#define TERN_FIELD_LIST(eights, rest)                                                                       \
  template <>                                                                                               \
  struct field_list<8 * eights + rest> {                                                                    \
    template <class T>                                                                                      \
    static constexpr bool takes_empty = requires { T{TERN_LIST(eights, rest, TERN_EMPTY)}; };               \
    template <class T, class F>                                                                             \
    static constexpr decltype(auto) bind(const T& t, F&& f) {                                               \
      const auto& [TERN_LIST(eights, rest, TERN_NAME)] = t;                                                 \
      return f.template operator()<TERN_LIST(eights, rest, TERN_TYPE)>(TERN_LIST(eights, rest, TERN_NAME)); \
    }                                                                                                       \
  };
#define TERN_FIELD_LISTS(eights) \
  TERN_FIELD_LIST(eights, 1)     \
  TERN_FIELD_LIST(eights, 2)     \
  TERN_FIELD_LIST(eights, 3)     \
  TERN_FIELD_LIST(eights, 4)     \
  TERN_FIELD_LIST(eights, 5)     \
  TERN_FIELD_LIST(eights, 6)     \
  TERN_FIELD_LIST(eights, 7)     \
  TERN_FIELD_LIST(eights, 8)

TERN_FIELD_LISTS(0)
TERN_FIELD_LISTS(1)
TERN_FIELD_LISTS(2)
TERN_FIELD_LISTS(3)
TERN_FIELD_LISTS(4)
TERN_FIELD_LISTS(5)
TERN_FIELD_LISTS(6)
TERN_FIELD_LISTS(7)
TERN_FIELD_LIST(8, 1)

#undef TERN_FIELD_LISTS
#undef TERN_FIELD_LIST
#undef TERN_TYPE
#undef TERN_NAME
#undef TERN_EMPTY
#undef TERN_LIST
#undef TERN_EIGHTS_8
#undef TERN_EIGHTS_7
#undef TERN_EIGHTS_6
#undef TERN_EIGHTS_5
#undef TERN_EIGHTS_4
#undef TERN_EIGHTS_3
#undef TERN_EIGHTS_2
#undef TERN_EIGHTS_1
#undef TERN_EIGHTS_0
#undef TERN_FIELDS_8
#undef TERN_FIELDS_7
#undef TERN_FIELDS_6
#undef TERN_FIELDS_5
#undef TERN_FIELDS_4
#undef TERN_FIELDS_3
#undef TERN_FIELDS_2
#undef TERN_FIELDS_1

// More elements than there are lists for, or none that could be counted.
inline constexpr std::size_t too_many_fields = SIZE_MAX;
inline constexpr std::size_t uncounted_fields = SIZE_MAX - 1;

// Elements: bases, then fields.
template <class T, std::size_t N = 0>
consteval std::size_t count_by_empty() {
  if constexpr (N == max_fields + 1)
    return too_many_fields;
  else if constexpr (field_list<N + 1>::template takes_empty<T>)
    return count_by_empty<T, N + 1>();
  else
    return N;
}

template <class T, class Probe, std::size_t... Leading, std::size_t... I>
consteval bool takes_probes(std::index_sequence<Leading...>, std::index_sequence<I...>) {
  return requires(const Probe& leading, const field_probe<T>& p) {
    T{(static_cast<void>(Leading), leading)..., (static_cast<void>(I), p)...};
  };
}

template <class T, std::size_t N = max_fields + 1>
consteval std::size_t count_by_probes() {
  if constexpr (takes_probes<T, field_probe<T>>(std::index_sequence<>{}, std::make_index_sequence<N>{}))
    return N > max_fields ? too_many_fields : N;
  else if constexpr (N == 0)
    return uncounted_fields;
  else
    return count_by_probes<T, N - 1>();
}

template <class T>
inline constexpr bool fields_have_defaults = requires { T{}; };

template <class T>
consteval std::size_t count_elements() {
  if constexpr (fields_have_defaults<T>)
    return count_by_empty<T>();
  else
    return count_by_probes<T>();
}

template <class T, class Probe, std::size_t Elements, std::size_t N = 0>
consteval std::size_t count_leading() {
  if constexpr (N == Elements)
    return N;
  else if constexpr (takes_probes<T, Probe>(
                         std::make_index_sequence<N + 1>{},
                         std::make_index_sequence<fields_have_defaults<T> ? 0 : Elements - N - 1>{}))
    return count_leading<T, Probe, Elements, N + 1>();
  else
    return N;
}

// What the aggregate T consists of. Bases are fields' neighbours: without fields of their own, or the fields cannot be
// bound.
template <class T>
struct field_counts {
  static constexpr std::size_t elements = count_elements<T>();
  static constexpr bool is_counted = elements <= max_fields;
  static constexpr std::size_t bases = count_leading<T, base_probe<T>, is_counted ? elements : 0>();
  static constexpr bool has_data_in_bases =
      count_leading<T, empty_base_probe<T>, is_counted ? elements : 0>() < bases;
  static constexpr std::size_t fields = is_counted ? elements - bases : 0;
};

// Calls f.operator()<declared types...>(const fields&...). Requires: counted, with fields, none in bases, no reference.
template <class T, class F>
constexpr decltype(auto) with_fields(const T& t, F&& f) {
  return field_list<field_counts<T>::fields>::bind(t, f);
}

template <class... Ts>
struct type_list {};

struct list_types {
  template <class... Ts>
  type_list<Ts...> operator()(const Ts&...) const {
    return {};
  }
};

template <class T>
using field_types =
    decltype(field_list<field_counts<T>::fields>::bind(std::declval<const T&>(), list_types{}));

}  // namespace tern::inline v1::detail::gc

// What a type of managed objects holds: gc::members, provably none, any in words that it does not tell, or some that the collector
// cannot see, which does not compile.
//
// Context     Asked at compile time by everything that makes a managed object (type.hpp), and by containers for their
//             elements.
// Structure   The first rule that fits decides:
//             1. gc::member, gc::atomic_member; a type with trace(): members. trace() must be the type's own: one that
//                is inherited does not name what the type adds.
//             2. gc::is_pointer_free<T>: none, on the program's word.
//             3. numbers, enumerations, raw pointers: none.
//             4. A class that any copy, move or assignment treats as bytes: none, for a gc::member has no such
//                operation, and a class has none that one of its parts has not. Not is_trivially_copyable: compilers
//                grant that to what cannot be copied at all. Nor is there room for a member in what is smaller, or
//                aligned less, than a pointer.
//             5. arrays, std::array, pair, tuple, optional: what their elements hold.
//             6. Other classes of the standard library, and tern's: none if their template's arguments hold none. What
//                they keep on the C++ heap is not traced, so a vector of members is an error and not just a loss.
//             7. An aggregate: what its fields hold (fields.hpp).
//             8. Else a class that hides its fields (one with a constructor, say), inherits its trace(), or has fields beside those of
//                bases, or a union: opaque. Each of its words may be a member: the marker looks each up, as those of stacks. It costs
//                a look-up for each word, and keeps what its numbers look like; trace(), an empty one too, or is_pointer_free ends that.
// Rejected    To take 8 for pointer-free: it loses objects without a word. To let it not compile: a class with a destructor and a number
//             is among them. A raw pointer in one is not sound by this: no barrier tells the marker of a store beside it.
//             To leave rule 6 out: nobody could hold a std::string in a managed object.
// Limits      Raw storage that members are placed into by hand (a small vector of one's own) is bytes by rule 4; the
//             verifier names what such words lead to (verifier.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <tern/gc/fields.hpp>
#include <tern/gc/type_name.hpp>

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

/// Says that objects of T hold no gc::member, of a class that the collector cannot look into and that is not the
/// program's to change: `template <> inline constexpr bool tern::gc::is_pointer_free<library::date> = true;`. A class
/// of one's own says it by an empty trace(). Where it is not true, objects are lost.
template <class T>
inline constexpr bool is_pointer_free = false;

}  // namespace gc

namespace detail::gc {

// In the order in which the worse of two is the answer for both.
enum class contents : std::uint8_t {
  none,
  members,
  // Opaque: any word may be a member.
  hidden,           // a class that is no aggregate
  in_union,         // which one is there depends on data
  inherited_trace,  // trace() names the base's members alone
  data_in_bases,    // next to fields, or more than one
  // Errors.
  in_unmanaged_memory,    // members in a container or smart pointer of the standard library
  reference,              // a field
  uncounted,              // a field neither takes {} nor converts
  too_many,               // fields
  decomposed_by_program,  // std::tuple_size is specialised: bindings would call the program
};

// `culprit`: the type for which the answer was found.
template <contents C, class Culprit>
struct finding {
  static constexpr contents value = C;
  using culprit = Culprit;
};
template <contents A, class X, contents B, class Y>
constexpr auto operator+(finding<A, X> a, finding<B, Y> b) noexcept {
  if constexpr (A >= B)
    return static_cast<void>(b), a;
  else
    return static_cast<void>(a), b;
}

template <class T>
inline constexpr bool is_member = false;
template <class T>
inline constexpr bool is_member<::tern::gc::member<T>> = true;
template <class T>
inline constexpr bool is_member<::tern::gc::atomic_member<T>> = true;

// The proof of rule 4.
template <class T>
inline constexpr bool is_bytes =
    std::is_trivially_copy_constructible_v<T> || std::is_trivially_move_constructible_v<T> ||
    std::is_trivially_copy_assignable_v<T> || std::is_trivially_move_assignable_v<T> ||
    sizeof(T) < sizeof(void*) || alignof(T) < alignof(void*);

template <class M>
struct class_of_member {
  using type = void;
};
template <class M, class C>
struct class_of_member<M C::*> {
  using type = C;
};
template <class T>
consteval bool traces_all() {
  // Where trace is a template or overloaded there is no telling.
  if constexpr (requires { &T::trace; }) {
    using owner = typename class_of_member<decltype(&T::trace)>::type;
    // Without room for a member in what T adds, the base's will do.
    if constexpr (!std::is_void_v<owner> && !std::is_same_v<owner, T>)
      return sizeof(T) == sizeof(owner) && alignof(T) <= alignof(void*);
  }
  return true;
}

template <class T>
inline constexpr bool is_library_class =
    type_name<T>().starts_with("std::") || type_name<T>().starts_with("tern::");

template <class T>
inline constexpr bool is_standard_array = false;
template <class T, std::size_t N>
inline constexpr bool is_standard_array<std::array<T, N>> = true;
// Their arguments are all that they hold.
template <class T>
inline constexpr bool holds_its_arguments = false;
template <class A, class B>
inline constexpr bool holds_its_arguments<std::pair<A, B>> = true;
template <class... Ts>
inline constexpr bool holds_its_arguments<std::tuple<Ts...>> = true;
template <class T>
inline constexpr bool holds_its_arguments<std::optional<T>> = true;

template <class T, class... Outer>
consteval auto find_contents();

template <class T, class... Outer>
using contents_finding = decltype(find_contents<T, Outer...>());

template <class... Ts>
struct arguments {
  // `Outer`: types whose answer waits for this one. A type that holds itself behind a pointer holds nothing by that.
  template <class... Outer>
  static consteval auto find() {
    return (finding<contents::none, void>{} + ... + contents_finding<Ts, Outer...>{});
  }
};

// Arguments of a library's template.
template <class T>
struct template_arguments {
  using type = std::conditional_t<type_name<T>().find('<') == std::string_view::npos, arguments<>, void>;
};
template <template <class...> class C, class... Ts>
struct template_arguments<C<Ts...>> {
  using type = arguments<Ts...>;
};
template <template <class, std::size_t> class C, class T, std::size_t N>
struct template_arguments<C<T, N>> {
  using type = arguments<T>;
};

template <class T, class... Outer>
consteval auto find_in_library() {
  using list = typename template_arguments<T>::type;
  if constexpr (std::is_void_v<list>) {
    return finding<contents::hidden, T>{};
  } else {
    using found = decltype(list::template find<T, Outer...>());
    if constexpr (found::value == contents::members)
      return finding<contents::in_unmanaged_memory, T>{};
    else
      return found{};
  }
}

template <class List>
struct as_arguments;
template <class... Ts>
struct as_arguments<type_list<Ts...>> {
  using type = arguments<Ts...>;
};

template <class T, class... Outer>
consteval auto find_in_aggregate() {
  using counts = field_counts<T>;
  if constexpr (requires { std::tuple_size<T>::value; })
    return finding<contents::decomposed_by_program, T>{};
  else if constexpr (counts::elements == too_many_fields)
    return finding<contents::too_many, T>{};
  else if constexpr (!counts::is_counted)
    return finding<contents::uncounted, T>{};
  else if constexpr (counts::has_data_in_bases || counts::fields == 0)
    return finding<contents::data_in_bases, T>{};
  else
    return as_arguments<field_types<T>>::type::template find<T, Outer...>();
}

template <class T>
inline constexpr bool is_complete = requires { sizeof(T); };

template <class T, class... Outer>
consteval auto find_contents() {
  using plain = std::remove_cv_t<T>;
  if constexpr (std::is_reference_v<T>)
    return finding<contents::reference, T>{};
  else if constexpr (!std::is_object_v<plain> || (std::is_same_v<plain, Outer> || ...))
    return finding<contents::none, T>{};
  else if constexpr (std::is_array_v<plain>)
    return contents_finding<std::remove_all_extents_t<plain>, Outer...>{};
  else if constexpr (is_member<plain>)
    return finding<contents::members, T>{};
  else if constexpr (!std::is_class_v<plain> && !std::is_union_v<plain>)
    return finding<contents::none, T>{};
  else if constexpr (!is_complete<plain>)
    return finding<contents::none, T>{};  // behind a pointer of some kind: no part of an object
  else if constexpr (::tern::gc::traceable<plain>)
    return finding<traces_all<plain>() ? contents::members : contents::inherited_trace, plain>{};
  else if constexpr (::tern::gc::is_pointer_free<plain> || is_bytes<plain>)
    return finding<contents::none, T>{};
  else if constexpr (is_standard_array<plain>)
    return contents_finding<typename plain::value_type, Outer...>{};
  else if constexpr (holds_its_arguments<plain>)
    return template_arguments<plain>::type::template find<plain, Outer...>();
  else if constexpr (std::is_union_v<plain>)
    return finding<contents::in_union, plain>{};
  else if constexpr (is_library_class<plain>)
    return find_in_library<plain, Outer...>();
  else if constexpr (std::is_aggregate_v<plain>)
    return find_in_aggregate<plain, Outer...>();
  else
    return finding<contents::hidden, plain>{};
}

template <class T>
inline constexpr contents contents_of = contents_finding<T>::value;

template <class T>
inline constexpr bool is_opaque =
    contents_of<T> >= contents::hidden && contents_of<T> < contents::in_unmanaged_memory;

// A type with members: the visitor takes it.
template <class T>
concept has_members = contents_of<T> == contents::members;

// An aggregate whose fields the visitor looks at by itself.
template <class T>
concept has_visible_fields = has_members<T> && std::is_class_v<T> && !::tern::gc::traceable<T> &&
                             !is_member<T> && !is_standard_array<T> && !holds_its_arguments<T>;

// Does not compile where the collector cannot see what a T holds. `Culprit` is named in the compiler's message.
template <contents C, class Culprit>
struct requires_visible_contents {
  static_assert(C != contents::in_unmanaged_memory,
                "gc: a gc::member in this class of the standard library (Culprit) would lie on the C++ heap, "
                "or come and go, "
                "unseen: use gc::vector, gc::hash_map or gc::make_array");
  static_assert(C != contents::reference,
                "gc: a field is a reference: give the class trace(), or hold a pointer");
  static_assert(
      C != contents::uncounted,
      "gc: the fields of this aggregate (Culprit) cannot be counted, since one is a reference or not to be "
      "initialised by {}: give it trace()");
  static_assert(C != contents::too_many,
                "gc: this aggregate (Culprit) has more than 64 fields: give it trace()");
  static_assert(C != contents::decomposed_by_program,
                "gc: this aggregate (Culprit) has a std::tuple_size of its own: give it trace()");
  static constexpr bool value = true;
};

template <class T>
inline constexpr bool is_visible =
    requires_visible_contents<contents_finding<T>::value, typename contents_finding<T>::culprit>::value;

}  // namespace detail::gc
}  // namespace tern::inline v1

// The name of a type, as the compiler writes it: known at compile time, without RTTI.
#pragma once

#include <cstddef>
#include <string_view>

namespace tern::inline v1::detail::gc {

// The text around T in it is the same for every T, so one known name tells how long it is.
template <class T>
consteval std::string_view name_with_surroundings() noexcept {
  return __PRETTY_FUNCTION__;
}

template <class T>
consteval std::string_view type_name() noexcept {
  constexpr std::string_view known = name_with_surroundings<int>();
  constexpr std::size_t before = known.find("T = int") + 4;
  constexpr std::size_t after = known.size() - before - 3;
  const std::string_view all = name_with_surroundings<T>();
  return all.substr(before, all.size() - before - after);
}

}  // namespace tern::inline v1::detail::gc

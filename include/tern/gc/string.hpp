// gc::string: immutable text in managed memory, whose parts share its bytes.
//
// Context     A value: on a stack, or inside a managed object: a field of an aggregate, or named by trace(). Two words: a pointer into a managed array
//             of char (pointer-free, never scanned), and a length.
// Rejected    Text that changes in place: a substring would have to be a copy, and a reader in another thread would need a lock.
// Limits      A small part of a large text keeps all of its bytes; string{part.view()} makes a copy.
#pragma once

#include <compare>
#include <cstddef>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include <tern/gc/make.hpp>

namespace tern::inline v1::gc {

/// Immutable text. Copies and substrings are O(1) and share the bytes; the bytes are not terminated by a zero.
/// Lives on stacks and in managed objects (an aggregate's field, or `v(text)` in trace()), nowhere else. Making one from text, and adding two, copies, and
/// throws what gc::make_array throws. One string may be read by many threads; assigning to it is as assigning to any variable.
class string {
  // Text that is no gc::string.
  template <class Text>
  static constexpr bool is_text =
      std::is_convertible_v<const Text&, std::string_view> && !std::is_same_v<Text, string>;

 public:
  string() noexcept = default;
  template <class Text>
    requires is_text<Text>
  string(const Text& text) {
    copy_of(text, {});
  }

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const char* data() const noexcept { return bytes_.get(); }
  const char* begin() const noexcept { return data(); }
  const char* end() const noexcept { return data() + size_; }
  char operator[](std::size_t i) const noexcept {
    TERN_ASSERT(i < size_, "gc::string: index out of range");
    return data()[i];
  }
  std::string_view view() const noexcept { return {data(), size_}; }
  operator std::string_view() const noexcept { return view(); }

  /// O(1). Throws std::out_of_range where `from` is beyond the end.
  string substr(std::size_t from, std::size_t n = std::string_view::npos) const {
    if (from > size_) throw std::out_of_range{"tern::gc::string::substr"};
    string part;
    part.size_ = n < size_ - from ? n : size_ - from;
    if (part.size_ != 0) part.bytes_ = bytes_.get() + from;
    return part;
  }

  friend string operator+(const string& a, const string& b) { return joined(a.view(), b.view()); }
  template <class Text>
    requires is_text<Text>
  friend string operator+(const string& a, const Text& b) {
    return joined(a.view(), b);
  }
  template <class Text>
    requires is_text<Text>
  friend string operator+(const Text& a, const string& b) {
    return joined(a, b.view());
  }

  friend bool operator==(const string& a, const string& b) noexcept { return a.view() == b.view(); }
  template <class Text>
    requires is_text<Text>
  friend bool operator==(const string& a, const Text& b) noexcept {
    return a.view() == std::string_view(b);
  }
  friend std::strong_ordering operator<=>(const string& a, const string& b) noexcept {
    return a.view() <=> b.view();
  }

  void trace(visitor& v) const { v(bytes_); }

 private:
  static string joined(std::string_view a, std::string_view b) {
    string s;
    s.copy_of(a, b);
    return s;
  }
  // The views may lie in managed memory: the caller's stack has them.
  void copy_of(std::string_view a, std::string_view b) {
    if (a.empty() && b.empty()) return;
    array<char>* const bytes = make_array<char>(a.size() + b.size());
    if (!a.empty()) std::memcpy(bytes->data(), a.data(), a.size());
    if (!b.empty()) std::memcpy(bytes->data() + a.size(), b.data(), b.size());
    bytes_ = bytes->data();
    size_ = a.size() + b.size();
  }

  member<const char> bytes_;
  std::size_t size_ = 0;
};

}  // namespace tern::inline v1::gc

template <>
struct std::hash<tern::gc::string> {
  std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
};

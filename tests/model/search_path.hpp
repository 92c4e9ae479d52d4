// Search path: the choices of one execution, and the way to the next one in depth-first order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace tern_model {

class search_path {
 public:
  static constexpr unsigned not_deterministic = ~0U;

  /// Begins a new search.
  void clear() {
    choices_.clear();
    depth_ = 0;
  }
  /// Begins a new execution of the same path.
  void rewind() noexcept { depth_ = 0; }
  /// Drops what was not reached.
  void cut() { choices_.resize(depth_); }
  [[nodiscard]] bool is_at_end() const noexcept { return depth_ == choices_.size(); }

  /// One of n alternatives: the recorded one, or the first where the path ends. Requires: n > 0.
  [[nodiscard]] unsigned choose(unsigned n) {
    if (n == 1) return 0;
    if (depth_ == choices_.size()) choices_.push_back({static_cast<std::uint8_t>(n), 0});
    choice& c = choices_[depth_++];
    if (c.alternatives == 0) c.alternatives = static_cast<std::uint8_t>(n);  // from a text
    return c.alternatives != n || c.taken >= n ? not_deterministic : c.taken;
  }

  /// Moves to the next path. False when there is none.
  [[nodiscard]] bool advance() {
    while (!choices_.empty() && choices_.back().taken + 1 >= choices_.back().alternatives)
      choices_.pop_back();
    if (choices_.empty()) return false;
    ++choices_.back().taken;
    return true;
  }

  /// "bound:choices", a choice of 0 to 9 per character, without the zeros at the end.
  [[nodiscard]] std::string write(unsigned bound) const {
    std::string text;
    for (std::size_t i = 0; i < depth_; ++i) text += static_cast<char>('0' + choices_[i].taken);
    while (!text.empty() && text.back() == '0') text.pop_back();
    return std::to_string(bound) + ":" + text;
  }
  /// Takes over such a text and returns its bound.
  unsigned read(const std::string& text) {
    clear();
    const std::size_t colon = text.find(':');
    for (std::size_t i = colon == std::string::npos ? text.size() : colon + 1; i < text.size(); ++i) {
      choices_.push_back({0, static_cast<std::uint8_t>(text[i] - '0')});
    }
    return static_cast<unsigned>(std::strtoul(text.c_str(), nullptr, 10));
  }

 private:
  struct choice {
    std::uint8_t alternatives;
    std::uint8_t taken;
  };

  std::vector<choice> choices_{};
  std::size_t depth_ = 0;
};

}  // namespace tern_model

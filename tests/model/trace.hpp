// Trace: a failing execution in words, one line per operation.
#pragma once

#include <cstdio>
#include <map>
#include <string>

#include "types.hpp"

namespace tern_model {

class trace {
 public:
  void clear() {
    text_.clear();
    names_.clear();
  }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

  /// How the object at `p` is called; others become a0, a1, ... in the order of their first use.
  void name(const void* p, const char* text) { names_[p] = text; }

  void note(const std::string& thread, const char* text) { text_ += "  " + thread + ": " + text + "\n"; }

  void line(const std::string& thread, const char* operation, const location* l, std::uint64_t bits,
            memory_order o, const site& s, const char* suffix) {
    static constexpr const char* orders[] = {"relaxed", "consume", "acquire",
                                             "release", "acq_rel", "seq_cst"};
    std::string& name = names_[l];
    if (name.empty()) name = "a" + std::to_string(names_.size() - 1);
    char buffer[320];
    std::snprintf(buffer, sizeof buffer, "  %-10s %-28s %-14s 0x%-14llx %-8s %s%s\n", thread.c_str(),
                  operation, name.c_str(), static_cast<unsigned long long>(bits),
                  orders[static_cast<unsigned>(o)], where(s).c_str(), suffix == nullptr ? "" : suffix);
    text_ += buffer;
  }

 private:
  std::string text_{};
  std::map<const void*, std::string> names_{};
};

}  // namespace tern_model

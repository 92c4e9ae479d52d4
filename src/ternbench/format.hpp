// Numbers as people read them: three significant digits with a unit.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model.hpp"
#include "stats.hpp"

namespace ternbench {

[[nodiscard]] std::string format_time(double ns);      // "1.23 us"
[[nodiscard]] std::string format_bytes(double bytes);  // "4.07 KiB"
[[nodiscard]] std::string format_value(double v, metric::unit unit);
[[nodiscard]] std::string format_percent(double fraction);  // "3.1%"
[[nodiscard]] std::string format_ratio(double ratio);       // "0.0126", "1.03", "412"
/// "0.98 .. 1.04", with "~" before it when it covers less than 95%; "-" when there is none.
[[nodiscard]] std::string format_interval(const interval& i);
[[nodiscard]] std::string format_duration(double seconds);  // "1:05", "12 s"

/// What a table of ours may take.
inline constexpr std::size_t table_width = 100;

/// Display width of UTF-8 text: code points.
[[nodiscard]] std::size_t width_of(std::string_view s);
[[nodiscard]] std::string pad_left(std::string_view s, std::size_t width);
[[nodiscard]] std::string pad_right(std::string_view s, std::size_t width);
/// Lines of at most `width`, broken at spaces; every line after the first begins with `indent`.
[[nodiscard]] std::string wrap(std::string_view s, std::size_t width, std::string_view indent);

/// ANSI colours, or nothing.
class palette {
 public:
  /// Colour only when `descriptor` is a terminal, NO_COLOR is unset or empty, and TERM is not "dumb".
  static palette for_descriptor(int descriptor);
  static palette none() { return palette(false); }
  [[nodiscard]] std::string good(std::string_view s) const { return paint("32", s); }
  [[nodiscard]] std::string bad(std::string_view s) const { return paint("31", s); }
  [[nodiscard]] std::string warn(std::string_view s) const { return paint("33", s); }
  [[nodiscard]] std::string strong(std::string_view s) const { return paint("1", s); }

 private:
  explicit palette(bool on) : on_(on) {}
  [[nodiscard]] std::string paint(const char* code, std::string_view s) const;
  bool on_;
};

/// One line about where a run comes from: date, arch, CPU, vCPUs, repetitions, emulation.
[[nodiscard]] std::string describe(const run_data& run);

}  // namespace ternbench

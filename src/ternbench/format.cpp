#include "format.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace ternbench {
namespace {

struct scale {
  double factor;
  const char* unit;
};

std::string three_digits(double v) {
  const double size = std::fabs(v);
  if (size >= 99.95) return fmt::format("{:.0f}", v);
  if (size >= 9.995) return fmt::format("{:.1f}", v);
  return fmt::format("{:.2f}", v);
}

template <std::size_t N>
std::string scaled(double v, const std::array<scale, N>& scales) {
  const scale* best = &scales[0];
  for (const scale& s : scales) {
    if (std::fabs(v) >= 0.9995 * s.factor) best = &s;
  }
  return three_digits(v / best->factor) + " " + best->unit;
}

}  // namespace

std::string format_time(double ns) {
  return scaled(ns, std::array{scale{1, "ns"}, scale{1e3, "us"}, scale{1e6, "ms"}, scale{1e9, "s"}});
}

std::string format_bytes(double bytes) {
  constexpr double k = 1024;
  return scaled(bytes,
                std::array{scale{1, "B"}, scale{k, "KiB"}, scale{k * k, "MiB"}, scale{k * k * k, "GiB"}});
}

std::string format_value(double v, metric::unit unit) {
  if (unit == metric::unit::count) return fmt::format("{:.1f}", v);
  return unit == metric::unit::bytes ? format_bytes(v) : format_time(v);
}

std::string format_percent(double fraction) {
  const double percent = 100 * fraction;
  return percent >= 9.95 ? fmt::format("{:.0f}%", percent) : fmt::format("{:.1f}%", percent);
}

std::string format_ratio(double ratio) {
  if (ratio >= 99.95 || ratio <= 0) return fmt::format("{:.0f}", ratio);
  if (ratio >= 9.995) return fmt::format("{:.1f}", ratio);
  if (ratio >= 1.0995) return fmt::format("{:.2f}", ratio);
  if (ratio >= 0.09995) return fmt::format("{:.3f}", ratio);  // around 1 a tenth of a percent matters
  if (ratio < 1e-4) return fmt::format("{:.2e}", ratio);
  const int zeros =
      -static_cast<int>(std::floor(std::log10(ratio))) - 1;  // between the point and the first digit
  return fmt::format("{:.{}f}", ratio, std::min(zeros + 3, 9));
}

std::string format_interval(const interval& i) {
  if (!i.bounded()) return "-";
  constexpr double wanted = 0.95;
  return fmt::format("{}{} .. {}", i.coverage + 1e-9 < wanted ? "~" : "", format_ratio(i.low),
                     format_ratio(i.high));
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<long>(std::lround(std::max(0.0, seconds)));
  if (whole < 60) return fmt::format("{} s", whole);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::size_t width_of(std::string_view s) {
  return static_cast<std::size_t>(std::count_if(
      s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string pad_left(std::string_view s, std::size_t width) {
  const std::size_t own = width_of(s);
  return std::string(width > own ? width - own : 0, ' ') + std::string(s);
}

std::string pad_right(std::string_view s, std::size_t width) {
  const std::size_t own = width_of(s);
  return std::string(s) + std::string(width > own ? width - own : 0, ' ');
}

std::string wrap(std::string_view s, std::size_t width, std::string_view indent) {
  std::string out;
  std::size_t column = 0;
  while (!s.empty()) {
    const auto space = s.find(' ');
    const std::string_view word = s.substr(0, space);
    s.remove_prefix(space == std::string_view::npos ? s.size() : space + 1);
    if (word.empty()) continue;
    if (column > 0 && column + 1 + width_of(word) > width) {
      out += '\n';
      out += indent;
      column = indent.size();
    } else if (!out.empty()) {
      out += ' ';
      ++column;
    }
    out += word;
    column += width_of(word);
  }
  return out;
}

palette palette::for_descriptor(int descriptor) {
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const term = std::getenv("TERM");
  const bool refused = no_color != nullptr && *no_color != '\0';
  const bool dumb = term == nullptr || std::string_view(term) == "dumb";
  return palette(isatty(descriptor) == 1 && !refused && !dumb);
}

std::string palette::paint(const char* code, std::string_view s) const {
  return on_ ? fmt::format("\x1b[{}m{}\x1b[0m", code, s) : std::string(s);
}

std::string describe(const run_data& run) {
  std::string s = run.date.empty() ? "undated" : run.date;
  s += ", " + run.host.arch.value_or("unknown architecture");
  s += ", " + (run.machine.empty() ? run.host.cpu_model.value_or("unknown CPU") : run.machine);
  if (run.host.vcpus) s += fmt::format(", {} vCPUs", *run.host.vcpus);
  std::size_t most = 0;
  for (const row_data& row : run.rows) most = std::max(most, row.samples.size());
  s += fmt::format(", {} row{}, {} repetition{}", run.rows.size(), run.rows.size() == 1 ? "" : "s", most,
                   most == 1 ? "" : "s");
  if (!run.mode.empty()) s += ", " + run.mode;
  if (run.host.emulated == std::optional<bool>(true)) s += ", EMULATED: times mean nothing";
  return s;
}

}  // namespace ternbench

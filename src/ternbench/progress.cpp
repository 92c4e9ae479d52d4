#include "progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "format.hpp"

namespace ternbench {

progress::progress(double expected_seconds)
    : expected_(expected_seconds), terminal_(isatty(STDERR_FILENO) == 1) {}

double progress::elapsed() const { return std::chrono::duration<double>(clock::now() - start_).count(); }

double progress::seconds_left() const {
  const double share_done = total_ > 0 ? done_ / total_ : 0;
  const double until_step = std::chrono::duration<double>(step_start_ - start_).count();
  // The plan counts like a tenth of a run that went as planned; what was measured soon outweighs it.
  constexpr double weight = 0.1;
  const double total_seconds = (expected_ * weight + until_step) / (weight + share_done);
  return std::max(0.0, total_seconds - elapsed());
}

void progress::update(double done, double total, const std::string& what) {
  done_ = done;
  total_ = total;
  what_ = what;
  step_start_ = clock::now();
  draw(terminal_);
}

void progress::tick() { draw(false); }

void progress::draw(bool force) {
  constexpr auto on_terminal = std::chrono::milliseconds(250);
  constexpr auto in_a_log = std::chrono::seconds(15);
  const auto now = clock::now();
  const auto pause = terminal_ ? std::chrono::duration_cast<clock::duration>(on_terminal)
                               : std::chrono::duration_cast<clock::duration>(in_a_log);
  const bool due = drawn_ == clock::time_point{} || now - drawn_ >= pause;
  if (!force && !due) return;
  drawn_ = now;
  const double share = total_ > 0 ? std::clamp(done_ / total_, 0.0, 1.0) : 0;
  const std::string left = format_duration(seconds_left());
  if (!terminal_) {
    fmt::print(stderr, "ternbench: {:3.0f}%, about {} left: {}\n", 100 * share, left, what_);
    return;
  }
  constexpr int cells = 24;
  const int full = static_cast<int>(share * cells);
  std::string what = what_;
  constexpr std::size_t widest = 40;
  if (what.size() > widest) what.resize(widest);
  fmt::print(stderr, "\r[{}{}] {:3.0f}%  {} left  {}\x1b[K", std::string(static_cast<std::size_t>(full), '='),
             std::string(static_cast<std::size_t>(cells - full), ' '), 100 * share, left, what);
  std::fflush(stderr);
  line_shown_ = true;
}

void progress::clear() {
  if (!line_shown_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  line_shown_ = false;
}

}  // namespace ternbench

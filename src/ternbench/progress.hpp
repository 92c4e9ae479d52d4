// Progress with time left, on stderr: one line that is redrawn on a terminal, else a plain line now and then.
#pragma once

#include <chrono>
#include <string>

namespace ternbench {

class progress {
 public:
  /// `expected_seconds` is the plan's guess; set_rate() corrects it as work is done.
  explicit progress(double expected_seconds);
  ~progress() { clear(); }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  /// `done` of `total` expected work (any unit) is finished, and `what` is running now.
  void update(double done, double total, const std::string& what);
  void tick();   // redraws
  void clear();  // removes the line from a terminal
  [[nodiscard]] double elapsed() const;

 private:
  using clock = std::chrono::steady_clock;
  void draw(bool force);
  [[nodiscard]] double seconds_left() const;

  clock::time_point start_ = clock::now();
  clock::time_point step_start_ = start_;
  clock::time_point drawn_{};
  double expected_;
  double done_ = 0;
  double total_ = 1;
  std::string what_;
  bool terminal_;
  bool line_shown_ = false;
};

}  // namespace ternbench

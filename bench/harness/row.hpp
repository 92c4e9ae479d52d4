// A row of the benchmark grid: one case x one subject x one set of parameters, and what measuring it gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tern/ds/histogram.hpp>

namespace tern_bench {

using histogram = tern::detail::histogram;

/// Which runs a row belongs to; a run of one tier has the rows of the tiers before it as well.
enum class tier { quick, standard, full };

/// What a subject is in a comparison.
enum class role { subject, baseline, peer };

[[nodiscard]] const char* to_string(tier t) noexcept;
[[nodiscard]] const char* to_string(role r) noexcept;

/// What a parameter is set to: a number, or a word (lower case and _), which has no number.
class param_value {
 public:
  param_value(std::int64_t number) : number_(number) {}           // NOLINT: so that points are short to write
  param_value(const char* word) : word_(word), is_word_(true) {}  // NOLINT

  [[nodiscard]] bool is_word() const noexcept { return is_word_; }
  [[nodiscard]] std::int64_t number() const noexcept { return number_; }
  [[nodiscard]] std::string text() const { return is_word_ ? word_ : std::to_string(number_); }

 private:
  std::int64_t number_ = 0;
  std::string word_;
  bool is_word_ = false;
};

/// The parameters of a row, in the order in which they stand in its name.
class row_params {
 public:
  row_params() = default;
  row_params(std::initializer_list<std::pair<std::string, param_value>> values) : values_(values) {}

  /// The number that `name` is set to; ends the program when the row has no such parameter.
  [[nodiscard]] std::int64_t operator[](std::string_view name) const;
  /// The word that `name` is set to; ends the program when the row has no such parameter.
  [[nodiscard]] std::string word(std::string_view name) const;
  [[nodiscard]] std::size_t size_of(std::string_view name) const {
    return static_cast<std::size_t>((*this)[name]);
  }
  /// The value of `name`, or `otherwise` when the row has no such parameter.
  [[nodiscard]] std::int64_t value_or(std::string_view name, std::int64_t otherwise) const noexcept;
  [[nodiscard]] const std::vector<std::pair<std::string, param_value>>& all() const noexcept {
    return values_;
  }
  /// "/size:64/threads:2", or nothing.
  [[nodiscard]] std::string suffix() const;

 private:
  [[nodiscard]] const param_value* find(std::string_view name) const noexcept;
  [[nodiscard]] const param_value& at(std::string_view name) const;

  std::vector<std::pair<std::string, param_value>> values_;
};

/// How much one call has to do.
struct run_budget {
  std::uint64_t operations = 1;  ///< at least so many operations, in whole batches
  bool warm = true;              ///< run one batch untimed first
};

/// What one call of a row gave.
struct measurement {
  double seconds = 0;      ///< of the timed part
  double cpu_seconds = 0;  ///< of the whole process over the timed part: every thread, the collector included
  std::uint64_t operations = 0;  ///< done in the timed part
  std::uint32_t checksum = 0;    ///< of the first batch: a fixed amount of work
  std::map<std::string, double> counters;
  std::shared_ptr<histogram> latencies;  ///< latency rows only
  std::string error;                     ///< empty, "skipped: ..." or what failed
};

struct row {
  std::string area;
  std::string case_name;
  std::string subject;
  std::string (*version)() = nullptr;  ///< of the subject; empty where it is not known
  role subject_role = role::subject;
  row_params params;
  row_params smoke_params;
  bool in_smoke = false;
  tern_bench::tier tier = tier::quick;
  bool gate = false;
  bool isolated = false;      ///< measured in a fresh process
  bool reports_cpu = false;   ///< has the counter cpu_ns_per_op
  std::int64_t extra_ms = 0;  ///< what a call costs beside the measured time
  /// Operations of a row that is measured in one call of known length; empty for rows whose length the harness finds.
  std::function<std::uint64_t(const row_params&, std::int64_t time_ms)> fixed_operations;
  std::function<measurement(const row_params&, run_budget)> measure;

  [[nodiscard]] std::string key(const row_params& p) const { return area + "/" + case_name + p.suffix(); }
  [[nodiscard]] std::string name(const row_params& p) const {
    return area + "/" + case_name + "/" + subject + p.suffix();
  }
};

/// Every row that the cases of this program registered, sorted by name.
[[nodiscard]] std::vector<row>& all_rows();

}  // namespace tern_bench
